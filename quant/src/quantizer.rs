//! [`Quantizer`]: what all codes of this crate have in common.

use orthant_kernels::Metric;

use crate::report::{Distortion, Report};
use crate::sq::check_rows;

/// Codes for single vectors and distances from queries to them.
///
/// A code is all that is kept of a vector, numbers beside the bits included, so `count` codes are `count · code_bytes`
/// bytes. Distances are squared for L2 and negated for the inner product: smaller is nearer.
///
/// # Examples
/// ```
/// use orthant_kernels::Metric;
/// use orthant_quant::{Quantizer, Scalar, ScalarConfig};
///
/// let rows = [0.0, 1.0, 2.0, 3.5, 4.0, 5.5];
/// let quantizer = Scalar::train(&rows, 2, 3, 2, &ScalarConfig::new(8))?;
/// let codes = quantizer.encode_rows(&rows, 2, 3);
/// let (mut query, mut distances) = (Default::default(), [0.0; 3]);
/// quantizer.prepare(Metric::L2, &[2.0, 3.0], &mut query);
/// quantizer.distances(&query, &codes, &mut distances);
/// assert!((distances[1] - 0.25).abs() < 0.1 && distances[0] > 7.0);
/// # Ok::<(), orthant_quant::TrainError>(())
/// ```
pub trait Quantizer: Send + Sync {
    /// A query prepared for many codes. Reuse one per thread; `default()` is empty and fits any dimension.
    type Query: Default + Clone + Send;

    /// Elements per vector.
    fn dim(&self) -> usize;

    /// Bytes per vector.
    fn code_bytes(&self) -> usize;

    /// Whether distances under `metric` can be computed on codes.
    fn supports(&self, metric: Metric) -> bool;

    /// Codes a vector.
    ///
    /// # Shapes
    /// `row: [dim]`, `code: [code_bytes]`.
    /// # Panics
    /// If either length is another.
    fn encode(&self, row: &[f32], code: &mut [u8]);

    /// The vector that a code stands for.
    ///
    /// # Shapes
    /// `code: [code_bytes]`, `out: [dim]`.
    /// # Panics
    /// If either length is another.
    fn decode(&self, code: &[u8], out: &mut [f32]);

    /// Prepares a query. Buffers in `prepared` are reused.
    ///
    /// # Shapes
    /// `query: [dim]`.
    /// # Panics
    /// If `query.len()` is not the dimension, or unless [`supports`](Self::supports) says yes to `metric`.
    fn prepare(&self, metric: Metric, query: &[f32], prepared: &mut Self::Query);

    /// Distances to `out.len()` codes, one after the other.
    ///
    /// # Shapes
    /// `codes: [out.len() × code_bytes]`.
    /// # Panics
    /// If `codes` has another length.
    fn distances(&self, query: &Self::Query, codes: &[u8], out: &mut [f32]);

    /// The distance to one code.
    ///
    /// # Panics
    /// If `code` has another length than [`code_bytes`](Self::code_bytes).
    fn distance(&self, query: &Self::Query, code: &[u8]) -> f32 {
        let mut out = [0.0];
        self.distances(query, code, &mut out);
        out[0]
    }

    /// Codes `count` rows, one after the other.
    ///
    /// # Shapes
    /// `rows: [count × stride]` (elements, row-major; the last row needs no padding).
    /// # Panics
    /// If `stride < dim` or if `rows` is too short.
    fn encode_rows(&self, rows: &[f32], stride: usize, count: usize) -> Vec<u8> {
        let (dim, bytes) = (self.dim(), self.code_bytes());
        check_rows(rows.len(), stride, count, dim);
        let mut codes = vec![0; count * bytes];
        for (row, code) in rows.chunks(stride).zip(codes.chunks_exact_mut(bytes)) {
            self.encode(&row[..dim], code);
        }
        codes
    }

    /// What the codes of `count` rows cost and how far they are off.
    ///
    /// # Shapes
    /// As [`encode_rows`](Self::encode_rows).
    /// # Panics
    /// If `stride < dim` or if `rows` is too short.
    fn report(&self, rows: &[f32], stride: usize, count: usize) -> Report {
        let dim = self.dim();
        check_rows(rows.len(), stride, count, dim);
        let (mut code, mut decoded) = (vec![0; self.code_bytes()], vec![0.0; dim]);
        let mut distortion = Distortion::new(dim);
        for row in rows.chunks(stride).take(count) {
            self.encode(&row[..dim], &mut code);
            self.decode(&code, &mut decoded);
            distortion.add(&row[..dim], &decoded);
        }
        distortion.report(self.code_bytes())
    }
}

/// Panics unless a code and a vector have the lengths that a quantizer says.
pub(crate) fn check_code(code: usize, bytes: usize, row: usize, dim: usize) {
    assert_eq!(row, dim, "the vector must have the quantizer's dimension");
    assert_eq!(code, bytes, "a code takes {bytes} bytes");
}
