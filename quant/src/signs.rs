//! [`SignTables`]: a query as tables of 16 entries, four dimensions each, for codes of signs.
//!
//! Entry e of the table of (q₀, q₁, q₂, q₃) is ±q₀ ±q₁ ±q₂ ±q₃, plus where bit i of e is set. It is kept as a byte: the
//! value in units of [`SignTables::scale`], rounded, and `half` more, so that none is negative. All tables share one
//! unit, so entries may be added up.
//!
//! * **S1** Every path rounds to the nearest, ties to even, after the same two sums of two: the same bytes.

use orthant_kernels::LutKernel;

use crate::multi::{Path, multiversion};

/// A query prepared for codes of signs. Reuse one per thread; `default()` is empty and fits any dimension.
#[derive(Debug, Clone, Default)]
pub(crate) struct SignTables {
    table: Vec<u8>,
    scale: f32,
    half: u8,
}

impl SignTables {
    /// The most that entries are above what they stand for, at a kernel's number of tables.
    pub(crate) fn half(kernel: &LutKernel) -> u8 {
        kernel.max_entry() / 2
    }

    /// `[dim / 4 × 16]`, as [`LutKernel`] takes them.
    #[inline]
    pub(crate) fn table(&self) -> &[u8] {
        &self.table
    }

    /// What one unit of an entry is worth.
    #[inline]
    pub(crate) fn scale(&self) -> f32 {
        self.scale
    }

    /// What all entries of a vector together are above what they stand for, in units.
    #[inline]
    pub(crate) fn excess(&self) -> f32 {
        f32::from(self.half) * (self.table.len() / 16) as f32
    }

    /// The standard deviation that rounding gives Σ ±qᵢ: a step is uniform in ±½.
    #[inline]
    pub(crate) fn error(&self) -> f32 {
        self.scale * (self.table.len() as f32 / 16.0 / 12.0).sqrt()
    }

    /// Writes the tables of a query of `4 · kernel.subspaces()` dimensions, a multiple of 16. A value that is not
    /// finite makes the scale so.
    pub(crate) fn prepare(&mut self, path: Path, kernel: &LutKernel, query: &[f32]) {
        debug_assert!(query.len() == 4 * kernel.subspaces() && query.len().is_multiple_of(16));
        self.half = Self::half(kernel);
        let half = f32::from(self.half);
        let largest = largest_sum(path, query);
        self.scale = largest / half;
        let inverse = if largest > 0.0 { half / largest } else { 0.0 };
        self.table.resize(4 * query.len(), 0);
        match path.isa() {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: a path is an instruction set that the CPU has; 16 entries for each four values.
            orthant_kernels::Isa::Avx512 => unsafe {
                x86::fill_512(query, inverse, self.half, &mut self.table)
            },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the same.
            orthant_kernels::Isa::Avx2 => unsafe {
                x86::fill_256(query, inverse, self.half, &mut self.table)
            },
            _ => fill(query, inverse, self.half, &mut self.table),
        }
    }
}

multiversion! {
    /// The largest sum of four absolute values, NaN if there is one.
    fn largest_sum(query: &[f32]) -> f32 {
        let mut largest = [0.0f32; 16];
        let mut not_finite = [0.0f32; 16];
        for lanes in query.as_chunks::<16>().0 {
            let sizes = lanes.map(f32::abs);
            let mut pairs = [0.0f32; 16];
            for at in 0..16 {
                pairs[at] = sizes[at] + sizes[at ^ 1];
            }
            for at in 0..16 {
                let four = pairs[at] + pairs[at ^ 2];
                largest[at] = if four > largest[at] { four } else { largest[at] };
                // 0 for every number, NaN for the rest.
                not_finite[at] += four * 0.0;
            }
        }
        let mut most = 0.0f32;
        let mut poison = 0.0f32;
        for at in 0..16 {
            most = most.max(largest[at]);
            poison += not_finite[at];
        }
        most + poison
    }
}

/// Added to a small number it leaves the number, rounded to the nearest integer, in the low bits (1.5 · 2²³).
const ROUND: f32 = 12_582_912.0;

/// Writes the entries of all tables.
fn fill(query: &[f32], inverse: f32, half: u8, table: &mut [u8]) {
    let signed = |a: f32, b: f32| [-a - b, a - b, b - a, a + b];
    for (four, table) in query.as_chunks::<4>().0.iter().zip(table.as_chunks_mut::<16>().0) {
        let [a, b, c, d] = four.map(|value| value * inverse);
        let (low, high) = (signed(a, b), signed(c, d));
        for (entry, byte) in table.iter_mut().enumerate() {
            // The low bits of the sum are those of the integer, negative ones included.
            *byte = ((low[entry % 4] + high[entry / 4] + ROUND).to_bits() as u8).wrapping_add(half);
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    //! A register holds one table per 128 bits, four entries of it: the sums of the first two values, which all four
    //! registers of a table share, plus one sum of the last two. Two packs put the sixteen entries in order.

    use core::arch::x86_64::{
        __m256, __m512, _mm_setr_ps, _mm256_add_epi16, _mm256_add_ps, _mm256_cvtps_epi32, _mm256_loadu_ps,
        _mm256_mul_ps, _mm256_packs_epi32, _mm256_packus_epi16, _mm256_permute_ps, _mm256_set1_epi16,
        _mm256_set1_ps, _mm256_setr_ps, _mm256_storeu_si256, _mm512_add_epi16, _mm512_add_ps,
        _mm512_broadcast_f32x4, _mm512_cvtps_epi32, _mm512_loadu_ps, _mm512_mul_ps, _mm512_packs_epi32,
        _mm512_packus_epi16, _mm512_permute_ps, _mm512_set1_epi16, _mm512_set1_ps, _mm512_storeu_si512,
    };

    /// # Safety
    /// The CPU has AVX-512 F and BW, and `table` is four times as long as `query`.
    #[target_feature(enable = "avx512f,avx512bw")]
    pub(super) unsafe fn fill_512(query: &[f32], inverse: f32, half: u8, table: &mut [u8]) {
        let (inverse, half) = (_mm512_set1_ps(inverse), _mm512_set1_epi16(i16::from(half)));
        let first = _mm512_broadcast_f32x4(_mm_setr_ps(-1.0, 1.0, -1.0, 1.0));
        let second = _mm512_broadcast_f32x4(_mm_setr_ps(-1.0, -1.0, 1.0, 1.0));
        for (lanes, table) in query.as_chunks::<16>().0.iter().zip(table.as_chunks_mut::<64>().0) {
            // SAFETY: sixteen values.
            let values = _mm512_mul_ps(unsafe { _mm512_loadu_ps(lanes.as_ptr()) }, inverse);
            let low = _mm512_add_ps(
                _mm512_mul_ps(_mm512_permute_ps::<0x00>(values), first),
                _mm512_mul_ps(_mm512_permute_ps::<0x55>(values), second),
            );
            let high = _mm512_add_ps(
                _mm512_mul_ps(_mm512_permute_ps::<0xaa>(values), first),
                _mm512_mul_ps(_mm512_permute_ps::<0xff>(values), second),
            );
            let entries = |high: __m512| _mm512_cvtps_epi32(_mm512_add_ps(low, high));
            let a = _mm512_packs_epi32(
                entries(_mm512_permute_ps::<0x00>(high)),
                entries(_mm512_permute_ps::<0x55>(high)),
            );
            let b = _mm512_packs_epi32(
                entries(_mm512_permute_ps::<0xaa>(high)),
                entries(_mm512_permute_ps::<0xff>(high)),
            );
            let bytes = _mm512_packus_epi16(_mm512_add_epi16(a, half), _mm512_add_epi16(b, half));
            // SAFETY: 64 bytes.
            unsafe { _mm512_storeu_si512(table.as_mut_ptr().cast(), bytes) };
        }
    }

    /// # Safety
    /// The CPU has AVX2, and `table` is four times as long as `query`.
    #[target_feature(enable = "avx2")]
    pub(super) unsafe fn fill_256(query: &[f32], inverse: f32, half: u8, table: &mut [u8]) {
        let (inverse, half) = (_mm256_set1_ps(inverse), _mm256_set1_epi16(i16::from(half)));
        let first = _mm256_setr_ps(-1.0, 1.0, -1.0, 1.0, -1.0, 1.0, -1.0, 1.0);
        let second = _mm256_setr_ps(-1.0, -1.0, 1.0, 1.0, -1.0, -1.0, 1.0, 1.0);
        for (lanes, table) in query.as_chunks::<8>().0.iter().zip(table.as_chunks_mut::<32>().0) {
            // SAFETY: eight values.
            let values = _mm256_mul_ps(unsafe { _mm256_loadu_ps(lanes.as_ptr()) }, inverse);
            let low = _mm256_add_ps(
                _mm256_mul_ps(_mm256_permute_ps::<0x00>(values), first),
                _mm256_mul_ps(_mm256_permute_ps::<0x55>(values), second),
            );
            let high = _mm256_add_ps(
                _mm256_mul_ps(_mm256_permute_ps::<0xaa>(values), first),
                _mm256_mul_ps(_mm256_permute_ps::<0xff>(values), second),
            );
            let entries = |high: __m256| _mm256_cvtps_epi32(_mm256_add_ps(low, high));
            let a = _mm256_packs_epi32(
                entries(_mm256_permute_ps::<0x00>(high)),
                entries(_mm256_permute_ps::<0x55>(high)),
            );
            let b = _mm256_packs_epi32(
                entries(_mm256_permute_ps::<0xaa>(high)),
                entries(_mm256_permute_ps::<0xff>(high)),
            );
            let bytes = _mm256_packus_epi16(_mm256_add_epi16(a, half), _mm256_add_epi16(b, half));
            // SAFETY: 32 bytes.
            unsafe { _mm256_storeu_si256(table.as_mut_ptr().cast(), bytes) };
        }
    }
}

#[cfg(test)]
mod tests {
    use orthant_kernels::available_isas;

    use super::*;
    use crate::random::Random;

    #[test]
    fn entries_are_the_signed_sums_on_every_path() {
        for dim in [16, 32, 48, 384, 1536] {
            let mut random = Random::new(dim as u64);
            let query: Vec<f32> = (0..dim).map(|_| (random.bits() >> 40) as f32 / 1e6 - 8.0).collect();
            let mut first: Option<SignTables> = None;
            for isa in available_isas() {
                let kernel = LutKernel::with_isa(dim / 4, isa).unwrap();
                let mut tables = SignTables::default();
                tables.prepare(Path::new(isa).unwrap(), &kernel, &query);
                for (four, table) in query.chunks(4).zip(tables.table().chunks(16)) {
                    for (entry, &byte) in table.iter().enumerate() {
                        let sign = |at: usize| if entry >> at & 1 == 1 { 1.0 } else { -1.0 };
                        let exact: f32 = four.iter().enumerate().map(|(at, value)| sign(at) * value).sum();
                        let found = tables.scale() * (f32::from(byte) - f32::from(tables.half));
                        assert!(
                            (found - exact).abs() <= 0.501 * tables.scale(),
                            "{isa}: {found} is not {exact}"
                        );
                    }
                }
                let first = first.get_or_insert_with(|| tables.clone());
                assert!(first.table == tables.table && first.scale == tables.scale, "{isa} at {dim}");
            }
        }
    }

    #[test]
    fn what_is_not_finite_is_in_the_scale() {
        let path = Path::new(orthant_kernels::Isa::Scalar).unwrap();
        let kernel = LutKernel::new(4).unwrap();
        let mut tables = SignTables::default();
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut query = [1.0; 16];
            query[9] = bad;
            tables.prepare(path, &kernel, &query);
            assert!(!tables.scale().is_finite(), "{bad}");
        }
        tables.prepare(path, &kernel, &[0.0; 16]);
        assert_eq!((tables.scale(), tables.table()), (0.0, &[127; 64][..]));
    }
}
