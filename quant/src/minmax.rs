//! [`MinMax`]: scalar quantization without training: every vector brings its own range.
//!
//! What a stream needs: nothing is learned, so nothing drifts. It costs 8 bytes more per vector than one trained range.
//!
//! * **M1** A record is the packed codes, then the `f32`s mid, step and ‖x̂‖²: a value is x̂ = mid + step · (c − middle).

use orthant_kernels::{CodeKernel, IsaError, Metric, active_isa};

use crate::multi::Path;
use crate::pack;
use crate::quantizer::{Quantizer, check_code};
use crate::weights::{Weights, number_at, put_number};

/// Codes of 4 or 8 bits between the least and the greatest value of each vector.
///
/// # Numerics
/// A value comes back within half a step, which is the vector's range over 2^bits − 1. Queries keep 15 bits. NaN comes
/// back as the least value; a vector with an infinity is not coded well.
#[derive(Debug, Clone)]
pub struct MinMax {
    bits: usize,
    path: Path,
    kernel: CodeKernel,
}

impl MinMax {
    /// Codes for vectors of `dim` elements.
    ///
    /// # Errors
    /// As [`active_isa`]: the environment forces a path that is unknown or missing.
    /// # Panics
    /// Unless `bits` is 4 or 8.
    pub fn new(dim: usize, bits: usize) -> Result<Self, IsaError> {
        assert!(matches!(bits, 4 | 8), "there are codes of 4 and 8 bits");
        let isa = active_isa()?;
        Ok(Self { bits, path: Path::new(isa)?, kernel: CodeKernel::with_isa(dim, isa)? })
    }

    fn middle(&self) -> f64 {
        f64::from(1u32 << (self.bits - 1))
    }

    fn packed(&self) -> usize {
        pack::packed_bytes(self.dim(), self.bits)
    }
}

/// A query prepared by [`MinMax`].
#[derive(Debug, Clone, Default)]
pub struct MinMaxQuery {
    weights: Weights,
    sum: f64,
    squared: f64,
    is_l2: bool,
}

impl Quantizer for MinMax {
    type Query = MinMaxQuery;

    fn dim(&self) -> usize {
        self.kernel.dim()
    }

    fn code_bytes(&self) -> usize {
        self.packed() + 12
    }

    fn supports(&self, metric: Metric) -> bool {
        matches!(metric, Metric::L2 | Metric::InnerProduct)
    }

    fn encode(&self, row: &[f32], code: &mut [u8]) {
        check_code(code.len(), self.code_bytes(), row.len(), self.dim());
        let least = row.iter().copied().fold(f32::INFINITY, f32::min);
        let most = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let (least, most) = if least <= most { (least, most) } else { (0.0, 0.0) };
        let top = f64::from((1u32 << self.bits) - 1);
        let step = ((f64::from(most) - f64::from(least)) / top) as f32;
        let inverse = if step > 0.0 { 1.0 / f64::from(step) } else { 0.0 };
        let level =
            |&value: &f32| ((f64::from(value) - f64::from(least)) * inverse + 0.5).clamp(0.0, top) as u8;
        let codes: Vec<u8> = row.iter().map(level).collect();
        let mid = (f64::from(least) + f64::from(step) * self.middle()) as f32;
        let value = |&code: &u8| f64::from(mid) + f64::from(step) * (f64::from(code) - self.middle());
        let squared: f64 = codes.iter().map(|code| value(code).powi(2)).sum();
        pack::pack(&codes, self.bits, code);
        for (at, value) in [mid, step, squared.min(f64::from(f32::MAX)) as f32].into_iter().enumerate() {
            put_number(code, self.packed() + 4 * at, value);
        }
    }

    fn decode(&self, code: &[u8], out: &mut [f32]) {
        check_code(code.len(), self.code_bytes(), out.len(), self.dim());
        let mut codes = vec![0; self.dim()];
        if self.bits == 8 {
            codes.copy_from_slice(&code[..self.dim()]);
        } else {
            pack::unpack(self.path, code, self.bits, &mut codes);
        }
        let (mid, step) = (number_at(code, self.packed()), number_at(code, self.packed() + 4));
        for (out, code) in out.iter_mut().zip(codes) {
            *out = (f64::from(mid) + f64::from(step) * (f64::from(code) - self.middle())) as f32;
        }
    }

    fn prepare(&self, metric: Metric, query: &[f32], prepared: &mut MinMaxQuery) {
        assert_eq!(query.len(), self.dim(), "the query must have the quantizer's dimension");
        assert!(self.supports(metric), "there are no {metric} distances on scalar codes");
        let values = query.iter().map(|&value| f64::from(value));
        prepared.is_l2 = metric == Metric::L2;
        prepared.sum = values.clone().sum();
        prepared.squared = values.clone().map(|value| value * value).sum();
        prepared.weights.set(values);
    }

    fn distances(&self, query: &MinMaxQuery, codes: &[u8], out: &mut [f32]) {
        let (bytes, packed, middle) = (self.code_bytes(), self.packed(), self.middle());
        assert_eq!(codes.len(), out.len() * bytes, "a code takes {bytes} bytes");
        query.weights.sums(&self.kernel, self.path, self.bits, codes, bytes, |row, sum| {
            let record = &codes[row * bytes + packed..][..12];
            let (mid, step, squared) = (number_at(record, 0), number_at(record, 4), number_at(record, 8));
            let product = f64::from(mid) * query.sum + f64::from(step) * query.weights.value(sum, middle);
            out[row] = if query.is_l2 {
                (query.squared - 2.0 * product + f64::from(squared)) as f32
            } else {
                -product as f32
            };
        });
    }
}

#[cfg(test)]
mod tests {
    use orthant_kernels::reference;

    use super::*;
    use crate::random::Random;

    #[test]
    fn distances_are_those_to_the_decoded_row() {
        let mut random = Random::new(3);
        for dim in [1, 9, 64, 2100] {
            let rows: Vec<f32> = (0..20 * dim).map(|_| random.unit() as f32 - 0.4).collect();
            for bits in [4, 8] {
                let quantizer = MinMax::new(dim, bits).unwrap();
                let codes = quantizer.encode_rows(&rows, dim, 20);
                let (mut query, mut decoded, mut out) = (MinMaxQuery::default(), vec![0.0; dim], [0.0; 20]);
                for metric in [Metric::L2, Metric::InnerProduct] {
                    quantizer.prepare(metric, &rows[..dim], &mut query);
                    quantizer.distances(&query, &codes, &mut out);
                    for (row, (&found, code)) in
                        out.iter().zip(codes.chunks(quantizer.code_bytes())).enumerate()
                    {
                        quantizer.decode(code, &mut decoded);
                        let step = 1.0 / f32::from(if bits == 4 { 15u8 } else { 255 });
                        for (a, b) in decoded.iter().zip(&rows[row * dim..]) {
                            assert!((a - b).abs() <= 0.5 * step + 1e-6, "{a} is not {b}");
                        }
                        let expected = reference::distance(metric, &rows[..dim], &decoded);
                        let bound = 1e-4 * (1.0 + dim as f64);
                        assert!(
                            (f64::from(found) - expected).abs() < bound,
                            "{bits} {metric}: {found} {expected}"
                        );
                    }
                }
            }
        }
    }
}
