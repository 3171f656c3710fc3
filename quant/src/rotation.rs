//! [`Rotation`]: turns vectors so that every dimension carries as much as the others.
//!
//! Codes of a few bits per dimension need that: their error is then the same whatever the data look like (Gao and Long
//! 2024, RaBitQ). Distances and inner products stay what they are.
//!
//! * **R1** A rotation is a function of what [`Rotation::to_bytes`] writes; the Hadamard kind gives the same bits on
//!   every instruction set.
//! * **R2** The output is a multiple of [`LANES`] long, so code that reads it needs no masked tail.
//!
//! Cost: the Hadamard kind n·log₂n additions per round at 3 rounds (4 where n is no power of two); the matrix kind
//! one dot product per output.

use orthant_kernels::{Isa, IsaError, Kernel, Metric, active_isa};

use crate::frame::{self, CodecError, Fields};
use crate::random::Random;

mod fht;
mod pca;

pub use pca::PcaConfig;

/// What the length of a rotated vector is a multiple of.
pub const LANES: usize = fht::CHUNK;

/// Starts a file or section that holds a rotation.
const MAGIC: [u8; 8] = *b"ORTHROT\0";

/// The version written, and the newest one read.
const VERSION: u32 = 1;

/// The largest dimension that is read from bytes: a bound on what made-up bytes may have us allocate.
const MAX_DIM: usize = 1 << 20;

/// An orthogonal map of vectors, optionally after taking off a mean, with zeros in dimensions that are added.
///
/// # Numerics
/// Norms, distances and inner products are kept to within `(rounds · log₂n + 2)·ε`, relative to the norms (Hadamard
/// kind); a projection keeps those of the projected vectors.
///
/// # Examples
/// ```
/// use orthant_quant::Rotation;
///
/// let rotation = Rotation::hadamard(100, 7)?;
/// assert_eq!(rotation.out_dim(), 112);
/// let mut x = vec![0.0; 100];
/// x[3] = 2.0;
/// let mut rotated = vec![0.0; 112];
/// rotation.rotate(&x, &mut rotated);
/// let norm: f32 = rotated.iter().map(|v| v * v).sum();
/// assert!((norm - 4.0).abs() < 1e-5);
/// // What was in one dimension is in all of them.
/// assert!(rotated.iter().all(|v| v.abs() < 1.0));
/// # Ok::<(), orthant_kernels::IsaError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Rotation {
    dim: usize,
    out_dim: usize,
    /// Taken off before; empty for none.
    mean: Vec<f32>,
    kind: Kind,
}

#[derive(Clone)]
enum Kind {
    Hadamard {
        seed: u64,
        rounds: usize,
        flips: Vec<u32>,
        rotate: fht::RotateFn,
    },
    /// `rows: [out_dim × dim]`, `offset: [out_dim]`: the rotated mean, taken off at the end.
    Matrix {
        rows: Vec<f32>,
        offset: Vec<f32>,
        kernel: Kernel,
    },
}

impl core::fmt::Debug for Kind {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Hadamard { seed, rounds, .. } => {
                f.debug_struct("Hadamard").field("seed", seed).field("rounds", rounds).finish()
            }
            Self::Matrix { .. } => f.debug_struct("Matrix").finish_non_exhaustive(),
        }
    }
}

impl PartialEq for Rotation {
    fn eq(&self, other: &Self) -> bool {
        let kinds = match (&self.kind, &other.kind) {
            (Kind::Hadamard { seed, rounds, .. }, Kind::Hadamard { seed: s, rounds: r, .. }) => {
                (seed, rounds) == (s, r)
            }
            (Kind::Matrix { rows, .. }, Kind::Matrix { rows: r, .. }) => rows == r,
            _ => false,
        };
        kinds && (self.dim, self.out_dim) == (other.dim, other.out_dim) && self.mean == other.mean
    }
}

impl Rotation {
    /// A random Hadamard rotation of `dim` dimensions, padded with zeros to a multiple of [`LANES`].
    ///
    /// # Errors
    /// As [`active_isa`]: the environment forces a path that is unknown or missing.
    /// # Panics
    /// If `dim` is 0.
    pub fn hadamard(dim: usize, seed: u64) -> Result<Self, IsaError> {
        Self::hadamard_to(dim, dim.next_multiple_of(LANES), seed)
    }

    /// A random Hadamard rotation into `out_dim` dimensions. More of them than needed make codes of a bit per
    /// dimension longer and better.
    ///
    /// # Errors
    /// As [`active_isa`].
    /// # Panics
    /// If `dim` is 0, if `out_dim` is less than `dim` or no multiple of [`LANES`].
    pub fn hadamard_to(dim: usize, out_dim: usize, seed: u64) -> Result<Self, IsaError> {
        Self::hadamard_with_isa(dim, out_dim, seed, active_isa()?)
    }

    /// [`hadamard_to`](Self::hadamard_to) on the path of `isa`. The result is the same on all of them.
    ///
    /// # Errors
    /// [`IsaError::Missing`] if the CPU does not have it.
    /// # Panics
    /// As [`hadamard_to`](Self::hadamard_to).
    pub fn hadamard_with_isa(dim: usize, out_dim: usize, seed: u64, isa: Isa) -> Result<Self, IsaError> {
        assert!(dim > 0, "vectors of dimension 0 cannot be turned");
        assert!(
            out_dim >= dim && out_dim.is_multiple_of(LANES),
            "{out_dim} dimensions do not hold {dim} in whole lanes"
        );
        // Three rounds make any direction a uniformly random one as far as codes can tell (Yu et al. 2016,
        // "Orthogonal random features"); where the transform covers a part only, each value needs to be in two.
        let rounds = if out_dim.is_power_of_two() { 3 } else { 4 };
        let kind = hadamard(out_dim, seed, rounds, isa)?;
        Ok(Self { dim, out_dim, mean: Vec::new(), kind })
    }

    /// A rotation given by its matrix.
    ///
    /// # Shapes
    /// `rows: [out_dim × dim]`, orthonormal.
    pub(crate) fn from_matrix(rows: Vec<f32>, dim: usize, isa: Isa) -> Result<Self, IsaError> {
        let out_dim = rows.len() / dim;
        let kernel = Kernel::with_isa(Metric::InnerProduct, dim, isa)?;
        let kind = Kind::Matrix { rows, offset: Vec::new(), kernel };
        Ok(Self { dim, out_dim, mean: Vec::new(), kind })
    }

    /// The same rotation of vectors from which `mean` is taken off first. Distances stay what they are; inner
    /// products do not.
    ///
    /// Codes are the better the smaller the vectors: where data lie far from the origin this keeps the rounding of
    /// queries below that of codes.
    ///
    /// # Panics
    /// If `mean.len()` is not [`dim`](Self::dim).
    #[must_use]
    pub fn with_mean(mut self, mean: &[f32]) -> Self {
        assert_eq!(mean.len(), self.dim, "the mean must have the rotation's dimension");
        self.mean = Vec::new();
        if let Kind::Matrix { offset, .. } = &mut self.kind {
            offset.clear();
        }
        let mut rotated = vec![0.0; self.out_dim];
        self.rotate(mean, &mut rotated);
        if let Kind::Matrix { offset, .. } = &mut self.kind {
            *offset = rotated;
        }
        self.mean = mean.to_vec();
        self
    }

    /// Elements of a vector before.
    #[inline]
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// Elements of a vector after: a multiple of [`LANES`].
    #[inline]
    pub fn out_dim(&self) -> usize {
        self.out_dim
    }

    /// What is taken off before; empty for nothing.
    pub fn mean(&self) -> &[f32] {
        &self.mean
    }

    /// Turns one vector.
    ///
    /// # Shapes
    /// `vector: [dim]`, `out: [out_dim]`.
    /// # Panics
    /// If either length is another.
    pub fn rotate(&self, vector: &[f32], out: &mut [f32]) {
        assert_eq!(vector.len(), self.dim, "the vector must have the rotation's dimension");
        assert_eq!(out.len(), self.out_dim, "the output must have the rotation's output dimension");
        match &self.kind {
            Kind::Hadamard { flips, rotate, .. } => {
                out[self.dim..].fill(0.0);
                if self.mean.is_empty() {
                    out[..self.dim].copy_from_slice(vector);
                } else {
                    for ((out, &value), &mean) in out.iter_mut().zip(vector).zip(&self.mean) {
                        *out = value - mean;
                    }
                }
                // SAFETY: `out` and each round of `flips` are `out_dim` long, a multiple of the chunk (R2, F2), and
                // the CPU has the path: `rotate_fn` asked `Isa::require`.
                unsafe { rotate(out, flips) };
            }
            Kind::Matrix { rows, offset, kernel } => {
                kernel.rows(vector, rows, self.dim, out);
                // The kernel's inner product is negated: smaller is nearer.
                if offset.is_empty() {
                    out.iter_mut().for_each(|out| *out = -*out);
                } else {
                    out.iter_mut().zip(offset).for_each(|(out, offset)| *out = -*out - offset);
                }
            }
        }
    }

    /// Turns `count` vectors.
    ///
    /// # Shapes
    /// `rows: [count × stride]` (elements, row-major; the last row needs no padding), `out: [count × out_dim]`.
    /// # Panics
    /// If `stride < dim`, if `rows` is too short, or if `out` has another length.
    pub fn rotate_rows(&self, rows: &[f32], stride: usize, count: usize, out: &mut [f32]) {
        crate::sq::check_rows(rows.len(), stride, count, self.dim);
        assert_eq!(out.len(), count * self.out_dim, "one rotated row per row");
        for (row, out) in rows.chunks(stride).zip(out.chunks_exact_mut(self.out_dim)) {
            self.rotate(&row[..self.dim], out);
        }
    }

    /// Turns a vector back: what [`rotate`](Self::rotate) was given, up to rounding, or the nearest to it that a
    /// projection can tell.
    ///
    /// Not made for speed: it is for decoding.
    ///
    /// # Shapes
    /// `rotated: [out_dim]`, `out: [dim]`.
    /// # Panics
    /// If either length is another.
    pub fn invert(&self, rotated: &[f32], out: &mut [f32]) {
        assert_eq!(rotated.len(), self.out_dim, "the vector must have the rotation's output dimension");
        assert_eq!(out.len(), self.dim, "the output must have the rotation's dimension");
        match &self.kind {
            Kind::Hadamard { flips, .. } => {
                let mut values = rotated.to_vec();
                fht::rotate_back(&mut values, flips);
                out.copy_from_slice(&values[..self.dim]);
            }
            Kind::Matrix { rows, .. } => {
                out.fill(0.0);
                for (row, &factor) in rows.chunks_exact(self.dim).zip(rotated) {
                    out.iter_mut().zip(row).for_each(|(out, &value)| *out += factor * value);
                }
            }
        }
        out.iter_mut().zip(&self.mean).for_each(|(out, &mean)| *out += mean);
    }

    /// The rotation as bytes: a header, the seed or the matrix, the mean, a checksum. Little endian on every machine.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut body = Vec::new();
        body.extend((self.dim as u32).to_le_bytes());
        body.extend((self.out_dim as u32).to_le_bytes());
        let (tag, rounds, seed, rows): (u32, u32, u64, &[f32]) = match &self.kind {
            Kind::Hadamard { seed, rounds, .. } => (0, *rounds as u32, *seed, &[]),
            Kind::Matrix { rows, .. } => (1, 0, 0, rows),
        };
        body.extend(tag.to_le_bytes());
        body.extend(rounds.to_le_bytes());
        body.extend(seed.to_le_bytes());
        body.extend(u32::from(!self.mean.is_empty()).to_le_bytes());
        for value in self.mean.iter().chain(rows) {
            body.extend(value.to_le_bytes());
        }
        frame::wrap(MAGIC, VERSION, &body)
    }

    /// Reads what [`to_bytes`](Self::to_bytes) wrote.
    ///
    /// # Errors
    /// [`CodecError`] if the bytes are not a whole, unchanged rotation of a known version.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, CodecError> {
        let mut fields = Fields::new(frame::unwrap(MAGIC, VERSION, bytes)?);
        let (dim, out_dim) = (fields.size()?, fields.size()?);
        let (tag, rounds, seed, has_mean) = (fields.u32()?, fields.size()?, fields.u64()?, fields.u32()?);
        let is_sound = dim > 0 && dim <= MAX_DIM && out_dim > 0 && out_dim <= MAX_DIM && has_mean <= 1;
        if !is_sound || !out_dim.is_multiple_of(LANES) {
            return Err(CodecError::Invalid);
        }
        let mean = if has_mean == 1 { fields.finite(dim)? } else { Vec::new() };
        let isa = active_isa()?;
        let rotation = match tag {
            0 if out_dim >= dim && (1..=16).contains(&rounds) => {
                Self { dim, out_dim, mean: Vec::new(), kind: hadamard(out_dim, seed, rounds, isa)? }
            }
            1 => Self::from_matrix(fields.finite(out_dim * dim)?, dim, isa)?,
            _ => return Err(CodecError::Invalid),
        };
        fields.end()?;
        Ok(if has_mean == 1 { rotation.with_mean(&mean) } else { rotation })
    }
}

/// The Hadamard kind: its flips are drawn from the seed.
fn hadamard(out_dim: usize, seed: u64, rounds: usize, isa: Isa) -> Result<Kind, IsaError> {
    let mut random = Random::new(seed);
    let mut flips = Vec::with_capacity(rounds * out_dim);
    while flips.len() < rounds * out_dim {
        let bits = random.bits();
        let left = (rounds * out_dim - flips.len()).min(64);
        flips.extend((0..left).map(|at| ((bits >> at & 1) as u32) << 31));
    }
    Ok(Kind::Hadamard { seed, rounds, flips, rotate: fht::rotate_fn(isa)? })
}

#[cfg(test)]
mod tests;
