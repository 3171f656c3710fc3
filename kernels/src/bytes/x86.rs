//! Words on AVX2 and on AVX-512 BW.

use core::arch::x86_64::{
    __m256i, __m512i, _mm_loadu_si128, _mm256_abs_epi16, _mm256_add_epi32, _mm256_cvtepi8_epi16,
    _mm256_cvtepu8_epi16, _mm256_loadu_si256, _mm256_madd_epi16, _mm256_maskz_loadu_epi8, _mm256_set1_epi16,
    _mm256_setzero_si256, _mm256_sub_epi16, _mm512_abs_epi16, _mm512_add_epi32, _mm512_cvtepi8_epi16,
    _mm512_cvtepu8_epi16, _mm512_madd_epi16, _mm512_reduce_add_epi32, _mm512_set1_epi16,
    _mm512_setzero_si512, _mm512_sub_epi16,
};

use super::{LoadWords, Words};
use crate::code::x86::sum_lanes;

/// 16 words.
#[derive(Clone, Copy)]
pub(crate) struct Avx2;

/// 32 words.
#[derive(Clone, Copy)]
pub(crate) struct Avx512;

/// Writes [`Words`] over the intrinsics of one width.
macro_rules! words {
    ($path:ident, $register:ty, $width:literal, $zero:ident, $madd:ident, $add:ident, $sub:ident, $abs:ident,
     $set1:ident, $reduce:ident) => {
        // SAFETY: register arithmetic only.
        unsafe impl Words for $path {
            type Word = $register;
            type Total = $register;
            const WIDTH: usize = $width;

            #[inline(always)]
            unsafe fn zero() -> $register {
                // SAFETY: the caller promises the instruction set.
                unsafe { $zero() }
            }

            #[inline(always)]
            unsafe fn multiply_add(total: $register, a: $register, b: $register) -> $register {
                // SAFETY: the caller promises the instruction set.
                unsafe { $add(total, $madd(a, b)) }
            }

            #[inline(always)]
            unsafe fn add_squares(total: $register, a: $register, b: $register) -> $register {
                // SAFETY: (whole block) register arithmetic; the caller promises the instruction set.
                unsafe {
                    let difference = $sub(a, b);
                    Self::multiply_add(total, difference, difference)
                }
            }

            #[inline(always)]
            unsafe fn add_distances(total: $register, a: $register, b: $register) -> $register {
                // SAFETY: the caller promises the instruction set.
                unsafe { $add(total, $madd($abs($sub(a, b)), $set1(1))) }
            }

            #[inline(always)]
            unsafe fn merge(a: $register, b: $register) -> $register {
                // SAFETY: the caller promises the instruction set.
                unsafe { $add(a, b) }
            }

            #[inline(always)]
            unsafe fn reduce(total: $register) -> i32 {
                // SAFETY: the caller promises the instruction set.
                unsafe { $reduce(total) }
            }
        }
    };
}

words!(
    Avx2,
    __m256i,
    16,
    _mm256_setzero_si256,
    _mm256_madd_epi16,
    _mm256_add_epi32,
    _mm256_sub_epi16,
    _mm256_abs_epi16,
    _mm256_set1_epi16,
    sum_lanes
);
words!(
    Avx512,
    __m512i,
    32,
    _mm512_setzero_si512,
    _mm512_madd_epi16,
    _mm512_add_epi32,
    _mm512_sub_epi16,
    _mm512_abs_epi16,
    _mm512_set1_epi16,
    _mm512_reduce_add_epi32
);

/// Writes the loads of a byte type, which `$narrow` and `$wide` widen.
macro_rules! load {
    ($element:ty, $narrow:ident, $wide:ident) => {
        // SAFETY: the load is of 16 elements, the copy of `count`.
        unsafe impl LoadWords<Avx2> for $element {
            #[inline(always)]
            unsafe fn load(at: *const Self) -> __m256i {
                // SAFETY: the caller promises 16 elements and the instruction set.
                unsafe { $narrow(_mm_loadu_si128(at.cast())) }
            }

            #[inline(always)]
            unsafe fn load_head(at: *const Self, count: usize) -> __m256i {
                let mut head: [Self; 16] = [0; 16];
                // SAFETY: the caller promises `count < 16` elements, and `head` is another array.
                unsafe { core::ptr::copy_nonoverlapping(at, head.as_mut_ptr(), count) };
                // SAFETY: `head` has 16 elements.
                unsafe { <Self as LoadWords<Avx2>>::load(head.as_ptr()) }
            }
        }

        // SAFETY: the load is of 32 elements or masked to `count`.
        unsafe impl LoadWords<Avx512> for $element {
            #[inline(always)]
            unsafe fn load(at: *const Self) -> __m512i {
                // SAFETY: the caller promises 32 elements and the instruction set.
                unsafe { $wide(_mm256_loadu_si256(at.cast())) }
            }

            #[inline(always)]
            unsafe fn load_head(at: *const Self, count: usize) -> __m512i {
                // SAFETY: masked elements are not accessed; the caller promises the others.
                unsafe { $wide(_mm256_maskz_loadu_epi8((1u32 << count) - 1, at.cast())) }
            }
        }
    };
}

load!(u8, _mm256_cvtepu8_epi16, _mm512_cvtepu8_epi16);
load!(i8, _mm256_cvtepi8_epi16, _mm512_cvtepi8_epi16);
