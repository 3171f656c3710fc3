//! Where searches start: node and level in one atomic word, so that they always belong together.
//!
//! * **E1** An insert replaces the entry point only by a taller node; the maintainer replaces one that is
//!   removed by a live neighbor of it, or by none.
//! * **E2** Its lists are published before it becomes the entry point.
//! * **E3** Whoever makes a node the entry point holds a count of it (see [`slots`](crate::slots)) and gives back
//!   that of the one before. A swap under a pin that compares with what it loaded never mistakes a new
//!   node in an old slot for the old one: the slot is not used again while the pin lasts.

use crate::NodeId;
use crate::sync::{AtomicU64, Ordering};

/// A node and its level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) node: NodeId,
    pub(crate) level: u8,
}

/// The entry point of the graph; none while the graph is empty.
#[derive(Debug)]
pub(crate) struct EntryPoint(AtomicU64);

fn pack(entry: Entry) -> u64 {
    (u64::from(entry.level) + 1) << 32 | u64::from(entry.node)
}

fn unpack(word: u64) -> Option<Entry> {
    let level = (word >> 32).checked_sub(1)?;
    Some(Entry { node: word as u32, level: level as u8 })
}

impl EntryPoint {
    pub(crate) fn new(entry: Option<Entry>) -> Self {
        Self(AtomicU64::new(entry.map_or(0, pack)))
    }

    /// OBSERVE: pairs with PUBLISH in `swap`, so the lists of the entry point are seen whole.
    pub(crate) fn load(&self) -> Option<Entry> {
        unpack(self.0.load(Ordering::Acquire))
    }

    /// Breaks E3, for a model that must notice.
    #[cfg(loom)]
    pub(crate) fn overwrite(&self, candidate: Option<Entry>) {
        self.0.store(candidate.map_or(0, pack), Ordering::Release);
    }

    /// Replaces `current` by `candidate` (E1, E3), or returns what replaced it before.
    pub(crate) fn swap(&self, current: Option<Entry>, candidate: Option<Entry>) -> Result<(), Option<Entry>> {
        let (current, candidate) = (current.map_or(0, pack), candidate.map_or(0, pack));
        // PUBLISH: pairs with OBSERVE in `load`; the candidate's lists come before (E2).
        match self.0.compare_exchange(current, candidate, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => Ok(()),
            Err(other) => Err(unpack(other)),
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn changes_only_from_what_was_seen() {
        let entry = EntryPoint::new(None);
        assert_eq!(entry.load(), None);
        let (first, tall) = (Some(Entry { node: 3, level: 0 }), Some(Entry { node: 5, level: 2 }));
        assert_eq!(entry.swap(None, first), Ok(()));
        assert_eq!(entry.swap(None, tall), Err(first));
        assert_eq!(entry.swap(first, tall), Ok(()));
        assert_eq!(entry.swap(first, Some(Entry { node: 6, level: 1 })), Err(tall));
        assert_eq!(entry.load(), tall);
        assert_eq!(entry.swap(tall, None), Ok(()));
        assert_eq!(entry.load(), None);
    }
}
