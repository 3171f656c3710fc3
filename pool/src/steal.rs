//! Victim order: whom a worker steals from, nearest first.
//!
//! Workers on the same NUMA node come before the others, since what they queued is likely to lie in a
//! cache or memory this worker reaches quickly. Within each group the first victim is drawn anew every
//! time, so that thieves do not all queue up at worker 0.
//!
//! Cost: one pass over the workers; no allocation.

use std::cell::Cell;

/// The other workers, as one of them sees them.
pub(crate) struct Victims {
    /// Indices of workers: the near ones first.
    order: Box<[usize]>,
    near: usize,
    /// State of a xorshift generator (Marsaglia 2003); fairness needs no better one. Never zero.
    draw: Cell<u32>,
}

impl Victims {
    /// The victims of `worker`, given the NUMA node of each worker.
    pub(crate) fn new(worker: usize, nodes: &[usize]) -> Self {
        let others = |is_near: bool| {
            let own = nodes[worker];
            (0..nodes.len()).filter(move |&other| other != worker && (nodes[other] == own) == is_near)
        };
        let order: Box<[usize]> = others(true).chain(others(false)).collect();
        let near = others(true).count();
        // Any odd multiplier gives each worker its own start; this is 2^32 divided by the golden ratio.
        let draw = Cell::new((worker as u32 + 1).wrapping_mul(0x9E37_79B9) | 1);
        Self { order, near, draw }
    }

    /// Asks the victims in order until one gives something.
    pub(crate) fn find<T>(&self, mut steal: impl FnMut(usize) -> Option<T>) -> Option<T> {
        let (near, far) = self.order.split_at(self.near);
        [near, far].into_iter().find_map(|group| {
            let start = self.draw(group.len());
            let (tail, head) = group.split_at(start);
            head.iter().chain(tail).find_map(|&victim| steal(victim))
        })
    }

    /// A number below `n`, or 0.
    fn draw(&self, n: usize) -> usize {
        if n < 2 {
            return 0;
        }
        let mut x = self.draw.get();
        x ^= x << 13;
        x ^= x >> 17;
        x ^= x << 5;
        self.draw.set(x);
        x as usize % n
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(victims: &Victims) -> Vec<usize> {
        let mut order = Vec::new();
        let found = victims.find(|victim| {
            order.push(victim);
            None::<()>
        });
        assert!(found.is_none());
        order
    }

    #[test]
    fn the_same_node_comes_first_and_everybody_once() {
        let victims = Victims::new(2, &[0, 1, 0, 1, 0, 1]);
        let mut starts = [false; 6];
        for _ in 0..100 {
            let mut order = asked(&victims);
            starts[order[0]] = true;
            order[..2].sort_unstable();
            order[2..].sort_unstable();
            assert_eq!(order, [0, 4, 1, 3, 5]);
        }
        assert_eq!(
            starts,
            [true, false, false, false, true, false],
            "both near workers are asked first at times"
        );
    }

    #[test]
    fn a_lone_worker_has_no_victims() {
        assert!(asked(&Victims::new(0, &[0])).is_empty());
    }
}
