//! The gate: which codes the lists of an index carry, decided by what they find in it.
//!
//! One bit per dimension is right for most data and wrong for some: rows of few dimensions, rows that differ in
//! places that their codes do not show. So points are made up that are no rows but lie where rows lie, their true neighbors
//! are found by comparing all rows, and each kind of code has to find them in the graph that it would be used in.
//!
//! * **G1** Each candidate is asked for the narrowest beam that reaches the target; the cheapest of those that do is
//!   taken. None that does not is taken while whole rows do better: then the index goes on without codes.
//! * **G2** Nothing is timed: the same rows and the same seed give the same choice. Cost is beam × (what an expansion costs
//!   beside memory + bytes of a block), fitted to figures of one machine (two sets, one day).
//! * **G3** Where heaps of rows are equal, rows are compared whole: with half of the rows equal a search by codes found 0.4 of what
//!   whole rows found, at a beam narrower than the heap. Why rows do better there is not known.
//!
//! Cost: an exact scan per point, of which there are [`POINTS`]; up to ten searches for each kind of code, and some 120 to learn the
//! stops of the one taken.

use orthant_graph::NodeId;
use orthant_kernels::Metric;

use crate::blocks::{BEAMS, Tuning, block_metric, named};
use crate::drift::Drift;
use crate::index::Index;
use crate::recall::recall_at_k;
use crate::search::SearchParams;

/// Points that are asked for: at recall 0.95 the standard error is half a percent or less.
const POINTS: usize = 200;

/// Neighbors that have to be found.
const K: usize = 10;

/// Rounds of halving in the search for a stop: to a thousandth of the distance.
const HALVINGS: usize = 10;

/// Stops are looked for up to here; at this distance of the nearest estimate nothing is found any more.
const WIDEST_STOP: f32 = 2.0;

/// A stop of a beam of several `k` that is no farther was not learned from anything.
const LEAST_STOP: f32 = 1.005;

/// Rows are in heaps when more than one point in so many has equal neighbors.
const HEAP_SHARE: usize = 20;

/// Recall that stops may cost on the points: their standard error.
const STOP_LOSS: f32 = 0.005;

/// Standard deviations of doubt that are tried, fewest first.
const DOUBTS: [f32; 5] = [0.5, 1.0, 1.5, 2.0, 3.0];

/// What an expansion costs beside its bytes, in bytes: on one machine an expansion took 0.31 µs of 896 bytes and 0.43 of 2240.
const FIXED_BYTES: usize = 2_500;

/// Stands for rows by code, one byte per dimension, among the bits per dimension of an edge.
pub(crate) const CODE_BITS: usize = 8;

/// What one kind of code was found to do.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Trial {
    /// Bits per dimension of an edge; 0: whole rows; 8: rows by code.
    pub bits: usize,
    /// The narrowest beam that reached the target, or else the widest that was tried.
    pub ef: usize,
    /// The recall@10 with it.
    pub recall: f32,
    /// Bytes of a list.
    pub list_bytes: usize,
}

/// What the gate decided, and on what evidence.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct Choice {
    /// Bits per dimension of an edge; 0: the search compares whole rows; 8: rows by code, one byte per dimension.
    pub bits: usize,
    /// The recall@10 that was asked for.
    pub target: f32,
    /// Points that were searched for. 0 when the bits were given.
    pub points: usize,
    /// What was tried, in this order.
    pub trials: Vec<Trial>,
}

impl Choice {
    /// Bits that the user chose.
    pub(crate) fn given(bits: usize) -> Self {
        Self { bits, ..Self::default() }
    }

    /// Decides (G1).
    pub(crate) fn decide(&mut self) {
        let cost = |trial: &&Trial| trial.ef * (FIXED_BYTES + trial.list_bytes);
        let codes = || self.trials.iter().filter(|trial| trial.bits > 0);
        let cheapest = codes().filter(|trial| trial.recall >= self.target).min_by_key(cost);
        // None gets there: the one that gets nearest, but for whole rows that get nearer.
        let nearest =
            self.trials.iter().max_by(|a, b| a.recall.total_cmp(&b.recall).then(b.bits.cmp(&a.bits)));
        self.bits = cheapest.or(nearest).map_or(0, |trial| trial.bits);
    }

    /// `[bits u32][target f32][points u32]`, then per trial `[bits u32][ef u32][recall f32][bytes u32]`, little-endian.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend((self.bits as u32).to_le_bytes());
        bytes.extend(self.target.to_le_bytes());
        bytes.extend((self.points as u32).to_le_bytes());
        for trial in &self.trials {
            bytes.extend((trial.bits as u32).to_le_bytes());
            bytes.extend((trial.ef as u32).to_le_bytes());
            bytes.extend(trial.recall.to_le_bytes());
            bytes.extend((trial.list_bytes as u32).to_le_bytes());
        }
        bytes
    }

    /// What [`to_bytes`](Self::to_bytes) wrote.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let word = |bytes: &[u8], place: usize| {
            bytes[4 * place..4 * place + 4].try_into().ok().map(u32::from_le_bytes)
        };
        let (head, trials) = bytes.split_at_checked(12)?;
        if !trials.len().is_multiple_of(16) {
            return None;
        }
        let trial = |bytes: &[u8]| {
            Some(Trial {
                bits: word(bytes, 0)? as usize,
                ef: word(bytes, 1)? as usize,
                recall: f32::from_bits(word(bytes, 2)?),
                list_bytes: word(bytes, 3)? as usize,
            })
        };
        let choice = Self {
            bits: word(head, 0)? as usize,
            target: f32::from_bits(word(head, 1)?),
            points: word(head, 2)? as usize,
            trials: trials.chunks_exact(16).map(trial).collect::<Option<_>>()?,
        };
        matches!(choice.bits, 0 | 1 | 2 | 4 | CODE_BITS).then_some(choice)
    }
}

/// Points, and their true neighbors.
pub(crate) struct Exam {
    points: Vec<f32>,
    truth: crate::Batch,
    /// Points that were made of a row with equal neighbors.
    equal: usize,
}

impl Index {
    /// Makes up points: a row, moved by the difference of two of its neighbors, which leaves it among them without being
    /// one of them. None where rows are so few that comparing them all is no work.
    pub(crate) fn exam(&self) -> Option<Exam> {
        let live: Vec<NodeId> = self.live_nodes().collect();
        if live.len() < 10 * K {
            return None;
        }
        let step = live.len().div_ceil(POINTS);
        let mut points = Vec::with_capacity(POINTS * self.dim);
        // Where neighbors are equal, that of the point before: what is asked about equal rows does not lie on them either.
        let mut way: Vec<f32> = Vec::with_capacity(self.dim);
        let mut equal = 0;
        let pin = self.graph.pin();
        for (turn, &node) in live.iter().step_by(step).enumerate() {
            let Some((words, _)) = self.graph.read_block(node, &pin) else { continue };
            let named: Vec<NodeId> = named(words).filter(|&other| self.graph.is_live(other)).collect();
            if named.len() < 2 {
                continue;
            }
            let (from, to) = (named[turn % named.len()], named[(turn + 1) % named.len()]);
            // SAFETY: the nodes were seen live under the pin (N4), and live rows are whole.
            let row = |node| unsafe { self.rows.row_unchecked(node) };
            if row(from) == row(to) {
                equal += 1;
            } else {
                way.clear();
                way.extend(row(from).iter().zip(row(to)).map(|(&from, &to)| 0.7 * (to - from)));
            }
            if way.is_empty() {
                continue;
            }
            let start = points.len();
            points.extend(row(node).iter().zip(&way).map(|(&at, &way)| at + way));
            if points[start..].iter().any(|value| !value.is_finite()) {
                points.truncate(start);
            }
        }
        drop(pin);
        let truth = self.search_exact(&points, K).ok().filter(|_| !points.is_empty())?;
        Some(Exam { points, truth, equal })
    }

    /// How the index as it is does: the narrowest beam that reaches `target`.
    pub(crate) fn sit(&self, exam: &Exam, target: f32) -> Trial {
        let config = self.graph.config();
        let list_bytes = config.m0().next_multiple_of(16) * 4 + config.payload_bytes().next_multiple_of(64);
        let by_code = self.codes.as_ref().map_or(0, |_| CODE_BITS);
        let bits = self.blocks.as_ref().map_or(by_code, |blocks| blocks.bits());
        let mut trial = Trial { bits, ef: 0, recall: 0.0, list_bytes };
        for ef in BEAMS {
            (trial.ef, trial.recall) = (ef, self.recall_in(exam, ef));
            if trial.recall >= target {
                break;
            }
        }
        trial
    }

    /// What rows by code cost in recall beside whole rows, where both search as wide.
    pub(crate) fn price_codes(&mut self) {
        let Some(exam) = self.exam() else { return };
        let mut choice = Choice { target: self.target_recall, ..Choice::given(CODE_BITS) };
        choice.points = exam.points(self.dim);
        let mut coded = self.sit(&exam, self.target_recall);
        let codes = self.codes.take();
        let mut whole = self.sit(&exam, self.target_recall);
        // The wider of both beams for both.
        whole.ef = whole.ef.max(coded.ef);
        coded.ef = whole.ef;
        whole.recall = self.recall_in(&exam, whole.ef);
        self.codes = codes;
        coded.recall = self.recall_in(&exam, coded.ef);
        choice.trials = vec![whole, coded];
        self.choice = Some(choice);
        self.drift = Drift::new(self.len() as u64, 0);
    }

    /// Learns what searches over the blocks do beside the codes, for a beam of `ef` that reaches the target.
    pub(crate) fn learn(&mut self, exam: &Exam, ef: usize) {
        if self.blocks.is_none() {
            return;
        }
        let is_l2 = block_metric(self.metric) == Some(Metric::L2);
        let mut tuning = Tuning::default();
        if is_l2 && exam.points(self.dim) >= POINTS / 2 {
            let asked: Vec<f64> = BEAMS.iter().map(|&ef| self.expansions(exam, ef, &tuning)).collect();
            for (&ef, asked) in BEAMS.iter().zip(asked) {
                let (mut low, mut high) = (1.0, WIDEST_STOP);
                for _ in 0..HALVINGS {
                    let stop = 0.5 * (low + high);
                    let trial = Tuning { stops: vec![stop; BEAMS.len()], ..tuning.clone() };
                    if self.expansions(exam, ef, &trial) > asked { high = stop } else { low = stop }
                }
                // At most what the beam costs without it.
                tuning.stops.push(low);
            }
            if !self.are_sound(exam, &tuning) {
                tuning.stops.clear();
            }
            self.set_tuning(tuning.clone());
            let count = (K * exam.points(self.dim)) as f32;
            let recall = self.recall_in(exam, ef);
            for doubt in DOUBTS {
                self.set_tuning(Tuning { doubt, ..tuning.clone() });
                // One result more or less is chance.
                if self.recall_in(exam, ef) * count >= recall * count - 1.5 {
                    tuning.doubt = doubt;
                    break;
                }
            }
        }
        self.set_tuning(tuning);
    }

    /// Whether no beam finds less with the stops than without, and wide ones look beyond the k-th result at all. What is
    /// learned is a mean cost: where points differ by far in what they cost, the costly ones leave the others next to nothing.
    fn are_sound(&mut self, exam: &Exam, tuning: &Tuning) -> bool {
        let is_wide = |&(&ef, _): &(&usize, &f32)| ef >= 4 * K;
        if BEAMS.iter().zip(&tuning.stops).filter(is_wide).any(|(_, &stop)| stop <= LEAST_STOP) {
            return false;
        }
        BEAMS.iter().all(|&ef| {
            self.set_tuning(Tuning { stops: Vec::new(), ..tuning.clone() });
            let without = self.recall_in(exam, ef);
            self.set_tuning(tuning.clone());
            self.recall_in(exam, ef) >= without - STOP_LOSS
        })
    }

    fn set_tuning(&mut self, tuning: Tuning) {
        if let Some(blocks) = &mut self.blocks {
            blocks.tune(tuning);
        }
    }

    /// Mean number of nodes that a search expands.
    fn expansions(&mut self, exam: &Exam, ef: usize, tuning: &Tuning) -> f64 {
        self.set_tuning(tuning.clone());
        let mut searcher = self.searcher();
        let mut expanded = 0;
        for point in exam.points.chunks_exact(self.dim) {
            if searcher.search(point, SearchParams::new(K, ef)).is_ok() {
                expanded += searcher.scratch.block.expanded();
            }
        }
        expanded as f64 / exam.points(self.dim) as f64
    }

    fn recall_in(&self, exam: &Exam, ef: usize) -> f32 {
        let count = exam.points.len() / self.dim;
        let Ok(found) = self.search_batch(&exam.points, SearchParams::new(K, ef)) else { return 0.0 };
        let of_point = |point| {
            let (found, truth): (Vec<_>, Vec<_>) =
                (found.hits(point).collect(), exam.truth.hits(point).collect());
            recall_at_k(&found, &truth, K)
        };
        ((0..count).map(of_point).sum::<f64>() / count as f64) as f32
    }
}

impl Exam {
    pub(crate) fn points(&self, dim: usize) -> usize {
        self.points.len() / dim
    }

    /// Whether so many rows are equal that they stand for each other in lists (G3).
    pub(crate) fn has_heaps(&self, dim: usize) -> bool {
        self.equal * HEAP_SHARE > self.points(dim)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trial(bits: usize, ef: usize, recall: f32, list_bytes: usize) -> Trial {
        Trial { bits, ef, recall, list_bytes }
    }

    fn decided(trials: &[Trial]) -> usize {
        let mut choice = Choice { target: 0.95, points: 200, trials: trials.to_vec(), bits: 0 };
        choice.decide();
        assert_eq!(Choice::from_bytes(&choice.to_bytes()), Some(choice.clone()));
        choice.bits
    }

    #[test]
    fn the_cheapest_that_reaches_the_target_is_taken() {
        assert_eq!(decided(&[trial(0, 16, 0.99, 128), trial(1, 64, 0.96, 960), trial(2, 48, 0.95, 1472)]), 2);
        assert_eq!(
            decided(&[trial(0, 16, 0.99, 128), trial(1, 48, 0.96, 2240), trial(2, 48, 0.97, 3776)]),
            1
        );
    }

    #[test]
    fn codes_that_lose_are_not_taken() {
        assert_eq!(
            decided(&[trial(0, 16, 0.99, 128), trial(1, 256, 0.7, 960), trial(4, 256, 0.94, 2000)]),
            0
        );
        assert_eq!(decided(&[trial(0, 256, 0.8, 128), trial(1, 256, 0.7, 960), trial(2, 256, 0.9, 2000)]), 2);
        assert_eq!(decided(&[]), 0);
    }

    #[test]
    fn damaged_bytes_are_refused() {
        assert_eq!(Choice::from_bytes(&[1; 13]), None);
        assert_eq!(Choice::from_bytes(&[3; 12]), None);
    }
}
