//! The committing thread: the only one that changes anything on disk.
//!
//! Writers hand it batches and wait; it takes all that wait as one group. For a group, in this order:
//!
//! 1. rows go to their files (flushed, when the policy is to flush always);
//! 2. the changes of the tables go into a transaction of the catalog, not committed yet;
//! 3. the same changes go to the journal (flushed, as above);
//! 4. the transaction commits in memory; the tenants in memory are changed; the writers are told.
//!
//! * **C1** What a group says is there after a crash if its record is in the journal or the catalog was made safe after it;
//!   a record names only rows that were written before it.
//! * **C2** An error before 3 leaves nothing. An error in or after 3 leaves it unknown what the disk holds: writes are off
//!   from then on ([`WriteError::Poisoned`]), reads go on, and opening again finds out.
//! * **C3** The catalog is made safe (a *checkpoint*) after the rows are; then the journal starts anew.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use orthant_engine::Key;
use redb::Durability;

use crate::catalog::{CollectionEntry, OLD, Put, ROWS, TENANTS, encode_puts, put_meta};
use crate::collection::{CollectionCore, Shared};
use crate::counters::Counters;
use crate::error::{StorageError, WriteError};
use crate::files::FileHandle;
use crate::group::{Failure, Group, Tables};
use crate::journal::Journal;
use crate::schema::Schema;
use crate::values::FieldValue;

/// When a write that was acknowledged survives a power cut. In every mode it survives the end of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flush {
    /// Before it is acknowledged. Writers that wait at the same time share a flush.
    Always,
    /// At most this long after it was acknowledged.
    Interval(Duration),
    /// When the system gets to it; at the latest with the next checkpoint.
    Os,
}

/// How the committing thread works.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CommitOptions {
    pub(crate) flush: Flush,
    /// A checkpoint follows when the journal is longer than this…
    pub(crate) journal_bytes: u64,
    /// … or this long after the last one.
    pub(crate) checkpoint_every: Duration,
}

/// One change of one row.
#[derive(Debug)]
pub(crate) enum Op {
    Upsert(Upsert),
    /// Ends the row; only if it is still this version, when one is given.
    Delete {
        key: Key,
        if_row: Option<u32>,
    },
}

#[derive(Debug)]
pub(crate) struct Upsert {
    pub(crate) key: Key,
    pub(crate) payload: Box<[u8]>,
    pub(crate) values: Vec<Option<FieldValue>>,
    /// The vectors by number, `[count × dim]` each.
    pub(crate) vectors: Vec<(u16, Vec<f32>)>,
    /// Write only if the row is still this version.
    pub(crate) if_row: Option<u32>,
}

/// What became of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// The number of the commit; later ones are larger.
    pub sequence: u64,
    /// Rows that were written or deleted.
    pub rows: usize,
}

pub(crate) struct WriteJob {
    pub(crate) collection: Arc<CollectionCore>,
    pub(crate) tenant: Box<str>,
    /// The schema that the values were read by.
    pub(crate) schema: Arc<Schema>,
    pub(crate) ops: Vec<Op>,
    pub(crate) reply: Sender<Result<Written, WriteError>>,
}

pub(crate) enum Job {
    Write(WriteJob),
    /// Something that needs the thread for itself.
    Task(Box<dyn FnOnce(&mut Committer) + Send>),
    Stop,
}

/// What the committing thread and the flushing thread share.
#[derive(Debug)]
pub(crate) struct FlushState {
    /// The newest commit.
    pub(crate) committed: AtomicU64,
    /// The newest commit that is safe.
    pub(crate) flushed: AtomicU64,
    /// Why writes are off (C2).
    pub(crate) poison: OnceLock<Arc<StorageError>>,
}

impl FlushState {
    pub(crate) fn poison(&self, error: StorageError) -> Arc<StorageError> {
        self.poison.get_or_init(|| Arc::new(error)).clone()
    }
}

/// Everything the committing thread owns.
pub(crate) struct Committer {
    pub(crate) shared: Arc<Shared>,
    pub(crate) journal: Journal,
    pub(crate) sequence: u64,
    pub(crate) state: Arc<FlushState>,
    pub(crate) options: CommitOptions,
    pub(crate) collections: HashMap<u32, (Arc<CollectionCore>, Counters)>,
    pub(crate) last_checkpoint: Instant,
}

/// Most batches of a group, and most operations after which a group is closed: bounds on how long the first has to wait.
const GROUP_JOBS: usize = 1024;
const GROUP_OPS: usize = 16 << 10;

/// Starts the channel to a committing thread.
pub(crate) fn job_channel() -> (Sender<Job>, Receiver<Job>) {
    channel()
}

impl Committer {
    /// Works until it is told to stop.
    pub(crate) fn run(mut self, jobs: &Receiver<Job>) {
        let mut next = None;
        loop {
            let wait = self.options.checkpoint_every.saturating_sub(self.last_checkpoint.elapsed());
            let job = match next.take() {
                Some(job) => job,
                None => match jobs.recv_timeout(wait.max(Duration::from_millis(1))) {
                    Ok(job) => job,
                    Err(RecvTimeoutError::Timeout) => {
                        self.checkpoint_if_due();
                        continue;
                    }
                    Err(RecvTimeoutError::Disconnected) => break,
                },
            };
            match job {
                Job::Stop => break,
                Job::Task(task) => task(&mut self),
                Job::Write(first) => {
                    let mut ops = first.ops.len();
                    let mut group = vec![first];
                    while group.len() < GROUP_JOBS && ops < GROUP_OPS {
                        match jobs.try_recv() {
                            Ok(Job::Write(job)) => {
                                ops += job.ops.len();
                                group.push(job);
                            }
                            Ok(other) => {
                                next = Some(other);
                                break;
                            }
                            Err(_) => break,
                        }
                    }
                    self.commit(group);
                }
            }
            self.checkpoint_if_due();
        }
        // An orderly end leaves an empty journal. If it fails, the journal has everything.
        if self.journal.bytes() > 0 && self.state.poison.get().is_none() {
            let _ = self.checkpoint(Vec::new());
        }
    }

    fn checkpoint_if_due(&mut self) {
        let is_long = self.journal.bytes() > self.options.journal_bytes;
        let is_old = self.last_checkpoint.elapsed() >= self.options.checkpoint_every;
        if is_long || is_old {
            if self.journal.bytes() > 0 && self.state.poison.get().is_none() {
                // A failure poisons, which the next writer is told.
                let _ = self.checkpoint(Vec::new());
            }
            self.last_checkpoint = Instant::now();
        }
    }

    /// Makes everything committed so far safe, and with it `puts` (C3).
    pub(crate) fn checkpoint(&mut self, mut puts: Vec<Put>) -> Result<(), WriteError> {
        if let Some(error) = self.state.poison.get() {
            return Err(WriteError::Poisoned(error.clone()));
        }
        let sequence = if puts.is_empty() { self.sequence } else { self.sequence + 1 };
        puts.push(put_meta("sequence", &sequence.to_le_bytes()));
        let done = self.sync_rows().and_then(|()| self.shared.catalog.apply(&puts, Durability::Immediate));
        let done = done.and_then(|()| {
            self.journal
                .restart(sequence)
                .map_err(|source| StorageError::Io { path: journal_path(&self.shared.dir), source })
        });
        match done {
            Ok(()) => {
                self.sequence = sequence;
                self.state.committed.store(sequence, Ordering::Release);
                self.state.flushed.fetch_max(sequence, Ordering::AcqRel);
                self.last_checkpoint = Instant::now();
                Ok(())
            }
            Err(error) => Err(WriteError::Poisoned(self.state.poison(error))),
        }
    }

    fn sync_rows(&self) -> Result<(), StorageError> {
        for (collection, _) in self.collections.values() {
            for rows in &collection.rows {
                rows.sync().map_err(|source| self.rows_error(source))?;
            }
        }
        Ok(())
    }

    fn rows_error(&self, source: io::Error) -> StorageError {
        StorageError::Io { path: self.shared.dir.join("rows"), source }
    }

    /// Does a group of batches as one commit.
    fn commit(&mut self, jobs: Vec<WriteJob>) {
        if let Some(error) = self.state.poison.get() {
            for job in jobs {
                // Whoever asked may have gone away.
                let _ = job.reply.send(Err(WriteError::Poisoned(error.clone())));
            }
            return;
        }
        let replies: Vec<_> = jobs.iter().map(|job| job.reply.clone()).collect();
        let mut group = Group::default();
        if let Err(failure) = self.try_commit(jobs, &mut group) {
            let is_poisoned = failure.is_unknown;
            let error = if is_poisoned { self.state.poison(failure.error) } else { Arc::new(failure.error) };
            for reply in replies {
                let error = error.clone();
                let _ = reply.send(Err(if is_poisoned {
                    WriteError::Poisoned(error)
                } else {
                    WriteError::Storage(error)
                }));
            }
            return;
        }
        for pending in group.pending {
            let written = Written { sequence: self.sequence, rows: pending.rows };
            let _ = pending.reply.send(Ok(written));
        }
    }

    fn try_commit(&mut self, jobs: Vec<WriteJob>, group: &mut Group) -> Result<(), Failure> {
        let sequence = self.sequence + 1;
        let catalog = &self.shared.catalog;
        let transaction = catalog.write(Durability::None)?;
        {
            let mut rows = transaction.open_table(ROWS).map_err(|error| catalog.error(error))?;
            let mut old = transaction.open_table(OLD).map_err(|error| catalog.error(error))?;
            let mut tenants = transaction.open_table(TENANTS).map_err(|error| catalog.error(error))?;
            for job in jobs {
                let tables = Tables { rows: &mut rows, old: &mut old, tenants: &mut tenants };
                self.prepare(job, sequence, tables, group)?;
            }
        }
        if group.puts.is_empty() {
            // Nothing changed: deletes of rows that are not there. There is nothing to make safe.
            return transaction.abort().map_err(|error| catalog.error(error).into());
        }
        let mut meta = vec![put_meta("sequence", &sequence.to_le_bytes())];
        meta.extend(group.counters.iter().map(|(collection, counters)| counters.put(*collection)));
        catalog.put_all(&transaction, &meta)?;
        group.puts.extend(meta);

        for write in &group.rows {
            let written = write.collection.rows[write.vector].write(write.start, &write.elements);
            written.map_err(|source| self.rows_error(source)).map_err(Failure::before)?;
        }
        let is_always = self.options.flush == Flush::Always;
        if is_always {
            self.sync_rows()?;
        }
        let flushed = self.state.flushed.load(Ordering::Acquire);
        let journal_error = |source| StorageError::Io { path: journal_path(&self.shared.dir), source };
        if let Err(error) = self.journal.append(sequence, flushed, is_always, &encode_puts(&group.puts)) {
            return Err(Failure { is_unknown: !error.is_cut, error: journal_error(error.source) });
        }
        if is_always {
            self.journal.sync().map_err(journal_error)?;
        }
        // In the order of their numbers: nobody else holds two gates.
        let mut touched: Vec<_> = group.changes.keys().copied().collect();
        touched.sort_unstable();
        let cells: Vec<_> =
            touched.iter().map(|&(id, tenant)| self.collections[&id].0.cell(tenant)).collect();
        let gates: Vec<_> = cells.iter().map(|cell| cell.gate()).collect();
        transaction.commit().map_err(|error| catalog.error(error))?;
        for (place, cell) in touched.iter().zip(&cells) {
            let Some(change) = group.changes.remove(place) else { continue };
            let core = &self.collections[&place.0].0;
            core.note_ended(change.died.len());
            match cell.state() {
                Some(state) => state.apply(change),
                None => {
                    cell.note_written(change.born.len());
                    core.rows.iter().for_each(|rows| rows.forget(&change.died));
                }
            }
        }
        drop(gates);
        for (collection, counters) in group.counters.drain() {
            if let Some((_, place)) = self.collections.get_mut(&collection) {
                *place = counters;
            }
        }
        self.sequence = sequence;
        self.state.committed.store(sequence, Ordering::Release);
        if is_always {
            self.state.flushed.fetch_max(sequence, Ordering::AcqRel);
        }
        Ok(())
    }

    /// Makes a new collection known.
    pub(crate) fn add_collection(&mut self, core: Arc<CollectionCore>) {
        let counters = Counters::new(&core.schema());
        self.collections.insert(core.id, (core, counters));
    }

    /// The next number for a collection.
    pub(crate) fn next_collection(&self) -> Result<u32, StorageError> {
        Ok(self.shared.catalog.number("next_collection")?.unwrap_or(0) as u32)
    }

    /// A collection's entry as it stands.
    pub(crate) fn entry(&self, core: &CollectionCore) -> CollectionEntry {
        CollectionEntry {
            id: core.id,
            schema: (*core.schema()).clone(),
            snapshots: (*core.snapshots()).clone(),
        }
    }
}

/// The journal of a database.
pub(crate) fn journal_path(dir: &Path) -> std::path::PathBuf {
    dir.join("journal")
}

/// Flushes rows and journal every `interval` until `stop` says so.
pub(crate) fn flush_loop(
    interval: Duration,
    state: &FlushState,
    journal: &dyn FileHandle,
    collections: impl Fn() -> Vec<Arc<CollectionCore>>,
    stop: &Receiver<()>,
) {
    while let Err(RecvTimeoutError::Timeout) = stop.recv_timeout(interval) {
        let committed = state.committed.load(Ordering::Acquire);
        if committed <= state.flushed.load(Ordering::Acquire) || state.poison.get().is_some() {
            continue;
        }
        // Rows first: a commit whose journal record is safe must have its rows safe (J2 in the journal).
        let rows = collections().iter().flat_map(|core| core.rows.clone()).try_for_each(|rows| rows.sync());
        match rows.and_then(|()| journal.sync()) {
            Ok(()) => {
                state.flushed.fetch_max(committed, Ordering::AcqRel);
            }
            Err(source) => {
                state.poison(StorageError::Io { path: "journal".into(), source });
            }
        }
    }
}
