//! Bytes on NEON with dot products: four products of two bytes, and their sum, per lane of 32 bits.
//!
//! Differences are taken as absolute values, which fit a byte without a sign for both types.

use core::arch::aarch64::{
    int8x16_t, uint8x16_t, uint32x4_t, vabdq_s8, vabdq_u8, vaddq_u32, vaddvq_u32, vdupq_n_u8, vdupq_n_u32,
    vld1q_u8, vreinterpretq_s8_u8, vreinterpretq_u8_s8,
};
use core::marker::PhantomData;

use super::{LoadWords, Words};

/// 16 bytes of one type.
#[derive(Clone, Copy)]
pub(crate) struct Dot<E>(PhantomData<E>);

/// Adds four products of unsigned bytes to every lane.
#[inline(always)]
pub(crate) unsafe fn add_products(total: uint32x4_t, a: uint8x16_t, b: uint8x16_t) -> uint32x4_t {
    let mut total = total;
    // The intrinsic is not stable.
    // SAFETY: UDOT touches nothing but its registers; the caller promises the feature.
    unsafe {
        core::arch::asm!(
            "udot {total:v}.4s, {a:v}.16b, {b:v}.16b",
            total = inout(vreg) total,
            a = in(vreg) a,
            b = in(vreg) b,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    total
}

/// As [`add_products`], of signed bytes; sums are those of `i32`.
#[inline(always)]
unsafe fn add_signed_products(total: uint32x4_t, a: uint8x16_t, b: uint8x16_t) -> uint32x4_t {
    let mut total = total;
    // SAFETY: SDOT touches nothing but its registers; the caller promises the feature.
    unsafe {
        core::arch::asm!(
            "sdot {total:v}.4s, {a:v}.16b, {b:v}.16b",
            total = inout(vreg) total,
            a = in(vreg) a,
            b = in(vreg) b,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    total
}

/// Writes [`Words`] for a byte type: its dot product, and the absolute values of differences.
macro_rules! words {
    ($element:ty, $products:ident, |$a:ident, $b:ident| $distances:expr) => {
        // SAFETY: register arithmetic only.
        unsafe impl Words for Dot<$element> {
            type Word = uint8x16_t;
            type Total = uint32x4_t;
            const WIDTH: usize = 16;

            #[inline(always)]
            unsafe fn zero() -> uint32x4_t {
                // SAFETY: the caller promises NEON.
                unsafe { vdupq_n_u32(0) }
            }

            #[inline(always)]
            unsafe fn multiply_add(total: uint32x4_t, a: uint8x16_t, b: uint8x16_t) -> uint32x4_t {
                // SAFETY: the caller promises the feature.
                unsafe { $products(total, a, b) }
            }

            #[inline(always)]
            unsafe fn add_squares(total: uint32x4_t, $a: uint8x16_t, $b: uint8x16_t) -> uint32x4_t {
                // SAFETY: (whole block) register arithmetic; the caller promises the feature.
                unsafe {
                    let distances = $distances;
                    add_products(total, distances, distances)
                }
            }

            #[inline(always)]
            unsafe fn add_distances(total: uint32x4_t, $a: uint8x16_t, $b: uint8x16_t) -> uint32x4_t {
                // SAFETY: register arithmetic; the caller promises the feature.
                unsafe { add_products(total, $distances, vdupq_n_u8(1)) }
            }

            #[inline(always)]
            unsafe fn merge(a: uint32x4_t, b: uint32x4_t) -> uint32x4_t {
                // SAFETY: the caller promises NEON.
                unsafe { vaddq_u32(a, b) }
            }

            #[inline(always)]
            unsafe fn reduce(total: uint32x4_t) -> i32 {
                // SAFETY: the caller promises NEON. Modulo 2³², as the sums of signed products are.
                unsafe { vaddvq_u32(total) as i32 }
            }
        }

        // SAFETY: the load is of 16 elements, the copy of `count`.
        unsafe impl LoadWords<Dot<$element>> for $element {
            #[inline(always)]
            unsafe fn load(at: *const Self) -> uint8x16_t {
                // SAFETY: the caller promises 16 elements.
                unsafe { vld1q_u8(at.cast()) }
            }

            #[inline(always)]
            unsafe fn load_head(at: *const Self, count: usize) -> uint8x16_t {
                let mut head: [Self; 16] = [0; 16];
                // SAFETY: the caller promises `count < 16` elements, and `head` is another array.
                unsafe { core::ptr::copy_nonoverlapping(at, head.as_mut_ptr(), count) };
                // SAFETY: `head` has 16 elements.
                unsafe { <Self as LoadWords<Dot<Self>>>::load(head.as_ptr()) }
            }
        }
    };
}

words!(u8, add_products, |a, b| vabdq_u8(a, b));
words!(i8, add_signed_products, |a, b| {
    let (a, b): (int8x16_t, int8x16_t) = (vreinterpretq_s8_u8(a), vreinterpretq_s8_u8(b));
    vreinterpretq_u8_s8(vabdq_s8(a, b))
});
