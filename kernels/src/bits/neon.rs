//! Counting bits on NEON, which has an instruction for it, byte by byte.

use core::arch::aarch64::{
    uint8x16_t, uint64x2_t, vaddq_u64, vaddvq_u64, vandq_u8, vcntq_u8, vdupq_n_u64, veorq_u8, vld1q_u8,
    vpadalq_u32, vpaddlq_u8, vpaddlq_u16, vshlq_n_u64,
};

use super::sums::Counts;

/// 16 bytes.
#[derive(Clone, Copy)]
pub(crate) struct Neon;

/// Adds the number of bits set, per lane of 64 bits.
#[inline(always)]
unsafe fn add_ones(total: uint64x2_t, bits: uint8x16_t) -> uint64x2_t {
    // SAFETY: (whole block) register arithmetic; the caller promises NEON.
    unsafe { vpadalq_u32(total, vpaddlq_u16(vpaddlq_u8(vcntq_u8(bits)))) }
}

// SAFETY: the load is of 16 bytes, the copy of `count`.
unsafe impl Counts for Neon {
    type Register = uint8x16_t;
    type Total = uint64x2_t;
    const WIDTH: usize = 16;

    #[inline(always)]
    unsafe fn load(at: *const u8) -> uint8x16_t {
        // SAFETY: the caller promises 16 bytes.
        unsafe { vld1q_u8(at) }
    }

    #[inline(always)]
    unsafe fn load_head(at: *const u8, count: usize) -> uint8x16_t {
        let mut head = [0u8; 16];
        // SAFETY: the caller promises `count < 16` bytes, and `head` is another array.
        unsafe { core::ptr::copy_nonoverlapping(at, head.as_mut_ptr(), count) };
        // SAFETY: `head` has 16 bytes.
        unsafe { vld1q_u8(head.as_ptr()) }
    }

    #[inline(always)]
    unsafe fn zero() -> uint64x2_t {
        // SAFETY: the caller promises NEON.
        unsafe { vdupq_n_u64(0) }
    }

    #[inline(always)]
    unsafe fn add_xor(total: uint64x2_t, a: uint8x16_t, b: uint8x16_t) -> uint64x2_t {
        // SAFETY: the caller promises NEON.
        unsafe { add_ones(total, veorq_u8(a, b)) }
    }

    #[inline(always)]
    unsafe fn add_and(total: uint64x2_t, a: uint8x16_t, b: uint8x16_t) -> uint64x2_t {
        // SAFETY: the caller promises NEON.
        unsafe { add_ones(total, vandq_u8(a, b)) }
    }

    #[inline(always)]
    unsafe fn merge(a: uint64x2_t, b: uint64x2_t) -> uint64x2_t {
        // SAFETY: the caller promises NEON.
        unsafe { vaddq_u64(a, b) }
    }

    #[inline(always)]
    unsafe fn pack(low: uint64x2_t, high: uint64x2_t) -> uint64x2_t {
        // SAFETY: register arithmetic; the caller promises NEON.
        unsafe { vaddq_u64(low, vshlq_n_u64::<32>(high)) }
    }

    #[inline(always)]
    unsafe fn reduce(total: uint64x2_t) -> u64 {
        // SAFETY: the caller promises NEON.
        unsafe { vaddvq_u64(total) }
    }
}
