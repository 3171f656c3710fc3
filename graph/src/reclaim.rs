//! Freeing neighbor lists: the only file in this crate that gives shared memory back.
//!
//! A published block is never changed. A writer swaps in a new one and *retires* the old, which goes
//! back to the free list once every reader that may have loaded it has unpinned (Fraser 2004, epochs,
//! through crossbeam-epoch).
//!
//! * **R1** A block is retired once, by the thread whose swap unlinked it.
//! * **R2** Nothing here runs without a pin.
//! * **R3** A block on the free list belongs to nobody; popping it makes the popping thread its owner.
//!
//! Cost: one pin per search or insert, not per hop; one collection per few inserts. A thread that never
//! unpins holds all garbage back.

use crossbeam_epoch::Guard;

use crate::lists::Lists;
use crate::memory::{Memory, MemoryError};
use crate::sync::{Arc, AtomicTable, AtomicU64, Ordering};

/// Returns `block` to the free list of `lists` once no reader can hold it any more (R1, R2).
pub(crate) fn retire(lists: &Arc<Lists>, block: u32, guard: &Guard) {
    let lists = Arc::clone(lists);
    // SAFETY: the closure owns all it uses (a counted reference and a number), so it may run later and
    // on another thread. It does not run before every pin taken up to now is released, which is what L2
    // asks: the block was unlinked by the caller's swap, so only those pins can have seen it.
    unsafe { guard.defer_unchecked(move || lists.give_back(block)) };
}

/// Inserts between two collections by one thread. An insert with M = 16 retires about 17 blocks, and a
/// collection takes up to 8 bags of 64 closures; left alone, crossbeam-epoch collects once in 128 pins,
/// which is a quarter of what inserts retire.
const INSERTS_PER_COLLECTION: u32 = 4;

/// Hands over what this thread retired and reclaims what has become free, once in a few inserts.
pub(crate) fn collect(inserts: &mut u32, guard: &Guard) {
    *inserts = inserts.wrapping_add(1);
    if inserts.is_multiple_of(INSERTS_PER_COLLECTION) {
        guard.flush();
    }
}

/// The free blocks: Treiber's stack (1986) over block numbers.
///
/// The links are words beside the blocks, so that a slow `pop` reads an atomic, never a block that has
/// a new owner. The head carries a count that changes with every push and pop: a head that was
/// popped and pushed again in between is not mistaken for the old one.
pub(crate) struct FreeBlocks {
    /// Count << 32 | block + 1; a low half of 0 means empty.
    head: AtomicU64,
    links: AtomicTable,
}

impl FreeBlocks {
    pub(crate) fn new(links: Box<dyn Memory>) -> Self {
        Self { head: AtomicU64::new(0), links: AtomicTable::new(links) }
    }

    /// Makes the blocks `0..count` fit.
    pub(crate) fn ensure(&self, count: usize) -> Result<(), MemoryError> {
        self.links.ensure(count)
    }

    /// Puts a block that belongs to the caller on the list.
    pub(crate) fn push(&self, block: u32) {
        // SAFETY: the block was taken after `ensure` covered it, and tables never shrink.
        let link = unsafe { self.links.at(block as usize) };
        let mut head = self.head.load(Ordering::Relaxed);
        loop {
            // Relaxed: published by the swap below.
            link.store(head as u32, Ordering::Relaxed);
            let new = next_count(head) | u64::from(block + 1);
            // PUBLISH: pairs with OBSERVE in `pop`; the link and all that the last owner did come before.
            match self.head.compare_exchange_weak(head, new, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return,
                Err(other) => head = other,
            }
        }
    }

    /// Takes a block off the list; it then belongs to the caller (R3).
    pub(crate) fn pop(&self) -> Option<u32> {
        // OBSERVE: pairs with PUBLISH in `push`.
        let mut head = self.head.load(Ordering::Acquire);
        loop {
            let block = (head as u32).checked_sub(1)?;
            // SAFETY: only blocks below an ensured count are ever pushed.
            let link = unsafe { self.links.at(block as usize) };
            // The link may be stale when another thread popped the block: then the count differs and
            // the swap fails.
            let next = u64::from(link.load(Ordering::Relaxed));
            match self.head.compare_exchange_weak(
                head,
                next_count(head) | next,
                Ordering::AcqRel,
                Ordering::Acquire,
            ) {
                Ok(_) => return Some(block),
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

    #[test]
    fn blocks_come_back_in_reverse_order() {
        let free = FreeBlocks::new(GraphMemory::heap(64, 8).block_links);
        free.ensure(8).unwrap();
        assert_eq!(free.pop(), None);
        for block in 0..8 {
            free.push(block);
        }
        assert_eq!((0..9).map(|_| free.pop()).collect::<Vec<_>>(), {
            let mut expected: Vec<_> = (0..8).rev().map(Some).collect();
            expected.push(None);
            expected
        });
    }

    #[test]
    fn no_block_has_two_owners() {
        use std::sync::atomic::{AtomicBool, Ordering};
        let free = FreeBlocks::new(GraphMemory::heap(64, 8).block_links);
        free.ensure(16).unwrap();
        (0..16).for_each(|block| free.push(block));
        let owned: Vec<AtomicBool> = (0..16).map(|_| AtomicBool::new(false)).collect();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..20_000 {
                        if let Some(block) = free.pop() {
                            assert!(!owned[block as usize].swap(true, Ordering::SeqCst));
                            owned[block as usize].store(false, Ordering::SeqCst);
                            free.push(block);
                        }
                    }
                });
            }
        });
        assert_eq!(std::iter::from_fn(|| free.pop()).count(), 16);
    }
}
