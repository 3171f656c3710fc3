//! [`Pq`]: product quantization, 4 or 8 bits per subspace (Jégou, Douze and Schmid 2011).
//!
//! The (rotated) vector is cut into subspaces of equal width; of each, the code keeps the nearest of 16 or 256 trained
//! centroids. Distances sum over a table per query (ADC): the query itself is not rounded.
//!
//! * **P1** `centroids: [subspaces × 2^bits × sub_dim]`, all finite. Vectors are padded with zeros to
//!   `subspaces · sub_dim`.
//! * **P2** A record is the codes of the subspaces, packed as in `pack`.

use orthant_kernels::{Kernel, Metric, active_isa};

use crate::frame::{self, CodecError, Fields};
use crate::kmeans::nearest;
use crate::multi::Path;
use crate::pack;
use crate::quantizer::{Quantizer, check_code};
use crate::rotation::Rotation;
use crate::sq::TrainError;

mod scan;
mod train;

pub use scan::{PqBlockQuery, PqBlocks};
pub use train::{PqConfig, PqRotation};

const MAGIC: [u8; 8] = *b"ORTHPQ\0\0";
const VERSION: u32 = 1;
const MAX_DIM: usize = 1 << 20;

/// A trained product quantizer.
///
/// # Numerics
/// Distances are those to the decoded vector, summed in f32: within `(dim + subspaces)·ε`, relative, of the exact sum.
#[derive(Debug, Clone)]
pub struct Pq {
    dim: usize,
    subspaces: usize,
    sub_dim: usize,
    bits: usize,
    centroids: Vec<f32>,
    rotation: Option<Rotation>,
    path: Path,
    squared: Kernel,
    product: Kernel,
}

impl PartialEq for Pq {
    fn eq(&self, other: &Self) -> bool {
        (self.dim, self.subspaces, self.sub_dim, self.bits)
            == (other.dim, other.subspaces, other.sub_dim, other.bits)
            && self.centroids == other.centroids
            && self.rotation == other.rotation
    }
}

impl Pq {
    fn from_parts(
        dim: usize,
        subspaces: usize,
        bits: usize,
        centroids: Vec<f32>,
        rotation: Option<Rotation>,
    ) -> Result<Self, TrainError> {
        let isa = active_isa()?;
        let sub_dim = centroids.len() / subspaces / (1 << bits);
        Ok(Self {
            dim,
            subspaces,
            sub_dim,
            bits,
            centroids,
            rotation,
            path: Path::new(isa)?,
            squared: Kernel::with_isa(Metric::L2, sub_dim, isa)?,
            product: Kernel::with_isa(Metric::InnerProduct, sub_dim, isa)?,
        })
    }

    /// Parts that a vector is cut into.
    pub fn subspaces(&self) -> usize {
        self.subspaces
    }

    /// Elements of a part.
    pub fn sub_dim(&self) -> usize {
        self.sub_dim
    }

    /// Bits per subspace.
    pub fn bits(&self) -> usize {
        self.bits
    }

    /// All centroids, `[subspaces × 2^bits × sub_dim]`.
    pub fn centroids(&self) -> &[f32] {
        &self.centroids
    }

    /// The rotation in front, if there is one.
    pub fn rotation(&self) -> Option<&Rotation> {
        self.rotation.as_ref()
    }

    /// Centroids of a subspace.
    fn book(&self, subspace: usize) -> &[f32] {
        let size = self.sub_dim << self.bits;
        &self.centroids[subspace * size..][..size]
    }

    /// Rotates and pads a vector.
    fn turn(&self, row: &[f32], out: &mut Vec<f32>) {
        assert_eq!(row.len(), self.dim, "the vector must have the quantizer's dimension");
        turn(self.rotation.as_ref(), row, self.subspaces * self.sub_dim, out);
    }

    /// The code of each subspace, one per byte.
    fn codes(&self, row: &[f32]) -> Vec<u8> {
        let mut turned = Vec::new();
        self.turn(row, &mut turned);
        let mut distances = vec![0.0; 1 << self.bits];
        let codes = turned.chunks_exact(self.sub_dim).enumerate().map(|(subspace, part)| {
            self.squared.rows(part, self.book(subspace), self.sub_dim, &mut distances);
            nearest(&distances).0 as u8
        });
        codes.collect()
    }

    fn unpacked(&self, code: &[u8], out: &mut [u8]) {
        if self.bits == 8 {
            out.copy_from_slice(code);
        } else {
            pack::unpack(self.path, code, self.bits, out);
        }
    }

    /// The quantizer as bytes: a header, the rotation, the centroids, a checksum. Little endian on every machine.
    pub fn to_bytes(&self) -> Vec<u8> {
        let rotation = self.rotation.as_ref().map(Rotation::to_bytes).unwrap_or_default();
        let mut body = Vec::new();
        for word in [self.dim, self.subspaces, self.sub_dim, self.bits, rotation.len()] {
            body.extend((word as u32).to_le_bytes());
        }
        body.extend(&rotation);
        for value in &self.centroids {
            body.extend(value.to_le_bytes());
        }
        frame::wrap(MAGIC, VERSION, &body)
    }

    /// Reads what [`to_bytes`](Self::to_bytes) wrote.
    ///
    /// # Errors
    /// [`CodecError`] if the bytes are not a whole, unchanged quantizer of a known version.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, CodecError> {
        let mut fields = Fields::new(frame::unwrap(MAGIC, VERSION, bytes)?);
        let (dim, subspaces, sub_dim, bits) =
            (fields.size()?, fields.size()?, fields.size()?, fields.size()?);
        let rotation = match fields.size()? {
            0 => None,
            length => Some(Rotation::from_bytes(fields.bytes(length)?)?),
        };
        let sizes = [dim, subspaces, sub_dim];
        if sizes.iter().any(|size| !(1..=MAX_DIM).contains(size)) || !matches!(bits, 4 | 8) {
            return Err(CodecError::Invalid);
        }
        let is_other = rotation.as_ref().is_some_and(|rotation| rotation.dim() != dim);
        if is_other || subspaces * sub_dim < dim {
            return Err(CodecError::Invalid);
        }
        let count = (subspaces * sub_dim).checked_mul(1 << bits).ok_or(CodecError::Invalid)?;
        let centroids = fields.finite(count)?;
        fields.end()?;
        Self::from_parts(dim, subspaces, bits, centroids, rotation).map_err(|error| match error {
            TrainError::Isa(error) => CodecError::Isa(error),
            _ => CodecError::Invalid,
        })
    }
}

/// Rotates a vector and pads it with zeros to `width`.
fn turn(rotation: Option<&Rotation>, row: &[f32], width: usize, out: &mut Vec<f32>) {
    out.clear();
    out.resize(width.max(rotation.map_or(0, Rotation::out_dim)), 0.0);
    match rotation {
        Some(rotation) => rotation.rotate(row, &mut out[..rotation.out_dim()]),
        None => out[..row.len()].copy_from_slice(row),
    }
    // What a matrix has beyond the subspaces are rows of zeros.
    out.truncate(width);
}

/// A query prepared by [`Pq`]: the distance of each of its parts to each centroid.
#[derive(Debug, Clone, Default)]
pub struct PqQuery {
    turned: Vec<f32>,
    /// `[subspaces × 2^bits]`.
    table: Vec<f32>,
}

impl PqQuery {
    /// Distances of the parts to their centroids, `[subspaces × 2^bits]`.
    pub fn table(&self) -> &[f32] {
        &self.table
    }
}

impl Quantizer for Pq {
    type Query = PqQuery;

    fn dim(&self) -> usize {
        self.dim
    }

    fn code_bytes(&self) -> usize {
        pack::packed_bytes(self.subspaces, self.bits)
    }

    fn supports(&self, metric: Metric) -> bool {
        matches!(metric, Metric::L2 | Metric::InnerProduct)
    }

    fn encode(&self, row: &[f32], code: &mut [u8]) {
        check_code(code.len(), self.code_bytes(), row.len(), self.dim);
        pack::pack(&self.codes(row), self.bits, code);
    }

    fn decode(&self, code: &[u8], out: &mut [f32]) {
        check_code(code.len(), self.code_bytes(), out.len(), self.dim);
        let mut codes = vec![0; self.subspaces];
        self.unpacked(code, &mut codes);
        let parts = codes.iter().enumerate().flat_map(|(subspace, &code)| {
            &self.book(subspace)[usize::from(code) * self.sub_dim..][..self.sub_dim]
        });
        let mut turned: Vec<f32> = parts.copied().collect();
        match &self.rotation {
            Some(rotation) => {
                turned.resize(rotation.out_dim(), 0.0);
                rotation.invert(&turned, out);
            }
            None => out.copy_from_slice(&turned[..self.dim]),
        }
    }

    fn prepare(&self, metric: Metric, query: &[f32], prepared: &mut PqQuery) {
        assert!(self.supports(metric), "there are no {metric} distances on product codes");
        let kernel = if metric == Metric::L2 { &self.squared } else { &self.product };
        self.turn(query, &mut prepared.turned);
        prepared.table.resize(self.subspaces << self.bits, 0.0);
        let tables = prepared.table.chunks_exact_mut(1 << self.bits);
        for (subspace, (part, table)) in prepared.turned.chunks_exact(self.sub_dim).zip(tables).enumerate() {
            kernel.rows(part, self.book(subspace), self.sub_dim, table);
        }
    }

    fn distances(&self, query: &PqQuery, codes: &[u8], out: &mut [f32]) {
        let bytes = self.code_bytes();
        assert_eq!(codes.len(), out.len() * bytes, "a code takes {bytes} bytes");
        assert_eq!(query.table.len(), self.subspaces << self.bits, "a query prepared for this quantizer");
        for (out, code) in out.iter_mut().zip(codes.chunks_exact(bytes)) {
            // Four running sums: one alone would wait for each addition.
            let mut sums = [0.0f32; 4];
            if self.bits == 8 {
                for (at, (table, &code)) in query.table.as_chunks::<256>().0.iter().zip(code).enumerate() {
                    sums[at % 4] += table[usize::from(code)];
                }
            } else {
                let (low, high) = query.table.as_chunks::<16>().0.split_at(bytes.min(self.subspaces));
                for (at, (table, &code)) in low.iter().zip(code).enumerate() {
                    sums[at % 4] += table[usize::from(code & 0x0f)];
                }
                for (at, (table, &code)) in high.iter().zip(code).enumerate() {
                    sums[at % 4] += table[usize::from(code >> 4)];
                }
            }
            *out = (sums[0] + sums[1]) + (sums[2] + sums[3]);
        }
    }
}

#[cfg(test)]
mod tests;
