//! A log of rows: appended, flushed, and found again after a crash up to the last flush.
//!
//! # Layout (version 1, little endian)
//! ```text
//! 0       header, 4096 bytes: magic, dim u32, element bytes u32, stride u64, own checksum
//! 4096    rows, `stride` bytes each: dim elements, zeros, and in the last 8 bytes a checksum
//! ```
//! The checksum is CRC-64/NVME over the row's number and its bytes, so a row in the wrong place is as
//! wrong as a changed one. It lies in the padding that aligns rows to 64 bytes: a log is an array of
//! rows with a stride, which [`RowLog::region`] maps and an arena reads where it lies.
//!
//! * **G1** Rows below the number that [`RowLog::sync`] returned survive a crash.
//! * **G2** Of the rows after them, opening keeps the longest run that is intact and cuts the rest
//!   off: the tail that a crash tore.
//! * **G3** One process at a time has a log open for writing (a lock on the file).
//! * **G4** After a failed flush nobody knows what the disk holds (the system may have dropped the
//!   pages), so the log takes no more rows until it is opened again.
//!
//! A log alone cannot tell a torn tail from damage: both are rows that do not match their checksum.
//! Whoever opens it knows how many rows were flushed (a transaction says so) and passes the number
//! in; below it, anything amiss is an error, never a cut.
//!
//! Cost: 8 to 71 bytes per row; appending is a copy into a 1 MiB buffer, opening reads every row.

use crate::layout::RowLayout;
use crate::os;
use crate::pages::{MemoryOptions, Region, RegionError};
use bytemuck::Pod;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Seek, SeekFrom, Write};
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

/// First bytes of every log; the digit is the version of the layout above.
const MAGIC: [u8; 8] = *b"ORTHLOG1";
/// Bytes of the header: a page, so that the rows behind it can be mapped.
const HEADER: usize = 4096;
/// Bytes of a row's checksum.
const SUM: usize = 8;
/// Bytes that are collected before they are written: rows are small.
const BUFFER: usize = 1 << 20;

/// What went wrong with a log.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// The system refused.
    #[error("{}: the log cannot be read or written", path.display())]
    Io {
        /// The log.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// Another process, or another value of this one, has the log open.
    #[error("{}: the log is in use", path.display())]
    Locked {
        /// The log.
        path: PathBuf,
    },
    /// The file does not start like a log, or its header has the wrong checksum.
    #[error("{}: the header of the log is damaged, or it is no log", path.display())]
    HeaderDamaged {
        /// The log.
        path: PathBuf,
    },
    /// The log holds rows of another shape.
    #[error("{}: rows are {found_dim} elements of {found_bytes} bytes, expected {dim} of {bytes}", path.display())]
    WrongShape {
        /// The log.
        path: PathBuf,
        /// Elements per row in the file.
        found_dim: u32,
        /// Bytes per element in the file.
        found_bytes: u32,
        /// Elements per row expected.
        dim: u32,
        /// Bytes per element expected.
        bytes: u32,
    },
    /// A row that had been flushed does not match its checksum, or is missing.
    #[error("{}: row {row} at byte {offset} is damaged or missing; {flushed} rows were flushed", path.display())]
    RowDamaged {
        /// The log.
        path: PathBuf,
        /// The first such row.
        row: u64,
        /// Where it starts.
        offset: u64,
        /// Rows that must be there.
        flushed: u64,
    },
    /// An earlier flush failed (G4).
    #[error("{}: an earlier flush failed; open the log again", path.display())]
    Poisoned {
        /// The log.
        path: PathBuf,
    },
    /// There is no memory to map the rows into.
    #[error("{}: the rows cannot be mapped", path.display())]
    Memory {
        /// The log.
        path: PathBuf,
        /// Why.
        source: RegionError,
    },
}

/// What opening a log found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recovery {
    /// Rows that are intact, and kept.
    pub rows: u64,
    /// Bytes behind them that were cut off: 0 after an orderly end.
    pub cut_bytes: u64,
}

/// An append-only file of rows of `dim` elements. See the module text for what it promises.
///
/// # Examples
/// ```
/// use orthant_storage::log::RowLog;
/// use orthant_storage::{MemoryOptions, RowArena};
///
/// # let directory = tempfile::tempdir()?;
/// let path = directory.path().join("rows.log");
/// let mut log = RowLog::<f32>::create(&path, 3)?;
/// log.append(&[1.0, 2.0, 3.0])?;
/// let flushed = log.sync()?; // 1: to be noted where transactions are
/// log.append(&[4.0, 5.0, 6.0])?;
/// drop(log); // the second row was not flushed: it may or may not be there
///
/// let (log, recovery) = RowLog::<f32>::open(&path, 3, flushed)?;
/// assert!(recovery.rows >= flushed);
/// let rows = RowArena::<f32>::from_region(log.layout(), log.region(&MemoryOptions::default())?, 1)?;
/// assert_eq!(rows.row(0), Some(&[1.0, 2.0, 3.0][..]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct RowLog<T> {
    path: PathBuf,
    file: File,
    layout: RowLayout,
    /// Rows in the file, flushed or not.
    written: u64,
    /// Whole rows on their way to the file.
    buffer: Vec<u8>,
    is_poisoned: bool,
    elements: PhantomData<T>,
}

impl<T: Pod + Send + Sync> RowLog<T> {
    /// A new, empty log. It is there, header and all, when this returns.
    ///
    /// # Errors
    /// [`LogError::Io`], also if there is a file of that name.
    /// # Panics
    /// If `dim` is 0 or not below 2^32, or if `T` has no size or one that does not divide 64.
    pub fn create(path: impl AsRef<Path>, dim: usize) -> Result<RowLog<T>, LogError> {
        let path = path.as_ref();
        let layout = layout::<T>(dim);
        let failed = |source| LogError::Io { path: path.to_path_buf(), source };
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(path).map_err(failed)?;
        let mut log = RowLog {
            path: path.to_path_buf(),
            file,
            layout,
            written: 0,
            buffer: Vec::new(),
            is_poisoned: false,
            elements: PhantomData,
        };
        log.lock()?;
        let header = header::<T>(layout);
        log.file.write_all(&header).and_then(|()| log.file.sync_all()).map_err(failed)?;
        os::sync_directory(crate::persist::directory_of(path)).map_err(failed)?;
        Ok(log)
    }

    /// Opens a log of which `flushed` rows must be there, checks every row, and cuts a torn tail off.
    ///
    /// # Errors
    /// [`LogError::RowDamaged`] if one of the `flushed` rows is not intact; the file is untouched
    /// then. [`LogError::HeaderDamaged`], [`LogError::WrongShape`], [`LogError::Locked`],
    /// [`LogError::Io`].
    /// # Panics
    /// As [`create`](Self::create).
    pub fn open(path: impl AsRef<Path>, dim: usize, flushed: u64) -> Result<(RowLog<T>, Recovery), LogError> {
        let path = path.as_ref();
        let layout = layout::<T>(dim);
        let failed = |source| LogError::Io { path: path.to_path_buf(), source };
        let file = OpenOptions::new().read(true).write(true).open(path).map_err(failed)?;
        let mut log = RowLog {
            path: path.to_path_buf(),
            file,
            layout,
            written: 0,
            buffer: Vec::new(),
            is_poisoned: false,
            elements: PhantomData,
        };
        log.lock()?;
        let bytes = log.file.metadata().map_err(failed)?.len();
        let too_large = |_| failed(io::ErrorKind::FileTooLarge.into());
        let map = os::ReadMap::new(&log.file, usize::try_from(bytes).map_err(too_large)?).map_err(failed)?;
        log.check_header(map.bytes())?;
        let rows = intact_rows(&map.bytes()[HEADER..], log.stride());
        drop(map);
        if rows < flushed {
            let offset = log.offset(rows);
            return Err(LogError::RowDamaged { path: path.to_path_buf(), row: rows, offset, flushed });
        }
        log.written = rows;
        let cut_bytes = bytes - log.offset(rows);
        if cut_bytes > 0 {
            log.file.set_len(log.offset(rows)).and_then(|()| log.file.sync_all()).map_err(failed)?;
        }
        Ok((log, Recovery { rows, cut_bytes }))
    }

    fn lock(&self) -> Result<(), LogError> {
        match self.file.try_lock() {
            Ok(()) => Ok(()),
            Err(TryLockError::WouldBlock) => Err(LogError::Locked { path: self.path.clone() }),
            Err(TryLockError::Error(source)) => Err(LogError::Io { path: self.path.clone(), source }),
        }
    }

    fn check_header(&self, file: &[u8]) -> Result<(), LogError> {
        let expected = header::<T>(self.layout);
        let damaged = || LogError::HeaderDamaged { path: self.path.clone() };
        let found = file.first_chunk::<HEADER>().ok_or_else(damaged)?;
        if found == &expected {
            return Ok(());
        }
        let sum = u64::from_le_bytes(crate::persist::array(found, HEADER - SUM));
        if found[..8] != MAGIC || crate::persist::checksum(&found[..HEADER - SUM]) != sum {
            return Err(damaged());
        }
        let word = |at| u32::from_le_bytes(crate::persist::array(found, at));
        let wanted = |at| u32::from_le_bytes(crate::persist::array(&expected, at));
        Err(LogError::WrongShape {
            path: self.path.clone(),
            found_dim: word(8),
            found_bytes: word(12),
            dim: wanted(8),
            bytes: wanted(12),
        })
    }

    /// Rows in the log, flushed or not.
    pub fn rows(&self) -> u64 {
        self.written + (self.buffer.len() / self.stride()) as u64
    }

    /// Where the elements of a row lie: `dim` and a stride that has room for the checksum.
    pub fn layout(&self) -> RowLayout {
        self.layout
    }

    /// Appends a row, `[dim]`, and returns its number. It is not safe before [`sync`](Self::sync).
    ///
    /// # Errors
    /// [`LogError::Io`] if the buffer was full and could not be written: the row was not taken, and
    /// may be appended again. [`LogError::Poisoned`].
    /// # Panics
    /// If `row.len() != dim`.
    pub fn append(&mut self, row: &[T]) -> Result<u64, LogError> {
        assert_eq!(row.len(), self.layout.dim(), "the row's length must be the dimension");
        if self.buffer.len() + self.stride() > BUFFER.max(self.stride()) {
            self.write_out()?;
        }
        let number = self.rows();
        let start = self.buffer.len();
        self.buffer.extend_from_slice(bytemuck::cast_slice(row));
        self.buffer.resize(start + self.stride() - SUM, 0);
        let sum = row_checksum(number, &self.buffer[start..]);
        self.buffer.extend_from_slice(&sum.to_le_bytes());
        Ok(number)
    }

    /// Makes all rows appended so far safe, and returns their number (G1).
    ///
    /// # Errors
    /// [`LogError::Io`] if writing failed, for instance on a full disk (the rows are kept, and `sync`
    /// may be tried again), or if flushing failed (the log is poisoned then), [`LogError::Poisoned`].
    pub fn sync(&mut self) -> Result<u64, LogError> {
        self.write_out()?;
        if let Err(source) = self.file.sync_data() {
            self.is_poisoned = true;
            return Err(LogError::Io { path: self.path.clone(), source });
        }
        Ok(self.written)
    }

    /// Writes the buffered rows. What a failed write left behind is overwritten by the next.
    fn write_out(&mut self) -> Result<(), LogError> {
        if self.is_poisoned {
            return Err(LogError::Poisoned { path: self.path.clone() });
        }
        let offset = self.offset(self.written);
        let written = self.file.seek(SeekFrom::Start(offset)).and_then(|_| self.file.write_all(&self.buffer));
        written.map_err(|source| LogError::Io { path: self.path.clone(), source })?;
        self.written += (self.buffer.len() / self.stride()) as u64;
        self.buffer.clear();
        Ok(())
    }

    /// A region that starts with the rows that are in the file (all of them after a
    /// [`sync`](Self::sync)), mapped, and grows behind them in memory. With [`layout`](Self::layout)
    /// it makes an arena. The padding of its rows holds the checksums.
    ///
    /// # Errors
    /// [`LogError::Memory`].
    pub fn region(&self, options: &MemoryOptions) -> Result<Region, LogError> {
        let bytes = (self.offset(self.written) as usize) - HEADER;
        let no_memory = |source| LogError::Memory { path: self.path.clone(), source };
        if os::page_size() <= HEADER {
            return Region::map(&self.file, HEADER as u64, bytes, options).map_err(no_memory);
        }
        // Pages too large to map from behind the header: copy.
        let region = Region::reserve(options).map_err(no_memory)?;
        region.ensure(bytes).map_err(no_memory)?;
        let map = os::ReadMap::new(&self.file, HEADER + bytes)
            .map_err(|source| LogError::Io { path: self.path.clone(), source })?;
        // SAFETY: `bytes` were just committed, nobody else knows the region yet, and the mapping of
        // the file is another one.
        unsafe { region.as_ptr().copy_from_nonoverlapping(map.bytes()[HEADER..].as_ptr(), bytes) };
        Ok(region)
    }

    fn stride(&self) -> usize {
        self.layout.row_bytes::<T>()
    }

    fn offset(&self, row: u64) -> u64 {
        HEADER as u64 + row * self.stride() as u64
    }
}

/// The layout of rows that have room for a checksum and start on 64 bytes.
fn layout<T>(dim: usize) -> RowLayout {
    let size = size_of::<T>();
    assert!(dim > 0 && u32::try_from(dim).is_ok(), "the dimension must be between 1 and 2^32");
    assert!(size > 0 && 64 % size == 0, "the size of an element must divide 64");
    let bytes = (dim * size + SUM).next_multiple_of(64);
    RowLayout::with_stride(dim, bytes / size)
}

fn header<T>(layout: RowLayout) -> [u8; HEADER] {
    let mut bytes = [0; HEADER];
    bytes[0..8].copy_from_slice(&MAGIC);
    bytes[8..12].copy_from_slice(&(layout.dim() as u32).to_le_bytes());
    bytes[12..16].copy_from_slice(&(size_of::<T>() as u32).to_le_bytes());
    bytes[16..24].copy_from_slice(&(layout.row_bytes::<T>() as u64).to_le_bytes());
    let sum = crate::persist::checksum(&bytes[..HEADER - SUM]);
    bytes[HEADER - SUM..].copy_from_slice(&sum.to_le_bytes());
    bytes
}

/// The checksum of a row's bytes (without their checksum) at its place.
fn row_checksum(number: u64, bytes: &[u8]) -> u64 {
    let mut digest = crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc64Nvme);
    digest.update(&number.to_le_bytes());
    digest.update(bytes);
    digest.finalize()
}

/// How many rows from the start are whole and match their checksums.
fn intact_rows(body: &[u8], stride: usize) -> u64 {
    let is_intact = |(number, row): &(usize, &[u8])| {
        let (bytes, sum) = row.split_at(stride - SUM);
        sum == row_checksum(*number as u64, bytes).to_le_bytes()
    };
    body.chunks_exact(stride).enumerate().take_while(is_intact).count() as u64
}
