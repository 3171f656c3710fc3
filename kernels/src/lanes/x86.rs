//! AVX2 (with FMA and F16C) and AVX-512.

use core::arch::x86_64::{
    __m128, __m128i, __m256, __m256i, __m512, __m512i, _mm_add_epi32, _mm_add_ps, _mm_loadl_epi64,
    _mm_loadu_si128, _mm_maskz_loadu_epi8, _mm256_add_epi32, _mm256_add_ps, _mm256_castps256_ps128,
    _mm256_castsi256_ps, _mm256_castsi256_si128, _mm256_cvtepi8_epi32, _mm256_cvtepi32_ps,
    _mm256_cvtepu8_epi32, _mm256_cvtepu16_epi32, _mm256_cvtph_ps, _mm256_extractf128_ps,
    _mm256_extracti128_si256, _mm256_hadd_ps, _mm256_loadu_si256, _mm256_maskload_ps,
    _mm256_maskz_loadu_epi16, _mm256_slli_epi32, _mm512_add_epi32, _mm512_add_ps, _mm512_castpd_ps,
    _mm512_castps_pd, _mm512_castps512_ps256, _mm512_castsi512_ps, _mm512_castsi512_si256,
    _mm512_cvtepi8_epi32, _mm512_cvtepi32_ps, _mm512_cvtepu8_epi32, _mm512_cvtepu16_epi32, _mm512_cvtph_ps,
    _mm512_extractf32x8_ps, _mm512_extracti64x4_epi64, _mm512_maskz_loadu_ps, _mm512_slli_epi32,
    _mm512_unpackhi_epi32, _mm512_unpackhi_epi64, _mm512_unpackhi_pd, _mm512_unpackhi_ps,
    _mm512_unpacklo_epi32, _mm512_unpacklo_epi64, _mm512_unpacklo_pd, _mm512_unpacklo_ps,
};

use half::{bf16, f16};
use pulp::Simd;
use pulp::x86::{V3, V4};

use super::{Lanes, LoadAs, LoadHead, copy_head, pulp_lanes};

/// Eight ones, then eight zeros: the eight words at `8 - count` are the mask of `count` elements.
static MASKS: [i32; 16] = [-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0];

pulp_lanes!(
    V3,
    // SAFETY: the caller promises the instruction set.
    unsafe { Self::new_unchecked() },
    |simd, a, b, c| simd.mul_add_e_f32s(a, b, c),
    // SAFETY: the token exists, so the CPU has the instruction set.
    [a, b, c, d] pulp::cast(unsafe {
        sum_four_256([pulp::cast(a), pulp::cast(b), pulp::cast(c), pulp::cast(d)])
    })
);
pulp_lanes!(
    V4,
    // SAFETY: the caller promises the instruction set.
    unsafe { Self::new_unchecked() },
    |simd, a, b, c| simd.mul_add_e_f32s(a, b, c),
    // SAFETY: the token exists, so the CPU has the instruction set.
    [a, b, c, d] pulp::cast(unsafe {
        sum_four_512([pulp::cast(a), pulp::cast(b), pulp::cast(c), pulp::cast(d)])
    })
);

/// The lanes of each of four registers together: pairs of registers are interleaved and added, so that the number
/// of registers halves with the number of lanes to add.
#[inline(always)]
unsafe fn sum_four_512([a, b, c, d]: [__m512; 4]) -> __m128 {
    // SAFETY: (whole block) register arithmetic; the caller promises AVX-512 F and DQ.
    unsafe {
        let ab = _mm512_add_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
        let cd = _mm512_add_ps(_mm512_unpacklo_ps(c, d), _mm512_unpackhi_ps(c, d));
        let (ab, cd) = (_mm512_castps_pd(ab), _mm512_castps_pd(cd));
        let (low, high) = (_mm512_unpacklo_pd(ab, cd), _mm512_unpackhi_pd(ab, cd));
        let sums = _mm512_add_ps(_mm512_castpd_ps(low), _mm512_castpd_ps(high));
        halves(_mm256_add_ps(_mm512_castps512_ps256(sums), _mm512_extractf32x8_ps::<1>(sums)))
    }
}

/// As [`sum_four_512`], of integers; sums wrap.
#[inline(always)]
pub(crate) unsafe fn sum_four_512i([a, b, c, d]: [__m512i; 4]) -> [i32; 4] {
    // SAFETY: (whole block) register arithmetic; the caller promises AVX-512 F.
    let sums: __m128i = unsafe {
        let ab = _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
        let cd = _mm512_add_epi32(_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
        let sums = _mm512_add_epi32(_mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd));
        let half = _mm256_add_epi32(_mm512_castsi512_si256(sums), _mm512_extracti64x4_epi64::<1>(sums));
        _mm_add_epi32(_mm256_castsi256_si128(half), _mm256_extracti128_si256::<1>(half))
    };
    pulp::cast(sums)
}

/// As [`sum_four_512`].
#[inline(always)]
unsafe fn sum_four_256([a, b, c, d]: [__m256; 4]) -> __m128 {
    // SAFETY: (whole block) register arithmetic; the caller promises AVX2.
    unsafe { halves(_mm256_hadd_ps(_mm256_hadd_ps(a, b), _mm256_hadd_ps(c, d))) }
}

/// Both halves together.
#[inline(always)]
unsafe fn halves(sums: __m256) -> __m128 {
    // SAFETY: (whole block) register arithmetic; the caller promises AVX2.
    unsafe { _mm_add_ps(_mm256_castps256_ps128(sums), _mm256_extractf128_ps::<1>(sums)) }
}

// SAFETY: the mask has `count` elements set, and masked elements are not accessed.
unsafe impl LoadHead for V3 {
    #[inline(always)]
    unsafe fn load_f32_head(self, at: *const f32, count: usize) -> Self::Register {
        debug_assert!(count < 8);
        // SAFETY: `count < 8`, so the eight words that start at `8 - count` lie inside the table.
        let mask = unsafe { _mm256_loadu_si256(MASKS.as_ptr().add(8 - count).cast()) };
        // SAFETY: reads the `count` elements the caller promised.
        pulp::cast(unsafe { _mm256_maskload_ps(at, mask) })
    }
}

// SAFETY: the mask has `count` bits set, and masked elements are not accessed.
unsafe impl LoadHead for V4 {
    #[inline(always)]
    unsafe fn load_f32_head(self, at: *const f32, count: usize) -> Self::Register {
        debug_assert!(count < 16);
        // SAFETY: reads the `count` elements the caller promised.
        pulp::cast(unsafe { _mm512_maskz_loadu_ps((1u16 << count) - 1, at) })
    }
}

/// Writes [`LoadAs`] for an element type: `$narrow` and `$wide` turn 8 and 16 elements, held in the low part
/// of a register, into `f32`.
macro_rules! widened {
    ($element:ty, $load8:ident, $load16:ident, $masked:ident, |$low:ident| $narrow:expr, |$high:ident| $wide:expr) => {
        // SAFETY: the load is of 8 elements, the copy of `count`.
        unsafe impl LoadAs<V3> for $element {
            // Short steps: half a register, and three ports for it.
            const CHAINS: usize = 4;

            #[inline(always)]
            unsafe fn load(_simd: V3, at: *const Self) -> <V3 as Lanes>::Register {
                // SAFETY: the caller promises eight elements and the instruction set.
                let $low = unsafe { $load8(at.cast()) };
                // SAFETY: register arithmetic; the caller promises the instruction set.
                pulp::cast(unsafe { $narrow })
            }

            #[inline(always)]
            unsafe fn load_head(simd: V3, at: *const Self, count: usize) -> <V3 as Lanes>::Register {
                // SAFETY: the caller promises `count` elements, fewer than eight.
                let head = unsafe { copy_head::<Self, 8>(at, count) };
                // SAFETY: `head` has eight elements.
                unsafe { Self::load(simd, head.as_ptr()) }
            }
        }

        // SAFETY: the load is of 16 elements or masked to `count`.
        unsafe impl LoadAs<V4> for $element {
            #[inline(always)]
            unsafe fn load(_simd: V4, at: *const Self) -> <V4 as Lanes>::Register {
                // SAFETY: the caller promises 16 elements and the instruction set.
                let $high = unsafe { $load16(at.cast()) };
                // SAFETY: register arithmetic; the caller promises the instruction set.
                pulp::cast(unsafe { $wide })
            }

            #[inline(always)]
            unsafe fn load_head(_simd: V4, at: *const Self, count: usize) -> <V4 as Lanes>::Register {
                debug_assert!(count < 16);
                // SAFETY: masked elements are not accessed; the caller promises the others.
                let $high = unsafe { $masked((1u16 << count) - 1, at.cast()) };
                // SAFETY: register arithmetic; the caller promises the instruction set.
                pulp::cast(unsafe { $wide })
            }
        }
    };
}

widened!(f16, load_128, load_256, _mm256_maskz_loadu_epi16, |low| _mm256_cvtph_ps(low), |high| {
    _mm512_cvtph_ps(high)
});
// The bits of a bf16 are the upper half of those of the same number in f32.
widened!(
    bf16,
    load_128,
    load_256,
    _mm256_maskz_loadu_epi16,
    |low| _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(low))),
    |high| _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(high)))
);
widened!(
    u8,
    load_64,
    load_128,
    _mm_maskz_loadu_epi8,
    |low| _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(low)),
    |high| _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(high))
);
widened!(
    i8,
    load_64,
    load_128,
    _mm_maskz_loadu_epi8,
    |low| _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(low)),
    |high| _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(high))
);

/// Eight bytes into the low half of a register.
#[inline(always)]
unsafe fn load_64(at: *const __m128i) -> __m128i {
    // SAFETY: reads eight bytes, which the caller promises.
    unsafe { _mm_loadl_epi64(at) }
}

/// Sixteen bytes.
#[inline(always)]
unsafe fn load_128(at: *const __m128i) -> __m128i {
    // SAFETY: reads 16 bytes, which the caller promises.
    unsafe { _mm_loadu_si128(at) }
}

/// Thirty-two bytes.
#[inline(always)]
unsafe fn load_256(at: *const __m256i) -> __m256i {
    // SAFETY: reads 32 bytes, which the caller promises.
    unsafe { _mm256_loadu_si256(at) }
}
