//! A folder of collections, opened by one process.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;

use crate::catalog::{Catalog, CollectionEntry, Put, Table, put_collection, put_meta};
use crate::collection::{CollectionCore, Shared};
use crate::commit::{Committer, FlushState, Job, WriteJob, Written};
use crate::error::{StorageError, WriteError};
use crate::keeper::Keeper;
use crate::recovery::Recovery;
use crate::schema::{MAX_NAME_BYTES, Schema};
use crate::tenant::Collection;

/// A folder of durable collections.
///
/// # Examples
/// ```
/// use orthant_store::{Database, FieldType, Filter, Metric, Options, Row, Schema, SearchRequest};
/// use serde_json::json;
///
/// # let dir = tempfile::tempdir()?;
/// let database = Database::create(dir.path().join("db"), Options::default())?;
/// let schema = Schema::new(2, Metric::L2).with_field("section", FieldType::Keyword);
/// let notes = database.create_collection("notes", schema)?.tenant("alice")?;
/// notes.upsert(Row::new("a", [0.0, 1.0]).with_payload(json!({"section": "python"}))?)?;
/// notes.upsert(Row::new("b", [0.0, 2.0]).with_payload(json!({"section": "rust"}))?)?;
///
/// let request = SearchRequest::new([0.0, 1.2], 10).filter(Filter::parse("section = 'rust'")?);
/// let found = notes.search(&request)?;
/// assert_eq!(found.len(), 1);
/// assert_eq!(found[0].key.to_string(), "b");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Database {
    pub(crate) inner: Arc<DatabaseInner>,
}

pub(crate) struct DatabaseInner {
    pub(crate) shared: Arc<Shared>,
    pub(crate) collections: Arc<RwLock<BTreeMap<Box<str>, Arc<CollectionCore>>>>,
    pub(crate) jobs: Mutex<Option<Sender<Job>>>,
    pub(crate) state: Arc<FlushState>,
    pub(crate) recovery: Recovery,
    pub(crate) committer: Mutex<Option<JoinHandle<()>>>,
    pub(crate) flusher: Mutex<Option<(Sender<()>, JoinHandle<()>)>>,
    pub(crate) keeper: Mutex<Option<Keeper>>,
    /// Dropped last: from then on another process may open the database.
    pub(crate) _lock: Box<dyn std::fmt::Debug + Send + Sync>,
}

impl std::fmt::Debug for DatabaseInner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Database").field("dir", &self.shared.dir).finish_non_exhaustive()
    }
}

impl Database {
    /// What opening found amiss.
    pub fn recovery(&self) -> &Recovery {
        &self.inner.recovery
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.inner.shared.dir
    }

    /// The names of all collections, in order.
    pub fn collections(&self) -> Vec<Box<str>> {
        read(&self.inner.collections).keys().cloned().collect()
    }

    /// The collection of this name.
    pub fn collection(&self, name: &str) -> Option<Collection> {
        let core = read(&self.inner.collections).get(name).cloned()?;
        Some(Collection::new(self.inner.clone(), core))
    }

    /// Makes a collection. It is safe when this returns.
    ///
    /// # Errors
    /// [`WriteError::Schema`], [`WriteError::Name`] for a name that is taken, empty or too long, [`WriteError::Storage`].
    pub fn create_collection(&self, name: &str, schema: Schema) -> Result<Collection, WriteError> {
        schema.check()?;
        check_name(name)?;
        if self.collection(name).is_some() {
            return Err(WriteError::Name { name: name.into(), problem: "taken" });
        }
        let (inner, name) = (self.inner.clone(), Box::<str>::from(name));
        let core = self.inner.task(move |committer| {
            if read(&inner.collections).contains_key(&name) {
                return Err(WriteError::Name { name, problem: "taken" });
            }
            let id = committer.next_collection().map_err(|error| WriteError::Storage(Arc::new(error)))?;
            let core = CollectionCore::open(&inner.shared, &name, id, schema, Vec::new());
            let core = Arc::new(core.map_err(|error| WriteError::Storage(Arc::new(error)))?);
            committer.checkpoint(vec![
                put_collection(&name, &committer.entry(&core)),
                put_meta("next_collection", &u64::from(id + 1).to_le_bytes()),
            ])?;
            committer.add_collection(core.clone());
            write(&inner.collections).insert(name, core.clone());
            Ok(core)
        })??;
        Ok(Collection::new(self.inner.clone(), core))
    }

    /// Removes a collection and all it holds. It is gone for good when this returns.
    ///
    /// # Errors
    /// [`WriteError::Unknown`], [`WriteError::Storage`].
    pub fn drop_collection(&self, name: &str) -> Result<(), WriteError> {
        let (inner, name) = (self.inner.clone(), Box::<str>::from(name));
        self.inner.task(move |committer| {
            let Some(core) = read(&inner.collections).get(&name).cloned() else {
                return Err(WriteError::Unknown { what: "collection", name });
            };
            let storage = |error| WriteError::Storage(Arc::new(error));
            let mut puts =
                vec![Put { table: Table::Collections, key: name.as_bytes().to_vec(), value: None }];
            for table in [Table::Rows, Table::Old, Table::Tenants] {
                let prefix = match table {
                    Table::Rows => core.entry_keys.all(),
                    _ => core.id.to_be_bytes().to_vec(),
                };
                let keys = keys_with_prefix(&inner.shared.catalog, table, &prefix).map_err(storage)?;
                puts.extend(keys.into_iter().map(|key| Put { table, key, value: None }));
            }
            committer.checkpoint(puts)?;
            core.set_dropped();
            committer.collections.remove(&core.id);
            write(&inner.collections).remove(&name);
            for rows in &core.rows {
                for segment in rows.segment_numbers() {
                    // What stays behind is never read again: the number of a collection is not given twice.
                    let _ = rows.remove_segment(segment);
                }
            }
            Ok(())
        })?
    }

    /// Makes everything that was acknowledged so far safe, whatever the policy.
    ///
    /// # Errors
    /// [`WriteError::Poisoned`].
    pub fn flush(&self) -> Result<(), WriteError> {
        self.inner.task(|committer| committer.checkpoint(Vec::new()))?
    }

    /// The number of the newest commit, and of the newest that is known to be safe.
    pub fn sequences(&self) -> (u64, u64) {
        use std::sync::atomic::Ordering::Acquire;
        (self.inner.state.committed.load(Acquire), self.inner.state.flushed.load(Acquire))
    }

    /// Waits until the background has linked and cleaned up all there is, and saved the graphs.
    ///
    /// # Errors
    /// [`WriteError::Closed`] when the database was opened without background work.
    pub fn settle(&self) -> Result<(), WriteError> {
        let keeper = self.inner.keeper.lock().unwrap_or_else(PoisonError::into_inner);
        match &*keeper {
            Some(keeper) => keeper.settle(),
            None => Err(WriteError::Closed),
        }
    }

    /// Ends all work in order: what was acknowledged is safe when this returns. Dropping the last handle does the same,
    /// but cannot tell of errors.
    ///
    /// # Errors
    /// [`WriteError::Poisoned`].
    pub fn close(self) -> Result<(), WriteError> {
        let flushed = self.flush();
        self.inner.stop();
        flushed
    }
}

pub(crate) fn read<T>(lock: &RwLock<T>) -> std::sync::RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn write<T>(lock: &RwLock<T>) -> std::sync::RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn check_name(name: &str) -> Result<(), WriteError> {
    let problem = if name.is_empty() {
        "empty"
    } else if name.len() > MAX_NAME_BYTES {
        "too long"
    } else {
        return Ok(());
    };
    Err(WriteError::Name { name: name.into(), problem })
}

/// All keys of a table that start with `prefix`.
pub(crate) fn keys_with_prefix(
    catalog: &Catalog,
    table: Table,
    prefix: &[u8],
) -> Result<Vec<Vec<u8>>, StorageError> {
    let read = catalog.read()?;
    let table = read.open_table(table.definition()).map_err(|error| catalog.error(error))?;
    let end = crate::entry_keys::prefix_end(prefix);
    let mut keys = Vec::new();
    for entry in table.range(prefix..&end[..]).map_err(|error| catalog.error(error))? {
        keys.push(entry.map_err(|error| catalog.error(error))?.0.value().to_vec());
    }
    Ok(keys)
}

impl DatabaseInner {
    pub(crate) fn jobs(&self) -> Result<Sender<Job>, WriteError> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner).clone().ok_or(WriteError::Closed)
    }

    /// Runs `work` on the committing thread, alone.
    pub(crate) fn task<R: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Committer) -> R + Send + 'static,
    ) -> Result<R, WriteError> {
        let (reply, answer) = channel();
        let task = Job::Task(Box::new(move |committer| {
            // Whoever asked may have gone away.
            let _ = reply.send(work(committer));
        }));
        self.jobs()?.send(task).map_err(|_| WriteError::Closed)?;
        answer.recv().map_err(|_| WriteError::Closed)
    }

    /// Hands a batch to the committing thread and waits for it.
    pub(crate) fn commit(
        &self,
        collection: &Arc<CollectionCore>,
        tenant: &str,
        schema: Arc<Schema>,
        ops: Vec<crate::commit::Op>,
    ) -> Result<Written, WriteError> {
        let (reply, answer) = channel();
        let job = WriteJob { collection: collection.clone(), tenant: tenant.into(), schema, ops, reply };
        self.jobs()?.send(Job::Write(job)).map_err(|_| WriteError::Closed)?;
        answer.recv().map_err(|_| WriteError::Closed)?
    }

    /// The entry of a collection, stored.
    pub(crate) fn stop(&self) {
        drop(self.keeper.lock().unwrap_or_else(PoisonError::into_inner).take());
        if let Some((stop, thread)) = self.flusher.lock().unwrap_or_else(PoisonError::into_inner).take() {
            drop(stop);
            // A panic there was reported when it happened.
            let _ = thread.join();
        }
        if let Some(jobs) = self.jobs.lock().unwrap_or_else(PoisonError::into_inner).take() {
            let _ = jobs.send(Job::Stop);
        }
        if let Some(thread) = self.committer.lock().unwrap_or_else(PoisonError::into_inner).take() {
            let _ = thread.join();
        }
    }
}

impl Drop for DatabaseInner {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Stores a collection's entry with `change` applied to it, safely.
pub(crate) fn change_entry(
    committer: &mut Committer,
    core: &CollectionCore,
    change: impl FnOnce(&mut CollectionEntry),
    more: Vec<Put>,
) -> Result<CollectionEntry, WriteError> {
    let mut entry = committer.entry(core);
    change(&mut entry);
    let mut puts = more;
    puts.push(put_collection(&core.name, &entry));
    committer.checkpoint(puts)?;
    Ok(entry)
}
