//! A file that takes its name only when it is whole.

use crate::WriteError;
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// A temporary file in the directory of its target, removed on drop unless put in place.
#[derive(Debug)]
pub(crate) struct Replacement {
    path: PathBuf,
    temporary: Option<PathBuf>,
    out: BufWriter<File>,
}

impl Replacement {
    pub(crate) fn create(path: &Path) -> Result<Replacement, WriteError> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let mut name = std::ffi::OsString::from(".");
        name.push(path.file_name().unwrap_or_default());
        name.push(format!(".{}-{number}.tmp", std::process::id()));
        let temporary = path.with_file_name(name);
        let file = OpenOptions::new().write(true).create_new(true).open(&temporary);
        let file = file.map_err(|source| WriteError::Io { path: path.to_path_buf(), source })?;
        // 1 MiB per system call: rows are small.
        let out = BufWriter::with_capacity(1 << 20, file);
        Ok(Replacement { path: path.to_path_buf(), temporary: Some(temporary), out })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), WriteError> {
        self.out.write_all(bytes).map_err(|source| WriteError::Io { path: self.path.clone(), source })
    }

    /// Flushes the file to the disk and renames it.
    pub(crate) fn finish(mut self) -> Result<(), WriteError> {
        let replaced = self.replace();
        replaced.map_err(|source| WriteError::Io { path: self.path.clone(), source })
    }

    fn replace(&mut self) -> io::Result<()> {
        self.out.flush()?;
        self.out.get_ref().sync_all()?;
        if let Some(temporary) = &self.temporary {
            std::fs::rename(temporary, &self.path)?;
        }
        self.temporary = None;
        Ok(())
    }
}

impl Drop for Replacement {
    fn drop(&mut self) {
        if let Some(temporary) = &self.temporary {
            // Best effort: there is nobody to tell, and a left-over is only litter.
            let _ = std::fs::remove_file(temporary);
        }
    }
}
