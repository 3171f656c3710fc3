//! Moving rows into free places, and giving memory back, beside everything else.
//!
//! Rows whose places lie above what would do for all of them are exchanged for copies of themselves in free
//! places below, one by one, as [`Index::update`] does it. Then the pages behind the last row are given back.
//! Where many rows went, those that are left are linked anew.
//!
//! * **M1** Each row that is in stays in all the while, under its key: a search meets it once.
//! * **M2** A key that somebody is writing under is left where it is.
//!
//! Cost: an insert and a removal per row that is moved, an insert for each that is linked anew; a page for each that is given
//! back. An index that
//! nobody else uses is laid out anew, and as compactly, by [`Index::optimize`].

use orthant_graph::NodeId;
use orthant_pool::CancelToken;

use crate::directory::Claim;
use crate::ids::{Key, KeyRef, RowId};
use crate::index::{Index, InsertError, SCRATCH};

/// The share of free places, one in so many, from which on all rows are linked anew.
const FREE_ONE_IN: usize = 10;

/// Rows per turn of a thread.
const CHUNK: usize = 64;

impl Index {
    /// Moves rows from the highest places into free ones below, and gives the memory behind the last row back to
    /// the system. Returns how many rows were moved; their [`RowId`]s change, their keys do not.
    ///
    /// Inserts, removals and searches may go on meanwhile; places that their readers still look at are left for
    /// the next call. Worth it after many more rows were removed than inserted: places are used again
    /// anyway.
    ///
    /// # Errors
    /// [`InsertError`] when there is no memory to move a row; what was moved before stays so.
    pub fn compact(&self) -> Result<usize, InsertError> {
        let _write = self.writes.begin();
        self.fill_directory();
        self.settle_graph()?;
        let target = self.len();
        // All free places, for a moment: those below the target are kept.
        let mut free: Vec<NodeId> = std::iter::from_fn(|| self.graph.take_slot()).collect();
        free.sort_unstable_by(|a, b| b.cmp(a));
        let many_went = free.len() * FREE_ONE_IN > target + free.len();
        let (high, mut low): (Vec<NodeId>, Vec<NodeId>) =
            free.into_iter().partition(|&node| node as usize >= target);
        // The lowest last, so that it is the first to be used again.
        high.iter().for_each(|&node| self.graph.give_slot_back(node));
        let mut moved = 0;
        let mut outcome = Ok(());
        for node in (target as NodeId..self.graph.node_bound() as NodeId).rev() {
            let Some(place) = low.pop() else { break };
            match self.move_row(node, place) {
                Ok(true) => moved += 1,
                Ok(false) => low.push(place),
                Err(error) => {
                    outcome = Err(error);
                    break;
                }
            }
        }
        low.iter().for_each(|&place| self.graph.give_slot_back(place));
        outcome?;
        self.settle_graph()?;
        if many_went {
            self.relink()?;
        }
        self.release_tail();
        Ok(moved)
    }

    /// Links all rows anew, on the threads of the index.
    fn relink(&self) -> Result<(), InsertError> {
        let space = self.space();
        self.run_chunks(self.graph.node_bound(), CHUNK, &CancelToken::new(), |_, range| {
            SCRATCH.with_borrow_mut(|(scratch, _)| {
                range.for_each(|node| self.graph.relink(node as NodeId, &space, scratch));
            });
        })?;
        Ok(())
    }

    /// Lets the graph finish what removals left to be done.
    pub(crate) fn settle_graph(&self) -> Result<(), InsertError> {
        let space = self.space();
        let settled = SCRATCH.with_borrow_mut(|(scratch, _)| self.graph.settle(&space, scratch));
        Ok(settled.map_err(orthant_graph::InsertError::from)?)
    }

    /// Moves the row of `node`, if there is one that nobody is writing under the key of, to `place`, which is the
    /// caller's. Whether it did; on an error the place is given back.
    fn move_row(&self, node: NodeId, place: NodeId) -> Result<bool, InsertError> {
        let (old, key) = {
            let pinned = self.pin();
            let old = RowId { node, generation: self.graph.generation(node) };
            let Some(key) = pinned.key(old).map(KeyRef::to_key) else { return Ok(false) };
            let claim = self.directory.claim_taken(&key, || self.find_by_node(&key), |row| self.is_live(row));
            match claim {
                Claim::Taken(row) if row == old => {}
                Claim::Taken(row) => {
                    self.settle(&key, Some(row));
                    return Ok(false);
                }
                Claim::Free | Claim::Busy => return Ok(false),
            }
            (old, key)
        };
        let moved = self.copy_row(&key, old, place);
        self.settle(&key, Some(*moved.as_ref().unwrap_or(&old)));
        moved.map(|_| true)
    }

    fn copy_row(&self, key: &Key, old: RowId, place: NodeId) -> Result<RowId, InsertError> {
        let new = {
            // Should the row be removed meanwhile, it is still whole under the pin; the claim keeps it from being seen
            // as another row's.
            let _pin = self.graph.pin();
            let is_there = self.is_live(old);
            let fill = |out: &mut [f32]| {
                if is_there {
                    // SAFETY: seen live under the pin.
                    out.copy_from_slice(unsafe { self.rows.row_unchecked(old.node) });
                }
            };
            // SAFETY: the place is the caller's.
            let new = unsafe { self.fill_again(place, Some(key.as_ref()), fill) }?;
            if !is_there {
                self.give_up(new);
                return Ok(old);
            }
            new
        };
        self.directory.announce(key, new);
        self.replace_moved(old, new)
    }

    /// Gives back the memory of rows and codes behind the last place that the graph uses.
    fn release_tail(&self) {
        // Places that are free but were used: their owner is the graph, and nobody is given them while this holds
        // them.
        let mut free: Vec<NodeId> = std::iter::from_fn(|| self.graph.take_slot()).collect();
        free.sort_unstable_by(|a, b| b.cmp(a));
        for run in free.chunk_by(|a, b| *a == *b + 1) {
            let (first, last) = (run[run.len() - 1] as usize, run[0] as usize);
            // SAFETY: the places are this call's alone, and what is in them is written before it is read.
            unsafe { self.rows.discard(first..last + 1) };
            if let Some(codes) = &self.codes {
                // SAFETY: as above.
                unsafe { codes.discard(first..last + 1) };
            }
            if let Some(halves) = &self.halves {
                // SAFETY: as above.
                unsafe { halves.discard(first..last + 1) };
            }
        }
        free.iter().for_each(|&node| self.graph.give_slot_back(node));
    }
}
