//! Writing a file so that its name never stands for half of it (F2).

use super::{ALIGN, CHUNK, Header, Tag, checksum};
use crate::os;
use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// Why a file could not be written. What stood under its name before still does.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SaveError {
    /// The temporary file beside the target could not be made.
    #[error("{}: cannot create the temporary file {}", path.display(), temporary.display())]
    Create {
        /// The file to be written.
        path: PathBuf,
        /// The temporary name.
        temporary: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// Writing failed, for instance because the disk is full, or the caller's section writer did.
    #[error("{}: writing failed at byte {offset}", path.display())]
    Write {
        /// The file to be written.
        path: PathBuf,
        /// Bytes written before.
        offset: u64,
        /// The system's answer.
        source: io::Error,
    },
    /// The bytes could not be made to last, or not be given their name.
    #[error("{}: cannot put the new file in place", path.display())]
    Replace {
        /// The file to be written.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// Two sections have the same tag.
    #[error("{}: there is a section {tag} already", path.display())]
    DuplicateSection {
        /// The file to be written.
        path: PathBuf,
        /// The tag.
        tag: Tag,
    },
}

/// Writes a file of sections and puts it in place at the end.
///
/// The sections go to a temporary file in the same directory; [`finish`](Self::finish) flushes and
/// renames it. Without `finish` the temporary file is removed and the target stays as it was. After
/// an error the writer can only be dropped.
///
/// # Examples
/// ```
/// use std::io::Write;
/// use orthant_storage::persist::FileWriter;
///
/// # let directory = tempfile::tempdir()?;
/// # let path = directory.path().join("numbers.orthant");
/// let mut writer = FileWriter::create(&path, *b"NUMBERS\0", 1)?;
/// writer.section(*b"squares\0", |out| {
///     (0..1000u64).try_for_each(|n| out.write_all(&(n * n).to_le_bytes()))
/// })?;
/// writer.finish()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct FileWriter {
    path: PathBuf,
    /// Removed on drop, unless it has been renamed.
    temporary: Option<PathBuf>,
    kind: [u8; 8],
    version: u32,
    body: Body,
    /// Tag, offset and bytes.
    sections: Vec<(Tag, u64, u64)>,
}

impl FileWriter {
    /// Starts a file of this kind and version that is to stand at `path`.
    ///
    /// # Errors
    /// [`SaveError::Create`] or [`SaveError::Write`] if the directory takes no file.
    pub fn create(path: impl AsRef<Path>, kind: [u8; 8], version: u32) -> Result<FileWriter, SaveError> {
        let path = path.as_ref().to_path_buf();
        let temporary = temporary_beside(&path);
        let file = match OpenOptions::new().write(true).create_new(true).open(&temporary) {
            Ok(file) => file,
            Err(source) => return Err(SaveError::Create { path, temporary, source }),
        };
        let mut writer = FileWriter {
            path,
            temporary: Some(temporary),
            kind,
            version,
            body: Body { file, buffer: Vec::with_capacity(CHUNK), checksums: Vec::new(), offset: 0 },
            sections: Vec::new(),
        };
        // A place for the header, which is known at the end.
        let reserved = writer.body.file.write_all(&[0; ALIGN]);
        reserved.map_err(|source| writer.failed(source))?;
        Ok(writer)
    }

    /// Writes a section of the bytes that `write` hands to the writer it is given.
    ///
    /// # Errors
    /// [`SaveError::DuplicateSection`], or [`SaveError::Write`] with the error of the system or of
    /// `write`.
    pub fn section(
        &mut self,
        tag: [u8; 8],
        write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> Result<(), SaveError> {
        let tag = Tag(tag);
        if self.sections.iter().any(|&(other, ..)| other == tag) {
            return Err(SaveError::DuplicateSection { path: self.path.clone(), tag });
        }
        let start = self.body.offset;
        let written = write(&mut self.body);
        written.map_err(|source| self.failed(source))?;
        let bytes = self.body.offset - start;
        self.sections.push((tag, ALIGN as u64 + start, bytes));
        let padding = bytes.next_multiple_of(ALIGN as u64) - bytes;
        let padded = self.body.write_all(&[0; ALIGN][..padding as usize]);
        padded.map_err(|source| self.failed(source))
    }

    /// Writes a section of these bytes.
    ///
    /// # Errors
    /// As [`section`](Self::section).
    pub fn write_section(&mut self, tag: [u8; 8], bytes: &[u8]) -> Result<(), SaveError> {
        self.section(tag, |out| out.write_all(bytes))
    }

    /// Flushes the file to the disk and puts it in place of whatever stood at its path.
    ///
    /// # Errors
    /// [`SaveError::Write`] or [`SaveError::Replace`]; the old file still stands then, except that a
    /// failed flush of the directory, the very last step, leaves the new one.
    pub fn finish(mut self) -> Result<(), SaveError> {
        self.complete()?;
        let lasting = self.body.file.sync_all().and_then(|()| self.rename());
        let lasting = lasting.and_then(|()| os::sync_directory(directory_of(&self.path)));
        lasting.map_err(|source| SaveError::Replace { path: self.path.clone(), source })
    }

    /// Puts the file in place without waiting for the disk: whole when the process ends, whatever ends it, but perhaps torn
    /// when the machine does, which opening it finds with [`Verify::Full`](super::Verify::Full). For what can be made again.
    ///
    /// # Errors
    /// As [`finish`](Self::finish).
    pub fn finish_unflushed(mut self) -> Result<(), SaveError> {
        self.complete()?;
        let renamed = self.rename();
        renamed.map_err(|source| SaveError::Replace { path: self.path.clone(), source })
    }

    /// Writes what comes after the sections, and the header.
    fn complete(&mut self) -> Result<(), SaveError> {
        let flushed = self.body.flush_chunk();
        flushed.map_err(|source| self.failed(source))?;
        let mut table =
            Vec::with_capacity(self.sections.len() * super::ENTRY + self.body.checksums.len() * 8);
        for (tag, offset, bytes) in &self.sections {
            table.extend_from_slice(&tag.0);
            table.extend_from_slice(&offset.to_le_bytes());
            table.extend_from_slice(&bytes.to_le_bytes());
        }
        for chunk in &self.body.checksums {
            table.extend_from_slice(&chunk.to_le_bytes());
        }
        let table_offset = ALIGN as u64 + self.body.offset;
        let header = Header {
            kind: self.kind,
            version: self.version,
            sections: u32::try_from(self.sections.len()).expect("fewer than 2^32 sections"),
            file_bytes: table_offset + table.len() as u64,
            table_offset,
            table_checksum: checksum(&table),
        };
        let file = &mut self.body.file;
        let written = file
            .write_all(&table)
            .and_then(|()| file.seek(SeekFrom::Start(0)))
            .and_then(|_| file.write_all(&header.to_bytes()));
        written.map_err(|source| self.failed(source))
    }

    fn rename(&mut self) -> io::Result<()> {
        if let Some(temporary) = &self.temporary {
            std::fs::rename(temporary, &self.path)?;
        }
        self.temporary = None;
        Ok(())
    }

    fn failed(&self, source: io::Error) -> SaveError {
        SaveError::Write { path: self.path.clone(), offset: ALIGN as u64 + self.body.offset, source }
    }
}

impl Drop for FileWriter {
    fn drop(&mut self) {
        if let Some(temporary) = &self.temporary {
            // Best effort: there is nobody to tell, and a left-over is only litter.
            let _ = std::fs::remove_file(temporary);
        }
    }
}

/// The directory a path names a file in.
pub(crate) fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// A name in the same directory that no other writer uses.
fn temporary_beside(path: &Path) -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_else(|| "orthant".as_ref()));
    name.push(format!(".{}-{number}.tmp", std::process::id()));
    directory_of(path).join(name)
}

/// What lies between header and table: collects chunks, checksums them, passes them on.
#[derive(Debug)]
struct Body {
    file: File,
    /// The start of the current chunk; never a whole one.
    buffer: Vec<u8>,
    /// Of the chunks that are written.
    checksums: Vec<u64>,
    /// Bytes taken so far, counted from the end of the header.
    offset: u64,
}

impl Body {
    fn flush_chunk(&mut self) -> io::Result<()> {
        if !self.buffer.is_empty() {
            self.checksums.push(checksum(&self.buffer));
            self.file.write_all(&self.buffer)?;
            self.buffer.clear();
        }
        Ok(())
    }
}

impl Write for Body {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(CHUNK - self.buffer.len());
        if taken == CHUNK {
            // A whole chunk at once needs no copy.
            self.checksums.push(checksum(&bytes[..CHUNK]));
            self.file.write_all(&bytes[..CHUNK])?;
        } else {
            self.buffer.extend_from_slice(&bytes[..taken]);
            if self.buffer.len() == CHUNK {
                self.flush_chunk()?;
            }
        }
        self.offset += taken as u64;
        Ok(taken)
    }

    /// Chunks go out when they are whole; durability is `finish`'s business.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
