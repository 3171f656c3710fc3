//! Two registers as one, for elements of half a word: those at even places in the one, those at odd places in the other.
//!
//! The bits of a `bf16` are the upper half of those of the same number in `f32`. Of a register of them, a shift leaves
//! the even ones and a mask the odd ones: two instructions for two registers of `f32`, where widening takes two for each.
//! The order of the elements is another one, but the same on both sides, and sums do not mind.

use core::arch::x86_64::{
    __m256i, __m512i, _mm256_and_si256, _mm256_castsi256_ps, _mm256_loadu_si256, _mm256_set1_epi32,
    _mm256_slli_epi32, _mm512_and_si512, _mm512_castsi512_ps, _mm512_loadu_si512, _mm512_maskz_loadu_epi16,
    _mm512_set1_epi32, _mm512_slli_epi32,
};

use half::bf16;
use pulp::x86::{V3, V4};

use super::{Lanes, LoadAs, copy_head};

/// Two registers of `S`.
#[derive(Clone, Copy)]
pub(crate) struct Two<S>(S);

// SAFETY: the token has no content beside another one.
unsafe impl<S: Lanes> Lanes for Two<S> {
    type Register = [S::Register; 2];
    const LANES: usize = 2 * S::LANES;
    const WORDS: usize = 2 * S::WORDS;

    #[inline(always)]
    unsafe fn token() -> Self {
        // SAFETY: the caller promises the instruction set.
        Self(unsafe { S::token() })
    }

    #[inline(always)]
    fn splat(self, value: f32) -> Self::Register {
        [self.0.splat(value); 2]
    }

    #[inline(always)]
    fn add(self, a: Self::Register, b: Self::Register) -> Self::Register {
        [self.0.add(a[0], b[0]), self.0.add(a[1], b[1])]
    }

    #[inline(always)]
    fn sub(self, a: Self::Register, b: Self::Register) -> Self::Register {
        [self.0.sub(a[0], b[0]), self.0.sub(a[1], b[1])]
    }

    #[inline(always)]
    fn abs(self, a: Self::Register) -> Self::Register {
        [self.0.abs(a[0]), self.0.abs(a[1])]
    }

    #[inline(always)]
    fn multiply_add(self, a: Self::Register, b: Self::Register, c: Self::Register) -> Self::Register {
        [self.0.multiply_add(a[0], b[0], c[0]), self.0.multiply_add(a[1], b[1], c[1])]
    }

    #[inline(always)]
    fn sum(self, a: Self::Register) -> f32 {
        self.0.sum(self.0.add(a[0], a[1]))
    }

    #[inline(always)]
    fn sum_four(self, [a, b, c, d]: [Self::Register; 4]) -> [f32; 4] {
        let simd = self.0;
        simd.sum_four([
            simd.add(a[0], a[1]),
            simd.add(b[0], b[1]),
            simd.add(c[0], c[1]),
            simd.add(d[0], d[1]),
        ])
    }
}

// SAFETY: the load is of 16 elements, the copy of `count`.
unsafe impl LoadAs<Two<V3>> for bf16 {
    #[inline(always)]
    unsafe fn load(_simd: Two<V3>, at: *const Self) -> <Two<V3> as Lanes>::Register {
        // SAFETY: the caller promises 16 elements.
        let both: __m256i = unsafe { _mm256_loadu_si256(at.cast()) };
        // SAFETY: (whole block) register arithmetic; the caller promises the instruction set.
        let (even, odd) = unsafe {
            let high = _mm256_set1_epi32(!0xffff);
            (_mm256_slli_epi32::<16>(both), _mm256_and_si256(both, high))
        };
        // SAFETY: a cast of a register.
        unsafe { [pulp::cast(_mm256_castsi256_ps(even)), pulp::cast(_mm256_castsi256_ps(odd))] }
    }

    #[inline(always)]
    unsafe fn load_head(simd: Two<V3>, at: *const Self, count: usize) -> <Two<V3> as Lanes>::Register {
        // SAFETY: the caller promises `count` elements, fewer than 16.
        let head = unsafe { copy_head::<Self, 16>(at, count) };
        // SAFETY: `head` has 16 elements.
        unsafe { Self::load(simd, head.as_ptr()) }
    }
}

/// The even and the odd elements of 32.
#[inline(always)]
unsafe fn split_512(both: __m512i) -> <Two<V4> as Lanes>::Register {
    // SAFETY: (whole block) register arithmetic; the caller promises the instruction set.
    unsafe {
        let (even, odd) = (_mm512_slli_epi32::<16>(both), _mm512_and_si512(both, _mm512_set1_epi32(!0xffff)));
        [pulp::cast(_mm512_castsi512_ps(even)), pulp::cast(_mm512_castsi512_ps(odd))]
    }
}

// SAFETY: the load is of 32 elements or masked to `count`.
unsafe impl LoadAs<Two<V4>> for bf16 {
    #[inline(always)]
    unsafe fn load(_simd: Two<V4>, at: *const Self) -> <Two<V4> as Lanes>::Register {
        // SAFETY: the caller promises 32 elements and the instruction set.
        unsafe { split_512(_mm512_loadu_si512(at.cast())) }
    }

    #[inline(always)]
    unsafe fn load_head(_simd: Two<V4>, at: *const Self, count: usize) -> <Two<V4> as Lanes>::Register {
        debug_assert!(count < 32);
        // SAFETY: masked elements are not accessed; the caller promises the others and the instruction set.
        unsafe { split_512(_mm512_maskz_loadu_epi16((1u32 << count) - 1, at.cast())) }
    }
}
