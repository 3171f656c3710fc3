//! What a search over blocks has yet to expand.
//!
//! Estimates wait in no order: putting one in is an append, and the nearest is found by looking at the least of each 16, and then
//! at 16. A search puts in several times as many as it takes out, so that is far cheaper than to keep them sorted.
//!
//! * **W1** With width `w`, what is taken is what a sorted array of the `w` nearest nodes would give: the search is over
//!   when `w` nodes that were taken are nearer than every one that still waits.
//! * **W2** Places of `distances` behind those in use are infinite, up to a whole number of steps.
//! * **W3** `mins[step]` is the least of its 16 distances, for all steps before `settled`; behind those in use it is infinite.
//!
//! Cost: an append per estimate, a look at the least of each 16 that wait per node taken.

use crate::NodeId;
use crate::beam::ordered_bits;
use crate::blocks::BLOCK_LANES;
use crate::lists::node_of;

/// An empty place in the table of nodes.
const EMPTY: u64 = u64::MAX;

/// Stands for the estimate of a node that was taken: below those of all numbers.
const TAKEN: u32 = 0;

/// Places in the table: 16 KB or 32 per place of the beam. With half as many, nodes that are expanded twice, and offer all
/// they did before, showed in the recall.
const FEWEST_PLACES: usize = 1 << 11;
const MOST_PLACES: usize = 1 << 16;

/// Estimates that are looked at together.
const STEP: usize = 16;

/// Estimates that wait, beyond twice the width, before those that can never be taken are dropped.
const SPARE: usize = 256;

/// Nodes that wait to be expanded, and which ones were.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    distances: Vec<f32>,
    nodes: Vec<NodeId>,
    /// The least of each step (W3), a whole number of steps of them.
    mins: Vec<f32>,
    settled: usize,
    /// How many wait.
    count: usize,
    /// The place of the nearest, while anything waits.
    nearest: usize,
    /// Its estimate.
    least: f32,
    width: usize,
    /// Estimates from here on can never be taken.
    bound: f32,
    /// Estimates that were taken.
    spent: Vec<f32>,
    /// For choosing among all estimates.
    chosen: Vec<f32>,
    /// `node << 32 | estimate`, each in the one place that it can have: the nearest at which a node waits, or that it was
    /// taken. A newcomer takes a place over, but for that of a taken node only when it is taken itself. So one may be
    /// forgotten: it waits twice then, or is expanded twice.
    known: Vec<u64>,
    /// The places of the table that are in use: clearing them alone keeps the rest out of the cache.
    marked: Vec<u32>,
    /// How many those are.
    marks: usize,
    shift: u32,
    find: Option<FindFn>,
}

/// The first place of the smallest of some distances. Makes those of `mins` that are named, and from `settled` to the last, true
/// before (W3).
///
/// Safety: the CPU has what the function was compiled for.
type FindFn = unsafe fn(&[f32], &mut [f32], Unsettled) -> usize;

/// Steps whose least is to be found again: `one`, and those of `from..`.
#[derive(Debug, Clone, Copy)]
struct Unsettled {
    one: usize,
    from: usize,
}

impl Waiting {
    pub(super) fn reset(&mut self, ef: usize) {
        self.width = ef.max(1);
        self.bound = f32::INFINITY;
        (self.count, self.nearest) = (0, 0);
        self.settled = 0;
        self.distances.clear();
        self.nodes.clear();
        self.mins.clear();
        // All that a search may need: no more allocation, however long it is.
        self.distances.reserve(self.most() + BLOCK_LANES + STEP);
        self.nodes.reserve(self.most() + BLOCK_LANES + STEP);
        self.mins.reserve((self.most() + BLOCK_LANES) / STEP + 2 * STEP);
        self.chosen.reserve(self.most() + 2 * STEP);
        self.spent.clear();
        self.spent.reserve(2 * self.width + STEP);
        let places = (32 * self.width).next_power_of_two().clamp(FEWEST_PLACES, MOST_PLACES);
        self.shift = 32 - places.ilog2();
        if places == self.known.len() {
            self.marked[..self.marks].iter().for_each(|&place| self.known[place as usize] = EMPTY);
        } else {
            self.known.clear();
            self.known.resize(places, EMPTY);
            // Each place once, and one that is written and not counted.
            self.marked.clear();
            self.marked.resize(places + 1, 0);
        }
        self.marks = 0;
        self.find.get_or_insert_with(find_fn);
    }

    /// Passes a node over, as if it had been taken.
    pub(super) fn leave_out(&mut self, node: NodeId) {
        self.note(self.place(node), node, TAKEN);
    }

    fn most(&self) -> usize {
        2 * self.width + SPARE
    }

    /// One more place.
    pub(super) fn widen(&mut self) {
        self.width += 1;
        // Some of what was dropped would have had a place; it is lost, as it was from a full array.
    }

    #[inline(always)]
    fn place(&self, node: NodeId) -> usize {
        place_of(node, self.shift)
    }

    #[inline(always)]
    fn was_taken(&self, node: NodeId) -> bool {
        self.known[self.place(node)] == u64::from(node) << 32 | u64::from(TAKEN)
    }

    /// Notes what is known of a node.
    #[inline(always)]
    fn note(&mut self, place: usize, node: NodeId, estimate: u32) {
        if self.known[place] == EMPTY {
            self.marked[self.marks] = place as u32;
            self.marks += 1;
        }
        self.known[place] = u64::from(node) << 32 | u64::from(estimate);
    }

    /// What an estimate must be below to be let in: as much as is known of it.
    #[inline(always)]
    pub(super) fn bound(&self) -> f32 {
        self.bound
    }

    /// Lets in nothing from `bound` on any more.
    #[inline(always)]
    pub(super) fn cut(&mut self, bound: f32) {
        self.bound = self.bound.min(bound);
    }

    /// Lets a node wait, unless it does at a nearer estimate, or was taken. Whether it does now.
    pub(super) fn offer(&mut self, estimate: f32, node: NodeId) -> bool {
        self.offer_lanes(1, &[estimate; BLOCK_LANES], &[node]) != 0
    }

    /// Offers the nodes that `words` names in the lanes of `near`, lane after lane, each at its estimate. A bit for each that
    /// waits now.
    ///
    /// Whether a node is let in is a coin toss, so nothing branches on it.
    #[inline(always)]
    pub(super) fn offer_lanes(&mut self, near: u32, estimates: &[f32; BLOCK_LANES], words: &[u32]) -> u32 {
        if self.count + BLOCK_LANES >= self.distances.len() {
            self.grow();
        }
        let shift = self.shift;
        let mut let_in = 0;
        let mut left = near;
        while left != 0 {
            let lane = left.trailing_zeros() as usize;
            left &= left - 1;
            let Some(&word) = words.get(lane) else { break };
            let (node, bits) = (node_of(word), ordered_bits(estimates[lane]));
            let known = self.known[place_of(node, shift)];
            let is_waiting = (known >> 32) as NodeId == node && known as u32 <= bits;
            let_in |= u32::from(!is_waiting) << lane;
        }
        let start = self.count;
        let (distances, nodes) = (&mut self.distances[start..], &mut self.nodes[start..]);
        let (mut count, mut marks) = (0, self.marks);
        let mut nearest = self.nearest;
        let mut least = if start > 0 { self.least } else { f32::INFINITY };
        left = let_in;
        while left != 0 {
            let lane = left.trailing_zeros() as usize;
            left &= left - 1;
            let Some(&word) = words.get(lane) else { break };
            let (node, estimate) = (node_of(word), estimates[lane]);
            let place = place_of(node, shift);
            let known = self.known[place];
            let noted = u64::from(node) << 32 | u64::from(ordered_bits(estimate));
            self.known[place] = if known as u32 == TAKEN { known } else { noted };
            // Written over by the next where it is not counted.
            self.marked[marks] = place as u32;
            marks += usize::from(known == EMPTY);
            (distances[count], nodes[count]) = (estimate, node);
            let is_nearest = estimate < least;
            least = if is_nearest { estimate } else { least };
            nearest = if is_nearest { start + count } else { nearest };
            count += 1;
        }
        self.count = start + count;
        self.settled = self.settled.min(start / STEP);
        (self.nearest, self.least, self.marks) = (nearest, least, marks);
        let_in
    }

    #[cold]
    fn grow(&mut self) {
        if self.count + BLOCK_LANES >= self.most() {
            self.drop_farthest();
        }
        // One more, which is written and not counted.
        let length = (self.count + BLOCK_LANES + 1).next_multiple_of(STEP).max(self.distances.len());
        self.distances.resize(length, f32::INFINITY);
        self.nodes.resize(length, NodeId::MAX);
        self.mins.resize((length / STEP).next_multiple_of(STEP), f32::INFINITY);
    }

    /// Drops what `width` of all estimates are nearer than.
    fn drop_farthest(&mut self) {
        // Those of nodes that wait nearer, or were taken, take no place.
        let is_stale = |waiting: &Self, place: usize| {
            let (node, bits) = (waiting.nodes[place], ordered_bits(waiting.distances[place]));
            let known = waiting.known[waiting.place(node)];
            (known >> 32) as NodeId == node && (known as u32) < bits
        };
        self.keep(|waiting, place| !is_stale(waiting, place));
        self.chosen.clear();
        self.chosen.extend_from_slice(&self.distances[..self.count]);
        // What was spent takes places too. To leave some of it out only leaves the bound higher.
        let room = self.chosen.capacity() - self.chosen.len();
        self.chosen.extend(self.spent.iter().take(room));
        let rank = self.width.min(self.chosen.len().saturating_sub(1));
        if self.chosen.is_empty() {
            return;
        }
        let (_, &mut bound, _) = self.chosen.select_nth_unstable_by(rank, f32::total_cmp);
        if self.chosen.len() > self.width {
            self.cut(bound);
        }
        self.keep(|waiting, place| waiting.distances[place] < waiting.bound);
    }

    /// Keeps the estimates of some places, in their order.
    fn keep(&mut self, is_kept: impl Fn(&Self, usize) -> bool) {
        let mut kept = 0;
        for place in 0..self.count {
            if is_kept(self, place) {
                self.distances[kept] = self.distances[place];
                self.nodes[kept] = self.nodes[place];
                kept += 1;
            }
        }
        self.distances[kept..].fill(f32::INFINITY);
        self.mins.fill(f32::INFINITY);
        (self.count, self.settled) = (kept, 0);
        self.seek(0);
    }

    /// Finds the nearest, where `step` and what is not settled changed.
    #[inline(always)]
    fn seek(&mut self, step: usize) {
        if let Some(find) = self.find {
            // The step of the place behind the last is looked at too: what was taken from there is gone.
            let steps = self.count / STEP + 1;
            let changed = Unsettled { one: step, from: self.settled.min(steps - 1) };
            let (distances, mins) =
                (&self.distances[..steps * STEP], &mut self.mins[..steps.next_multiple_of(STEP)]);
            // SAFETY: `find_fn` asked the CPU.
            self.nearest = unsafe { find(distances, mins, changed) };
            self.least = self.distances[self.nearest];
            self.settled = self.count / STEP;
        }
    }

    /// Takes out the nearest.
    #[inline(always)]
    fn drop_nearest(&mut self) {
        self.count -= 1;
        self.distances[self.nearest] = self.distances[self.count];
        self.nodes[self.nearest] = self.nodes[self.count];
        self.distances[self.count] = f32::INFINITY;
        self.seek(self.nearest / STEP);
    }

    /// The node with the nearest estimate that was not taken yet.
    #[inline(always)]
    pub(super) fn take_next(&mut self) -> Option<NodeId> {
        let node = self.peek_next()?;
        self.note(self.place(node), node, TAKEN);
        if self.spent.len() == self.spent.capacity() && self.spent.len() > self.width {
            // More than the width's nearest are never counted.
            self.spent.select_nth_unstable_by(self.width, f32::total_cmp);
            self.spent.truncate(self.width);
        }
        self.spent.push(self.least);
        self.drop_nearest();
        Some(node)
    }

    /// The nearest estimate that waits; infinite when there is none.
    #[inline(always)]
    pub(super) fn nearest(&self) -> f32 {
        if self.count == 0 { f32::INFINITY } else { self.least }
    }

    /// The node that is taken next, if no nearer one comes. Nodes that were taken before are passed over.
    #[inline(always)]
    pub(super) fn peek_next(&mut self) -> Option<NodeId> {
        while self.count > 0 && !self.is_over() {
            let node = self.nodes[self.nearest];
            if !self.was_taken(node) {
                return Some(node);
            }
            self.drop_nearest();
        }
        None
    }

    /// Whether as many taken nodes as there are places are nearer than all that wait (W1).
    #[inline(always)]
    fn is_over(&self) -> bool {
        self.spent.len() >= self.width && {
            let nearest = self.least;
            self.spent.iter().filter(|&&spent| spent <= nearest).count() >= self.width
        }
    }
}

/// The place in the table that a node can have.
#[inline(always)]
fn place_of(node: NodeId, shift: u32) -> usize {
    // 2³² over the golden ratio: spreads runs of ids over the table.
    (node.wrapping_mul(0x9E37_79B9) >> shift) as usize
}

fn find_fn() -> FindFn {
    #[cfg(target_arch = "x86_64")]
    {
        if std::is_x86_feature_detected!("avx512f") {
            return find_512;
        }
        if std::is_x86_feature_detected!("avx2") {
            return find_256;
        }
    }
    find
}

/// What [`find`] does; the compiler makes that a loop over single numbers.
///
/// # Safety
/// The CPU has AVX-512F.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
unsafe fn find_512(distances: &[f32], mins: &mut [f32], changed: Unsettled) -> usize {
    use std::arch::x86_64::{
        _CMP_EQ_OQ, _mm512_cmp_ps_mask, _mm512_loadu_ps, _mm512_mask_mov_ps, _mm512_min_ps,
        _mm512_reduce_min_ps, _mm512_set1_ps, _mm512_storeu_ps,
    };
    let steps = distances.as_chunks::<STEP>().0;
    let groups = mins.as_chunks_mut::<STEP>().0;
    // SAFETY: a step is 16 numbers.
    let load = |step: &[f32; STEP]| unsafe { _mm512_loadu_ps(step.as_ptr()) };
    // Groups are written whole: a part that is written and read with the rest at once would be waited for.
    let mut least = _mm512_set1_ps(f32::INFINITY);
    for (number, group) in groups.iter_mut().enumerate() {
        let mut all = load(group);
        let end = steps.len().min((number + 1) * STEP);
        let is_changed = changed.one / STEP == number || (changed.from.max(number * STEP) < end);
        if is_changed {
            let start = changed.from.max(number * STEP);
            let one = (changed.one / STEP == number).then_some(changed.one);
            for step in one.into_iter().chain(start..end.max(start)) {
                let min = _mm512_set1_ps(_mm512_reduce_min_ps(load(&steps[step])));
                all = _mm512_mask_mov_ps(all, 1 << (step % STEP), min);
            }
            // SAFETY: a group is 16 numbers.
            unsafe { _mm512_storeu_ps(group.as_mut_ptr(), all) };
        }
        least = _mm512_min_ps(least, all);
    }
    let least = _mm512_set1_ps(_mm512_reduce_min_ps(least));
    let first = |numbers: &[f32; STEP]| _mm512_cmp_ps_mask::<_CMP_EQ_OQ>(load(numbers), least);
    for (number, group) in groups.iter().enumerate() {
        let is_least = first(group);
        if is_least != 0 {
            let step = number * STEP + is_least.trailing_zeros() as usize;
            // All are infinite where nothing waits.
            return steps
                .get(step)
                .map_or(0, |step_of| step * STEP + first(step_of).trailing_zeros() as usize);
        }
    }
    0
}

/// # Safety
/// The CPU has AVX2.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
unsafe fn find_256(distances: &[f32], mins: &mut [f32], changed: Unsettled) -> usize {
    find(distances, mins, changed)
}

/// The first place of the smallest of whole steps of numbers.
#[inline(always)]
fn find(distances: &[f32], mins: &mut [f32], changed: Unsettled) -> usize {
    let steps = distances.as_chunks::<STEP>().0;
    mins[changed.one] = least(&steps[changed.one]);
    for (min, step) in mins[changed.from..].iter_mut().zip(&steps[changed.from..]) {
        *min = least(step);
    }
    let mins = &mins[..steps.len()];
    let step = first(mins, mins.iter().fold(f32::INFINITY, |a, &b| if b < a { b } else { a }));
    step * STEP + first(&steps[step], mins[step])
}

/// The smallest of a step.
#[inline(always)]
fn least(numbers: &[f32; STEP]) -> f32 {
    let mut least = *numbers;
    let mut half = STEP / 2;
    while half > 0 {
        for lane in 0..half {
            least[lane] = if least[lane + half] < least[lane] { least[lane + half] } else { least[lane] };
        }
        half /= 2;
    }
    least[0]
}

/// The first place of a number that is one of them; 0 where none is.
#[inline(always)]
fn first(numbers: &[f32], number: f32) -> usize {
    numbers.iter().position(|&other| other == number).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_is_found_by_every_way() {
        for steps in [1usize, 2, 10, 17, 40] {
            let places = steps * STEP;
            let mut numbers: Vec<f32> =
                (0..places).map(|at| (crate::level::mix(at as u64) % 40) as f32 - 5.0).collect();
            let none = || vec![f32::INFINITY; steps.next_multiple_of(STEP)];
            let (mut mins, mut others) = (none(), none());
            let mut changed = Unsettled { one: 0, from: 0 };
            for _ in 0..=places {
                let expected =
                    (0..places).min_by(|&a, &b| numbers[a].total_cmp(&numbers[b])).unwrap_or_default();
                assert_eq!(find(&numbers, &mut mins, changed), expected);
                // SAFETY: `find_fn` asks the CPU.
                assert_eq!(unsafe { find_fn()(&numbers, &mut others, changed) }, expected);
                assert_eq!(mins, others);
                numbers[expected] = f32::INFINITY;
                changed = Unsettled { one: expected / STEP, from: steps };
            }
        }
    }

    /// What W1 compares with: the nearest `width`, sorted, and which of them were taken.
    struct Sorted(Vec<(f32, NodeId, bool)>, usize);

    impl Sorted {
        fn offer(&mut self, estimate: f32, node: NodeId) {
            let place = self.0.partition_point(|other| other.0 <= estimate);
            self.0.insert(place, (estimate, node, false));
            self.0.truncate(self.1);
        }

        fn take_next(&mut self) -> Option<NodeId> {
            let next = self.0.iter_mut().find(|entry| !entry.2)?;
            next.2 = true;
            Some(next.1)
        }
    }

    #[test]
    fn what_is_taken_is_what_a_sorted_array_gives() {
        for width in [1, 2, 7, 16, 30, 100] {
            let mut waiting = Waiting::default();
            waiting.reset(width);
            let mut sorted = Sorted(Vec::new(), width);
            // All estimates differ, so there is one order.
            let mut estimates: Vec<u32> = (0..4000).collect();
            estimates.sort_unstable_by_key(|&at| crate::level::mix(u64::from(at)));
            let mut estimates = estimates.into_iter();
            let (mut taken, mut node) = (0, 0);
            for turn in 0.. {
                for estimate in estimates.by_ref().take(if turn % 3 == 0 { 25 } else { 2 }) {
                    // Nearer and nearer, as in a search, and no bound that is too low.
                    let estimate = estimate as f32 - 60.0 * turn as f32;
                    node += 1;
                    sorted.offer(estimate, node);
                    if estimate < waiting.bound() {
                        waiting.offer(estimate, node);
                    }
                }
                let next = waiting.take_next();
                let expected = sorted.take_next();
                assert_eq!(next, expected, "width {width}, turn {turn}");
                if next.is_none() {
                    break;
                }
                taken += 1;
            }
            assert!(taken >= width);
        }
    }

    #[test]
    fn a_node_is_taken_once_and_at_its_nearest_estimate() {
        let mut waiting = Waiting::default();
        waiting.reset(3);
        for (estimate, node) in [(4.0, 4), (2.0, 7), (-1.0, 1), (3.0, 7), (9.0, 9), (-1.0, 1)] {
            waiting.offer(estimate, node);
        }
        assert_eq!(waiting.take_next(), Some(1));
        waiting.offer(1.5, 7);
        assert_eq!(waiting.peek_next(), Some(7));
        assert_eq!(waiting.take_next(), Some(7));
        assert!(waiting.was_taken(7) && !waiting.was_taken(4));
        assert!(!waiting.offer(1.0, 7) && !waiting.offer(4.0, 4) && waiting.offer(3.5, 4));
        assert_eq!(waiting.take_next(), Some(4));
        assert_eq!(waiting.take_next(), None, "three are nearer than the nine");
        assert!(waiting.offer(0.0, 5));
        assert_eq!(waiting.take_next(), Some(5));
    }

    #[test]
    fn what_is_cut_off_is_not_let_in() {
        let mut waiting = Waiting::default();
        waiting.reset(2);
        assert_eq!((waiting.bound(), waiting.nearest()), (f32::INFINITY, f32::INFINITY));
        waiting.cut(5.0);
        waiting.cut(7.0);
        assert_eq!(waiting.bound(), 5.0);
    }
}
