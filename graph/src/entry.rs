//! Where searches start: node and level in one atomic word, so that they always belong together.
//!
//! * **E1** The entry point only ever changes to a node of a higher level.
//! * **E2** Its lists are published before it becomes the entry point.

use crate::NodeId;
use crate::sync::{AtomicU64, Ordering};

/// A node and its level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) node: NodeId,
    pub(crate) level: u8,
}

/// The entry point of the graph; none while the graph is empty.
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

    /// OBSERVE: pairs with PUBLISH in `raise`, so the lists of the entry point are seen whole.
    pub(crate) fn load(&self) -> Option<Entry> {
        unpack(self.0.load(Ordering::Acquire))
    }

    /// Makes `candidate` the entry point of an empty graph, or returns the one that is there.
    pub(crate) fn set_first(&self, candidate: Entry) -> Result<(), Entry> {
        self.swap(0, candidate)
    }

    /// Replaces `current` by the taller `candidate` (E1), or returns the one that replaced it before.
    pub(crate) fn replace(&self, current: Entry, candidate: Entry) -> Result<(), Entry> {
        debug_assert!(candidate.level > current.level, "E1");
        self.swap(pack(current), candidate)
    }

    fn swap(&self, current: u64, candidate: Entry) -> Result<(), Entry> {
        // PUBLISH: pairs with OBSERVE in `load`; the candidate's lists come before (E2).
        match self.0.compare_exchange(current, pack(candidate), Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => Ok(()),
            Err(other) => Err(unpack(other).expect("an entry point is never taken away")),
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn only_rises() {
        let entry = EntryPoint::new(None);
        assert_eq!(entry.load(), None);
        let (first, tall) = (Entry { node: 3, level: 0 }, Entry { node: 5, level: 2 });
        assert_eq!(entry.set_first(first), Ok(()));
        assert_eq!(entry.set_first(tall), Err(first));
        assert_eq!(entry.replace(first, tall), Ok(()));
        assert_eq!(entry.replace(first, Entry { node: 6, level: 1 }), Err(tall));
        assert_eq!(entry.load(), Some(tall));
    }
}
