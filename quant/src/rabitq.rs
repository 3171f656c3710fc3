//! [`Rabitq`]: rotated vectors at 1, 2, 4 or 8 bits per dimension, with unbiased distances and known errors, untrained.
//!
//! One bit is RaBitQ (Gao and Long 2024), more of them its extension (Gao et al. 2025): the vector r, turned at random,
//! is coded by v, whose values are odd multiples of half a step, and ⟨q, r⟩ is estimated as ⟨q, v⟩ · ‖r‖² / ⟨v, r⟩. The
//! step is the one, out of a few about the best for normal values, that leaves v nearest to r in direction.
//!
//! * **B1** A record is the packed codes, then the `f32`s ‖r‖², ‖r‖²/⟨v, r⟩ and ‖r‖ · √((1/cos² − 1)/(dim − 1)), where cos
//!   is that between v and r.
//! * **B2** A record is a function of the row and the rotation alone.

use orthant_kernels::{CodeKernel, IsaError, Metric, active_isa};

use crate::multi::Path;
use crate::pack;
use crate::quantizer::{Quantizer, check_code};
use crate::rotation::Rotation;
use crate::weights::{Weights, number_at, put_number};

mod blocks;

pub use blocks::{BlockQuery, RabitqBlocks};

/// Bytes of the three numbers.
const NUMBERS: usize = 12;

/// Steps tried at more than one bit, as multiples of the best for normal values. A choice: finer ones gain nothing.
const TRIED: [f32; 7] = [0.85, 0.9, 0.95, 1.0, 1.05, 1.1, 1.2];

/// Codes of 1, 2, 4 or 8 bits per rotated dimension.
///
/// Nothing is trained: rows may come one by one for ever. A mean in the rotation
/// ([`Rotation::with_mean`]) makes codes better under L2, and rules out the inner product.
///
/// # Examples
/// ```
/// use orthant_kernels::Metric;
/// use orthant_quant::{Quantizer, Rabitq, RabitqQuery, Rotation};
///
/// let row: Vec<f32> = (0..128).map(|i| (i * 37 % 64) as f32).collect();
/// let quantizer = Rabitq::new(Rotation::hadamard(128, 1)?, 4)?;
/// let mut code = vec![0; quantizer.code_bytes()];
/// quantizer.encode(&row, &mut code);
/// let (mut query, mut estimate) = (RabitqQuery::default(), [(0.0, 0.0)]);
/// quantizer.prepare(Metric::InnerProduct, &row, &mut query);
/// quantizer.estimates(&query, &code, &mut estimate);
/// let (distance, error) = estimate[0];
/// let exact: f32 = -row.iter().map(|x| x * x).sum::<f32>();
/// assert!((distance - exact).abs() < 4.0 * error);
/// # Ok::<(), orthant_kernels::IsaError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Rabitq {
    rotation: Rotation,
    bits: usize,
    path: Path,
    kernel: CodeKernel,
}

impl Rabitq {
    /// Codes behind a rotation.
    ///
    /// # Errors
    /// As [`active_isa`]: the environment forces a path that is unknown or missing.
    /// # Panics
    /// Unless `bits` is 1, 2, 4 or 8.
    pub fn new(rotation: Rotation, bits: usize) -> Result<Self, IsaError> {
        assert!(matches!(bits, 1 | 2 | 4 | 8), "there are codes of 1, 2, 4 and 8 bits");
        let isa = active_isa()?;
        let kernel = CodeKernel::with_isa(rotation.out_dim(), isa)?;
        Ok(Self { rotation, bits, path: Path::new(isa)?, kernel })
    }

    /// The rotation in front.
    pub fn rotation(&self) -> &Rotation {
        &self.rotation
    }

    /// Bits per rotated dimension.
    pub fn bits(&self) -> usize {
        self.bits
    }

    fn packed(&self) -> usize {
        pack::packed_bytes(self.rotation.out_dim(), self.bits)
    }

    /// What is between two codes, in the unit of v: v = unit · (code − middle).
    fn unit(&self) -> f64 {
        4.0 / f64::from(1u32 << self.bits)
    }

    fn middle(&self) -> f64 {
        f64::from((1u32 << self.bits) - 1) / 2.0
    }

    /// Codes of a turned vector at a step, ⟨v, r⟩ and ‖v‖².
    fn levels(&self, turned: &[f32], step: f32, codes: &mut [u8]) -> (f64, f64) {
        let half = 1u32 << (self.bits - 1);
        let (top, inverse) = (half as f32 - 1.0, if step > 0.0 { 1.0 / step } else { 0.0 });
        let (mut product, mut squared) = (0.0, 0.0);
        for (code, &r) in codes.iter_mut().zip(turned) {
            let level = (r.abs() * inverse).min(top) as u32;
            *code = if r >= 0.0 { half + level } else { half - 1 - level } as u8;
            let v = self.unit() * (f64::from(*code) - self.middle());
            product += v * f64::from(r);
            squared += v * v;
        }
        (product, squared)
    }

    /// Distances to codes and their standard deviations: a distance is within twice of it 19 times in 20.
    ///
    /// # Shapes
    /// `codes: [out.len() × code_bytes]`, `out`: `(distance, error)`.
    /// # Panics
    /// If `codes` has another length.
    pub fn estimates(&self, query: &RabitqQuery, codes: &[u8], out: &mut [(f32, f32)]) {
        let (bytes, packed, middle) = (self.code_bytes(), self.packed(), self.middle());
        assert_eq!(codes.len(), out.len() * bytes, "a code takes {bytes} bytes");
        let norm = query.squared.sqrt();
        query.weights.sums(&self.kernel, self.path, self.bits, codes, bytes, |row, sum| {
            let numbers = &codes[row * bytes + packed..][..NUMBERS];
            let (squared, shrink) = (f64::from(number_at(numbers, 0)), f64::from(number_at(numbers, 4)));
            let product = shrink * query.weights.value(sum, middle);
            let error = f64::from(number_at(numbers, 8)) * norm;
            out[row] = if query.is_l2 {
                ((query.squared + squared - 2.0 * product) as f32, (2.0 * error) as f32)
            } else {
                (-product as f32, error as f32)
            };
        });
    }
}

/// A query prepared by [`Rabitq`].
#[derive(Debug, Clone, Default)]
pub struct RabitqQuery {
    turned: Vec<f32>,
    weights: Weights,
    squared: f64,
    is_l2: bool,
}

impl Quantizer for Rabitq {
    type Query = RabitqQuery;

    fn dim(&self) -> usize {
        self.rotation.dim()
    }

    fn code_bytes(&self) -> usize {
        self.packed() + NUMBERS
    }

    fn supports(&self, metric: Metric) -> bool {
        metric == Metric::L2 || (metric == Metric::InnerProduct && self.rotation.mean().is_empty())
    }

    fn encode(&self, row: &[f32], code: &mut [u8]) {
        check_code(code.len(), self.code_bytes(), row.len(), self.dim());
        let out_dim = self.rotation.out_dim();
        let mut turned = vec![0.0; out_dim];
        self.rotation.rotate(row, &mut turned);
        let squared: f64 = turned.iter().map(|&r| f64::from(r).powi(2)).sum();
        let normal = [0.0, 0.0, 0.9957, 0.0, 0.3352, 0.0, 0.0, 0.0, 0.0308][self.bits];
        let step = (squared / out_dim as f64).sqrt() as f32 * normal;
        let (mut codes, mut best) = (vec![0; out_dim], (f64::NEG_INFINITY, 1.0));
        if self.bits > 1 {
            for factor in TRIED {
                let (product, length) = self.levels(&turned, step * factor, &mut codes);
                let cosine = product / length.sqrt();
                if cosine > best.0 {
                    best = (cosine, factor);
                }
            }
        }
        let (product, length) = self.levels(&turned, step * best.1, &mut codes);
        let shrink = if product > 0.0 { squared / product } else { 0.0 };
        let cosine = (product * product / (length * squared)).min(1.0);
        let spread = if cosine > 0.0 { (1.0 / cosine - 1.0) / (out_dim as f64 - 1.0) } else { 0.0 };
        pack::pack(&codes, self.bits, code);
        for (at, value) in [squared, shrink, (squared * spread).sqrt()].into_iter().enumerate() {
            put_number(code, self.packed() + 4 * at, value as f32);
        }
    }

    fn decode(&self, code: &[u8], out: &mut [f32]) {
        check_code(code.len(), self.code_bytes(), out.len(), self.dim());
        let mut codes = vec![0; self.rotation.out_dim()];
        if self.bits == 8 {
            codes.copy_from_slice(&code[..self.packed()]);
        } else {
            pack::unpack(self.path, code, self.bits, &mut codes);
        }
        let v: Vec<f64> = codes.iter().map(|&code| self.unit() * (f64::from(code) - self.middle())).collect();
        let numbers = &code[self.packed()..];
        let (squared, shrink) = (f64::from(number_at(numbers, 0)), f64::from(number_at(numbers, 4)));
        // The multiple of v that is nearest to r: ⟨v, r⟩ / ‖v‖².
        let length: f64 = v.iter().map(|v| v * v).sum();
        let factor = if shrink > 0.0 { squared / shrink / length } else { 0.0 };
        let turned: Vec<f32> = v.iter().map(|v| (v * factor) as f32).collect();
        self.rotation.invert(&turned, out);
    }

    fn prepare(&self, metric: Metric, query: &[f32], prepared: &mut RabitqQuery) {
        assert!(self.supports(metric), "there are no {metric} distances on these codes");
        prepared.turned.resize(self.rotation.out_dim(), 0.0);
        self.rotation.rotate(query, &mut prepared.turned);
        let values = prepared.turned.iter().map(|&value| f64::from(value));
        prepared.squared = values.clone().map(|value| value * value).sum();
        prepared.is_l2 = metric == Metric::L2;
        let unit = self.unit();
        prepared.weights.set(values.map(|value| value * unit));
    }

    fn distances(&self, query: &RabitqQuery, codes: &[u8], out: &mut [f32]) {
        let bytes = self.code_bytes();
        let mut estimates = [(0.0, 0.0); 64];
        assert_eq!(codes.len(), out.len() * bytes, "a code takes {bytes} bytes");
        for (codes, out) in codes.chunks(64 * bytes).zip(out.chunks_mut(64)) {
            let estimates = &mut estimates[..out.len()];
            self.estimates(query, codes, estimates);
            out.iter_mut().zip(estimates).for_each(|(out, estimate)| *out = estimate.0);
        }
    }
}

#[cfg(test)]
mod tests;
