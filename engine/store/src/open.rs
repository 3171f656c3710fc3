//! Opening a database: its lock, its catalog, its journal, and the threads that work on it from then on.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, RwLock};
use std::time::{Duration, Instant};

use crate::catalog::Catalog;
use crate::collection::{CollectionCore, Shared};
use crate::commit::{CommitOptions, Committer, Flush, FlushState, flush_loop, job_channel, journal_path};
use crate::counters::Counters;
use crate::database::{Database, DatabaseInner, read};
use crate::error::{OpenError, StorageError};
use crate::files::{Disk, Files};
use crate::keeper::{Keeper, KeeperOptions};
use crate::recovery::recover;

/// How a database is opened.
#[derive(Debug, Clone)]
pub struct Options {
    /// When acknowledged writes survive a power cut. Default: [`Flush::Interval`] of 100 ms.
    pub flush: Flush,
    /// A checkpoint follows when the journal holds this many bytes. Default 64 MiB: replaying it takes a second or two.
    pub journal_bytes: u64,
    /// … or this long after the last. Default 10 s: space that the catalog's commits leave is used again after a checkpoint, not before,
    /// and pages of it are in memory. With 50 commits a second and 60 s the catalog of 100,000 rows took 34 MB.
    pub checkpoint_every: Duration,
    /// Bytes of catalog pages kept in memory. Default 256 MiB.
    pub cache_bytes: usize,
    /// Whether graphs are built, saved and cleaned up in the background. Default `true`.
    pub background: bool,
    /// The files. Default: the system's.
    pub files: Arc<dyn Files>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            flush: Flush::Interval(Duration::from_millis(100)),
            journal_bytes: 64 << 20,
            checkpoint_every: Duration::from_secs(10),
            cache_bytes: 256 << 20,
            background: true,
            files: Arc::new(Disk),
        }
    }
}

fn catalog_path(dir: &Path) -> PathBuf {
    dir.join("catalog.redb")
}

impl Database {
    /// Makes an empty database in folder `dir`, which may exist but must hold none.
    ///
    /// # Errors
    /// [`OpenError::Exists`], [`OpenError::Lock`], [`OpenError::Storage`].
    pub fn create(dir: impl AsRef<Path>, options: Options) -> Result<Self, OpenError> {
        let dir = dir.as_ref();
        let files = options.files.clone();
        let failed = |path: &Path, source| Arc::new(StorageError::Io { path: path.to_path_buf(), source });
        files.create_dir(dir).map_err(|source| failed(dir, source))?;
        let lock = files.lock(&dir.join("lock"))?;
        if exists(&*files, dir)? {
            return Err(OpenError::Exists { path: dir.to_path_buf() });
        }
        // The catalog gets its name when it is whole: a crash before leaves no database, rather than half of one.
        let unfinished = dir.join("catalog.new");
        let names = files.list(dir).map_err(|source| failed(dir, source))?;
        for path in [&unfinished, &journal_path(dir)].into_iter().filter(|path| names.contains(path)) {
            files.remove(path).map_err(|source| failed(path, source))?;
        }
        drop(Catalog::open(&files, &unfinished, options.cache_bytes).map_err(Arc::new)?);
        let path = catalog_path(dir);
        files.rename(&unfinished, &path).map_err(|source| failed(&path, source))?;
        files.sync_dir(dir).map_err(|source| failed(dir, source))?;
        Self::open_locked(dir, options, lock)
    }

    /// Opens the database in folder `dir`: takes its lock, checks the catalog, replays the journal.
    ///
    /// # Errors
    /// [`OpenError::Missing`], [`OpenError::Lock`] with the process that has it, [`OpenError::Storage`].
    pub fn open(dir: impl AsRef<Path>, options: Options) -> Result<Self, OpenError> {
        let dir = dir.as_ref();
        if !exists(&*options.files, dir)? {
            return Err(OpenError::Missing { path: dir.to_path_buf() });
        }
        let lock = options.files.lock(&dir.join("lock"))?;
        Self::open_locked(dir, options, lock)
    }

    fn open_locked(
        dir: &Path,
        options: Options,
        lock: Box<dyn std::fmt::Debug + Send + Sync>,
    ) -> Result<Self, OpenError> {
        let files = options.files.clone();
        let catalog = Catalog::open(&files, &catalog_path(dir), options.cache_bytes).map_err(Arc::new)?;
        let shared = Arc::new(Shared { files: files.clone(), dir: dir.to_path_buf(), catalog });
        let mut collections = BTreeMap::new();
        for (name, entry) in shared.catalog.collections().map_err(Arc::new)? {
            let core = CollectionCore::open(&shared, &name, entry.id, entry.schema, entry.snapshots);
            collections.insert(name, Arc::new(core.map_err(Arc::new)?));
        }
        let (journal, sequence, mut recovery) = recover(&shared, &collections).map_err(Arc::new)?;
        for rows in collections.values().flat_map(|core| &core.rows) {
            recovery.mended_headers.extend(rows.mended_headers());
        }
        let mut counted = std::collections::HashMap::new();
        for core in collections.values() {
            let counters = Counters::read(&shared, core.id, &core.schema()).map_err(Arc::new)?;
            counted.insert(core.id, (core.clone(), counters));
        }
        let state = Arc::new(FlushState {
            committed: sequence.into(),
            flushed: sequence.into(),
            poison: std::sync::OnceLock::new(),
        });
        let handle = journal.handle();
        let committer = Committer {
            shared: shared.clone(),
            journal,
            sequence,
            state: state.clone(),
            options: CommitOptions {
                flush: options.flush,
                journal_bytes: options.journal_bytes,
                checkpoint_every: options.checkpoint_every,
            },
            collections: counted,
            last_checkpoint: Instant::now(),
        };
        let (jobs, received) = job_channel();
        let failed = |source| Arc::new(StorageError::Io { path: dir.to_path_buf(), source });
        let thread = |name: &str| std::thread::Builder::new().name(name.to_owned());
        let committer = thread("orthant-commit").spawn(move || committer.run(&received)).map_err(failed)?;
        let collections = Arc::new(RwLock::new(collections));
        let flusher = match options.flush {
            Flush::Interval(interval) => {
                let (stop, stopped) = channel();
                let (state, known) = (state.clone(), collections.clone());
                let all = move || read(&known).values().cloned().collect();
                let work = move || flush_loop(interval, &state, &*handle, all, &stopped);
                Some((stop, thread("orthant-flush").spawn(work).map_err(failed)?))
            }
            Flush::Always | Flush::Os => None,
        };
        let keeper = if options.background {
            let keeper =
                Keeper::start(shared.clone(), collections.clone(), jobs.clone(), KeeperOptions::default());
            Some(keeper.map_err(failed)?)
        } else {
            None
        };
        let inner = DatabaseInner {
            shared,
            collections,
            jobs: Mutex::new(Some(jobs)),
            state,
            recovery,
            committer: Mutex::new(Some(committer)),
            flusher: Mutex::new(flusher),
            keeper: Mutex::new(keeper),
            _lock: lock,
        };
        Ok(Self { inner: Arc::new(inner) })
    }
}

fn exists(files: &dyn Files, dir: &Path) -> Result<bool, OpenError> {
    match files.list(dir) {
        Ok(names) => Ok(names.contains(&catalog_path(dir))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(source) => Err(Arc::new(StorageError::Io { path: dir.to_path_buf(), source }).into()),
    }
}

#[cfg(test)]
mod tests;
