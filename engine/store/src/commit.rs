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
use redb::{Durability, ReadableTable};

use crate::catalog::{CollectionEntry, OLD, Put, ROWS, TENANTS, Table, encode_puts, put_meta};
use crate::checksum::Checksum;
use crate::collection::{CollectionCore, Shared, encode_tenant, tenant_key};
use crate::error::{StorageError, WriteError};
use crate::files::FileHandle;
use crate::journal::Journal;
use crate::record::{Placed, Record, append_key, encode_key, tenant_prefix};
use crate::schema::Schema;
use crate::state::{Born, Change};
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

/// The next numbers of a collection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Counters {
    pub(crate) row: u32,
    pub(crate) tenant: u32,
    /// The next position of each vector; for plain vectors unused.
    pub(crate) positions: Vec<u32>,
}

impl Counters {
    pub(crate) fn new(schema: &Schema) -> Self {
        Self { row: 0, tenant: 0, positions: vec![0; schema.vectors.len()] }
    }

    pub(crate) fn put(&self, collection: u32) -> Put {
        let words = [self.row, self.tenant].into_iter().chain(self.positions.iter().copied());
        put_meta(&counters_name(collection), &words.flat_map(u32::to_le_bytes).collect::<Vec<u8>>())
    }

    pub(crate) fn read(shared: &Shared, collection: u32, schema: &Schema) -> Result<Self, StorageError> {
        let Some(bytes) = shared.catalog.meta(&counters_name(collection))? else {
            return Ok(Self::new(schema));
        };
        let words: Vec<u32> = bytes
            .chunks_exact(4)
            .map(|word| u32::from_le_bytes(word.try_into().unwrap_or_default()))
            .collect();
        match &words[..] {
            [row, tenant, positions @ ..] if positions.len() == schema.vectors.len() => {
                Ok(Self { row: *row, tenant: *tenant, positions: positions.to_vec() })
            }
            _ => Err(shared.catalog.damaged("a collection's counters")),
        }
    }
}

fn counters_name(collection: u32) -> String {
    format!("counters/{collection}")
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

/// A batch in a group that went well so far.
struct Pending {
    reply: Sender<Result<Written, WriteError>>,
    rows: usize,
}

/// What a group is about to do.
#[derive(Default)]
struct Group {
    puts: Vec<Put>,
    rows: Vec<RowWrite>,
    changes: HashMap<(u32, u32), Change>,
    counters: HashMap<u32, Counters>,
    pending: Vec<Pending>,
}

struct RowWrite {
    collection: Arc<CollectionCore>,
    vector: usize,
    start: u32,
    elements: Vec<f32>,
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
                .restart()
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
            match cell.state() {
                Some(state) => state.apply(change),
                None => cell.note_written(change.born.len()),
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

    /// Adds a batch to the group; one that cannot be done is answered here and leaves nothing.
    fn prepare(
        &self,
        mut job: WriteJob,
        sequence: u64,
        mut tables: Tables<'_, '_>,
        group: &mut Group,
    ) -> Result<(), Failure> {
        let id = job.collection.id;
        let refuse = |job: WriteJob, error| {
            let _ = job.reply.send(Err(error));
            Ok(())
        };
        let Some((_, counters)) = self.collections.get(&id).filter(|_| !job.collection.is_dropped()) else {
            let name = job.collection.name.clone();
            return refuse(job, WriteError::Unknown { what: "collection", name });
        };
        let schema = job.collection.schema();
        if !Arc::ptr_eq(&schema, &job.schema)
            && let Err(error) = read_again(&schema, &mut job.ops)
        {
            return refuse(job, error);
        }
        let counters = group.counters.entry(id).or_insert_with(|| counters.clone());
        if !has_room(counters, &schema, &job.ops) {
            return refuse(job, WriteError::RowsExhausted);
        }
        let tenant = match tables.tenant(&self.shared, id, &job.tenant)? {
            Some(tenant) => tenant,
            None if job.ops.iter().all(|op| matches!(op, Op::Delete { .. })) => {
                group.pending.push(Pending { reply: job.reply, rows: 0 });
                return Ok(());
            }
            None => {
                let tenant = counters.tenant;
                counters.tenant += 1;
                let key = tenant_key(id, &job.tenant);
                let value = encode_tenant(&key, tenant);
                tables.put(&self.shared, &mut group.puts, Table::Tenants, key, Some(value))?;
                tenant
            }
        };
        let newest_bound =
            job.collection.snapshots().iter().map(|snapshot| snapshot.bound).max().unwrap_or(0);
        let mut change = group.changes.remove(&(id, tenant)).unwrap_or_default();
        let mut rows = 0;
        for op in job.ops {
            let (key, if_row) = match &op {
                Op::Upsert(upsert) => (&upsert.key, upsert.if_row),
                Op::Delete { key, if_row } => (key, *if_row),
            };
            let bytes = encode_key(id, tenant, key);
            let current = tables.row(&self.shared, &bytes)?;
            let current_row =
                current.as_deref().map(|value| Record::decode(&bytes, value).map(|record| record.row));
            if if_row.is_some() && current_row != Some(if_row) {
                continue;
            }
            if let Some(value) = &current {
                // A damaged entry has no row number; it is replaced or removed all the same.
                if let Some(Some(row)) = current_row {
                    change.died.insert(row);
                    if row < newest_bound {
                        let (old_key, old) = encode_old(id, tenant, row, sequence, key, value);
                        tables.put(&self.shared, &mut group.puts, Table::Old, old_key, Some(old))?;
                    }
                }
            }
            match op {
                Op::Upsert(upsert) => {
                    let row = counters.row;
                    counters.row += 1;
                    let vectors =
                        place(&job.collection, &schema, row, counters, upsert.vectors, &mut group.rows);
                    let record = Record { row, vectors: vectors.clone(), payload: upsert.payload };
                    let value = record.encode(&bytes);
                    change.born.push(Born { row, key: upsert.key, values: upsert.values, vectors });
                    tables.put(&self.shared, &mut group.puts, Table::Rows, bytes, Some(value))?;
                    rows += 1;
                }
                Op::Delete { .. } if current.is_some() => {
                    tables.put(&self.shared, &mut group.puts, Table::Rows, bytes, None)?;
                    rows += 1;
                }
                Op::Delete { .. } => {}
            }
        }
        group.changes.insert((id, tenant), change);
        group.pending.push(Pending { reply: job.reply, rows });
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

/// Why a group failed.
struct Failure {
    error: StorageError,
    /// Whether what the disk holds is unknown now (C2).
    is_unknown: bool,
}

impl Failure {
    fn before(error: StorageError) -> Self {
        Self { error, is_unknown: false }
    }
}

impl From<StorageError> for Failure {
    fn from(error: StorageError) -> Self {
        Self { error, is_unknown: true }
    }
}

type OpenTable<'t> = redb::Table<'t, &'static [u8], &'static [u8]>;

/// The tables that batches change.
struct Tables<'a, 't> {
    rows: &'a mut OpenTable<'t>,
    old: &'a mut OpenTable<'t>,
    tenants: &'a mut OpenTable<'t>,
}

impl Tables<'_, '_> {
    fn row(&self, shared: &Shared, key: &[u8]) -> Result<Option<Vec<u8>>, StorageError> {
        let value = self.rows.get(key).map_err(|error| shared.catalog.error(error))?;
        Ok(value.map(|value| value.value().to_vec()))
    }

    fn tenant(&self, shared: &Shared, collection: u32, name: &str) -> Result<Option<u32>, StorageError> {
        let key = tenant_key(collection, name);
        let Some(value) = self.tenants.get(&key[..]).map_err(|error| shared.catalog.error(error))? else {
            return Ok(None);
        };
        let bytes = crate::catalog::unsealed(&key, value.value()).and_then(|bytes| bytes.try_into().ok());
        bytes.map(|bytes| Some(u32::from_le_bytes(bytes))).ok_or_else(|| shared.catalog.damaged("a tenant"))
    }

    fn put(
        &mut self,
        shared: &Shared,
        puts: &mut Vec<Put>,
        table: Table,
        key: Vec<u8>,
        value: Option<Vec<u8>>,
    ) -> Result<(), StorageError> {
        let target = match table {
            Table::Rows => &mut *self.rows,
            Table::Old => &mut *self.old,
            _ => &mut *self.tenants,
        };
        let done = match &value {
            Some(value) => target.insert(&key[..], &value[..]).map(drop),
            None => target.remove(&key[..]).map(drop),
        };
        done.map_err(|error| shared.catalog.error(error))?;
        puts.push(Put { table, key, value });
        Ok(())
    }
}

/// Reads the values of a batch by a schema that has changed since it was checked.
fn read_again(schema: &Schema, ops: &mut [Op]) -> Result<(), WriteError> {
    for op in ops {
        let Op::Upsert(upsert) = op else { continue };
        let payload: crate::values::Payload = serde_json::from_slice(&upsert.payload).unwrap_or_default();
        upsert.values = schema
            .values(&payload)
            .map_err(|source| WriteError::Payload { key: upsert.key.clone(), source })?;
    }
    Ok(())
}

/// Whether there are numbers left for all rows and vectors of a batch.
fn has_room(counters: &Counters, schema: &Schema, ops: &[Op]) -> bool {
    let mut rows = u64::from(counters.row);
    let mut positions: Vec<u64> = counters.positions.iter().map(|&next| u64::from(next)).collect();
    for op in ops {
        let Op::Upsert(upsert) = op else { continue };
        rows += 1;
        for (vector, elements) in &upsert.vectors {
            let vector = usize::from(*vector);
            positions[vector] += (elements.len() / schema.vectors[vector].dim) as u64;
        }
    }
    rows < u64::from(u32::MAX) && positions.iter().all(|&next| next < u64::from(u32::MAX))
}

/// Decides where the vectors of a row go; neighbors in a file become one write.
fn place(
    collection: &Arc<CollectionCore>,
    schema: &Schema,
    row: u32,
    counters: &mut Counters,
    vectors: Vec<(u16, Vec<f32>)>,
    writes: &mut Vec<RowWrite>,
) -> Vec<Placed> {
    let mut placed = Vec::with_capacity(vectors.len());
    for (number, elements) in vectors {
        let vector = usize::from(number);
        let field = &schema.vectors[vector];
        let count = (elements.len() / field.dim) as u32;
        let start = if field.multi {
            let start = counters.positions[vector];
            counters.positions[vector] += count;
            start
        } else {
            row
        };
        placed.push(Placed { vector: number, start, count });
        let is_next = |write: &&mut RowWrite| {
            Arc::ptr_eq(&write.collection, collection)
                && write.vector == vector
                && write.start as usize + write.elements.len() / field.dim == start as usize
        };
        match writes.iter_mut().rev().take(schema.vectors.len()).find(is_next) {
            Some(write) => write.elements.extend_from_slice(&elements),
            None => writes.push(RowWrite { collection: collection.clone(), vector, start, elements }),
        }
    }
    placed
}

/// The entry of `old` for a row that ends with commit `sequence`.
fn encode_old(
    collection: u32,
    tenant: u32,
    row: u32,
    sequence: u64,
    key: &Key,
    value: &[u8],
) -> (Vec<u8>, Vec<u8>) {
    let mut place = tenant_prefix(collection, tenant).to_vec();
    place.extend_from_slice(&row.to_be_bytes());
    let mut caller_key = Vec::new();
    append_key(&mut caller_key, key);
    let mut bytes = vec![0; 8];
    bytes.extend_from_slice(&sequence.to_le_bytes());
    bytes.extend_from_slice(&(caller_key.len() as u32).to_le_bytes());
    bytes.extend_from_slice(&caller_key);
    bytes.extend_from_slice(value);
    let sum = Checksum::of(&[&place, &bytes[8..]]);
    bytes[..8].copy_from_slice(&sum.to_le_bytes());
    (place, bytes)
}

/// An entry of `old`: when the row ended, its catalog key and value.
#[derive(Debug)]
pub(crate) struct OldRow {
    pub(crate) ended: u64,
    pub(crate) row: u32,
    pub(crate) key: Vec<u8>,
    pub(crate) value: Vec<u8>,
}

/// Reads what [`encode_old`] wrote.
pub(crate) fn decode_old(place: &[u8], bytes: &[u8]) -> Option<OldRow> {
    let (sum, rest) = bytes.split_at_checked(8)?;
    if Checksum::of(&[place, rest]).to_le_bytes() != sum {
        return None;
    }
    let ended = u64::from_le_bytes(rest.get(..8)?.try_into().ok()?);
    let length = u32::from_le_bytes(rest.get(8..12)?.try_into().ok()?) as usize;
    let (caller_key, value) = rest.get(12..)?.split_at_checked(length)?;
    let mut key = place.get(..8)?.to_vec();
    key.extend_from_slice(caller_key);
    let row = u32::from_be_bytes(place.get(8..)?.try_into().ok()?);
    Some(OldRow { ended, row, key, value: value.to_vec() })
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
