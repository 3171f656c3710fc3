//! [`RabitqBlocks`]: rows in blocks of 32 that are scanned by one table pass per bit.
//!
//! A block is a payload of [`EdgeCodes`] whose node is the origin (after the rotation has taken off its mean).

use orthant_kernels::Metric;

use crate::edge::{EDGE_LANES, EdgeCodes, EdgeConfig, EdgeError, EdgeQuery};
use crate::rotation::Rotation;

/// Rows, coded at 1, 2 or 4 bits per rotated dimension, that grow at the end.
#[derive(Debug, Clone)]
pub struct RabitqBlocks {
    rotation: Rotation,
    codes: EdgeCodes,
    origin: Vec<f32>,
    turned: Vec<f32>,
    bytes: Vec<u8>,
    len: usize,
}

/// A query prepared by [`RabitqBlocks::prepare`].
#[derive(Debug, Clone, Default)]
pub struct BlockQuery {
    turned: Vec<f32>,
    edges: EdgeQuery,
    squared: f32,
}

impl RabitqBlocks {
    /// No rows yet. Of `config`, the dimension is that of the rotation.
    ///
    /// # Errors
    /// [`EdgeError`]: bits, metric, unit; also the inner product behind a rotation with a mean.
    pub fn new(rotation: Rotation, config: EdgeConfig) -> Result<Self, EdgeError> {
        if config.metric == Metric::InnerProduct && !rotation.mean().is_empty() {
            return Err(EdgeError::Metric { metric: config.metric });
        }
        let dim = rotation.out_dim();
        let codes = EdgeCodes::new(EdgeConfig { dim, ..config })?;
        Ok(Self {
            rotation,
            codes,
            origin: vec![0.0; dim],
            turned: vec![0.0; dim],
            bytes: Vec::new(),
            len: 0,
        })
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes of all blocks.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Appends a row.
    ///
    /// # Panics
    /// If `row.len()` is not the rotation's dimension.
    pub fn push(&mut self, row: &[f32]) {
        let (block, lane) = (self.len / EDGE_LANES, self.len % EDGE_LANES);
        let size = self.codes.payload_bytes();
        self.rotation.rotate(row, &mut self.turned);
        if lane == 0 {
            self.bytes.resize((block + 1) * size, 0);
            self.codes.clear(&mut self.bytes[block * size..]);
        }
        self.codes.encode_edge(&self.origin, &self.turned, lane, &mut self.bytes[block * size..]);
        self.len += 1;
    }

    /// Prepares a query. Buffers in `prepared` are reused.
    ///
    /// # Panics
    /// If `query.len()` is not the rotation's dimension.
    pub fn prepare(&self, query: &[f32], prepared: &mut BlockQuery) {
        prepared.turned.resize(self.rotation.out_dim(), 0.0);
        self.rotation.rotate(query, &mut prepared.turned);
        self.codes.prepare(&prepared.turned, &mut prepared.edges);
        prepared.squared = prepared.turned.iter().map(|value| value * value).sum();
    }

    /// Distances to all rows, in order.
    ///
    /// # Panics
    /// If `out.len()` is not the number of rows.
    pub fn distances(&self, query: &BlockQuery, out: &mut [f32]) {
        assert_eq!(out.len(), self.len, "one distance per row");
        let base = self.base(query);
        let mut lanes = [0.0; EDGE_LANES];
        for (payload, out) in
            self.bytes.chunks_exact(self.codes.payload_bytes()).zip(out.chunks_mut(EDGE_LANES))
        {
            self.codes.estimate(&query.edges, base, payload, f32::INFINITY, &mut lanes);
            out.copy_from_slice(&lanes[..out.len()]);
        }
    }

    /// The standard deviations of [`distances`](Self::distances).
    ///
    /// # Panics
    /// If `out.len()` is not the number of rows.
    pub fn errors(&self, query: &BlockQuery, out: &mut [f32]) {
        assert_eq!(out.len(), self.len, "one error per row");
        let mut lanes = [0.0; EDGE_LANES];
        for (payload, out) in
            self.bytes.chunks_exact(self.codes.payload_bytes()).zip(out.chunks_mut(EDGE_LANES))
        {
            self.codes.errors(&query.edges, query.squared.sqrt(), payload, &mut lanes);
            out.copy_from_slice(&lanes[..out.len()]);
        }
    }

    /// The distance from the query to the origin.
    fn base(&self, query: &BlockQuery) -> f32 {
        if self.codes.config().metric == Metric::L2 { query.squared } else { 0.0 }
    }
}
