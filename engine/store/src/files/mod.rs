//! The layer under everything that has to survive: a handful of operations on files.
//!
//! Row files, the journal and redb do their work through [`Files`]. [`Disk`] is the system's; [`Simulated`] keeps files in
//! memory, fails on demand, and loses what was not flushed when it is told to crash.
//!
//! What callers may lean on, and nothing more:
//! * **D1** What [`FileHandle::sync`] returned for survives a crash. Without it, any part of any write may survive or not,
//!   in any order, 512 bytes at a time.
//! * **D2** A name that was created, renamed or removed is so after a crash once [`Files::sync_dir`] returned for its folder.
//! * **D3** After a failed `sync`, nobody knows what survives.

mod disk;
mod simulated;

use std::fmt::Debug;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use disk::Disk;
pub use simulated::{Fault, Simulated};

/// A place for files.
pub trait Files: Debug + Send + Sync + 'static {
    /// Makes a folder, and those above it. Nothing happens if it is there.
    fn create_dir(&self, path: &Path) -> io::Result<()>;
    /// Opens a file for reading and writing; makes an empty one if there is none.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn FileHandle>>;
    /// Opens a file for reading and writing; [`io::ErrorKind::NotFound`] if there is none.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn FileHandle>>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Gives a file another name; a file of that name is replaced.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// The files of a folder, in no order; without folders.
    fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>>;
    /// Makes the names in a folder safe (D2).
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
    /// Takes the lock file for this process until the result is dropped.
    fn lock(&self, path: &Path) -> Result<Box<dyn Debug + Send + Sync>, LockError>;
    /// The system's own path, for what writes files itself; `None` where files are not the system's.
    fn system_path(&self, path: &Path) -> Option<PathBuf>;
}

/// An open file. Any number of threads may use it.
pub trait FileHandle: Debug + Send + Sync {
    /// Bytes in the file.
    fn len(&self) -> io::Result<u64>;
    /// Whether it has none.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
    /// Cuts the file, or extends it with zeros.
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// Fills `out` from `offset`; an error if the file ends before.
    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()>;
    /// Writes all of `bytes` at `offset`; the file grows as needed. After an error any part may be written.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;
    /// Makes what was written safe (D1).
    fn sync(&self) -> io::Result<()>;
    /// Maps the first `bytes` bytes for reading, also where the file does not reach yet: touching those before it does
    /// is a bus error. `None` where files cannot be mapped.
    fn map(&self, bytes: usize) -> io::Result<Option<memmap2::MmapRaw>>;
}

/// Why a database could not be locked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LockError {
    /// Somebody has it.
    #[error("{}: the database is in use{}", path.display(), pid.map(|pid| format!(" by process {pid}")).unwrap_or_default())]
    Held {
        /// The lock file.
        path: PathBuf,
        /// Who, if the lock file says so.
        pid: Option<u32>,
    },
    /// The system refused.
    #[error("{}: cannot be locked", path.display())]
    Io {
        /// The lock file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
}

/// Disks write this many bytes as one, or not at all.
pub(crate) const SECTOR: usize = 512;
