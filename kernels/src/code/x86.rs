//! The code sum on AVX2, AVX-512 BW and AVX-512 VNNI.
//!
//! Codes are widened to `i16`, where they are exact, and multiplied with the weights in pairs: two
//! products and their sum per 32-bit lane. The pair sum is at most 2 · 255 · 32768 and fits.

use core::arch::x86_64::{
    __m256i, __m512i, _mm_loadu_si128, _mm256_add_epi32, _mm256_castsi256_si128, _mm256_cvtepu8_epi16,
    _mm256_extracti128_si256, _mm256_loadu_si256, _mm256_madd_epi16, _mm256_maskz_loadu_epi8,
    _mm256_setzero_si256, _mm512_add_epi32, _mm512_cvtepu8_epi16, _mm512_dpwssd_epi32, _mm512_loadu_si512,
    _mm512_madd_epi16, _mm512_maskz_loadu_epi16, _mm512_reduce_add_epi32, _mm512_setzero_si512,
};

use super::integer_sum;
use crate::sum::Sum;

/// Widen, multiply in pairs, add: AVX-512 F and BW.
#[derive(Clone, Copy)]
pub(super) struct Avx512;

/// Multiply in pairs and add in one instruction: AVX-512 VNNI.
#[derive(Clone, Copy)]
pub(super) struct Vnni;

/// Half the width of [`Avx512`].
#[derive(Clone, Copy)]
pub(super) struct Avx2;

/// Writes [`Sum`] for a 512-bit path; `$accumulate` takes the sums, the codes and the weights.
macro_rules! wide {
    ($path:ident, |$partial:ident, $codes:ident, $weights:ident| $accumulate:expr) => {
        // SAFETY: inlined throughout; loads are of 32 elements or masked to `count`.
        unsafe impl Sum for $path {
            integer_sum!(i16, u8);
            type Register = __m512i;
            type Partial = __m512i;

            const WIDTH: usize = 32;

            #[inline(always)]
            unsafe fn zero() -> __m512i {
                // SAFETY: the caller promises the instruction set.
                unsafe { _mm512_setzero_si512() }
            }

            #[inline(always)]
            unsafe fn load(weights: *const i16) -> __m512i {
                // SAFETY: the caller promises 32 elements and the instruction set.
                unsafe { _mm512_loadu_si512(weights.cast()) }
            }

            #[inline(always)]
            unsafe fn load_head(weights: *const i16, count: usize) -> __m512i {
                // SAFETY: masked elements are not accessed; the caller promises the others.
                unsafe { _mm512_maskz_loadu_epi16((1u32 << count) - 1, weights) }
            }

            #[inline(always)]
            unsafe fn step($partial: __m512i, $weights: __m512i, code: *const u8) -> __m512i {
                // SAFETY: the caller promises 32 elements and the instruction set.
                let $codes = unsafe { _mm512_cvtepu8_epi16(_mm256_loadu_si256(code.cast())) };
                $accumulate
            }

            #[inline(always)]
            unsafe fn step_head(
                $partial: __m512i,
                $weights: __m512i,
                code: *const u8,
                count: usize,
            ) -> __m512i {
                // SAFETY: masked elements are not accessed; the caller promises the others.
                let bytes = unsafe { _mm256_maskz_loadu_epi8((1u32 << count) - 1, code.cast()) };
                // SAFETY: the caller promises the instruction set.
                let $codes = unsafe { _mm512_cvtepu8_epi16(bytes) };
                $accumulate
            }

            #[inline(always)]
            unsafe fn merge(a: __m512i, b: __m512i) -> __m512i {
                // SAFETY: the caller promises the instruction set.
                unsafe { _mm512_add_epi32(a, b) }
            }

            #[inline(always)]
            unsafe fn finish(
                partial: __m512i,
                _context: (),
                _weights: *const i16,
                _code: *const u8,
                _dim: usize,
            ) -> i32 {
                // SAFETY: the caller promises the instruction set.
                unsafe { _mm512_reduce_add_epi32(partial) }
            }
        }
    };
}

wide!(Avx512, |partial, codes, weights| {
    // SAFETY: the caller promises AVX-512 F and BW.
    unsafe { _mm512_add_epi32(partial, _mm512_madd_epi16(codes, weights)) }
});
wide!(Vnni, |partial, codes, weights| {
    // SAFETY: the caller promises AVX-512 VNNI.
    unsafe { _mm512_dpwssd_epi32(partial, codes, weights) }
});

// SAFETY: inlined throughout; loads are of 16 elements or of copies of the first `count`.
unsafe impl Sum for Avx2 {
    integer_sum!(i16, u8);
    type Register = __m256i;
    type Partial = __m256i;

    const WIDTH: usize = 16;

    #[inline(always)]
    unsafe fn zero() -> __m256i {
        // SAFETY: the caller promises the instruction set.
        unsafe { _mm256_setzero_si256() }
    }

    #[inline(always)]
    unsafe fn load(weights: *const i16) -> __m256i {
        // SAFETY: the caller promises 16 elements and the instruction set.
        unsafe { _mm256_loadu_si256(weights.cast()) }
    }

    #[inline(always)]
    unsafe fn load_head(weights: *const i16, count: usize) -> __m256i {
        // AVX2 masks words of 32 bits and no smaller ones, so the head is copied.
        let mut head = [0i16; 16];
        // SAFETY: the caller promises `count < 16` elements, and `head` is another array.
        unsafe { core::ptr::copy_nonoverlapping(weights, head.as_mut_ptr(), count) };
        // SAFETY: `head` holds 16 elements.
        unsafe { Self::load(head.as_ptr()) }
    }

    #[inline(always)]
    unsafe fn step(partial: __m256i, weights: __m256i, code: *const u8) -> __m256i {
        // SAFETY: the caller promises 16 elements and the instruction set.
        let codes = unsafe { _mm256_cvtepu8_epi16(_mm_loadu_si128(code.cast())) };
        // SAFETY: the caller promises the instruction set.
        unsafe { _mm256_add_epi32(partial, _mm256_madd_epi16(codes, weights)) }
    }

    #[inline(always)]
    unsafe fn step_head(partial: __m256i, weights: __m256i, code: *const u8, count: usize) -> __m256i {
        let mut head = [0u8; 16];
        // SAFETY: the caller promises `count < 16` elements, and `head` is another array.
        unsafe { core::ptr::copy_nonoverlapping(code, head.as_mut_ptr(), count) };
        // SAFETY: `head` holds 16 elements.
        unsafe { Self::step(partial, weights, head.as_ptr()) }
    }

    #[inline(always)]
    unsafe fn merge(a: __m256i, b: __m256i) -> __m256i {
        // SAFETY: the caller promises the instruction set.
        unsafe { _mm256_add_epi32(a, b) }
    }

    #[inline(always)]
    unsafe fn finish(
        partial: __m256i,
        _context: (),
        _weights: *const i16,
        _code: *const u8,
        _dim: usize,
    ) -> i32 {
        // SAFETY: the caller promises the instruction set.
        unsafe { sum_lanes(partial) }
    }
}

/// The eight lanes together.
#[inline(always)]
pub(crate) unsafe fn sum_lanes(lanes: __m256i) -> i32 {
    use core::arch::x86_64::{_mm_add_epi32, _mm_cvtsi128_si32, _mm_shuffle_epi32};
    // SAFETY: (whole block) register arithmetic; the caller promises AVX2.
    unsafe {
        let four = _mm_add_epi32(_mm256_castsi256_si128(lanes), _mm256_extracti128_si256::<1>(lanes));
        let two = _mm_add_epi32(four, _mm_shuffle_epi32::<0b01_00_11_10>(four));
        _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_shuffle_epi32::<0b10_11_00_01>(two)))
    }
}
