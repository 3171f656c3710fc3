//! One row file: a mapping of its rows, each compared with its checksum before it is used. See [`rows`](crate::rows) for the layout
//! and the rules R1 to R3.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use memmap2::{MmapRaw, UncheckedAdvice};

use crate::checksum::Checksum;
use crate::files::FileHandle;
use crate::rows::{Damaged, SEGMENT_ROWS};

const MAGIC: [u8; 8] = *b"ORTHROW1";
pub(crate) const HEADER: usize = 4096;
const SUM: usize = 8;

/// The pages around one that is read come with it, so many bytes of a file at a time: what Linux does by default.
const FAULT_AROUND: usize = 64 << 10;

/// The rows of one file.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) file: Arc<dyn FileHandle>,
    pub(crate) number: usize,
    dim: usize,
    memory: MmapRaw,
    /// The memory is a copy that has to be written beside the file.
    is_copy: bool,
    /// Rows inside the file (R3).
    rows: AtomicU32,
    /// Rows that were compared with their checksums (R2).
    pub(crate) checked: Box<[AtomicU64]>,
    pub(crate) is_header_mended: bool,
}

fn header(dim: usize, number: usize) -> [u8; HEADER] {
    let mut bytes = [0; HEADER];
    bytes[..8].copy_from_slice(&MAGIC);
    bytes[8..12].copy_from_slice(&(dim as u32).to_le_bytes());
    bytes[12..16].copy_from_slice(&(number as u32).to_le_bytes());
    let sum = Checksum::of(&[&bytes[..HEADER - SUM]]);
    bytes[HEADER - SUM..].copy_from_slice(&sum.to_le_bytes());
    bytes
}

impl Segment {
    pub(crate) fn new(file: Arc<dyn FileHandle>, number: usize, dim: usize) -> io::Result<Self> {
        let bytes = HEADER + SEGMENT_ROWS * (dim * 4 + SUM);
        let (memory, is_copy) = match file.map(bytes)? {
            Some(map) => (map, false),
            None => (MmapRaw::from(memmap2::MmapMut::map_anon(bytes)?), true),
        };
        let checked = (0..SEGMENT_ROWS / 64).map(|_| AtomicU64::new(0)).collect();
        let rows = AtomicU32::new(0);
        Ok(Self { file, number, dim, memory, is_copy, rows, checked, is_header_mended: false })
    }

    pub(crate) fn create(file: Arc<dyn FileHandle>, number: usize, dim: usize) -> io::Result<Self> {
        // What a crash left of an earlier try holds no committed row.
        file.set_len(0)?;
        file.write_at(0, &header(dim, number))?;
        Self::new(file, number, dim)
    }

    pub(crate) fn open(file: Arc<dyn FileHandle>, number: usize, dim: usize) -> io::Result<Self> {
        let mut segment = Self::new(file, number, dim)?;
        let length = segment.file.len()?;
        let rows = length.saturating_sub(HEADER as u64) / segment.row_bytes() as u64;
        let rows = rows.min(SEGMENT_ROWS as u64) as usize;
        segment.rows = AtomicU32::new(rows as u32);
        if !segment.is_header_fine()? {
            // Nothing is read from it that is not known anyway: dimension and number are the schema's and the name's.
            segment.file.write_at(0, &header(dim, number))?;
            segment.is_header_mended = true;
        }
        if segment.is_copy && rows > 0 {
            let mut bytes = vec![0; rows * segment.row_bytes()];
            segment.file.read_at(HEADER as u64, &mut bytes)?;
            segment.copy(0, &bytes);
        }
        Ok(segment)
    }

    pub(crate) fn is_header_fine(&self) -> io::Result<bool> {
        let mut found = [0; HEADER];
        if self.file.len()? < HEADER as u64 {
            return Ok(false);
        }
        self.file.read_at(0, &mut found)?;
        Ok(found == header(self.dim, self.number))
    }

    pub(crate) fn row_bytes(&self) -> usize {
        self.dim * 4 + SUM
    }

    /// Rows inside the file.
    pub(crate) fn count(&self) -> u64 {
        u64::from(self.rows.load(Ordering::Relaxed))
    }

    /// Elements from row to row.
    pub(crate) fn stride(&self) -> usize {
        self.row_bytes() / 4
    }

    pub(crate) fn sum(&self, row: usize, elements: &[u8]) -> u64 {
        let position = (self.number * SEGMENT_ROWS + row) as u32;
        Checksum::of(&[&position.to_le_bytes(), elements])
    }

    pub(crate) fn write(&self, first: usize, rows: &[f32]) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(rows.len() / self.dim * self.row_bytes());
        for (row, elements) in (first..).zip(rows.chunks_exact(self.dim)) {
            let elements: &[u8] = bytemuck::cast_slice(elements);
            bytes.extend_from_slice(elements);
            bytes.extend_from_slice(&self.sum(row, elements).to_le_bytes());
        }
        self.file.write_at((HEADER + first * self.row_bytes()) as u64, &bytes)?;
        if self.is_copy {
            self.copy(first, &bytes);
        }
        let end = first + rows.len() / self.dim;
        for row in first..end {
            self.checked[row / 64].fetch_or(1 << (row % 64), Ordering::Relaxed);
        }
        // PUBLISH: pairs with OBSERVE in `check`: the bytes are in the file.
        self.rows.fetch_max(end as u32, Ordering::Release);
        Ok(())
    }

    /// Lets go of the pages of the rows `first..end`, which somebody has a copy of: the system keeps them as long as it likes, and they
    /// count no more as this process's. The next look brings them back.
    pub(crate) fn give_back(&self, first: usize, end: usize) {
        if self.is_copy {
            return;
        }
        let start = (HEADER + first * self.row_bytes()) / FAULT_AROUND * FAULT_AROUND;
        let end = (HEADER + end * self.row_bytes()).next_multiple_of(FAULT_AROUND).min(self.memory.len());
        if start < end {
            // SAFETY: the mapping is shared and of a file (`!is_copy`), and nothing is written through it: dropped pages are read
            // again from the file, with the same bytes.
            let dropped =
                unsafe { self.memory.unchecked_advise_range(UncheckedAdvice::DontNeed, start, end - start) };
            // It was advice: without it the pages stay.
            drop(dropped);
        }
    }

    /// Writes rows into the memory that stands for the file.
    pub(crate) fn copy(&self, first: usize, bytes: &[u8]) {
        let offset = HEADER + first * self.row_bytes();
        assert!(self.is_copy && offset + bytes.len() <= self.memory.len(), "rows lie inside the segment");
        // SAFETY: inside the mapping, as asserted.
        let target = unsafe { self.memory.as_mut_ptr().add(offset) };
        // SAFETY: the mapping is anonymous and writable (`is_copy`), and no reader touches these rows yet (R1).
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), target, bytes.len()) };
    }

    /// The bytes of a row, checksum included.
    pub(crate) fn bytes(&self, row: usize) -> &[u8] {
        let offset = HEADER + row * self.row_bytes();
        assert!(row < SEGMENT_ROWS, "a row of the segment");
        // SAFETY: `new` mapped all rows of a segment.
        let start = unsafe { self.memory.as_ptr().add(offset) };
        // SAFETY: inside the mapping, and inside the file, as `check` found before (R3); never written again (R1).
        unsafe { std::slice::from_raw_parts(start, self.row_bytes()) }
    }

    /// Whether a row may be used (R2, R3).
    pub(crate) fn check(&self, row: usize) -> Result<(), Damaged> {
        let (word, bit) = (&self.checked[row / 64], 1 << (row % 64));
        if word.load(Ordering::Relaxed) & bit != 0 {
            return Ok(());
        }
        let position = (self.number * SEGMENT_ROWS + row) as u32;
        // OBSERVE: pairs with PUBLISH in `write`.
        if row >= self.rows.load(Ordering::Acquire) as usize {
            return Err(Damaged { position });
        }
        let (elements, sum) = self.bytes(row).split_at(self.dim * 4);
        if sum != self.sum(row, elements).to_le_bytes() {
            return Err(Damaged { position });
        }
        word.fetch_or(bit, Ordering::Relaxed);
        Ok(())
    }

    /// The elements of a row.
    pub(crate) fn row(&self, row: usize) -> Result<&[f32], Damaged> {
        self.check(row)?;
        Ok(bytemuck::cast_slice(&self.bytes(row)[..self.dim * 4]))
    }

    /// The rows `0..=last` with their checksums between them, for the kernels: `[(last + 1) × stride]`.
    pub(crate) fn rows_up_to(&self, last: usize) -> &[f32] {
        assert!(last < self.rows.load(Ordering::Acquire) as usize, "the row was checked");
        // SAFETY: inside the mapping.
        let start = unsafe { self.memory.as_ptr().add(HEADER) };
        debug_assert!(start.cast::<f32>().is_aligned());
        // SAFETY: a mapping starts on a page and the header is one, so it is aligned; all rows up to `last` lie inside
        // the file (R3); positions up to a published one are not written any more (R1).
        unsafe { std::slice::from_raw_parts(start.cast::<f32>(), (last + 1) * self.stride()) }
    }
}
