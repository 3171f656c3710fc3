//! A copy of a database that is in use.

use std::path::Path;
use std::sync::Arc;

use crate::commit::journal_path;
use crate::database::Database;
use crate::error::{StorageError, WriteError};
use crate::journal::Journal;

fn storage(error: StorageError) -> WriteError {
    WriteError::Storage(Arc::new(error))
}

impl Database {
    /// Copies the database to folder `dir`, which must not hold one, as it is at this moment. Searches go on; writes wait.
    ///
    /// # Errors
    /// [`WriteError::Name`] if there is a database, [`WriteError::Storage`].
    pub fn copy_to(&self, dir: impl AsRef<Path>) -> Result<(), WriteError> {
        let dir = dir.as_ref().to_path_buf();
        let inner = self.inner.clone();
        self.inner.task(move |committer| {
            committer.checkpoint(Vec::new())?;
            let (files, from) = (inner.shared.files.clone(), inner.shared.dir.clone());
            let failed = |path: &Path, source| storage(StorageError::Io { path: path.to_path_buf(), source });
            files.create_dir(&dir).map_err(|source| failed(&dir, source))?;
            let catalog = Path::new("catalog.redb");
            let there = files.list(&dir).map_err(|source| failed(&dir, source))?;
            if there.contains(&dir.join(catalog)) {
                return Err(WriteError::Name {
                    name: dir.display().to_string().into(),
                    problem: "a database already",
                });
            }
            let mut folders = vec![from.join("graphs")];
            for (core, _) in committer.collections.values() {
                for vector in 0..core.rows.len() {
                    folders.push(from.join("rows").join(core.id.to_string()).join(vector.to_string()));
                }
            }
            for folder in folders {
                // Graphs may never have been saved.
                let Ok(names) = files.list(&folder) else { continue };
                let target = dir.join(folder.strip_prefix(&from).unwrap_or(&folder));
                files.create_dir(&target).map_err(|source| failed(&target, source))?;
                for name in names {
                    let to = target.join(name.file_name().unwrap_or_default());
                    copy(&*files, &name, &to).map_err(|source| failed(&to, source))?;
                }
                files.sync_dir(&target).map_err(|source| failed(&target, source))?;
            }
            Journal::open(&*files, &journal_path(&dir), committer.sequence)
                .map_err(|source| failed(&dir, source))?;
            // The catalog last, under another name until it is whole: what is there before is no database.
            let (to, whole) = (dir.join("catalog.new"), dir.join(catalog));
            copy(&*files, &from.join(catalog), &to).map_err(|source| failed(&to, source))?;
            files.rename(&to, &whole).map_err(|source| failed(&whole, source))?;
            files.sync_dir(&dir).map_err(|source| failed(&dir, source))
        })?
    }
}

/// Copies a file through the file layer, safely.
fn copy(files: &dyn crate::files::Files, from: &Path, to: &Path) -> std::io::Result<()> {
    let (from, to) = (files.open(from)?, files.create(to)?);
    let length = from.len()?;
    to.set_len(0)?;
    let mut buffer = vec![0; 1 << 20];
    let mut at = 0;
    while at < length {
        let bytes = ((length - at) as usize).min(buffer.len());
        from.read_at(at, &mut buffer[..bytes])?;
        to.write_at(at, &buffer[..bytes])?;
        at += bytes as u64;
    }
    to.sync()
}
