//! From a key to its row: a lock-free map, with room for the write that is under way.
//!
//! An index that numbers its rows needs an entry only for rows whose number is not their node; the others
//! are found without.
//!
//! * **D1** A key names at most one row: who writes under a key first makes its entry *busy*, and nobody else
//!   writes under it until it is *idle* again. Removing a row needs no entry: the graph says who removed it.
//! * **D2** An entry holds the row that was there and the row to come. Whichever of the two is live is the
//!   key's row, so whoever looks sees the very moment at which the graph changed over.
//! * **D3** An idle entry of a row that is gone is left behind by nobody: who removes a row takes its idle entry
//!   out, and who makes an entry idle looks whether its row is still there.
//!
//! Cost: a hash and two or three dependent loads. Memory: about 70 bytes per entry. A map over a saved
//! index is filled when it is first needed, so that opening stays free of parsing.

use std::sync::OnceLock;

use orthant_graph::NodeId;
use papaya::{Compute, HashMap, Operation};

use crate::ids::{Key, RowId};

/// No row.
const NONE: RowId = RowId { node: NodeId::MAX, generation: 0 };
/// In `next`: a write is under way that has no row yet.
const UNKNOWN: RowId = RowId { node: NodeId::MAX - 1, generation: 0 };

/// What a key leads to (D2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    row: RowId,
    /// `NONE` while the entry is idle.
    next: RowId,
}

impl Entry {
    fn idle(row: RowId) -> Self {
        Self { row, next: NONE }
    }

    fn is_idle(self) -> bool {
        self.next == NONE
    }

    fn live(self, is_live: impl Fn(RowId) -> bool) -> Option<RowId> {
        // The old one first: the graph changes over from it to the new one, never back.
        [self.row, self.next].into_iter().find(|&row| row.node < UNKNOWN.node && is_live(row))
    }
}

/// What a write under a key found. The entry is the caller's if that is what was wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Claim {
    /// No row.
    Free,
    /// This row.
    Taken(RowId),
    /// Another write is under way.
    Busy,
}

/// The entries of an index.
pub(crate) struct Directory {
    map: OnceLock<HashMap<Key, Entry>>,
}

impl Directory {
    /// For an index without rows.
    pub(crate) fn new() -> Self {
        Self { map: HashMap::new().into() }
    }

    /// For a saved index: [`fill`](Self::fill) will be asked for its rows.
    pub(crate) fn unfilled() -> Self {
        Self { map: OnceLock::new() }
    }

    /// Fills the map of a saved index, unless that was done.
    pub(crate) fn fill(&self, rows: impl FnOnce(&mut dyn FnMut(Key, RowId))) {
        self.map.get_or_init(|| {
            let map = HashMap::new();
            let pinned = map.pin();
            rows(&mut |key, row| {
                pinned.insert(key, Entry::idle(row));
            });
            drop(pinned);
            map
        });
    }

    fn map(&self) -> &HashMap<Key, Entry> {
        self.map.get_or_init(HashMap::new)
    }

    /// The row of a key.
    pub(crate) fn find(&self, key: &Key, is_live: impl Fn(RowId) -> bool) -> Option<RowId> {
        let map = self.map().pin();
        let mut entry = *map.get(key)?;
        loop {
            if let Some(row) = entry.live(&is_live) {
                return Some(row);
            }
            // Both of its rows may have been replaced before they were looked at: then there is another entry, and
            // some writer got on.
            let newer = *map.get(key)?;
            if newer == entry {
                return None;
            }
            entry = newer;
        }
    }

    /// Makes the entry of `key` busy, if no other write has done so (D1) and the key names no row.
    pub(crate) fn claim_free(&self, key: &Key, is_live: impl Fn(RowId) -> bool) -> Claim {
        self.claim(key, || None, is_live, |row| row.is_none())
    }

    /// Makes the entry of `key` busy, if no other write has done so (D1) and the key names a row. `other` is
    /// the row that the key names without an entry.
    pub(crate) fn claim_taken(
        &self,
        key: &Key,
        other: impl Fn() -> Option<RowId>,
        is_live: impl Fn(RowId) -> bool,
    ) -> Claim {
        self.claim(key, other, is_live, |row| row.is_some())
    }

    /// Makes the entry of `key` busy, if no other write has done so (D1), whatever it names.
    pub(crate) fn claim_any(&self, key: &Key, is_live: impl Fn(RowId) -> bool) -> Claim {
        self.claim(key, || None, is_live, |_| true)
    }

    fn claim(
        &self,
        key: &Key,
        other: impl Fn() -> Option<RowId>,
        is_live: impl Fn(RowId) -> bool,
        is_wanted: impl Fn(Option<RowId>) -> bool,
    ) -> Claim {
        let map = self.map().pin();
        let claimed = map.compute(key.clone(), |entry| {
            let row = match entry {
                Some((_, entry)) if !entry.is_idle() => return Operation::Abort(Claim::Busy),
                Some((_, entry)) => entry.live(&is_live),
                None => other(),
            };
            if is_wanted(row) {
                Operation::Insert(Entry { row: row.unwrap_or(NONE), next: UNKNOWN })
            } else {
                Operation::Abort(row.map_or(Claim::Free, Claim::Taken))
            }
        });
        match claimed {
            Compute::Inserted(_, entry) | Compute::Updated { new: (_, entry), .. } => {
                if entry.row == NONE {
                    Claim::Free
                } else {
                    Claim::Taken(entry.row)
                }
            }
            Compute::Aborted(claim) => claim,
            Compute::Removed(..) => Claim::Busy,
        }
    }

    /// Says which row the caller's write will bring.
    pub(crate) fn announce(&self, key: &Key, next: RowId) {
        // Nobody else changes a busy entry (D1).
        self.map().pin().update(key.clone(), |&entry| Entry { next, ..entry });
    }

    /// Ends the caller's write: the key's row is `row`, or nothing.
    pub(crate) fn settle(&self, key: &Key, row: Option<RowId>, is_live: impl Fn(RowId) -> bool) {
        let map = self.map().pin();
        match row {
            Some(row) => {
                map.insert(key.clone(), Entry::idle(row));
                // Removed while the entry was busy (D3).
                if !is_live(row) {
                    self.forget(key, row);
                }
            }
            None => {
                map.remove(key);
            }
        }
    }

    /// Takes the entry of a removed row out (D3).
    pub(crate) fn forget(&self, key: &Key, row: RowId) {
        // An entry that is busy, or another row's, stays.
        let _ = self.map().pin().remove_if(key, |_, entry| *entry == Entry::idle(row));
    }

    /// Enters a row under a key that nobody else knows yet.
    pub(crate) fn enter(&self, key: Key, row: RowId) {
        self.map().pin().insert(key, Entry::idle(row));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: RowId = RowId { node: 1, generation: 0 };
    const B: RowId = RowId { node: 2, generation: 3 };

    fn claim(directory: &Directory, key: &Key, live: &[RowId]) -> Claim {
        directory.claim_any(key, |row| live.contains(&row))
    }

    #[test]
    fn one_write_at_a_time() {
        let (directory, key) = (Directory::new(), Key::from("k"));
        assert_eq!(claim(&directory, &key, &[]), Claim::Free);
        assert_eq!(claim(&directory, &key, &[]), Claim::Busy);
        assert_eq!(directory.find(&key, |_| true), None);
        directory.announce(&key, A);
        assert_eq!(directory.find(&key, |row| row == A), Some(A));
        directory.settle(&key, Some(A), |_| true);
        assert_eq!(claim(&directory, &key, &[A]), Claim::Taken(A));
        directory.announce(&key, B);
        // Before, and after, the graph changed over.
        assert_eq!([A, B].map(|live| directory.find(&key, |row| row == live)), [Some(A), Some(B)]);
        directory.forget(&key, A);
        directory.settle(&key, Some(B), |row| row == B);
        assert_eq!(directory.find(&key, |row| row == B), Some(B));
        directory.forget(&key, A);
        assert_eq!(directory.map().len(), 1, "the entry is another row's");
        directory.forget(&key, B);
        assert_eq!(directory.map().len(), 0);
    }

    #[test]
    fn an_entry_whose_row_is_gone_is_free_and_not_left_behind() {
        let (directory, key) = (Directory::new(), Key::Int(7));
        directory.enter(key.clone(), A);
        assert_eq!(claim(&directory, &key, &[]), Claim::Free);
        directory.announce(&key, B);
        // Removed by another thread before the writer was done.
        directory.forget(&key, B);
        directory.settle(&key, Some(B), |_| false);
        assert_eq!(directory.map().len(), 0);
        assert_eq!(directory.claim_taken(&key, || None, |_| true), Claim::Free);
        assert_eq!(directory.claim_taken(&key, || Some(A), |_| true), Claim::Taken(A));
        directory.settle(&key, None, |_| true);
        assert_eq!(directory.map().len(), 0);
    }
}
