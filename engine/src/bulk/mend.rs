//! Ways to rows that searches do not find.
//!
//! Lists that are made at once know what is near. Where clusters lie far apart, few edges lead from one to another, and a search that the upper
//! levels led into the wrong one stays there: what is missed is missed whole (`benches/record`, bulk). Some rows are searched for, those
//! that are lost get an edge from where their searches ended, then twice as many others are asked, until few are lost.
//!
//! * **J1** Rows are drawn by their numbers alone, none twice: the index is the same on any number of threads (K1).
//!
//! Cost: at most half of the rows are searched for, by a quarter of the beam; one in 256 where few are lost.

use orthant_graph::NodeId;

use crate::bulk::{BulkPhase, BulkWatch};
use crate::index::Index;

/// The beam of the sample's searches over this is the beam here: what is found by less is found by all. With the whole beam 100,000 rows in
/// 2,000 tight clusters were found to 0.796 at ef 16 and 0.990 at ef 64 afterwards, with half 0.929 and 0.992, with a quarter 0.981 and 0.994.
const BEAM_SHARE: usize = 4;

/// Rows asked for first, if there are so many: 1 in 2 to the power of this.
const FIRST: u32 = 8;

/// And last.
const LAST: u32 = 2;

/// The least to ask for at first: what is lost of fewer says little.
const LEAST: usize = 256;

/// It ends where at most one of so many is lost.
const LOST_SHARE: usize = 100;

/// In which turn a row is asked for: 1 in 2^n rows in the n-th. Steps of the golden section fall anywhere, however rows are sorted.
fn turn_of(node: NodeId) -> u32 {
    (u64::from(node) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).leading_zeros() + 1
}

impl Index {
    /// Mends the graph until few rows are lost; returns how many edges that took. Ends early when the watch says so.
    pub(super) fn mend_in_turns(&mut self, ef: usize, watch: &dyn BulkWatch) -> usize {
        let count = self.rows.len();
        let first = (count / LEAST).max(1).ilog2().clamp(LAST, FIRST);
        let turns = (LAST..=first).rev();
        let (total, mut edges) = (turns.clone().count(), 0);
        for (done, turn) in turns.enumerate() {
            watch.progress(BulkPhase::Mending, done, total);
            if watch.is_cancelled() {
                break;
            }
            let nodes: Vec<NodeId> = (0..count as NodeId).filter(|&node| turn_of(node) == turn).collect();
            let mended = self.mend_some(&nodes, ef / BEAM_SHARE);
            edges += mended.edges;
            if mended.lost * LOST_SHARE <= mended.asked {
                break;
            }
        }
        watch.progress(BulkPhase::Mending, total, total);
        edges
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_turn_asks_for_twice_as_many() {
        for turn in LAST..=FIRST {
            // Sorted rows, and every tenth of them.
            for step in [1, 10] {
                let rows = (0..100_000).step_by(step);
                let asked = rows.clone().filter(|&node| turn_of(node) == turn).count();
                let share = rows.count() >> turn;
                assert!(
                    asked.abs_diff(share) <= 3 + share / 8,
                    "turn {turn}, step {step}: {asked} of {share}"
                );
            }
        }
    }
}
