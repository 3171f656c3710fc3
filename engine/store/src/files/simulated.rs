//! Files in memory that fail and forget.
//!
//! Each file is what a reader sees, and beside it what the disk holds: writes since the last flush are kept apart. A
//! crash decides for every 512 bytes on its own how many of the unflushed writes reached it, so writes are torn and
//! reordered as badly as D1 allows; of the unflushed changes of names in a folder a prefix is kept.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Debug;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{FileHandle, Files, LockError, SECTOR};

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

#[derive(Debug, Clone, Default)]
struct Inode {
    seen: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<Change>,
}

#[derive(Debug, Clone)]
enum Change {
    Write(usize, Vec<u8>),
    Length(usize),
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Write(at, data) => {
                if bytes.len() < at + data.len() {
                    bytes.resize(at + data.len(), 0);
                }
                bytes[*at..at + data.len()].copy_from_slice(data);
            }
            Self::Length(length) => bytes.resize(*length, 0),
        }
    }
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

impl Inode {
    fn change(&mut self, change: Change) {
        change.apply(&mut self.seen);
        self.pending.push(change);
    }

    fn flush(&mut self) {
        for change in std::mem::take(&mut self.pending) {
            change.apply(&mut self.durable);
        }
    }

    fn after_crash(&self, random: &mut Random) -> Vec<u8> {
        // How often a write of one sector was overtaken by others is of no interest: per sector, a prefix of the changes.
        let mut bytes = self.durable.clone();
        let mut length = self.durable.len();
        let kept_lengths = random.below(self.pending.len() + 1);
        let longest = self.pending.iter().fold(length, |longest, change| match change {
            Change::Write(at, data) => longest.max(at + data.len()),
            Change::Length(new) => longest.max(*new),
        });
        for (place, change) in self.pending.iter().enumerate().take(kept_lengths) {
            let _ = place;
            match change {
                Change::Write(at, data) => length = length.max(at + data.len()),
                Change::Length(new) => length = *new,
            }
        }
        bytes.resize(longest, 0);
        let mut kept = BTreeMap::<usize, usize>::new();
        for (place, change) in self.pending.iter().enumerate() {
            let (start, end) = match change {
                Change::Write(at, data) => (*at, at + data.len()),
                Change::Length(new) => (*new, longest),
            };
            let mut at = start;
            while at < end {
                let sector = at / SECTOR;
                let stop = ((sector + 1) * SECTOR).min(end);
                let limit = *kept.entry(sector).or_insert_with(|| random.below(self.pending.len() + 1));
                if place < limit {
                    match change {
                        Change::Write(from, data) => {
                            bytes[at..stop].copy_from_slice(&data[at - from..stop - from]);
                        }
                        Change::Length(_) => bytes[at..stop].fill(0),
                    }
                }
                at = stop;
            }
        }
        bytes.truncate(length);
        bytes
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

/// A seeded sequence (splitmix64, Steele et al. 2014): faults have to repeat.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ mixed >> 31) % limit as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flushed_bytes_survive_and_others_may() {
        let disk = Simulated::new();
        let path = Path::new("/db/a");
        let file = disk.create(path).unwrap();
        file.write_at(0, &[1; 2000]).unwrap();
        file.sync().unwrap();
        disk.sync_dir(Path::new("/db")).unwrap();
        file.write_at(1000, &[2; 3000]).unwrap();
        let mut lengths = HashSet::new();
        let mut is_torn = false;
        for seed in 0..50 {
            let contents = disk.after_crash(seed).contents();
            let bytes = &contents[0].1;
            assert_eq!(bytes[..512], [1; 512], "flushed, and untouched since");
            assert!(bytes.len() == 2000 || bytes.len() == 4000);
            lengths.insert(bytes.len());
            is_torn |= bytes[1000..2000].contains(&1) && bytes[1000..2000].contains(&2);
        }
        assert_eq!(lengths.len(), 2);
        assert!(is_torn);
    }

    #[test]
    fn names_need_their_folder_flushed() {
        let disk = Simulated::new();
        disk.create(Path::new("/db/a")).unwrap();
        let found: HashSet<usize> = (0..20).map(|seed| disk.after_crash(seed).contents().len()).collect();
        assert_eq!(found, HashSet::from([0, 1]));
    }

    #[test]
    fn faults_meet_their_call() {
        let disk = Simulated::new();
        let file = disk.create(Path::new("/a")).unwrap();
        disk.fail_at(1, Fault::NoSpace);
        disk.fail_at(2, Fault::ShortWrite);
        disk.fail_at(5, Fault::PowerOff);
        assert_eq!(file.write_at(0, &[1; 8]).unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert!(file.write_at(0, &[1; 8]).is_err());
        assert_eq!(file.len().unwrap(), 4);
        file.write_at(0, &[1; 8]).unwrap();
        assert!(file.sync().is_err());
        assert!(file.len().is_err());
    }
}
