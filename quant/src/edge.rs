//! [`EdgeCodes`]: the neighbors of a graph node as differences to it, 1, 2 or 4 bits per dimension, 32 to a block.
//!
//! Of a node x and its neighbor y the *difference* r = y − x is coded: v, a vector of small odd multiples of one step,
//! of which 1 bit keeps the signs. For a query q whose distance to x is known, the distance to y needs ⟨q − x, r⟩, and
//! ⟨q − x, v⟩ · ‖r‖² / ⟨v, r⟩ is an estimate of it without bias once the vectors were turned at random (Gao and Long
//! 2024, "RaBitQ", theorem 3.2; edges as codes: Gou et al. 2025, "SymphonyQG"). So
//!
//! ‖q − y‖² ≈ ‖q − x‖² + add + rescale · ⟨q, v⟩, where rescale = −2‖r‖² / ⟨v, r⟩ and add = ‖r‖² − rescale · ⟨x, v⟩.
//!
//! Of a query only ⟨q, v⟩ is asked, which sums over one table for *all* nodes ([`EdgeQuery`]): a block is one pass of
//! [`LutKernel`] per bit and nothing is prepared per node. For the inner product, −⟨q, y⟩ = −⟨q, x⟩ − ⟨x, r⟩ −
//! ⟨q − x, r⟩ in the same way.
//!
//! * **E1** A payload is `[bits × 4·dim]` bytes of codes, sign bits first, as [`LutKernel`] wants them, then 32 `add`s,
//!   then 32 `rescale`s. It holds no pointers and no padding, and is a multiple of 64 bytes.
//! * **E2** A lane of a payload is a function of the two rows alone, bit for bit, on every instruction set; it does not
//!   depend on the other lanes, so edges are written, moved and cleared one at a time.
//! * **E3** An empty lane has zero bits, `add` = +∞ and `rescale` = 0, hence the distance +∞.
//! * **E4** `add` is computed from the rounded `rescale`: that rounding then counts in proportion to ⟨q − x, v⟩ and not
//!   to ⟨q, v⟩.
//!
//! Cost of scoring a block at dimension d: `bits` · d/16 steps of 64 bytes, and 32 additions and products.

use orthant_kernels::{Isa, IsaError, LUT_BLOCK, LutKernel, Metric, active_isa};

use crate::multi::Path;
use crate::rotation::LANES;

mod encode;
mod factor;
mod query;
mod score;

pub use query::EdgeQuery;

/// Edges in a payload.
pub const EDGE_LANES: usize = LUT_BLOCK;

/// The most bits per dimension.
const MAX_BITS: usize = 4;

/// How the two numbers beside each edge's code are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EdgeFactors {
    /// 8 bytes per edge, any range.
    F32,
    /// 4 bytes per edge, as multiples of [`EdgeConfig::unit`]. Squared distances beyond 65504 units are cut to that
    /// (the neighbor seems nearer than it is, and is looked at), parts below 6·10⁻⁵ units are 0.
    F16,
}

/// What edges are coded with.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EdgeConfig {
    /// L2 or the inner product. The cosine is the L2 of rows of norm 1, twice its value.
    pub metric: Metric,
    /// Elements of a turned vector: a multiple of [`LANES`], as [`Rotation::out_dim`](crate::Rotation::out_dim) is.
    pub dim: usize,
    /// Bits per dimension: 1, 2 or 4.
    pub bits: usize,
    /// How the numbers beside the codes are stored.
    pub factors: EdgeFactors,
    /// What [`EdgeFactors::F16`] counts in: about the squared length of an edge. Above 0; 1 fits rows of norm 1.
    pub unit: f32,
}

impl EdgeConfig {
    /// One bit per dimension and `f16` factors in units of 1.
    pub fn new(metric: Metric, dim: usize) -> Self {
        Self { metric, dim, bits: 1, factors: EdgeFactors::F16, unit: 1.0 }
    }
}

/// Why edges cannot be coded as asked.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum EdgeError {
    /// The dimension is 0 or no multiple of [`LANES`].
    #[error("{dim} dimensions are no multiple of {LANES}: rotate the vectors first")]
    Dimension {
        /// The dimension.
        dim: usize,
    },
    /// There are no codes of so many bits.
    #[error("no edge codes of {bits} bits per dimension: there are 1, 2 and 4")]
    Bits {
        /// Bits per dimension.
        bits: usize,
    },
    /// The metric has no estimate.
    #[error("no edge codes for {metric}")]
    Metric {
        /// The metric.
        metric: Metric,
    },
    /// The unit is 0, negative or not finite.
    #[error("a unit of {unit} measures nothing")]
    Unit {
        /// The unit.
        unit: f32,
    },
    /// The path is unknown, or the CPU does not have it.
    #[error(transparent)]
    Isa(#[from] IsaError),
}

/// Codes edges into payloads of 32 and estimates distances from them.
///
/// # Numerics
/// The estimate is right on average over rotations. Its error has a standard deviation of about
/// [`error_factor`](Self::error_factor)` · |rescale| · ‖q − x‖`, which is k · ‖q − x‖ · ‖y − x‖ / √dim with k = 1.51, 0.73 and
/// 0.22 at 1, 2 and 4 bits. It does not depend on how far x is from the origin, but the rounding of the query does (see
/// [`EdgeQuery::error`]): where data lie far off, take their mean off first ([`Rotation::with_mean`]).
///
/// A NaN in a row gives NaN for its edges; squared lengths beyond `f32::MAX` give +∞.
///
/// [`Rotation::with_mean`]: crate::Rotation::with_mean
///
/// # Examples
/// ```
/// use orthant_kernels::Metric;
/// use orthant_quant::{EDGE_LANES, EdgeCodes, EdgeConfig, EdgeQuery, Rotation};
///
/// let (dim, row) = (256, |seed: usize| (0..256).map(|i| (i * seed % 101) as f32 / 101.0).collect::<Vec<_>>());
/// let rotation = Rotation::hadamard(dim, 1)?;
/// let turned = |row: Vec<f32>| { let mut out = vec![0.0; 256]; rotation.rotate(&row, &mut out); out };
/// let (query, node, neighbor) = (turned(row(37)), turned(row(11)), turned(row(12)));
///
/// let codes = EdgeCodes::new(EdgeConfig::new(Metric::L2, rotation.out_dim()))?;
/// let mut payload = vec![0; codes.payload_bytes()];
/// codes.encode(&node, &[&neighbor], &mut payload);
///
/// let mut prepared = EdgeQuery::default();
/// codes.prepare(&query, &mut prepared);
/// let exact = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum::<f32>();
/// let mut distances = [0.0; EDGE_LANES];
/// let near = codes.estimate(&prepared, exact(&query, &node), &payload, f32::INFINITY, &mut distances);
/// assert_eq!(near, 1); // a bit per lane that is nearer than the bound: here the one that is not empty
/// let expected = exact(&query, &neighbor);
/// assert!((distances[0] - expected).abs() < 0.3 * expected);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct EdgeCodes {
    config: EdgeConfig,
    kernel: LutKernel,
    path: Path,
    score: score::ScoreFn,
}

impl EdgeCodes {
    /// Codes on the path of [`active_isa`].
    ///
    /// # Errors
    /// [`EdgeError`].
    pub fn new(config: EdgeConfig) -> Result<Self, EdgeError> {
        Self::with_isa(config, active_isa()?)
    }

    /// Codes on the path of `isa`. Payloads are the same on all of them.
    ///
    /// # Errors
    /// [`EdgeError`].
    pub fn with_isa(config: EdgeConfig, isa: Isa) -> Result<Self, EdgeError> {
        let EdgeConfig { metric, dim, bits, factors, unit } = config;
        if dim == 0 || !dim.is_multiple_of(LANES) {
            return Err(EdgeError::Dimension { dim });
        }
        if !matches!(bits, 1 | 2 | 4) {
            return Err(EdgeError::Bits { bits });
        }
        if !matches!(metric, Metric::L2 | Metric::InnerProduct) {
            return Err(EdgeError::Metric { metric });
        }
        if !(unit > 0.0 && unit.is_finite()) {
            return Err(EdgeError::Unit { unit });
        }
        // The rounding of narrow entries is invisible beside that of one and two bits (no change of recall in four digits at
        // 128 and 384 d), not beside that of four.
        let subspaces = dim / 4;
        let kernel =
            if bits <= 2 { LutKernel::narrow(subspaces, isa)? } else { LutKernel::with_isa(subspaces, isa)? };
        let (path, score) = (Path::new(isa)?, score::score_fn(isa, factors)?);
        Ok(Self { config, kernel, path, score })
    }

    /// What edges are coded with.
    #[inline]
    pub fn config(&self) -> &EdgeConfig {
        &self.config
    }

    /// Elements of a turned vector.
    #[inline]
    pub fn dim(&self) -> usize {
        self.config.dim
    }

    /// The instruction set in use.
    #[inline]
    pub fn isa(&self) -> Isa {
        self.kernel.isa()
    }

    /// Bytes of a payload (E1): `bits · 4 · dim + 256`, or 128 less with `f16` factors.
    #[inline]
    pub fn payload_bytes(&self) -> usize {
        self.codes_bytes() + 2 * EDGE_LANES * self.factor_bytes()
    }

    /// Bytes of all bits of all lanes.
    #[inline]
    fn codes_bytes(&self) -> usize {
        self.config.bits * self.plane_bytes()
    }

    /// Bytes of one bit of all lanes.
    #[inline]
    fn plane_bytes(&self) -> usize {
        self.kernel.block_bytes()
    }

    #[inline]
    fn factor_bytes(&self) -> usize {
        match self.config.factors {
            EdgeFactors::F32 => 4,
            EdgeFactors::F16 => 2,
        }
    }

    /// What |rescale| · ‖q − x‖ is multiplied with for the standard deviation of an estimate: ‖v‖ · √((1 − cos²)/(dim − 1)),
    /// where cos is that between an edge and its code, of edges whose values are normally distributed.
    pub fn error_factor(&self) -> f32 {
        // ‖v‖/√dim · √(1 − cos²) of the quantizers in `encode`, integrated over the normal distribution; the test
        // `the_error_factor_is_that_of_normal_values` draws them again.
        let per_value: f64 = match self.config.bits {
            1 => 0.602_819,
            2 => 0.325_040,
            _ => 0.079_694,
        };
        let dim = self.config.dim as f64;
        (per_value * (dim / (dim - 1.0)).sqrt()) as f32
    }

    /// Estimates the distances of a query to all neighbors of a node: `out[lane]`, +∞ for empty lanes. Returns a bit for
    /// each lane whose distance is below `bound`.
    ///
    /// `node_distance` is the query's distance to the node itself: the squared L2 distance, or the negated inner
    /// product. Its error is the estimates' error.
    ///
    /// # Numerics
    /// See the type. Under L2 an estimate may come out below 0.
    /// # Panics
    /// If `query` was prepared for another dimension, or if `payload` has another length.
    #[inline]
    pub fn estimate(
        &self,
        query: &EdgeQuery,
        node_distance: f32,
        payload: &[u8],
        bound: f32,
        out: &mut [f32; EDGE_LANES],
    ) -> u32 {
        assert_eq!(payload.len(), self.payload_bytes(), "a payload as `payload_bytes` says");
        // SAFETY: the slice has the length of a payload, and nobody writes to it while it is borrowed.
        unsafe { self.estimate_raw(query, node_distance, payload.as_ptr(), bound, out) }
    }

    /// [`estimate`](Self::estimate) over memory that other threads append to.
    ///
    /// # Panics
    /// If `query` was prepared for another dimension.
    /// # Safety
    /// `payload` is valid for reads of [`payload_bytes`](Self::payload_bytes) bytes that no thread writes during the call.
    #[inline]
    pub unsafe fn estimate_raw(
        &self,
        query: &EdgeQuery,
        node_distance: f32,
        payload: *const u8,
        bound: f32,
        out: &mut [f32; EDGE_LANES],
    ) -> u32 {
        assert_eq!(query.table().len(), self.plane_bytes(), "a query prepared for this dimension");
        let mut sums = [0; EDGE_LANES];
        // SAFETY: the table has the length of a block (asserted above); the first plane is inside the payload (E1).
        unsafe { self.kernel.block_raw(query.table().as_ptr(), payload, &mut sums) };
        let mut scale = query.scale();
        let mut totals = [0.0; EDGE_LANES];
        let totals = if self.config.bits == 1 {
            score::Totals::Words(&sums)
        } else {
            let mut wide = sums.map(u32::from);
            for plane in 1..self.config.bits {
                // SAFETY: `plane < bits`, so this plane is inside the payload too (E1).
                unsafe {
                    let codes = payload.add(plane * self.plane_bytes());
                    self.kernel.block_raw(query.table().as_ptr(), codes, &mut sums);
                }
                for (wide, &sum) in wide.iter_mut().zip(&sums) {
                    *wide = 2 * *wide + u32::from(sum);
                }
            }
            // At most 15 · 65535: exact.
            for (total, wide) in totals.iter_mut().zip(wide) {
                *total = wide as f32;
            }
            scale /= (1 << (self.config.bits - 1)) as f32;
            score::Totals::Floats(&totals)
        };
        // What entries are above what they stand for, over all tables and planes.
        let excess = query.excess() * ((1 << self.config.bits) - 1) as f32;
        let unit = match self.config.factors {
            EdgeFactors::F32 => 1.0,
            EdgeFactors::F16 => self.config.unit,
        };
        let terms = score::Terms { base: node_distance, unit, scale, offset: -scale * excess, bound };
        // SAFETY: 64 factors follow the codes (E1); the CPU has the path: `score_fn` asked `Isa::require`.
        unsafe { (self.score)(totals, payload.add(self.codes_bytes()), &terms, out) }
    }

    /// The standard deviation of each estimate that [`estimate`](Self::estimate) makes: an estimate is within twice of
    /// it 19 times in 20. 0 for empty lanes.
    ///
    /// `spread` is ‖q − x‖, not squared: under L2 the root of the node's distance.
    ///
    /// # Panics
    /// As [`estimate`](Self::estimate).
    pub fn errors(&self, query: &EdgeQuery, spread: f32, payload: &[u8], out: &mut [f32; EDGE_LANES]) {
        assert_eq!(payload.len(), self.payload_bytes(), "a payload as `payload_bytes` says");
        let code = self.error_factor() * spread;
        // The roundings of the planes add up, each half as large as the one before.
        let planes: f32 = (0..self.config.bits).map(|plane| 0.25f32.powi(plane as i32)).sum();
        let factor = (code * code + planes * query.error() * query.error()).sqrt();
        for (lane, out) in out.iter_mut().enumerate() {
            *out = self.factors_at(payload, lane).1.abs() * factor;
        }
    }
}

#[cfg(test)]
mod tests;
