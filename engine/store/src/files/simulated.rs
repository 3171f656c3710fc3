//! Files in memory that fail and forget.
//!
//! Each file is what a reader sees, and beside it what the disk holds: writes since the last flush are kept apart. A
//! crash decides for every 512 bytes on its own how many of the unflushed writes reached it, so writes are torn and
//! reordered as badly as D1 allows; of the unflushed changes of names in a folder a prefix is kept.

mod inode;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashSet};
use std::fmt::Debug;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{FileHandle, Files, LockError};
use inode::{Change, Inode, Random};

/// What happens at a chosen call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// The call fails with EIO; a flush that fails has dropped what it should have written.
    Io,
    /// A call that writes fails with ENOSPC, others succeed.
    NoSpace,
    /// A write does its first half and fails; others fail with EIO.
    ShortWrite,
    /// This call and all that follow fail: the power is off. See [`Simulated::after_crash`].
    PowerOff,
}

/// Files in memory, with faults on demand.
#[derive(Debug, Clone, Default)]
pub struct Simulated {
    disk: Arc<Mutex<SimulatedDisk>>,
}

#[derive(Debug, Default)]
struct SimulatedDisk {
    names: BTreeMap<PathBuf, u64>,
    /// Names as the disk has them, and what was done to `names` since.
    durable_names: BTreeMap<PathBuf, u64>,
    pending_names: Vec<NameChange>,
    inodes: BTreeMap<u64, Inode>,
    next_inode: u64,
    locks: HashSet<PathBuf>,
    calls: u64,
    faults: BTreeMap<u64, Fault>,
    is_off: bool,
}

#[derive(Debug, Clone)]
enum NameChange {
    Add(PathBuf, u64),
    Remove(PathBuf),
    Rename(PathBuf, PathBuf),
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<PathBuf, u64>) {
        match self {
            Self::Add(path, inode) => {
                names.insert(path.clone(), *inode);
            }
            Self::Remove(path) => {
                names.remove(path);
            }
            Self::Rename(from, to) => {
                if let Some(inode) = names.remove(from) {
                    names.insert(to.clone(), inode);
                }
            }
        }
    }

    fn folder(&self) -> Option<&Path> {
        match self {
            Self::Add(path, _) | Self::Remove(path) | Self::Rename(_, path) => path.parent(),
        }
    }
}

/// What a call does, as far as faults go.
enum Call {
    Read,
    Write,
    Sync,
}

fn no_space() -> io::Error {
    io::ErrorKind::StorageFull.into()
}

fn broken() -> io::Error {
    io::Error::other("simulated input/output error")
}

impl Simulated {
    /// An empty disk.
    pub fn new() -> Self {
        Self::default()
    }

    /// Calls so far: reads, writes, flushes, changes of names.
    pub fn calls(&self) -> u64 {
        self.lock_disk().calls
    }

    /// Lets call number `call` (the first is 0) meet `fault`.
    pub fn fail_at(&self, call: u64, fault: Fault) {
        self.lock_disk().faults.insert(call, fault);
    }

    /// The disk as a crash at this moment leaves it; `seed` decides which of the unflushed writes it has.
    pub fn after_crash(&self, seed: u64) -> Self {
        let mut random = Random(seed);
        let disk = self.lock_disk();
        let mut names = disk.durable_names.clone();
        let kept = random.below(disk.pending_names.len() + 1);
        disk.pending_names[..kept].iter().for_each(|change| change.apply(&mut names));
        let mut inodes = BTreeMap::new();
        for &inode in names.values() {
            let crashed =
                disk.inodes.get(&inode).map(|inode| inode.after_crash(&mut random)).unwrap_or_default();
            inodes.insert(inode, Inode { seen: crashed.clone(), durable: crashed, pending: Vec::new() });
        }
        let next_inode = disk.next_inode;
        let durable_names = names.clone();
        let disk = SimulatedDisk { names, durable_names, inodes, next_inode, ..SimulatedDisk::default() };
        Self { disk: Arc::new(Mutex::new(disk)) }
    }

    /// The names and bytes of all files, as readers see them.
    pub fn contents(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let disk = self.lock_disk();
        let seen = |inode: &u64| disk.inodes.get(inode).map(|inode| inode.seen.clone()).unwrap_or_default();
        disk.names.iter().map(|(path, inode)| (path.clone(), seen(inode))).collect()
    }

    /// A disk that holds these files, flushed.
    pub fn with_contents(files: Vec<(PathBuf, Vec<u8>)>) -> Self {
        let mut disk = SimulatedDisk::default();
        for (path, bytes) in files {
            disk.names.insert(path, disk.next_inode);
            disk.inodes
                .insert(disk.next_inode, Inode { seen: bytes.clone(), durable: bytes, pending: Vec::new() });
            disk.next_inode += 1;
        }
        disk.durable_names = disk.names.clone();
        Self { disk: Arc::new(Mutex::new(disk)) }
    }

    fn lock_disk(&self) -> MutexGuard<'_, SimulatedDisk> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open_inode(&self, inode: u64) -> Arc<dyn FileHandle> {
        Arc::new(SimulatedFile { disk: self.clone(), inode })
    }
}

impl SimulatedDisk {
    /// Counts a call; the fault that it meets. Only a short write is left to the caller.
    fn call(&mut self, kind: Call) -> io::Result<Option<Fault>> {
        let number = self.calls;
        self.calls += 1;
        if self.is_off {
            return Err(broken());
        }
        match self.faults.get(&number) {
            None => Ok(None),
            Some(Fault::PowerOff) => {
                self.is_off = true;
                Err(broken())
            }
            Some(Fault::NoSpace) => match kind {
                Call::Write => Err(no_space()),
                Call::Read | Call::Sync => Ok(None),
            },
            Some(Fault::ShortWrite) if matches!(kind, Call::Write) => Ok(Some(Fault::ShortWrite)),
            Some(_) => Err(broken()),
        }
    }

    fn rename_all(&mut self, change: NameChange) {
        change.apply(&mut self.names);
        self.pending_names.push(change);
    }
}

impl Files for Simulated {
    fn create_dir(&self, _: &Path) -> io::Result<()> {
        self.lock_disk().call(Call::Write).map(drop)
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn FileHandle>> {
        let mut disk = self.lock_disk();
        disk.call(Call::Write)?;
        let inode = match disk.names.get(path) {
            Some(&inode) => inode,
            None => {
                let inode = disk.next_inode;
                disk.next_inode += 1;
                disk.inodes.insert(inode, Inode::default());
                disk.rename_all(NameChange::Add(path.to_path_buf(), inode));
                inode
            }
        };
        Ok(self.open_inode(inode))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn FileHandle>> {
        let mut disk = self.lock_disk();
        disk.call(Call::Read)?;
        let inode = *disk.names.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(self.open_inode(inode))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut disk = self.lock_disk();
        disk.call(Call::Read)?;
        if !disk.names.contains_key(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        disk.rename_all(NameChange::Remove(path.to_path_buf()));
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut disk = self.lock_disk();
        disk.call(Call::Write)?;
        if !disk.names.contains_key(from) {
            return Err(io::ErrorKind::NotFound.into());
        }
        disk.rename_all(NameChange::Rename(from.to_path_buf(), to.to_path_buf()));
        Ok(())
    }

    fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        let mut disk = self.lock_disk();
        disk.call(Call::Read)?;
        Ok(disk.names.keys().filter(|name| name.parent() == Some(path)).cloned().collect())
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let mut disk = self.lock_disk();
        disk.call(Call::Sync)?;
        let pending = std::mem::take(&mut disk.pending_names);
        let (now, later) = pending.into_iter().partition(|change: &NameChange| change.folder() == Some(path));
        let now: Vec<NameChange> = now;
        now.iter().for_each(|change| change.apply(&mut disk.durable_names));
        disk.pending_names = later;
        Ok(())
    }

    fn lock(&self, path: &Path) -> Result<Box<dyn Debug + Send + Sync>, LockError> {
        let mut disk = self.lock_disk();
        disk.call(Call::Read).map_err(|source| LockError::Io { path: path.to_path_buf(), source })?;
        if !disk.locks.insert(path.to_path_buf()) {
            return Err(LockError::Held { path: path.to_path_buf(), pid: Some(std::process::id()) });
        }
        Ok(Box::new(SimulatedLock { disk: self.clone(), path: path.to_path_buf() }))
    }

    fn system_path(&self, _: &Path) -> Option<PathBuf> {
        None
    }
}

#[derive(Debug)]
struct SimulatedLock {
    disk: Simulated,
    path: PathBuf,
}

impl Drop for SimulatedLock {
    fn drop(&mut self) {
        self.disk.lock_disk().locks.remove(&self.path);
    }
}

#[derive(Debug)]
struct SimulatedFile {
    disk: Simulated,
    inode: u64,
}

impl SimulatedFile {
    fn with<T>(
        &self,
        kind: Call,
        work: impl FnOnce(&mut Inode, Option<Fault>) -> io::Result<T>,
    ) -> io::Result<T> {
        let mut disk = self.disk.lock_disk();
        let is_sync = matches!(kind, Call::Sync);
        let fault = match disk.call(kind) {
            Err(error) => {
                // A flush that fails marks the pages clean: what they held is lost, whatever readers see (D3).
                if is_sync
                    && !disk.is_off
                    && let Some(inode) = disk.inodes.get_mut(&self.inode)
                {
                    inode.pending.clear();
                }
                return Err(error);
            }
            Ok(fault) => fault,
        };
        let inode = disk.inodes.get_mut(&self.inode).ok_or(io::ErrorKind::NotFound)?;
        work(inode, fault)
    }
}

impl FileHandle for SimulatedFile {
    fn len(&self) -> io::Result<u64> {
        self.with(Call::Read, |inode, _| Ok(inode.seen.len() as u64))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.with(Call::Write, |inode, fault| {
            if fault.is_some() {
                return Err(broken());
            }
            inode.change(Change::Length(len as usize));
            Ok(())
        })
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.with(Call::Read, |inode, _| {
            let start = usize::try_from(offset).map_err(|_| io::ErrorKind::UnexpectedEof)?;
            let bytes = inode.seen.get(start..).and_then(|rest| rest.get(..out.len()));
            out.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
            Ok(())
        })
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.with(Call::Write, |inode, fault| {
            let length = if fault.is_some() { bytes.len() / 2 } else { bytes.len() };
            inode.change(Change::Write(offset as usize, bytes[..length].to_vec()));
            if fault.is_some() { Err(no_space()) } else { Ok(()) }
        })
    }

    fn sync(&self) -> io::Result<()> {
        self.with(Call::Sync, |inode, fault| {
            if fault.is_some() {
                inode.pending.clear();
                return Err(broken());
            }
            inode.flush();
            Ok(())
        })
    }

    fn map(&self, _: usize) -> io::Result<Option<memmap2::MmapRaw>> {
        Ok(None)
    }
}
