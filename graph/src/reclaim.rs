//! Freeing neighbor lists and node slots: the only file in this crate that gives shared memory back.
//!
//! A published block is never changed. A writer swaps in a new one and *retires* the old, which goes
//! back to the free list once every reader that may have loaded it has unpinned (Fraser 2004, epochs,
//! through crossbeam-epoch). The slot of a removed node goes the same way, with its last lists, once no edge
//! leads to the node.
//!
//! * **R1** A block is retired once, by the thread whose swap unlinked it; a slot by the maintainer, once its
//!   count of edges fell to 0 (see [`slots`](crate::slots)).
//! * **R2** Nothing here runs without a pin.
//! * **R3** What is on a free stack belongs to nobody; popping it makes the popping thread its owner.
//!
//! Cost: one pin per search or insert, not per hop; one collection per few writes. A thread that never
//! unpins holds all garbage back.

use crossbeam_epoch::Guard;

use crate::NodeId;
use crate::lists::Lists;
use crate::slots::Slots;
use crate::sync::{Arc, AtomicTable, AtomicU64, Ordering};

/// Returns `block` to the free list of `lists` once no reader can hold it any more (R1, R2).
pub(crate) fn retire(lists: &Arc<Lists>, block: u32, guard: &Guard) {
    let lists = Arc::clone(lists);
    // SAFETY: the closure owns all it uses (a counted reference and a number), so it may run later and
    // on another thread. It does not run before every pin taken up to now is released, which is what L2
    // asks: the block was unlinked by the caller's swap, so only those pins can have seen it.
    unsafe { guard.defer_unchecked(move || lists.give_back(block)) };
}

/// Inserts or removals between two collections by one thread. An insert with M = 16 retires about 17 blocks, and a
/// collection takes up to 8 bags of 64 closures; left alone, crossbeam-epoch collects once in 128 pins,
/// which is a quarter of what inserts retire.
const WRITES_PER_COLLECTION: u32 = 4;

/// Hands over what this thread retired and reclaims what has become free, once in a few writes.
pub(crate) fn collect(writes: &mut u32, guard: &Guard) {
    *writes = writes.wrapping_add(1);
    if writes.is_multiple_of(WRITES_PER_COLLECTION) {
        guard.flush();
    }
}

/// Gives the slot of a removed node back once no reader can hold the node any more (R1, R2).
pub(crate) fn retire_slot(slots: &Arc<Slots>, node: NodeId, guard: &Guard) {
    let slots = Arc::clone(slots);
    // SAFETY: as in `retire`. No list and no entry point names the node (its count is 0 and stays so), so
    // only the pins of now can still meet it.
    unsafe { guard.defer_unchecked(move || slots.give_back(node)) };
}

/// Free things by number: Treiber's stack (1986), through a table of links that several stacks may share as
/// long as no number is on two of them.
///
/// The links are words of their own, so that a slow `pop` reads an atomic, never a thing that has
/// a new owner. The head carries a count that changes with every push and pop: a head that was
/// popped and pushed again in between is not mistaken for the old one.
pub(crate) struct FreeStack {
    /// Count << 32 | number + 1; a low half of 0 means empty.
    head: AtomicU64,
}

impl FreeStack {
    pub(crate) fn new() -> Self {
        Self { head: AtomicU64::new(0) }
    }

    /// Whether nothing was on it at some moment of the call.
    pub(crate) fn is_empty(&self) -> bool {
        self.head.load(Ordering::Acquire) as u32 == 0
    }

    /// Puts something that belongs to the caller on the stack.
    ///
    /// # Safety
    /// `links` is the table of this stack and was ensured beyond `number`.
    pub(crate) unsafe fn push(&self, links: &AtomicTable, number: u32) {
        // SAFETY: the caller's promise.
        let link = unsafe { links.at(number as usize) };
        let mut head = self.head.load(Ordering::Relaxed);
        loop {
            // Relaxed: published by the swap below.
            link.store(head as u32, Ordering::Relaxed);
            let new = next_count(head) | u64::from(number + 1);
            // PUBLISH: pairs with OBSERVE in `pop`; the link and all that the last owner did come before.
            match self.head.compare_exchange_weak(head, new, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return,
                Err(other) => head = other,
            }
        }
    }

    /// Takes the last one off the stack; it then belongs to the caller (R3).
    ///
    /// # Safety
    /// `links` is the table of this stack.
    pub(crate) unsafe fn pop(&self, links: &AtomicTable) -> Option<u32> {
        // OBSERVE: pairs with PUBLISH in `push`.
        let mut head = self.head.load(Ordering::Acquire);
        loop {
            let number = (head as u32).checked_sub(1)?;
            // SAFETY: only numbers that the table covers are ever pushed.
            let link = unsafe { links.at(number as usize) };
            // The link may be stale when another thread popped the number: then the count differs and
            // the swap fails.
            let next = u64::from(link.load(Ordering::Relaxed));
            match self.head.compare_exchange_weak(
                head,
                next_count(head) | next,
                Ordering::AcqRel,
                Ordering::Acquire,
            ) {
                Ok(_) => return Some(number),
                Err(other) => head = other,
            }
        }
    }
}

/// The count of `head` plus one, in place, with an empty low half.
fn next_count(head: u64) -> u64 {
    ((head >> 32).wrapping_add(1)) << 32
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::memory::GraphMemory;

    fn links() -> AtomicTable {
        let links = AtomicTable::new(GraphMemory::heap(64, 8).block_links);
        links.ensure(16).unwrap();
        links
    }

    #[test]
    fn blocks_come_back_in_reverse_order() {
        let (free, links) = (FreeStack::new(), links());
        // SAFETY: the links were ensured, here and below.
        let pop = || unsafe { free.pop(&links) };
        assert_eq!(pop(), None);
        for block in 0..8 {
            // SAFETY: as above.
            unsafe { free.push(&links, block) };
        }
        assert!(!free.is_empty());
        assert_eq!((0..9).map(|_| pop()).collect::<Vec<_>>(), {
            let mut expected: Vec<_> = (0..8).rev().map(Some).collect();
            expected.push(None);
            expected
        });
    }

    #[test]
    fn no_block_has_two_owners() {
        use std::sync::atomic::{AtomicBool, Ordering};
        let (free, links) = (FreeStack::new(), links());
        // SAFETY: the links were ensured, here and below.
        let (pop, push) = (|| unsafe { free.pop(&links) }, |block| unsafe { free.push(&links, block) });
        (0..16).for_each(push);
        let owned: Vec<AtomicBool> = (0..16).map(|_| AtomicBool::new(false)).collect();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..20_000 {
                        if let Some(block) = pop() {
                            assert!(!owned[block as usize].swap(true, Ordering::SeqCst));
                            owned[block as usize].store(false, Ordering::SeqCst);
                            push(block);
                        }
                    }
                });
            }
        });
        assert_eq!(std::iter::from_fn(pop).count(), 16);
    }
}
