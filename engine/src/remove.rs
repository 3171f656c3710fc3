//! Taking rows out again, and putting others in their place.
//!
//! A removed row is in no result from the moment `remove` returns. Its edges are mended by the graph, and once
//! nobody can be looking at it its place goes to a row that is inserted later (see `orthant_graph`).
//!
//! * **V1** Of several callers that remove one row, one is told that it did.
//! * **V2** Two writes under one key take turns; writes under different keys never wait for each other, and
//!   neither removing nor searching waits for anything.
//! * **V3** While a row is exchanged for another, every search that meets them sees one of them.
//!
//! Cost: removing a row is to cost at most half of inserting one.

use std::sync::atomic::{AtomicUsize, Ordering};

use orthant_graph::Updated;
use orthant_pool::{CancelToken, PoolError};

use crate::directory::Claim;
use crate::ids::{Key, RowId};
use crate::index::{Index, InsertError, SCRATCH, check_key};

/// Why a row could not be removed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RemoveError {
    /// The threads for the batch could not be started.
    #[error(transparent)]
    Pool(#[from] PoolError),
}

/// Rows removed per turn of a thread, as for inserts.
const REMOVE_CHUNK: usize = 32;

impl Index {
    /// Removes the row that `key` names. Whether there was one.
    ///
    /// # Examples
    /// ```
    /// use orthant_engine::{Index, Key, Metric};
    ///
    /// let index = Index::builder(1, Metric::L2).build()?;
    /// let first = index.insert(7, &[1.0])?;
    /// assert!(index.remove(&Key::from(7)));
    /// assert!(!index.remove(&Key::from(7)));
    /// index.insert(8, &[2.0])?;
    /// assert_eq!(index.key(first), None, "its place may have been taken, its id is not");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn remove(&self, key: &Key) -> bool {
        let _write = self.writes.begin();
        let row = {
            let _pin = self.graph.pin();
            self.find(key)
        };
        // Somebody else may remove the row first, and then another row under this key may have come: that
        // one came later than this call.
        row.is_some_and(|row| self.remove_row(key, row))
    }

    /// Removes the rows that `keys` name, in parallel. Returns how many there were.
    ///
    /// # Errors
    /// [`RemoveError::Pool`] if the threads cannot be started; no row is removed then.
    pub fn remove_batch(&self, keys: &[Key]) -> Result<usize, RemoveError> {
        let removed = AtomicUsize::new(0);
        self.run_chunks(keys.len(), REMOVE_CHUNK, &CancelToken::new(), |_, range| {
            let count = keys[range].iter().filter(|key| self.remove(key)).count();
            removed.fetch_add(count, Ordering::Relaxed);
        })?;
        Ok(removed.into_inner())
    }

    /// Puts another row under a key that names one, in one step: each search finds the old or the new one.
    /// `None` if the key names no row.
    ///
    /// # Errors
    /// [`InsertError`]; the old row is still there.
    pub fn update(&self, key: &Key, row: &[f32]) -> Result<Option<RowId>, InsertError> {
        self.check_row(0, row)?;
        let _write = self.writes.begin();
        self.fill_directory();
        loop {
            let claim = {
                let _pin = self.graph.pin();
                self.directory.claim_taken(key, || self.find_by_node(key), |row| self.is_live(row))
            };
            match claim {
                Claim::Free => return Ok(None),
                Claim::Taken(old) => return self.exchange(key, Some(old), row).map(Some),
                // Another write under the same key (V2).
                Claim::Busy => std::thread::yield_now(),
            }
        }
    }

    /// Inserts a row under a key, in place of the row that the key names, if it names one: then in one step,
    /// as [`update`](Self::update) does.
    ///
    /// # Errors
    /// [`InsertError`]; what was there is still there.
    pub fn upsert(&self, key: impl Into<Key>, row: &[f32]) -> Result<RowId, InsertError> {
        let key = key.into();
        self.check_row(0, row)?;
        check_key(&key)?;
        self.settle_keys(true)?;
        let _write = self.writes.begin();
        self.fill_directory();
        loop {
            let claim = {
                let _pin = self.graph.pin();
                self.directory.claim_any(&key, |row| self.is_live(row))
            };
            match claim {
                Claim::Free => return self.exchange(&key, None, row),
                Claim::Taken(old) => return self.exchange(&key, Some(old), row),
                Claim::Busy => std::thread::yield_now(),
            }
        }
    }

    /// Puts a row under a key whose entry is the caller's.
    fn exchange(&self, key: &Key, old: Option<RowId>, row: &[f32]) -> Result<RowId, InsertError> {
        let exchanged = self.append(Some(key.as_ref()), |out| out.copy_from_slice(row)).and_then(|new| {
            self.directory.announce(key, new);
            match old {
                None => self.link(new)?,
                Some(old) => self.replace_row(old, new)?,
            }
            Ok(new)
        });
        self.settle(key, exchanged.as_ref().ok().copied().or(old));
        exchanged
    }
}

impl Index {
    /// Removes a row that was seen live, and its key's entry. Whether this call did it (V1).
    fn remove_row(&self, key: &Key, row: RowId) -> bool {
        let space = self.space();
        let removed = SCRATCH
            .with_borrow_mut(|(scratch, _)| self.graph.remove(row.node, row.generation, &space, scratch));
        if removed.is_ok() {
            self.directory.forget(key, row);
        }
        removed.is_ok()
    }

    /// Links `new` in place of `old` (V3), or gives it up. If `old` was removed meanwhile, `new` is just linked.
    fn replace_row(&self, old: RowId, new: RowId) -> Result<(), InsertError> {
        let space = self.space();
        let level = self.levels.level(new.node);
        let updated = SCRATCH.with_borrow_mut(|(scratch, _)| {
            self.graph.update((old.node, old.generation), new.node, level, &space, scratch)
        });
        updated.map(|_| ()).map_err(|error| {
            self.give_up(new);
            error.into()
        })
    }

    /// As [`replace_row`](Self::replace_row) for a copy of the same row: if `old` was removed meanwhile, so is the copy.
    pub(crate) fn replace_moved(&self, old: RowId, new: RowId) -> Result<RowId, InsertError> {
        let space = self.space();
        let level = self.levels.level(new.node);
        let updated = SCRATCH.with_borrow_mut(|(scratch, _)| {
            self.graph.update((old.node, old.generation), new.node, level, &space, scratch)
        });
        match updated {
            Ok(Updated::Replaced) => Ok(new),
            Ok(Updated::Inserted) => {
                let space = self.space();
                // Whoever found it by its key may have removed it: then there is nothing left to do.
                let _ = SCRATCH.with_borrow_mut(|(scratch, _)| {
                    self.graph.remove(new.node, new.generation, &space, scratch)
                });
                Ok(new)
            }
            Err(error) => {
                self.give_up(new);
                Err(error.into())
            }
        }
    }
}
