//! Which candidates become neighbors.
//!
//! The heuristic of Malkov and Yashunin (2018, algorithm 4): going outward, a candidate is taken when it
//! is nearer to the node than to every neighbor taken before it. It spreads edges over directions, which
//! is what keeps clusters connected. A tie turns the candidate down, so that a list does not fill with equal
//! rows. (By itself that does not cure searches that pass many equal rows; see ARCHITECTURE.md.) Anchored candidates are always taken (see
//! [`anchor`](crate::anchor)), which is how equal rows stay connected.
//!
//! Cost: a candidate is compared with the neighbors taken so far until one is nearer; most are turned
//! down by one of the first few.

use crate::NodeId;
use crate::lists::ANCHORED;
use crate::scorer::{Scorer, Space};
use crate::scratch::Batch;

/// A node that may become a neighbor.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Candidate {
    pub(crate) distance: f32,
    pub(crate) node: NodeId,
    /// The edge is one that must be kept.
    pub(crate) anchored: bool,
}

impl Candidate {
    /// The word of a list that names it.
    pub(crate) fn word(&self) -> u32 {
        self.node | if self.anchored { ANCHORED } else { 0 }
    }
}

/// Candidates compared with one candidate in one call: enough to fill a gather, few enough that an early
/// refusal does not pay for many.
const COMPARED_AT_ONCE: usize = 4;

/// Chooses at most `limit` of `candidates`, which are sorted by distance, into `selected`, in order.
/// Those turned down are left in `pruned`. At most `limit` candidates are anchored.
pub(crate) fn select<S: Space>(
    space: &S,
    candidates: &[Candidate],
    limit: usize,
    selected: &mut Vec<Candidate>,
    pruned: &mut Vec<Candidate>,
    batch: &mut Batch,
) {
    selected.clear();
    pruned.clear();
    batch.ensure(limit.max(COMPARED_AT_ONCE));
    let mut anchored_left = candidates.iter().filter(|candidate| candidate.anchored).count();
    // `batch.ids[..selected.len()]` mirrors the ids in `selected`.
    for candidate in candidates {
        if candidate.anchored {
            anchored_left -= 1;
        } else {
            if selected.len() + anchored_left >= limit {
                if anchored_left == 0 {
                    break;
                }
                continue;
            }
            if !is_diverse(space, candidate, selected.len(), batch) {
                pruned.push(*candidate);
                continue;
            }
        }
        batch.ids[selected.len()] = candidate.node;
        selected.push(*candidate);
    }
}

/// Whether the candidate is nearer to the node than to each of the `count` nodes in the batch.
fn is_diverse<S: Space>(space: &S, candidate: &Candidate, count: usize, batch: &mut Batch) -> bool {
    let scorer = space.scorer(candidate.node);
    let (ids, distances) = (&batch.ids[..count], &mut batch.distances[..count]);
    ids.chunks(COMPARED_AT_ONCE).zip(distances.chunks_mut(COMPARED_AT_ONCE)).all(|(ids, distances)| {
        scorer.score_batch(ids, distances);
        distances.iter().all(|&distance| distance > candidate.distance)
    })
}

/// Adds the nearest of `pruned` until `selected` holds `limit`, keeping it sorted.
pub(crate) fn fill_up(selected: &mut Vec<Candidate>, pruned: &[Candidate], limit: usize) {
    let room = limit.saturating_sub(selected.len());
    selected.extend(pruned.iter().take(room));
    selected.sort_unstable_by(order);
}

/// Candidates in order: by distance, then by id.
pub(crate) fn order(a: &Candidate, b: &Candidate) -> std::cmp::Ordering {
    a.distance.total_cmp(&b.distance).then(a.node.cmp(&b.node))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Points on a line.
    struct Line(Vec<f32>);
    struct From<'a>(&'a Line, f32);
    impl Scorer for From<'_> {
        fn score_batch(&self, ids: &[NodeId], out: &mut [f32]) {
            for (out, &id) in out.iter_mut().zip(ids) {
                *out = (self.0.0[id as usize] - self.1).powi(2);
            }
        }
    }
    impl Space for Line {
        type Scorer<'a> = From<'a>;
        fn scorer(&self, id: NodeId) -> From<'_> {
            From(self, self.0[id as usize])
        }
    }

    fn run(points: &[f32], anchored: &[NodeId], limit: usize) -> Vec<NodeId> {
        let line = Line(points.to_vec());
        let mut candidates: Vec<Candidate> = (0..points.len() as u32)
            .map(|node| Candidate {
                distance: points[node as usize].powi(2),
                node,
                anchored: anchored.contains(&node),
            })
            .collect();
        candidates.sort_unstable_by(order);
        let (mut selected, mut pruned) = (Vec::new(), Vec::new());
        select(&line, &candidates, limit, &mut selected, &mut pruned, &mut Batch::default());
        selected.iter().map(|candidate| candidate.node).collect()
    }

    #[test]
    fn takes_one_neighbor_per_direction() {
        // Seen from 0: 1.0 hides 1.5 and 3.0; -1.2 and then -5.0 lies behind -1.2.
        assert_eq!(run(&[1.0, 1.5, -1.2, 3.0, -5.0], &[], 8), [0, 2]);
    }

    #[test]
    fn anchored_candidates_survive_and_leave_no_room_too_many() {
        assert_eq!(run(&[1.0, 1.5, -1.2, 3.0, -5.0], &[3, 4], 3), [0, 3, 4]);
        assert_eq!(run(&[1.0, 1.5, -1.2, 3.0, -5.0], &[3, 4], 2), [3, 4]);
    }

    #[test]
    fn of_equal_points_one_is_taken() {
        assert_eq!(run(&[0.0; 6], &[], 4), [0]);
        assert_eq!(run(&[1.0, 1.0, 1.0, -2.0], &[2], 4), [0, 2, 3]);
    }
}
