//! From table sums and factors to 32 distances, and a bit for each below a bound.

use orthant_kernels::{Isa, IsaError};

use super::{EDGE_LANES, EdgeFactors};

/// What [`LutKernel`](orthant_kernels::LutKernel) summed up, of one plane or of several together.
#[derive(Clone, Copy)]
pub(super) enum Totals<'a> {
    Words(&'a [u16; EDGE_LANES]),
    Floats(&'a [f32; EDGE_LANES]),
}

/// The distance of a lane is `base + unit · (add + rescale · (scale · total + offset))`.
pub(super) struct Terms {
    pub(super) base: f32,
    pub(super) unit: f32,
    pub(super) scale: f32,
    pub(super) offset: f32,
    pub(super) bound: f32,
}

/// `(totals, factors, terms, out)`; the factors are 32 `add`s and 32 `rescale`s.
///
/// Safety: the factors are valid for reads, and the CPU has the instruction set.
pub(super) type ScoreFn = unsafe fn(Totals<'_>, *const u8, &Terms, &mut [f32; EDGE_LANES]) -> u32;

/// The body of `isa` for factors stored as `factors` says.
///
/// # Errors
/// [`IsaError::Missing`] if the CPU does not have it.
pub(super) fn score_fn(isa: Isa, factors: EdgeFactors) -> Result<ScoreFn, IsaError> {
    Ok(match (isa.require()?, factors) {
        #[cfg(target_arch = "x86_64")]
        (Isa::Avx512, EdgeFactors::F16) => x86::score_512::<true>,
        #[cfg(target_arch = "x86_64")]
        (Isa::Avx512, EdgeFactors::F32) => x86::score_512::<false>,
        #[cfg(target_arch = "x86_64")]
        (Isa::Avx2, EdgeFactors::F16) => x86::score_256::<true>,
        #[cfg(target_arch = "x86_64")]
        (Isa::Avx2, EdgeFactors::F32) => x86::score_256::<false>,
        // NEON is part of aarch64: the compiler uses it in the plain body.
        (_, EdgeFactors::F16) => score::<true>,
        (_, EdgeFactors::F32) => score::<false>,
    })
}

/// # Safety
/// As [`ScoreFn`].
unsafe fn score<const IS_F16: bool>(
    totals: Totals<'_>,
    factors: *const u8,
    terms: &Terms,
    out: &mut [f32; EDGE_LANES],
) -> u32 {
    let totals = match totals {
        Totals::Words(words) => words.map(f32::from),
        Totals::Floats(floats) => *floats,
    };
    let (add, rescale) = if IS_F16 {
        // SAFETY: the caller promises 64 factors, of 2 bytes here.
        let bits = unsafe { factors.cast::<[[u16; EDGE_LANES]; 2]>().read_unaligned() };
        (bits[0].map(widen), bits[1].map(widen))
    } else {
        // SAFETY: the caller promises 64 factors, of 4 bytes here.
        let [add, rescale] = unsafe { factors.cast::<[[f32; EDGE_LANES]; 2]>().read_unaligned() };
        (add, rescale)
    };
    let mut near = 0;
    for lane in 0..EDGE_LANES {
        let product = terms.scale * totals[lane] + terms.offset;
        out[lane] = terms.base + terms.unit * (add[lane] + rescale[lane] * product);
        near |= u32::from(out[lane] < terms.bound) << lane;
    }
    near
}

/// An `f16` that is not denormal, in plain arithmetic that vectorizes.
#[inline(always)]
fn widen(bits: u16) -> f32 {
    let bits = u16::from_le(bits);
    let sign = u32::from(bits & 0x8000) << 16;
    let size = u32::from(bits & 0x7fff);
    // Exponents are 15 and 127 above what they stand for; 31 stands for infinity and NaN.
    let size = if size >= 0x7c00 {
        0x7f80_0000 | (size & 0x3ff) << 13
    } else if size < 0x400 {
        0
    } else {
        (size << 13) + (112 << 23)
    };
    f32::from_bits(sign | size)
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use core::arch::x86_64::{
        _CMP_LT_OQ, _mm_loadu_si128, _mm256_add_ps, _mm256_cmp_ps, _mm256_cvtepi32_ps, _mm256_cvtepu16_epi32,
        _mm256_cvtph_ps, _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_loadu_si256, _mm256_movemask_ps,
        _mm256_set1_ps, _mm256_storeu_ps, _mm512_add_ps, _mm512_cmp_ps_mask, _mm512_cvtepi32_ps,
        _mm512_cvtepu16_epi32, _mm512_cvtph_ps, _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_set1_ps,
        _mm512_storeu_ps,
    };

    use super::{EDGE_LANES, Terms, Totals};

    /// # Safety
    /// As [`super::ScoreFn`].
    #[target_feature(enable = "avx2,fma,avx512f,avx512bw,avx512dq,avx512vl")]
    pub(super) unsafe fn score_512<const IS_F16: bool>(
        totals: Totals<'_>,
        factors: *const u8,
        terms: &Terms,
        out: &mut [f32; EDGE_LANES],
    ) -> u32 {
        let (base, unit) = (_mm512_set1_ps(terms.base), _mm512_set1_ps(terms.unit));
        let (scale, offset) = (_mm512_set1_ps(terms.scale), _mm512_set1_ps(terms.offset));
        let bound = _mm512_set1_ps(terms.bound);
        let mut near = 0;
        for lane in [0, 16] {
            let total = match totals {
                // SAFETY: 16 of the 32 words.
                Totals::Words(words) => _mm512_cvtepi32_ps(_mm512_cvtepu16_epi32(unsafe {
                    _mm256_loadu_si256(words.as_ptr().add(lane).cast())
                })),
                // SAFETY: 16 of the 32 floats.
                Totals::Floats(floats) => unsafe { _mm512_loadu_ps(floats.as_ptr().add(lane)) },
            };
            let (add, rescale) = if IS_F16 {
                let at = factors.cast::<u16>();
                // SAFETY: 16 of the first 32 factors, of 2 bytes each.
                let add = unsafe { _mm256_loadu_si256(at.add(lane).cast()) };
                // SAFETY: 16 of the last 32 factors.
                let rescale = unsafe { _mm256_loadu_si256(at.add(EDGE_LANES + lane).cast()) };
                (_mm512_cvtph_ps(add), _mm512_cvtph_ps(rescale))
            } else {
                let at = factors.cast::<f32>();
                // SAFETY: 16 of the first 32 factors, of 4 bytes each.
                let add = unsafe { _mm512_loadu_ps(at.add(lane)) };
                // SAFETY: 16 of the last 32 factors.
                (add, unsafe { _mm512_loadu_ps(at.add(EDGE_LANES + lane)) })
            };
            let product = _mm512_fmadd_ps(scale, total, offset);
            let distance = if IS_F16 {
                _mm512_fmadd_ps(unit, _mm512_fmadd_ps(rescale, product, add), base)
            } else {
                _mm512_add_ps(_mm512_fmadd_ps(rescale, product, add), base)
            };
            // SAFETY: 16 of the 32 places.
            unsafe { _mm512_storeu_ps(out.as_mut_ptr().add(lane), distance) };
            near |= u32::from(_mm512_cmp_ps_mask::<_CMP_LT_OQ>(distance, bound)) << lane;
        }
        near
    }

    /// # Safety
    /// As [`super::ScoreFn`].
    #[target_feature(enable = "avx2,fma,f16c")]
    pub(super) unsafe fn score_256<const IS_F16: bool>(
        totals: Totals<'_>,
        factors: *const u8,
        terms: &Terms,
        out: &mut [f32; EDGE_LANES],
    ) -> u32 {
        let (base, unit) = (_mm256_set1_ps(terms.base), _mm256_set1_ps(terms.unit));
        let (scale, offset) = (_mm256_set1_ps(terms.scale), _mm256_set1_ps(terms.offset));
        let bound = _mm256_set1_ps(terms.bound);
        let mut near = 0;
        for lane in [0, 8, 16, 24] {
            let total = match totals {
                // SAFETY: 8 of the 32 words.
                Totals::Words(words) => _mm256_cvtepi32_ps(_mm256_cvtepu16_epi32(unsafe {
                    _mm_loadu_si128(words.as_ptr().add(lane).cast())
                })),
                // SAFETY: 8 of the 32 floats.
                Totals::Floats(floats) => unsafe { _mm256_loadu_ps(floats.as_ptr().add(lane)) },
            };
            let (add, rescale) = if IS_F16 {
                let at = factors.cast::<u16>();
                // SAFETY: 8 of the first 32 factors, of 2 bytes each.
                let add = unsafe { _mm_loadu_si128(at.add(lane).cast()) };
                // SAFETY: 8 of the last 32 factors.
                let rescale = unsafe { _mm_loadu_si128(at.add(EDGE_LANES + lane).cast()) };
                (_mm256_cvtph_ps(add), _mm256_cvtph_ps(rescale))
            } else {
                let at = factors.cast::<f32>();
                // SAFETY: 8 of the first 32 factors, of 4 bytes each.
                let add = unsafe { _mm256_loadu_ps(at.add(lane)) };
                // SAFETY: 8 of the last 32 factors.
                (add, unsafe { _mm256_loadu_ps(at.add(EDGE_LANES + lane)) })
            };
            let product = _mm256_fmadd_ps(scale, total, offset);
            let distance = if IS_F16 {
                _mm256_fmadd_ps(unit, _mm256_fmadd_ps(rescale, product, add), base)
            } else {
                _mm256_add_ps(_mm256_fmadd_ps(rescale, product, add), base)
            };
            // SAFETY: 8 of the 32 places.
            unsafe { _mm256_storeu_ps(out.as_mut_ptr().add(lane), distance) };
            near |= (_mm256_movemask_ps(_mm256_cmp_ps::<_CMP_LT_OQ>(distance, bound)) as u32) << lane;
        }
        near
    }
}
