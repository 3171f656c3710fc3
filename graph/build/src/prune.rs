//! Which of a row's candidates become its neighbors.
//!
//! The heuristic of Malkov and Yashunin (2018, algorithm 4) with the slack of Subramanya et al. (2019): going outward, a
//! candidate is turned down when it is nearer to a neighbor taken before it than to the row, by a factor `slack` or
//! more. Distances among candidates come from tiles, block by block, until enough are
//! taken.
//!
//! * **S1** Chosen rows come first, nearest first; then those that were turned down, nearest first.
//! * **S2** All comparisons are of integers, so no rounding decides.

use orthant_kernels::TileKernel;

use crate::grid::Codes;
use crate::reservoir::{distance_of, id_of};

/// `slack` is counted in parts of this.
pub(crate) const SLACK_UNIT: u64 = 256;

/// Candidates whose distances to those before them are computed together: whole panels of the widest path.
const BLOCK: usize = 16;

/// What choosing reuses.
#[derive(Default)]
pub(crate) struct PruneScratch {
    ids: Vec<u32>,
    rows: Vec<u8>,
    norms: Vec<i32>,
    packed: Vec<u8>,
    distances: Vec<i32>,
    chosen: Vec<usize>,
    turned_down: Vec<u64>,
    ordered: Vec<u64>,
}

/// Chooses at most `limit` of `candidates` (keys in order) and puts them first (S1). Returns how many were chosen.
pub(crate) fn choose(
    codes: &Codes,
    kernel: &TileKernel,
    candidates: &mut [u64],
    limit: usize,
    slack: u64,
    scratch: &mut PruneScratch,
) -> usize {
    let PruneScratch { ids, rows, norms, packed, distances, chosen, turned_down, ordered } = scratch;
    let (count, stride) = (candidates.len(), codes.stride());
    ids.clear();
    ids.extend(candidates.iter().map(|&key| id_of(key)));
    rows.resize(count * stride, 0);
    norms.resize(count, 0);
    codes.gather(ids, rows, norms);
    packed.resize(kernel.packed_bytes(count), 0);
    kernel.pack(rows, stride, count, packed);
    let width = count.next_multiple_of(BLOCK);
    distances.resize(BLOCK * width, 0);
    chosen.clear();
    turned_down.clear();
    ordered.clear();
    for first in (0..count).step_by(BLOCK) {
        let last = count.min(first + BLOCK);
        if chosen.len() < limit {
            // Only those that come before a candidate can turn it down.
            let (left, left_norms) = (&rows[first * stride..last * stride], &norms[first..last]);
            let before = &packed[..kernel.packed_bytes(last)];
            kernel.squared_distances(left, stride, left_norms, before, &norms[..last], distances, width);
        }
        for (among, &candidate) in distances.chunks_exact(width).zip(&candidates[first..last]) {
            if chosen.len() == limit {
                turned_down.push(candidate);
                continue;
            }
            let own = distance_of(candidate) as u64 * SLACK_UNIT;
            if chosen.iter().all(|&taken| among[taken] as u64 * slack > own) {
                chosen.push(ordered.len() + turned_down.len());
                ordered.push(candidate);
            } else {
                turned_down.push(candidate);
            }
        }
    }
    ordered.extend_from_slice(turned_down);
    candidates.copy_from_slice(ordered);
    chosen.len()
}
