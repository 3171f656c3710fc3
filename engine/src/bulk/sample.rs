//! What a graph is worth: a sample of points is searched, and what comes back compared with what is nearest.
//!
//! Points lie halfway between a row and a neighbor in the middle of its list: they are like rows but are none. The last neighbor
//! may be a row of another cluster, and halfway to it there is nothing. Points come from four quarters
//! of the rows, taken by number, each of which is judged as well: rows often come sorted by where they came from.

use orthant_build::Lists;
use orthant_graph::{NodeId, Scorer};
use orthant_kernels::Metric;

use crate::index::Index;
use crate::search::SearchParams;
use crate::space::Margin;

/// Quarters that are judged.
const PARTS: usize = 4;

/// Points per quarter: recall of 10 each is then known to about a point.
const PER_PART: usize = 64;

/// Neighbors looked for per point.
const K: usize = 10;

/// What is nearest on the grid that is compared again at full precision: the order of rows differs between both by a
/// place or two (99 of 100 nearest are the same on text-384).
pub(super) const KEPT: usize = 32;

/// How far the recall of a quarter may lie below the floor: three standard errors of 640 neighbors at 0.95.
const CHANCE: f64 = 0.03;

/// What the searches of a sample found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Found {
    /// recall@10 of all points.
    pub(super) recall: f64,
    /// Of the quarter where it is least.
    pub(super) worst: f64,
    /// Edges that were put in before.
    pub(super) mended: usize,
}

impl Found {
    /// Whether this is enough.
    pub(crate) fn reaches(&self, floor: f64) -> bool {
        self.recall >= floor && self.worst >= floor - CHANCE
    }
}

impl Index {
    /// Points halfway between rows and the neighbors in the middle of their lists, `[points × dim]`, quarter after quarter.
    pub(super) fn sample(&self, lists: &Lists) -> Vec<f32> {
        let (count, asked) = (self.rows.len(), (PARTS * PER_PART).min(self.rows.len()));
        let sampled = (0..asked).map(|at| at * count / asked);
        let pairs =
            sampled.filter_map(|row| Some((row as NodeId, *lists.of(row).get(lists.of(row).len() / 2)?)));
        let mut points = Vec::new();
        for (a, b) in pairs {
            if let (Some(a), Some(b)) = (self.rows.row(a), self.rows.row(b)) {
                let from = points.len();
                points.extend(a.iter().zip(b).map(|(a, b)| (a + b) * 0.5));
                if self.metric == Metric::Cosine {
                    crate::vector::normalize(&mut points[from..]);
                }
            }
        }
        points
    }

    /// What part of the `K` nearest of `points` a search finds; `truth` has some more of them each.
    pub(super) fn search_sample(&self, points: &[f32], truth: &[Vec<u32>], ef: usize) -> Found {
        let mut parts = [(0, 0); PARTS];
        let mut searcher = self.searcher();
        let (mut distances, mut nodes, mut own) = (Vec::new(), Vec::<NodeId>::new(), Vec::new());
        for (at, (point, near)) in points.chunks_exact(self.dim).zip(truth).enumerate() {
            distances.clear();
            distances.resize(near.len(), 0.0);
            let scorer = self.space().from(point, Margin::WIDE_SEARCH);
            scorer.score_batch(near, &mut distances);
            distances.sort_unstable_by(f32::total_cmp);
            let k = K.min(near.len());
            let Some(&bound) = distances.get(k.wrapping_sub(1)) else { continue };
            let (found, asked) = &mut parts[at * PARTS / truth.len()];
            *asked += k;
            let Ok(hits) = searcher.search(point, SearchParams::new(k, ef)) else { continue };
            nodes.clear();
            nodes.extend(hits.iter().map(|hit| hit.node));
            own.clear();
            own.resize(nodes.len(), 0.0);
            scorer.score_batch(&nodes, &mut own);
            // As near as the last is as good as it.
            *found += own.iter().filter(|&&distance| distance <= bound).count();
        }
        let share = |found: usize, asked: usize| if asked == 0 { 1.0 } else { found as f64 / asked as f64 };
        let all = parts.iter().fold((0, 0), |all, part| (all.0 + part.0, all.1 + part.1));
        let worst = parts.iter().map(|&(found, asked)| share(found, asked)).fold(1.0, f64::min);
        Found { recall: share(all.0, all.1), worst, mended: 0 }
    }
}
