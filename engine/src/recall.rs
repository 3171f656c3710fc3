//! Recall@k: how much of the truth a search found.

use std::collections::HashSet;

use crate::search::Hit;

/// The part of the `k` truly nearest that was found: the size of (found top k ∩ exact top k) / k.
///
/// A node that ties with the `k`-th true distance counts, to 1e-6 relative, whichever of the equal ones
/// the truth lists; a node found twice counts once. When the truth holds fewer than `k`, it is measured
/// against those. Both lists are ordered nearest first, with distances of one kind.
///
/// # Examples
/// ```
/// use orthant_engine::{Hit, recall_at_k};
/// let hit = |node, distance| Hit { node, generation: 0, distance };
/// let truth = [hit(1, 0.1), hit(2, 0.2), hit(3, 0.2)];
/// assert_eq!(recall_at_k(&[hit(1, 0.1), hit(3, 0.2)], &truth, 2), 1.0); // 3 ties with 2
/// assert_eq!(recall_at_k(&[hit(1, 0.1), hit(9, 0.9)], &truth, 2), 0.5);
/// ```
pub fn recall_at_k(found: &[Hit], truth: &[Hit], k: usize) -> f64 {
    let truth = &truth[..k.min(truth.len())];
    let Some(last) = truth.last() else {
        return 1.0;
    };
    let threshold = last.distance + last.distance.abs() * 1e-6 + 1e-9;
    let exact: HashSet<u32> = truth.iter().map(|hit| hit.node).collect();
    let mut counted = HashSet::new();
    let hits = found
        .iter()
        .take(k)
        .filter(|hit| counted.insert(hit.node) && (exact.contains(&hit.node) || hit.distance <= threshold));
    hits.count().min(truth.len()) as f64 / truth.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hits(pairs: &[(u32, f32)]) -> Vec<Hit> {
        pairs.iter().map(|&(node, distance)| Hit { node, generation: 0, distance }).collect()
    }

    #[test]
    fn counts_once_and_only_within_k() {
        let truth = hits(&[(1, 1.0), (2, 2.0), (3, 3.0)]);
        assert_eq!(recall_at_k(&hits(&[(1, 1.0), (1, 1.0), (2, 2.0)]), &truth, 3), 2.0 / 3.0);
        assert_eq!(recall_at_k(&hits(&[(7, 9.0), (1, 1.0)]), &truth, 1), 0.0);
        assert_eq!(recall_at_k(&[], &truth, 3), 0.0);
        assert_eq!(recall_at_k(&[], &[], 3), 1.0);
    }

    #[test]
    fn fewer_rows_than_k_can_all_be_found() {
        assert_eq!(recall_at_k(&hits(&[(1, 1.0)]), &hits(&[(1, 1.0)]), 10), 1.0);
    }

    #[test]
    fn negative_distances_tie_too() {
        let truth = hits(&[(1, -5.0), (2, -4.0)]);
        assert_eq!(recall_at_k(&hits(&[(1, -5.0), (3, -4.0)]), &truth, 2), 1.0);
        assert_eq!(recall_at_k(&hits(&[(1, -5.0), (3, -3.9)]), &truth, 2), 0.5);
    }
}
