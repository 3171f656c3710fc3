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

use orthant_kernels::TileKernel;

use crate::grid::Codes;
use crate::reservoir::{OfferScratch, Reservoirs};

/// Rows per group: the lanes of the widest panel.
pub(crate) const GROUP: usize = 16;

/// What joins reuse.
#[derive(Default)]
pub(crate) struct JoinScratch {
    ids: Vec<u32>,
    group: Vec<u8>,
    group_norms: Vec<i32>,
    packed: Vec<u8>,
    rows: Vec<u8>,
    norms: Vec<i32>,
    distances: Vec<i32>,
    turned: Vec<i32>,
    offer: OfferScratch,
}

/// Compares the rows of `group` with the neighbors of all their neighbors. `known: [rows × breadth]`, places without a
/// neighbor `u32::MAX`.
pub(crate) fn join(
    codes: &Codes,
    kernel: &TileKernel,
    group: &[u32],
    (known, breadth): (&[u32], usize),
    reservoirs: &Reservoirs<'_>,
    scratch: &mut JoinScratch,
) {
    let JoinScratch { ids, group: own, group_norms, packed, rows, norms, distances, turned, offer } = scratch;
    let of =
        |row: u32| known[row as usize * breadth..][..breadth].iter().copied().filter(|&id| id != u32::MAX);
    ids.clear();
    for &row in group {
        ids.extend(of(row));
    }
    ids.sort_unstable();
    ids.dedup();
    for place in 0..ids.len() {
        let id = ids[place];
        ids.extend(of(id));
    }
    ids.sort_unstable();
    ids.dedup();
    let stride = codes.stride();
    own.resize(group.len() * stride, 0);
    group_norms.resize(group.len(), 0);
    codes.gather(group, own, group_norms);
    packed.resize(kernel.packed_bytes(group.len()), 0);
    kernel.pack(own, stride, group.len(), packed);
    rows.resize(ids.len() * stride, 0);
    norms.resize(ids.len(), 0);
    codes.gather(ids, rows, norms);
    distances.resize(ids.len() * group.len(), 0);
    kernel.squared_distances(rows, stride, norms, packed, group_norms, distances, group.len());
    for (at, &row) in group.iter().enumerate() {
        turned.clear();
        turned.extend(distances.iter().skip(at).step_by(group.len()));
        reservoirs.offer(row, Some(row), ids, turned, offer);
    }
}
