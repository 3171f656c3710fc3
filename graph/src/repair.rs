//! Mending the list of a node one of whose neighbors was removed.
//!
//! * **H1** The removed neighbor's place goes to up to three of *its* neighbors, its heirs: the nearest to the list's
//!   own node of those that the selection heuristic would take, each compared with the list as it then is. A heir that
//!   lies behind a neighbor which is there already would lead nowhere new.
//! * **H2** A list that is left with less than half of what it may hold gets the nearest of them in any case: otherwise
//!   lists grow shorter with every turnover (by a fifth in 5, and recall with them).
//! * **H3** Nothing else leaves the list, but for edges to other removed nodes where there is no room without.
//!
//! Cost: the distances among the removed node's neighbors once, and for each of them the few that those leave open.

use crossbeam_epoch::Guard;

use crate::NodeId;
use crate::graph::Graph;
use crate::lists::{Power, PublishError, is_anchored, names, node_of};
use crate::memory::MemoryError;
use crate::scorer::{Scorer, Space};
use crate::scratch::Scratch;

/// Heirs of one edge.
const HEIRS: usize = 3;

/// Candidates that are compared with the list where what is known does not turn them down: one more for each doubling of the
/// graph beyond 2 to the power of this, and within [`TRIED`]. Half as many for a list that the removed node did not name: there
/// nothing is known, so each costs more.
///
/// What is lost grows with the graph. After ten turnovers of 50,000 rows of text-384 (the oldest removed) recall@10 at ef 64 was 0.37 points
/// below that of a fresh build with 8 and 4, and 0.47 with 6 and 2, at 0.36 and 0.33 of the cost of an insert; of 10,000 rows of sift-128
/// 0.07 with 8 and 4 and 0.09 with 5 and 2, at 0.55 and 0.48 (one run each).
const DOUBLINGS_FREE: u32 = 8;

/// Fewest and most.
const TRIED: (usize, usize) = (4, 12);

/// Distances that are computed in one call where the first of them may do.
const COMPARED_AT_ONCE: usize = 8;

/// The neighbors of a node that is being removed.
#[derive(Debug, Default)]
pub(crate) struct Around {
    pub(crate) nodes: Vec<NodeId>,
    /// `[nodes × nodes]`, symmetric; not for a node of which one edge is replaced.
    pairs: Vec<f32>,
    /// Of the list that is being mended: where in `nodes` its neighbors are, or `ELSEWHERE`.
    places: Vec<usize>,
    /// Whether it names each of `nodes`.
    is_named: Vec<bool>,
    /// Distances from its node to `nodes`, and the places of `nodes` by these.
    distances: Vec<f32>,
    order: Vec<u64>,
}

/// The place of a neighbor that is not around.
const ELSEWHERE: usize = usize::MAX;

/// A number that is ordered as (`distance`, `place`) is, with the place in its lower half.
#[inline]
fn sort_key(distance: f32, place: usize) -> u64 {
    let bits = distance.to_bits();
    // The order of `total_cmp`: of two negative numbers the one with the larger bits comes first.
    let ordered = bits ^ ((bits.cast_signed() >> 31).cast_unsigned() | 1 << 31);
    u64::from(ordered) << 32 | place as u64
}

impl Around {
    /// Computes the distances among the nodes.
    pub(crate) fn measure<S: Space>(&mut self, space: &S) {
        let count = self.nodes.len();
        self.pairs.resize(count * count, 0.0);
        for row in 0..count {
            let rest = row * count + row + 1..(row + 1) * count;
            space.scorer(self.nodes[row]).score_batch(&self.nodes[row + 1..], &mut self.pairs[rest]);
            for column in row + 1..count {
                self.pairs[column * count + row] = self.pairs[row * count + column];
            }
        }
    }
}

impl Graph {
    /// How many candidates a list is compared with.
    fn tried(&self) -> usize {
        let doublings = self.node_bound().max(1).ilog2().saturating_sub(DOUBLINGS_FREE);
        (doublings as usize).clamp(TRIED.0, TRIED.1)
    }

    /// Fills `around` with the neighbors of `node` that are not removed.
    pub(crate) fn look_around(&self, node: NodeId, level: u8, around: &mut Around, guard: &Guard) {
        let neighbors = self.words_of(node, level, guard).iter().map(|&word| node_of(word));
        around.nodes.clear();
        around.nodes.extend(neighbors.filter(|&near| !self.slots.is_closed(near)));
    }

    /// Where the list of `from` names the closed node `gone`, puts heirs in its place (H1). `place` says where `from` is
    /// `around`, if those were measured.
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn replace_edge<S: Space>(
        &self,
        (from, place): (NodeId, Option<usize>),
        level: u8,
        gone: NodeId,
        around: &mut Around,
        space: &S,
        scratch: &mut Scratch,
        guard: &Guard,
    ) -> Result<(), MemoryError> {
        let limit = self.config.limit(level);
        let Around { nodes, pairs, places, is_named, distances, order } = around;
        let count = nodes.len();
        order.clear();
        loop {
            let Some(old) = self.list(from, level, guard).filter(|old| !old.is_frozen()) else {
                return Ok(());
            };
            let words = old.words();
            if !names(words, gone) {
                return Ok(());
            }
            let Scratch { batch, words: next, .. } = &mut *scratch;
            if order.is_empty() {
                distances.clear();
                match place {
                    Some(place) => distances.extend_from_slice(&pairs[place * count..(place + 1) * count]),
                    None => {
                        distances.resize(count, 0.0);
                        space.scorer(from).score_batch(nodes, distances);
                    }
                }
                order
                    .extend(distances.iter().enumerate().map(|(place, &distance)| sort_key(distance, place)));
                order.sort_unstable();
            }
            next.clear();
            next.extend(words.iter().copied().filter(|&word| node_of(word) != gone));
            let has_room = next.len() + HEIRS <= limit;
            if !has_room {
                // The anchored ones wait for the tree (D4).
                next.retain(|&word| is_anchored(word) || !self.slots.is_closed(node_of(word)));
            }
            is_named.clear();
            is_named.extend(nodes.iter().map(|&near| near == from));
            places.clear();
            places.extend(next.iter().map(|&word| {
                let node = node_of(word);
                // To the end, without a branch: as many at once as a register holds.
                let fold = |found, (place, &near): (usize, &NodeId)| if near == node { place } else { found };
                nodes.iter().enumerate().fold(ELSEWHERE, fold)
            }));
            places.iter().filter(|&&near| near != ELSEWHERE).for_each(|&near| is_named[near] = true);
            let tried = self.tried();
            let mut tries = if place.is_some() { tried } else { tried / 2 };
            let most = limit.min(next.len() + HEIRS);
            for heir in order.iter().map(|&key| key as u32 as usize) {
                let (node, distance) = (nodes[heir], distances[heir]);
                if next.len() == most || tries == 0 {
                    break;
                }
                if is_named[heir] {
                    continue;
                }
                // What is known already turns most of them down.
                let is_known = |near: usize| place.is_some() && near != ELSEWHERE;
                if places.iter().any(|&near| is_known(near) && pairs[heir * count + near] <= distance) {
                    continue;
                }
                tries -= 1;
                let scorer = space.scorer(node);
                batch.ensure(COMPARED_AT_ONCE);
                let mut rest = next.iter().zip(places.iter()).filter(|&(_, &near)| !is_known(near));
                let is_diverse = loop {
                    let mut taken = 0;
                    while taken < COMPARED_AT_ONCE
                        && let Some((&word, _)) = rest.next()
                    {
                        batch.ids[taken] = node_of(word);
                        taken += 1;
                    }
                    scorer.score_batch(&batch.ids[..taken], &mut batch.distances[..taken]);
                    if batch.distances[..taken].iter().any(|&other| other <= distance) {
                        break false;
                    }
                    if taken < COMPARED_AT_ONCE {
                        break true;
                    }
                };
                if is_diverse && self.slots.acquire(node) {
                    next.push(node);
                    places.push(heir);
                    is_named[heir] = true;
                }
            }
            // A short list gets the nearest instead, wherever they lead (H2).
            for heir in order.iter().map(|&key| key as u32 as usize) {
                if next.len() >= most.min(limit / 2) {
                    break;
                }
                if !is_named[heir] && self.slots.acquire(nodes[heir]) {
                    next.push(nodes[heir]);
                    is_named[heir] = true;
                }
            }
            match self.replace((from, level), Some(old), next, space, Power::Writer, guard) {
                Ok(()) => {
                    match has_room {
                        // Nothing else left the list.
                        true => self.slots.release(gone),
                        false => self.release_dropped(words, next),
                    }
                    return Ok(());
                }
                Err(error) => {
                    self.release_dropped(next, words);
                    if let PublishError::Memory(error) = error {
                        return Err(error);
                    }
                }
            }
        }
    }
}
