//! Node blocks: the lists of level 0 carry codes of the node and of its neighbors.
//!
//! A list's payload is `[codes of the edges][code of the node's row][its bias]`: the neighbors as differences to the node,
//! one, two or four bits per dimension, 32 to a scan (`orthant_quant::EdgeCodes`), and the row itself in one byte per dimension
//! (`Sq8`). One hop of a search reads one block; full-precision rows are read for the best few at the end.
//!
//! * **B1** When an index has blocks, the payload of every published list is what [`Blocks::fill`] makes of the rows that
//!   the list names, lane by lane in the order of the list, bit for bit, whatever was inserted or removed before.
//!   (A code is a function of the two rows alone, and rows never change while a list names them.)
//! * **B2** Searches begin at the nearest of a thousand sampled rows, in groups, of which the nearest two are looked at; rows and
//!   the middles of groups are coded as edges from the origin. One that was removed
//!   or replaced since is passed over; where few near ones are left, a search begins where the graph's upper levels lead, too.
//!
//! Cost per row at d dimensions and b bits: (1 + 4·b)·d + 260 bytes, rounded up to 64. Replacing a list encodes the edges that are new in it.

mod search;
mod tuning;

use std::cell::RefCell;

use orthant_graph::{BLOCK_LANES, BlockScorer, Neighbor, NodeId};
use orthant_kernels::{CodeKernel, IsaError, Metric};
use orthant_quant::{
    EdgeCodes, EdgeConfig, EdgeError, EdgeQuery, KMeansConfig, Rotation, Serial, Sq8, Sq8Query, kmeans,
};

pub(crate) use search::BlockScratch;
pub(crate) use tuning::{BEAMS, Tuning};

use crate::vector::squared_length;

/// Rows that searches may begin at, at most.
const ENTRIES: usize = 1024;

/// Groups that they are in, at most: as many as one scan compares.
const GROUPS: usize = BLOCK_LANES;

/// Groups that a search looks at.
const OPENED: usize = 2;

/// Passes over the rows for the middles of the groups, which need not be exact.
const PASSES: usize = 4;

/// Of those, how many a search begins at. A first choice.
pub(crate) const STARTS: usize = 4;

/// Seed of the rotation: any will do, and one that is fixed gives the same codes everywhere.
const ROTATION_SEED: u64 = 0x0B10_C5ED;

/// Why blocks could not be set up.
#[derive(Debug)]
pub(crate) enum BlocksError {
    Isa(IsaError),
    Edges(EdgeError),
    /// The bytes are no parameters of blocks.
    Damaged,
}

/// What blocks are made and read with.
pub(crate) struct Blocks {
    metric: Metric,
    rotation: Rotation,
    edges: EdgeCodes,
    own: Sq8,
    kernel: CodeKernel,
    /// The middles of the groups.
    middles: Vec<u8>,
    groups: Vec<Vec<Entries>>,
    /// Standard deviation of a squared distance by code, over the root of that distance.
    spread: f32,
    /// Mean squared distance of a row from its code.
    margin: f32,
    tuning: Tuning,
}

/// Up to 32 rows to begin at.
struct Entries {
    nodes: Vec<(NodeId, u32)>,
    codes: Vec<u8>,
}

/// A query, prepared for blocks; reused.
#[derive(Default)]
pub(crate) struct BlockQuery {
    turned: Vec<f32>,
    edges: EdgeQuery,
    own: Sq8Query,
}

/// The metric that blocks estimate: cosine is L2 of unit rows.
pub(crate) fn block_metric(metric: Metric) -> Option<Metric> {
    match metric {
        Metric::L2 | Metric::Cosine => Some(Metric::L2),
        Metric::InnerProduct => Some(Metric::InnerProduct),
        _ => None,
    }
}

impl Blocks {
    /// Parameters from a trained code of rows, their mean, a typical squared length of an edge, and bits per dimension of one.
    pub(crate) fn new(
        metric: Metric,
        own: Sq8,
        mean: &[f32],
        edge: (f32, usize),
    ) -> Result<Self, BlocksError> {
        let mut rotation = Rotation::hadamard(own.dim(), ROTATION_SEED).map_err(BlocksError::Isa)?;
        if metric == Metric::L2 {
            rotation = rotation.with_mean(mean);
        }
        Self::from_parts(metric, own, rotation, edge)
    }

    fn from_parts(
        metric: Metric,
        own: Sq8,
        rotation: Rotation,
        (unit, bits): (f32, usize),
    ) -> Result<Self, BlocksError> {
        let config = EdgeConfig { unit, bits, ..EdgeConfig::new(metric, rotation.out_dim()) };
        let edges = EdgeCodes::new(config).map_err(BlocksError::Edges)?;
        let kernel = CodeKernel::new(own.dim()).map_err(BlocksError::Isa)?;
        // A code is off by up to half a step, evenly: a variance of step² / 12. |q - x|² moves by twice |q - x| times that
        // of one direction.
        let square: f32 = own.steps().iter().map(|step| step * step).sum::<f32>() / own.dim() as f32;
        let spread = if own.is_lossless() { 0.0 } else { 2.0 * (square / 12.0).sqrt() };
        let margin = if own.is_lossless() { 0.0 } else { square * own.dim() as f32 / 12.0 };
        Ok(Self {
            metric,
            rotation,
            edges,
            own,
            kernel,
            middles: Vec::new(),
            groups: Vec::new(),
            margin,
            spread,
            tuning: Tuning::default(),
        })
    }

    pub(crate) fn tuning(&self) -> &Tuning {
        &self.tuning
    }

    pub(crate) fn tune(&mut self, tuning: Tuning) {
        self.tuning = tuning;
    }

    /// Bits per dimension of an edge.
    pub(crate) fn bits(&self) -> usize {
        self.edges.config().bits
    }

    /// Bytes behind the ids of a list.
    pub(crate) fn payload_bytes(&self) -> usize {
        self.bias_at() + size_of::<f32>()
    }

    fn bias_at(&self) -> usize {
        (self.edges.payload_bytes() + self.own.dim()).next_multiple_of(size_of::<f32>())
    }

    /// Makes `nodes`, with their generations, whose rows `row` knows, the rows that searches begin at: evenly [`ENTRIES`] of them.
    pub(crate) fn set_entries<'r>(&mut self, nodes: &[(NodeId, u32)], row: impl Fn(NodeId) -> &'r [f32]) {
        let step = nodes.len().div_ceil(ENTRIES).max(1);
        let chosen: Vec<(NodeId, u32)> = nodes.iter().copied().step_by(step).collect();
        let dim = self.edges.dim();
        let rows: Vec<f32> = chosen.iter().flat_map(|&(node, _)| self.turned(row(node))).collect();
        let row_of = |at: usize| &rows[at * dim..][..dim];
        let encode = |rows: &[&[f32]]| {
            let mut codes = vec![0; self.edges.payload_bytes()];
            self.edges.encode(&vec![0.0; dim], rows, &mut codes);
            codes
        };
        let wanted = chosen.len().div_ceil(BLOCK_LANES).min(GROUPS);
        let config = KMeansConfig { passes: PASSES, ..KMeansConfig::new(wanted, ROTATION_SEED) };
        let middles = match kmeans(&rows, dim, chosen.len(), dim, &config, &Serial, &|| false) {
            Ok(found) => found.centroids,
            // No rows, or values without a distance: any will do.
            Err(_) => (0..wanted).flat_map(|at| row_of(at).to_vec()).collect(),
        };
        let middles: Vec<&[f32]> = middles.chunks_exact(dim).collect();
        let mut members = vec![Vec::new(); middles.len()];
        for at in 0..chosen.len() {
            let distance =
                |middle: &[f32]| middle.iter().zip(row_of(at)).map(|(a, b)| (a - b) * (a - b)).sum::<f32>();
            let nearest =
                (0..middles.len()).min_by(|&a, &b| distance(middles[a]).total_cmp(&distance(middles[b])));
            members[nearest.unwrap_or(0)].push(at);
        }
        let groups = members.iter().map(|members| {
            let part = |part: &[usize]| Entries {
                nodes: part.iter().map(|&at| chosen[at]).collect(),
                codes: encode(&part.iter().map(|&at| row_of(at)).collect::<Vec<_>>()),
            };
            members.chunks(BLOCK_LANES).map(part).collect()
        });
        let (groups, middles) = (groups.collect(), encode(&middles));
        (self.groups, self.middles) = (groups, middles);
    }

    fn turned(&self, row: &[f32]) -> Vec<f32> {
        let mut turned = vec![0.0; self.rotation.out_dim()];
        self.rotation.rotate(row, &mut turned);
        turned
    }

    /// Fills the payload of a list of `node` (B1); see `orthant_graph::Space::fill_payload` for the shapes.
    pub(crate) fn fill<'r>(
        &self,
        node: NodeId,
        ids: &[u32],
        old: Option<(&[u32], &[u8])>,
        payload: &mut [u8],
        row: impl Fn(NodeId) -> &'r [f32],
    ) {
        thread_local! {
            static TURNED: RefCell<(Vec<f32>, Vec<f32>)> = const { RefCell::new((Vec::new(), Vec::new())) };
        }
        let edge_bytes = self.edges.payload_bytes();
        let old = old.filter(|(_, old)| old.len() == payload.len());
        let (edges, own) = payload.split_at_mut(edge_bytes);
        let mine = row(node);
        match old {
            Some((_, old)) => own.copy_from_slice(&old[edge_bytes..]),
            None => {
                own.fill(0);
                let bias = self.own.encode(mine, &mut own[..mine.len()]);
                let at = self.bias_at() - edge_bytes;
                own[at..].copy_from_slice(&bias.to_ne_bytes());
            }
        }
        match old {
            Some((words, old)) => {
                // Most edges stay where they are.
                edges.copy_from_slice(&old[..edge_bytes]);
                (named(ids).count()..named(words).count())
                    .for_each(|lane| self.edges.clear_edge(lane, edges));
            }
            None => self.edges.clear(edges),
        }
        TURNED.with_borrow_mut(|(from, to)| {
            from.resize(self.rotation.out_dim(), 0.0);
            to.resize(self.rotation.out_dim(), 0.0);
            let mut is_turned = false;
            for (lane, id) in named(ids).enumerate() {
                let before = old.and_then(|(words, old)| {
                    named(words).position(|other| other == id).map(|lane| (&old[..edge_bytes], lane))
                });
                if let Some((old, old_lane)) = before {
                    if old_lane == lane {
                        continue;
                    }
                    self.edges.copy_edge(old, old_lane, edges, lane);
                    continue;
                }
                if !is_turned {
                    self.rotation.rotate(mine, from);
                    is_turned = true;
                }
                self.rotation.rotate(row(id), to);
                self.edges.encode_edge(from, to, lane, edges);
            }
        });
    }

    /// Prepares a query and chooses where its search begins, nearest first, among what `is_there`: a node and its generation.
    pub(crate) fn prepare(
        &self,
        query: &[f32],
        prepared: &mut BlockQuery,
        starts: &mut Vec<Neighbor>,
        is_there: impl Fn(NodeId, u32) -> bool,
    ) {
        self.prepare_query(query, prepared);
        let origin = match self.metric {
            Metric::L2 => squared_length(&prepared.turned) as f32,
            _ => 0.0,
        };
        if self.groups.is_empty() {
            return starts.clear();
        }
        // Whether a node is there is two reads from anywhere: asked of the nearest, which nearly always are.
        let (mut nearest, mut count) = self.nearest_entries(prepared, origin, |_, _| true);
        if !nearest[..count].iter().all(|&(start, generation)| is_there(start.node, generation)) {
            (nearest, count) = self.nearest_entries(prepared, origin, is_there);
        }
        starts.clear();
        starts.extend(nearest[..count].iter().map(|&(start, _)| start));
    }

    /// The nearest entries of the groups that are opened, nearest first, with their generations, and how many there are.
    fn nearest_entries(
        &self,
        prepared: &BlockQuery,
        origin: f32,
        is_there: impl Fn(NodeId, u32) -> bool,
    ) -> ([(Neighbor, u32); STARTS], usize) {
        let mut estimates = [0.0; BLOCK_LANES];
        self.edges.estimate(&prepared.edges, origin, &self.middles, f32::INFINITY, &mut estimates);
        let mut opened = [(f32::INFINITY, usize::MAX); OPENED];
        for (group, &estimate) in estimates.iter().enumerate().take(self.groups.len()) {
            let place = opened.partition_point(|&(other, _)| other <= estimate);
            if place < OPENED {
                opened[place..].rotate_right(1);
                opened[place] = (estimate, group);
            }
        }
        let mut nearest = [(Neighbor { node: NodeId::MAX, distance: f32::INFINITY }, 0); STARTS];
        let mut count = 0;
        let groups = opened.iter().filter_map(|&(_, group)| self.groups.get(group));
        for entries in groups.flatten() {
            let bound = if count < STARTS { f32::INFINITY } else { nearest[STARTS - 1].0.distance };
            let mut near =
                self.edges.estimate(&prepared.edges, origin, &entries.codes, bound, &mut estimates);
            while near != 0 {
                let lane = near.trailing_zeros() as usize;
                near &= near - 1;
                let (node, generation) = entries.nodes[lane];
                let distance = estimates[lane];
                let place = nearest[..count].partition_point(|(other, _)| other.distance <= distance);
                if place < STARTS && is_there(node, generation) {
                    count = STARTS.min(count + 1);
                    nearest[place..count].rotate_right(1);
                    nearest[place] = (Neighbor { node, distance }, generation);
                }
            }
        }
        (nearest, count)
    }

    /// Prepares a query alone.
    pub(crate) fn prepare_query(&self, query: &[f32], prepared: &mut BlockQuery) {
        prepared.turned.resize(self.rotation.out_dim(), 0.0);
        self.rotation.rotate(query, &mut prepared.turned);
        self.edges.prepare(&prepared.turned, &mut prepared.edges);
        self.own.prepare(self.metric, query, &mut prepared.own);
    }

    /// Distances from a prepared query.
    pub(crate) fn from<'a>(&'a self, query: &'a BlockQuery) -> Scorer<'a> {
        Scorer { blocks: self, query }
    }

    /// How far a row may lie by code that is nearer than `distance` in truth: as many standard deviations, of both codes, as
    /// the [tuning](Tuning) says.
    pub(crate) fn doubtful_below(&self, distance: f32) -> f32 {
        match self.metric {
            Metric::L2 => distance + self.tuning.doubt * 1.414 * self.spread * distance.max(0.0).sqrt(),
            _ => f32::INFINITY,
        }
    }

    /// The parameters as bytes: `[unit f32][bits u32][rotation length u32][rotation][code of rows]`, little-endian.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let rotation = self.rotation.to_bytes();
        let mut bytes = self.edges.config().unit.to_le_bytes().to_vec();
        bytes.extend((self.bits() as u32).to_le_bytes());
        // A rotation takes a few bytes per dimension, of which there are 65,536 at most.
        bytes.extend((rotation.len() as u32).to_le_bytes());
        bytes.extend(rotation);
        bytes.extend(self.own.to_bytes());
        bytes
    }

    /// The parameters that [`to_bytes`](Self::to_bytes) wrote for an index of this metric and dimension. Without entries.
    pub(crate) fn from_bytes(bytes: &[u8], metric: Metric, dim: usize) -> Result<Self, BlocksError> {
        let (unit, rest) = bytes.split_first_chunk::<4>().ok_or(BlocksError::Damaged)?;
        let (bits, rest) = rest.split_first_chunk::<4>().ok_or(BlocksError::Damaged)?;
        let (length, rest) = rest.split_first_chunk::<4>().ok_or(BlocksError::Damaged)?;
        let (rotation, own) =
            rest.split_at_checked(u32::from_le_bytes(*length) as usize).ok_or(BlocksError::Damaged)?;
        let rotation = Rotation::from_bytes(rotation).map_err(|_| BlocksError::Damaged)?;
        let own = Sq8::from_bytes(own).map_err(|_| BlocksError::Damaged)?;
        if rotation.dim() != dim || own.dim() != dim {
            return Err(BlocksError::Damaged);
        }
        let edge = (f32::from_le_bytes(*unit), u32::from_le_bytes(*bits) as usize);
        Self::from_parts(metric, own, rotation, edge)
    }
}

/// The ids of a list, in the order of its lanes.
pub(crate) fn named(ids: &[u32]) -> impl Iterator<Item = NodeId> + '_ {
    ids.iter().take_while(|&&word| word != u32::MAX).map(|&word| word & !(1 << 31))
}

/// Distances from one query, read out of blocks.
pub(crate) struct Scorer<'a> {
    blocks: &'a Blocks,
    query: &'a BlockQuery,
}

impl BlockScorer for Scorer<'_> {
    #[inline(always)]
    fn node(&self, payload: &[u8]) -> f32 {
        let blocks = self.blocks;
        let own = &payload[blocks.edges.payload_bytes()..];
        let sum = blocks.kernel.pair(self.query.own.weights(), &own[..blocks.own.dim()]);
        let bias = payload[blocks.bias_at()..].first_chunk().map_or(0.0, |bytes| f32::from_ne_bytes(*bytes));
        self.query.own.distance(sum, bias)
    }

    #[inline(always)]
    fn neighbors(&self, distance: f32, payload: &[u8], bound: f32, out: &mut [f32; BLOCK_LANES]) -> u32 {
        let edges = &payload[..self.blocks.edges.payload_bytes()];
        self.blocks.edges.estimate(&self.query.edges, distance, edges, bound, out)
    }
}

#[cfg(test)]
mod tests;
