//! Giving back the space of dead rows: files that are mostly dead are emptied, files without a row that is needed are removed.
//!
//! In steps, so that nobody waits: [`Collection::compact`] does them one after the other, the keeper a little at a time when a
//! quarter of the rows ended since it last looked ([`LOOK_PART`]).
//!
//! * **K1** A row is moved as an application would write it again: by a commit, and only if it is still that version.
//! * **K2** A file is removed when nothing in the catalog names it, which cannot change any more, as row numbers only grow; after a
//!   checkpoint, so that no crash brings a row back that lies in it; and after the last reader is gone that began before the catalog
//!   was as it is (see [`Readers`]).
//! * **K3** Files that a snapshot may need are left alone, as moving would keep their rows twice: those that hold a row kept for one,
//!   and by the keeper those below the bound of one.

use std::collections::BTreeMap;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::catalog::Table;
use crate::collection::CollectionCore;
use crate::commit::{Committer, Job, Op, Upsert, WriteJob};
use crate::entry_keys::{caller_key, parts};
use crate::error::{StorageError, WriteError};
use crate::old::decode_old;
use crate::record::Record;
use crate::rows::SEGMENT_ROWS;
use crate::schema::VectorField;
use crate::tenant::Collection;
use crate::version::{for_each_entry, for_each_in};

/// What compaction did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Compacted {
    /// Rows moved out of files that were mostly dead.
    pub moved_rows: u64,
    /// Files of dead rows that were removed.
    pub removed_files: u64,
}

impl Compacted {
    fn add(&mut self, more: Self) {
        self.moved_rows += more.moved_rows;
        self.removed_files += more.removed_files;
    }
}

/// A file with a smaller share of live rows than this is emptied: what is moved is then at most what is freed.
const SPARSE: f64 = 0.5;

/// The keeper looks at a collection when one in so many of its rows ended since the last look, which passes its whole catalog.
const LOOK_PART: u64 = 4;

/// Rows per commit: a writer that waits behind one waits for a millisecond or two.
const MOVED_AT_ONCE: usize = 128;

/// Longest wait of [`Collection::compact`] for readers that may still see dead rows; their files stay until the next compaction.
const PATIENCE: Duration = Duration::from_secs(5);

/// Who is reading a collection, by turns: a turn ends when somebody wants to know that all are gone who read until then.
#[derive(Debug, Default)]
pub(crate) struct Readers {
    turn: RwLock<Arc<()>>,
    ended: Mutex<Vec<Weak<()>>>,
}

/// Held while rows are read: files that were needed when it was made stay.
#[derive(Debug)]
pub(crate) struct Reading {
    _turn: Arc<()>,
}

impl Readers {
    /// Begins to read. To be called before a version or a view of the catalog is taken.
    pub(crate) fn enter(&self) -> Reading {
        Reading { _turn: self.turn.read().unwrap_or_else(PoisonError::into_inner).clone() }
    }

    /// Ends the turn.
    fn end_turn(&self) {
        let ended = std::mem::take(&mut *self.turn.write().unwrap_or_else(PoisonError::into_inner));
        self.ended.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(&ended));
    }

    /// Whether all readers of turns that ended are gone.
    fn are_gone(&self) -> bool {
        let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        ended.retain(|turn| turn.strong_count() > 0);
        ended.is_empty()
    }
}

/// What the catalog says of a collection's files.
struct Look {
    /// Files of plain vectors that are mostly dead, but for those that rows are still written to.
    sparse: Vec<usize>,
    /// Files that nothing names, by vector.
    unused: Vec<(usize, usize)>,
}

fn storage(error: StorageError) -> WriteError {
    WriteError::Storage(Arc::new(error))
}

/// Looks for files that are not needed. `keeps_snapshots`: none that a snapshot has rows in is mostly dead (K3).
fn look(core: &Arc<CollectionCore>, jobs: &Sender<Job>, keeps_snapshots: bool) -> Result<Look, WriteError> {
    // First the bounds: a commit that is under way has written its rows, beyond them, before anything names them.
    let place = core.clone();
    let bounds = task(jobs, move |committer| {
        let (_, counters) = committer.collections.get(&place.id)?;
        let schema = place.schema();
        let next = |(vector, field): (usize, &VectorField)| {
            let position = if field.multi { counters.positions[vector] } else { counters.row };
            position as usize / SEGMENT_ROWS
        };
        Some(schema.vectors.iter().enumerate().map(next).collect::<Vec<_>>())
    })?;
    // A collection that was dropped has none.
    let bounds = bounds.unwrap_or_default();
    let used = used_files(core).map_err(storage)?;
    let schema = core.schema();
    let bound = core.snapshots().iter().map(|snapshot| snapshot.bound as usize).max().unwrap_or(0);
    let mut look = Look { sparse: Vec::new(), unused: Vec::new() };
    for (vector, (rows, last)) in core.rows.iter().zip(bounds).enumerate() {
        for file in rows.segment_numbers().into_iter().filter(|&file| file < last) {
            let Some(&Used { live, old }) = used.get(&(vector, file)) else {
                look.unused.push((vector, file));
                continue;
            };
            let is_kept = old > 0 || keeps_snapshots && file * SEGMENT_ROWS < bound;
            let is_sparse = (live as f64) < SPARSE * SEGMENT_ROWS as f64;
            if is_sparse && !is_kept && !schema.vectors[vector].multi {
                look.sparse.push(file);
            }
        }
    }
    look.sparse.sort_unstable();
    look.sparse.dedup();
    Ok(look)
}

/// Rows of a file that are needed.
#[derive(Debug, Default, Clone, Copy)]
struct Used {
    live: u64,
    /// Kept for snapshots.
    old: u64,
}

/// How many rows that are needed each file of each vector holds.
fn used_files(core: &CollectionCore) -> Result<BTreeMap<(usize, usize), Used>, StorageError> {
    let mut used = BTreeMap::<(usize, usize), Used>::new();
    let mut count = |record: &Record, is_old: bool| {
        for placed in &record.vectors {
            for position in placed.start..placed.start.saturating_add(placed.count) {
                let file = used.entry((usize::from(placed.vector), position as usize / SEGMENT_ROWS));
                let file = file.or_default();
                *(if is_old { &mut file.old } else { &mut file.live }) += 1;
            }
        }
    };
    let mut unknown = 0u64;
    let catalog = &core.shared.catalog;
    // One view, as rows go from one table to the other and back.
    let read = catalog.read()?;
    for_each_in(catalog, &read, Table::Rows, &core.entry_keys.all(), |place, value| {
        Record::decode(place, value).map_or_else(|| unknown += 1, |record| count(&record, false));
    })?;
    for_each_in(catalog, &read, Table::Old, &core.id.to_be_bytes(), |place, bytes| {
        let record = decode_old(place, bytes).and_then(|old| Record::decode(&old.key, &old.value));
        record.map_or_else(|| unknown += 1, |record| count(&record, true));
    })?;
    if unknown > 0 {
        // Where the vectors of a damaged entry lie is not known: no file is without use then.
        return Err(catalog.damaged("a row"));
    }
    Ok(used)
}

/// Runs `work` on the committing thread, alone.
fn task<R: Send + 'static>(
    jobs: &Sender<Job>,
    work: impl FnOnce(&mut Committer) -> R + Send + 'static,
) -> Result<R, WriteError> {
    let (reply, answer) = channel();
    let task = Job::Task(Box::new(move |committer| {
        // Whoever asked may have gone away.
        let _ = reply.send(work(committer));
    }));
    jobs.send(task).map_err(|_| WriteError::Closed)?;
    answer.recv().map_err(|_| WriteError::Closed)
}

/// A row to be moved: its tenant, its place in the catalog, its number.
type Moving = (u32, Box<[u8]>, u32);

/// How far a compaction is.
enum Stage {
    /// There may be rows to move.
    Moving,
    /// These files may go once the readers are gone.
    Waiting(Vec<(usize, usize)>),
    Over,
}

/// A compaction on its way.
pub(crate) struct Compaction {
    core: Arc<CollectionCore>,
    /// By tenant, the last first.
    rest: Vec<Moving>,
    names: BTreeMap<u32, Box<str>>,
    stage: Stage,
    done: Compacted,
}

impl Compaction {
    /// Whether the keeper should look: [`LOOK_PART`].
    pub(crate) fn is_due(core: &CollectionCore) -> bool {
        let ended = core.ended_rows();
        ended >= (SEGMENT_ROWS / 2) as u64 && {
            let rows = core.rows.iter().map(|rows| rows.count()).max().unwrap_or(0);
            ended >= rows / LOOK_PART
        }
    }

    /// Looks what there is to do.
    pub(crate) fn begin(
        core: &Arc<CollectionCore>,
        jobs: &Sender<Job>,
        keeps_snapshots: bool,
    ) -> Result<Self, WriteError> {
        core.forget_ended_rows();
        let sparse = look(core, jobs, keeps_snapshots)?.sparse;
        let mut rest = Vec::new();
        let mut names = BTreeMap::new();
        if !sparse.is_empty() {
            names = core.tenant_names().map_err(storage)?.into_iter().map(|(name, id)| (id, name)).collect();
            for_each_entry(&core.shared.catalog, Table::Rows, &core.entry_keys.all(), |place, value| {
                if let Some(record) = Record::decode(place, value)
                    && sparse.binary_search(&(record.row as usize / SEGMENT_ROWS)).is_ok()
                {
                    let tenant = parts(place).map_or(u32::MAX, |parts| parts.tenant);
                    rest.push((tenant, place.into(), record.row));
                }
            })
            .map_err(storage)?;
            rest.reverse();
        }
        Ok(Self { core: core.clone(), rest, names, stage: Stage::Moving, done: Compacted::default() })
    }

    pub(crate) fn core(&self) -> &Arc<CollectionCore> {
        &self.core
    }

    pub(crate) fn has_rows(&self) -> bool {
        !self.rest.is_empty()
    }

    /// Writes some rows anew, of one tenant (K1).
    pub(crate) fn move_some(&mut self, jobs: &Sender<Job>) -> Result<(), WriteError> {
        let Some(&(tenant, ..)) = self.rest.last() else { return Ok(()) };
        let mut batch = Vec::with_capacity(MOVED_AT_ONCE);
        while batch.len() < MOVED_AT_ONCE
            && let Some(row) = self.rest.pop_if(|row| row.0 == tenant)
        {
            batch.push(row);
        }
        let Some(name) = self.names.get(&tenant).cloned() else { return Ok(()) };
        let schema = self.core.schema();
        let _reading = self.core.readers.enter();
        let mut ops = Vec::with_capacity(batch.len());
        for (_, place, row) in &batch {
            let value = self.core.shared.catalog.value(Table::Rows, place).map_err(storage)?;
            let upsert = value.and_then(|value| {
                let record = Record::decode(place, &value).filter(|record| record.row == *row)?;
                let born = self.core.born(&schema, place, &value)?;
                let vectors = record.vectors.iter().map(|placed| {
                    let rows = self.core.rows.get(usize::from(placed.vector))?;
                    let mut elements = Vec::with_capacity(rows.dim() * placed.count as usize);
                    for position in placed.start..placed.start.saturating_add(placed.count) {
                        elements.extend_from_slice(&rows.row(position).ok()?);
                    }
                    Some((placed.vector, elements))
                });
                let vectors = vectors.collect::<Option<_>>()?;
                let key = caller_key(place)?;
                Some(Upsert {
                    key,
                    payload: record.payload,
                    values: born.values,
                    vectors,
                    if_row: Some(*row),
                })
            });
            // Deleted or replaced meanwhile, or damaged: a damaged row stays where it is, for `check` to report.
            ops.extend(upsert.map(Op::Upsert));
        }
        for (vector, rows) in self.core.rows.iter().enumerate() {
            if !schema.vectors[vector].multi {
                let mut numbers: Vec<u32> = batch.iter().map(|(.., row)| *row).collect();
                numbers.sort_unstable();
                // Read for the last time.
                rows.give_back(&numbers);
            }
        }
        let (reply, answer) = channel();
        let job = WriteJob { collection: self.core.clone(), tenant: name, schema, ops, reply };
        jobs.send(Job::Write(job)).map_err(|_| WriteError::Closed)?;
        let moved_rows = answer.recv().map_err(|_| WriteError::Closed)??.rows as u64;
        self.note(Compacted { moved_rows, ..Compacted::default() });
        Ok(())
    }

    /// Looks for files that nothing names, and ends the turn of those who read now.
    pub(crate) fn end_turn(&mut self, jobs: &Sender<Job>) -> Result<(), WriteError> {
        let unused = look(&self.core, jobs, false)?.unused;
        if unused.is_empty() {
            self.stage = Stage::Over;
            return Ok(());
        }
        let core = self.core.clone();
        // On that thread no commit is half done: what the catalog showed, the tenants in memory show, too.
        task(jobs, move |_| core.readers.end_turn())?;
        self.stage = Stage::Waiting(unused);
        Ok(())
    }

    /// Whether it waits for readers.
    pub(crate) fn is_waiting(&self) -> bool {
        matches!(self.stage, Stage::Waiting(_))
    }

    pub(crate) fn is_over(&self) -> bool {
        matches!(self.stage, Stage::Over)
    }

    /// Removes the files, if their readers are gone (K2).
    pub(crate) fn remove(&mut self, jobs: &Sender<Job>) -> Result<(), WriteError> {
        let Stage::Waiting(unused) = &mut self.stage else { return Ok(()) };
        if !self.core.readers.are_gone() {
            return Ok(());
        }
        let (core, unused) = (self.core.clone(), std::mem::take(unused));
        self.stage = Stage::Over;
        let removed_files = task(jobs, move |committer| {
            committer.checkpoint(Vec::new())?;
            if core.is_dropped() {
                return Ok(0);
            }
            // What cannot be removed is tried again by the next compaction.
            let is_removed =
                |&&(vector, file): &&(usize, usize)| core.rows[vector].remove_segment(file).is_ok();
            Ok::<u64, WriteError>(unused.iter().filter(is_removed).count() as u64)
        })??;
        self.note(Compacted { removed_files, ..Compacted::default() });
        Ok(())
    }

    fn note(&mut self, more: Compacted) {
        self.done.add(more);
        self.core.compacted.lock().unwrap_or_else(PoisonError::into_inner).add(more);
    }
}

impl Collection {
    /// Gives back the space of dead rows: rows of files that are mostly dead are written anew, then files without a live row
    /// are removed. Readers and writers go on meanwhile. In a database with background work this happens by itself as rows end.
    ///
    /// # Errors
    /// [`WriteError`].
    pub fn compact(&self) -> Result<Compacted, WriteError> {
        let jobs = self.database.jobs()?;
        let mut compaction = Compaction::begin(&self.core, &jobs, false)?;
        while compaction.has_rows() {
            compaction.move_some(&jobs)?;
        }
        if self.database.keeper.lock().is_ok_and(|keeper| keeper.is_none()) {
            // Without background work, this is who forgets rows that nobody sees.
            self.core.cells().iter().filter_map(|cell| cell.state()).for_each(|state| drop(state.purge()));
        }
        compaction.end_turn(&jobs)?;
        let started = Instant::now();
        while !compaction.is_over() && started.elapsed() < PATIENCE {
            compaction.remove(&jobs)?;
            if compaction.is_waiting() {
                std::thread::sleep(Duration::from_millis(2));
            }
        }
        Ok(compaction.done)
    }
    /// What compaction did since the database was opened: by itself, and by [`compact`](Self::compact).
    pub fn compacted(&self) -> Compacted {
        *self.core.compacted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
