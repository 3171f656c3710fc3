//! The gate: which codes the lists of an index carry, decided by what they find in it.
//!
//! One bit per dimension is right for most data and wrong for some: rows of few dimensions, rows that differ in
//! places that their codes do not show. So each kind of code is [examined](crate::exam) in the graph that it would be used in.
//!
//! * **G1** Each candidate is asked for the narrowest beam that reaches the target; of those that do the smallest is taken, but for a
//!   larger one that is cheaper by a fifth. None that does not is taken while whole rows do better: then the index goes on without codes.
//! * **G2** Nothing is timed: the same rows and the same seed give the same choice. Cost is that of any search + expansions ×
//!   (what one costs beside memory + bytes of a block), fitted to figures of one machine (three sets, one day).
//! * **G3** Where heaps of rows are equal, rows are compared whole: with half of the rows equal a search by codes found 0.4 of what
//!   whole rows found, at a beam narrower than the heap. Why rows do better there is not known.
//!
//! Cost: an exact scan per point, of which there are [`POINTS`]; up to fifteen searches for each kind of code, and some 120 to learn the
//! stops of the one taken.

use orthant_kernels::Metric;

use crate::blocks::{BEAMS, Tuning, block_metric};
use crate::drift::Drift;
use crate::exam::{Exam, K, POINTS};
use crate::index::Index;

/// Rounds of halving in the search for a stop: to a thousandth of the distance.
const HALVINGS: usize = 10;

/// Stops are looked for up to here; at this distance of the nearest estimate nothing is found any more.
const WIDEST_STOP: f32 = 2.0;

/// A stop of a beam of several `k` that is no farther was not learned from anything.
const LEAST_STOP: f32 = 1.005;

/// Recall that stops may cost on the points: their standard error.
const STOP_LOSS: f32 = 0.005;

/// Standard deviations of doubt that are tried, fewest first.
const DOUBTS: [f32; 5] = [0.5, 1.0, 1.5, 2.0, 3.0];

/// What an expansion costs beside its bytes, in bytes: on one machine one more took 0.332, 0.428 and 0.596 µs with lists of 1,344, 2,176 and
/// 3,840 bytes (200 dimensions), 0.269, 0.319 and 0.414 with 832, 1,280 and 2,176 (100 dimensions).
const FIXED_BYTES: usize = 1_700;

/// What a search costs beside its expansions, and what its first ones, which nobody knew of before, cost more: about 4 µs.
const SEARCH_BYTES: f32 = 40_000.0;

/// What more bits have to promise of the cost of fewer: lists of two bits take half as much memory again as those of one, and their promise is
/// kept in part. On sift-128 two bits promised 0.83 and took 0.93 to 1.05 of the time of one at recall 0.90 to 0.999 one by one, 0.97 to 1.16 in batches;
/// on text of 200 dimensions 0.86 and 0.98.
const WORTH: f32 = 0.8;

/// Of the expansions that two bits save beside one, four are expected to save that share of again: on 100 dimensions compared by the inner product
/// 150 and 30.
const SAVED_AGAIN: f32 = 0.4;

/// Stands for rows by code, one byte per dimension, among the bits per dimension of an edge.
pub(crate) const CODE_BITS: usize = 8;

/// Bytes of a trial in a file.
const TRIAL_BYTES: usize = 20;

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
    /// Lists that a search read with it, in the mean; 0 where lists carry no codes.
    pub expanded: f32,
    /// Bytes of a list.
    pub list_bytes: usize,
}

impl Trial {
    /// What a search costs, as if everything were bytes to be read (G2).
    fn cost(&self) -> f32 {
        let expanded = if self.expanded > 0.0 { self.expanded } else { self.ef as f32 };
        SEARCH_BYTES + expanded * (FIXED_BYTES + self.list_bytes) as f32
    }
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

/// Whether four bits may be cheaper than what was tried, with lists of `list_bytes`: where two bits save many expansions.
pub(crate) fn may_four_pay(trials: &[Trial], target: f32, list_bytes: usize) -> bool {
    let with = |bits| trials.iter().find(|trial| trial.bits == bits && trial.recall >= target);
    let (Some(one), Some(two)) = (with(1), with(2)) else { return false };
    let expanded = (two.expanded - SAVED_AGAIN * (one.expanded - two.expanded)).max(1.0);
    Trial { bits: 4, expanded, list_bytes, ..*two }.cost() < WORTH * two.cost().min(one.cost())
}

impl Choice {
    /// Bits that the user chose.
    pub(crate) fn given(bits: usize) -> Self {
        Self { bits, ..Self::default() }
    }

    /// Decides (G1).
    pub(crate) fn decide(&mut self) {
        let mut reaching: Vec<&Trial> =
            self.trials.iter().filter(|trial| trial.bits > 0 && trial.recall >= self.target).collect();
        reaching.sort_by_key(|trial| trial.list_bytes);
        let cheapest = reaching
            .into_iter()
            .reduce(|best, next| if next.cost() < WORTH * best.cost() { next } else { best });
        // None gets there: the one that gets nearest, but for whole rows that get nearer.
        let nearest =
            self.trials.iter().max_by(|a, b| a.recall.total_cmp(&b.recall).then(b.bits.cmp(&a.bits)));
        self.bits = cheapest.or(nearest).map_or(0, |trial| trial.bits);
    }

    /// `[bits u32][target f32][points u32]`, then per trial `[bits u32][ef u32][recall f32][bytes u32][expanded f32]`, little-endian.
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
            bytes.extend(trial.expanded.to_le_bytes());
        }
        bytes
    }

    /// What [`to_bytes`](Self::to_bytes) wrote, or did when trials did not say what they expanded.
    pub(crate) fn from_bytes(bytes: &[u8], is_old: bool) -> Option<Self> {
        let word = |bytes: &[u8], place: usize| {
            bytes[4 * place..4 * place + 4].try_into().ok().map(u32::from_le_bytes)
        };
        let (head, trials) = bytes.split_at_checked(12)?;
        let trial_bytes = if is_old { TRIAL_BYTES - 4 } else { TRIAL_BYTES };
        if !trials.len().is_multiple_of(trial_bytes) {
            return None;
        }
        let trial = |bytes: &[u8]| {
            Some(Trial {
                bits: word(bytes, 0)? as usize,
                ef: word(bytes, 1)? as usize,
                recall: f32::from_bits(word(bytes, 2)?),
                expanded: if is_old { 0.0 } else { f32::from_bits(word(bytes, 4)?) },
                list_bytes: word(bytes, 3)? as usize,
            })
        };
        let choice = Self {
            bits: word(head, 0)? as usize,
            target: f32::from_bits(word(head, 1)?),
            points: word(head, 2)? as usize,
            trials: trials.chunks_exact(trial_bytes).map(trial).collect::<Option<_>>()?,
        };
        matches!(choice.bits, 0 | 1 | 2 | 4 | CODE_BITS).then_some(choice)
    }
}

impl Index {
    /// How the index as it is does: the narrowest beam that reaches `target`.
    pub(crate) fn sit(&self, exam: &Exam, target: f32) -> Trial {
        let config = self.graph.config();
        let list_bytes = config.m0().next_multiple_of(16) * 4 + config.payload_bytes().next_multiple_of(64);
        let by_code = self.codes.as_ref().map_or(0, |_| CODE_BITS);
        let bits = self.blocks.as_ref().map_or(by_code, |blocks| blocks.bits());
        let mut trial = Trial { bits, ef: 0, recall: 0.0, expanded: 0.0, list_bytes };
        // The widest beam that is known not to do.
        let mut short = 0;
        for ef in BEAMS {
            (trial.ef, trial.recall) = (ef, self.recall_in(exam, ef));
            if trial.recall >= target {
                break;
            }
            short = ef;
        }
        // Halving what is between them: codes differ by less than the beams of that ladder do.
        while trial.recall >= target && trial.ef - short > (trial.ef / 32).max(1) {
            let ef = short.midpoint(trial.ef);
            let recall = self.recall_in(exam, ef);
            if recall >= target { (trial.ef, trial.recall) = (ef, recall) } else { short = ef }
        }
        if self.blocks_in_use().is_some() {
            trial.expanded = self.expanded_in(exam, trial.ef);
        }
        trial
    }

    /// What rows by code cost in recall beside whole rows, where both search as wide.
    pub(crate) fn price_codes(&mut self) {
        let Some(exam) = self.exam() else { return };
        let mut choice = Choice { target: self.target_recall, ..Choice::given(CODE_BITS) };
        choice.points = exam.points();
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
        if is_l2 && exam.points() >= POINTS / 2 {
            let asked: Vec<f32> = BEAMS.iter().map(|&ef| self.expansions(exam, ef, &tuning)).collect();
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
            let count = (K * exam.points()) as f32;
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

    /// Mean number of nodes that a search expands with other choices.
    fn expansions(&mut self, exam: &Exam, ef: usize, tuning: &Tuning) -> f32 {
        self.set_tuning(tuning.clone());
        self.expanded_in(exam, ef)
    }

    fn set_tuning(&mut self, tuning: Tuning) {
        if let Some(blocks) = &mut self.blocks {
            blocks.tune(tuning);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trial(bits: usize, ef: usize, recall: f32, list_bytes: usize) -> Trial {
        Trial { bits, ef, recall, expanded: if bits == 0 { 0.0 } else { ef as f32 + 6.0 }, list_bytes }
    }

    fn decided(trials: &[Trial]) -> usize {
        let mut choice = Choice { target: 0.95, points: 200, trials: trials.to_vec(), bits: 0 };
        choice.decide();
        assert_eq!(Choice::from_bytes(&choice.to_bytes(), false), Some(choice.clone()));
        choice.bits
    }

    #[test]
    fn the_smallest_that_reaches_the_target_is_taken_but_for_a_far_cheaper_one() {
        // The inner product in 100 dimensions.
        assert_eq!(
            decided(&[trial(0, 64, 0.95, 128), trial(1, 224, 0.95, 832), trial(2, 76, 0.952, 1280)]),
            2
        );
        // sift-128: two bits are no faster, and take half as much memory again.
        assert_eq!(
            decided(&[trial(0, 59, 0.952, 128), trial(1, 66, 0.951, 960), trial(2, 43, 0.951, 1472)]),
            1
        );
        assert_eq!(
            decided(&[trial(0, 59, 0.952, 128), trial(1, 66, 0.94, 960), trial(2, 43, 0.951, 1472)]),
            2
        );
        assert_eq!(
            decided(&[trial(0, 16, 0.99, 128), trial(1, 48, 0.96, 2240), trial(2, 48, 0.97, 3776)]),
            1
        );
    }

    #[test]
    fn four_bits_are_tried_where_two_save_much() {
        let tried = |one: Trial, two: Trial, bytes| may_four_pay(&[one, two], 0.95, bytes);
        // The inner product in 100 dimensions; 200 and 384 dimensions of text.
        assert!(tried(trial(1, 224, 0.95, 832), trial(2, 76, 0.952, 1280), 2176));
        assert!(!tried(trial(1, 64, 0.95, 1344), trial(2, 41, 0.951, 2176), 3840));
        assert!(!tried(trial(1, 47, 0.95, 2240), trial(2, 48, 0.951, 3776), 6848));
        // Not where the others do not do: what lists are chosen among comes first.
        assert!(!tried(trial(1, 1024, 0.9, 832), trial(2, 76, 0.952, 1280), 2176));
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
        assert_eq!(Choice::from_bytes(&[1; 13], false), None);
        assert_eq!(Choice::from_bytes(&[3; 12], false), None);
        // Before trials said what they expanded.
        let choice = Choice { bits: 2, trials: vec![trial(2, 20, 0.96, 960)], ..Choice::default() };
        let bytes = choice.to_bytes();
        let old = Choice::from_bytes(&bytes[..bytes.len() - 4], true).unwrap();
        assert_eq!((old.bits, old.trials[0].list_bytes, old.trials[0].expanded), (2, 960, 0.0));
        assert_eq!(Choice::from_bytes(&bytes, true), None);
    }
}
