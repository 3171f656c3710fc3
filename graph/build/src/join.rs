//! Neighbors of neighbors: what the balls missed.
//!
//! Two near rows may share no ball; they nearly always share a neighbor (Dong et al. 2011). Rows are taken in groups that
//! lie near each other, so that the neighbors of their neighbors are largely the same: the union is compared with the
//! whole group in one tile.
//!
//! * **J1** What is known at the start is written down first, and only that is read: the outcome is the same in
//!   whatever order groups are joined.
//!
//! Cost: `4 · breadth` bytes per row; per group, one gather of the union and one tile.

use std::ops::Range;

use orthant_kernels::TileKernel;

use crate::grid::Codes;
use crate::reservoir::{OfferScratch, Reservoirs};

/// Rows per group: the lanes of the widest panel.
pub(crate) const GROUP: usize = 16;

/// What joins reuse.
#[derive(Default)]
pub(crate) struct JoinScratch {
    /// The round in which each row was last seen.
    seen: Vec<u32>,
    round: u32,
    near: Vec<u32>,
    ids: Vec<u32>,
    packed: Vec<u8>,
    rows: Vec<u8>,
    norms: Vec<i32>,
    distances: Vec<i32>,
    offer: OfferScratch,
}

impl JoinScratch {
    /// Starts a round; there are `count` rows.
    fn begin(&mut self, count: usize) {
        self.seen.resize(count, 0);
        self.round = self.round.checked_add(1).unwrap_or_else(|| {
            self.seen.fill(0);
            1
        });
        self.near.clear();
        self.ids.clear();
    }
}

/// Compares the rows of `group` with the neighbors of all their neighbors. `known: [rows × breadth]`, places without a
/// neighbor `u32::MAX`.
pub(crate) fn join(
    codes: &Codes,
    kernel: &TileKernel,
    group: Range<u32>,
    (known, breadth): (&[u32], usize),
    reservoirs: &Reservoirs<'_>,
    scratch: &mut JoinScratch,
) {
    scratch.begin(codes.len());
    let JoinScratch { seen, round, near, ids, packed, rows, norms, distances, offer } = scratch;
    let mut is_new = |id: u32| std::mem::replace(&mut seen[id as usize], *round) != *round;
    let of =
        |row: u32| known[row as usize * breadth..][..breadth].iter().copied().filter(|&id| id != u32::MAX);
    near.extend(group.clone().flat_map(of).filter(|&id| is_new(id)));
    ids.extend_from_slice(near);
    ids.extend(near.iter().flat_map(|&id| of(id)).filter(|&id| is_new(id)));
    let (stride, count) = (codes.stride(), group.len());
    let (from, to) = (group.start as usize, group.end as usize);
    rows.resize(ids.len() * stride, 0);
    norms.resize(ids.len(), 0);
    codes.gather(ids, rows, norms);
    packed.resize(kernel.packed_bytes(ids.len()), 0);
    kernel.pack(rows, stride, ids.len(), packed);
    let width = ids.len().next_multiple_of(16);
    distances.resize(count * width, 0);
    let (own, own_norms) = (&codes.bytes()[from * stride..to * stride], &codes.norms()[from..to]);
    kernel.squared_distances(own, stride, own_norms, packed, norms, distances, width);
    for (row, distances) in group.zip(distances.chunks_exact(width.max(1))) {
        reservoirs.offer(kernel, row, Some(row), ids, &distances[..ids.len()], offer);
    }
}
