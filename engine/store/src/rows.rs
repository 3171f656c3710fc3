//! The row file: full-precision vectors by position, appended, mapped, each under its own checksum.
//!
//! # Layout (version 1, little endian)
//! One file per 65,536 positions of one vector of one collection:
//! ```text
//! 0       header, 4096 bytes: magic, dim u32, segment u32, own checksum
//! 4096    rows: dim f32, then CRC-64/NVME over the position and the elements
//! ```
//! * **R1** A position is written by the committing thread alone, and read by others only after the transaction that
//!   names it; it is never written again after that.
//! * **R2** A row is compared with its checksum before it is used for the first time; what was written by this process
//!   counts as compared. A row that does not match is damaged: it is in no result and named by [`Damaged`].
//! * **R3** Only bytes inside the file are touched: a position beyond what was written is damaged, not a bus error.
//!
//! Cost: 8 bytes per row beyond its elements.

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use orthant_engine::Metric;
use orthant_engine::kernels::Kernel;
use roaring::RoaringBitmap;

use crate::codes::{self, Codes};
use crate::files::Files;
use crate::segment::Segment;

/// Positions of one file: as many as one container of a roaring set.
pub(crate) const SEGMENT_ROWS: usize = 1 << 16;

/// A row does not match its checksum, or is missing from its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Damaged {
    pub(crate) position: u32,
}

/// All rows of one vector of a collection.
#[derive(Debug)]
pub(crate) struct RowFile {
    files: Arc<dyn Files>,
    dir: PathBuf,
    dim: usize,
    segments: RwLock<Vec<Option<Arc<Segment>>>>,
    /// Changed by the keeper and by who removes files.
    codes: RwLock<Arc<Codes>>,
    /// Rows with codes that ended. Never locked for longer than a change of the set.
    ended: Mutex<RoaringBitmap>,
    /// Segments with writes that were not flushed; `true` in the second for new names in the folder.
    dirty: Mutex<(BTreeSet<usize>, bool)>,
    /// Whether a flush failed; held during a flush, so that nobody takes rows for safe whose flush is still under way.
    has_failed: Mutex<bool>,
}

impl RowFile {
    /// Opens the row file in folder `dir`, or makes an empty one.
    pub(crate) fn open(files: Arc<dyn Files>, dir: PathBuf, dim: usize) -> io::Result<Self> {
        files.create_dir(&dir)?;
        let mut segments = Vec::new();
        for path in files.list(&dir)? {
            let number = path.file_stem().and_then(|stem| stem.to_str()?.parse::<usize>().ok());
            let Some(number) = number.filter(|&number| number < SEGMENT_ROWS) else { continue };
            if segments.len() <= number {
                segments.resize(number + 1, None);
            }
            let segment = Segment::open(files.open(&path)?, number, dim)?;
            segments[number] = Some(Arc::new(segment));
        }
        Ok(Self {
            files,
            dir,
            dim,
            segments: RwLock::new(segments),
            codes: RwLock::default(),
            ended: Mutex::default(),
            dirty: Mutex::default(),
            has_failed: Mutex::new(false),
        })
    }

    pub(crate) fn dim(&self) -> usize {
        self.dim
    }

    fn path(&self, number: usize) -> PathBuf {
        self.dir.join(format!("{number:05}.rows"))
    }

    /// The file that holds `position`, if there is one.
    pub(crate) fn segment(&self, number: usize) -> Option<Arc<Segment>> {
        self.segments.read().unwrap_or_else(PoisonError::into_inner).get(number)?.clone()
    }

    /// All files, by number.
    pub(crate) fn segments(&self) -> Vec<Option<Arc<Segment>>> {
        self.segments.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn segment_for_writing(&self, number: usize) -> io::Result<Arc<Segment>> {
        if let Some(segment) = self.segment(number) {
            return Ok(segment);
        }
        let file = self.files.create(&self.path(number))?;
        let segment = Arc::new(Segment::create(file, number, self.dim)?);
        let mut segments = self.segments.write().unwrap_or_else(PoisonError::into_inner);
        if segments.len() <= number {
            segments.resize(number + 1, None);
        }
        segments[number] = Some(segment.clone());
        self.dirty.lock().unwrap_or_else(PoisonError::into_inner).1 = true;
        Ok(segment)
    }

    /// Writes `rows`, `[n × dim]`, at the positions from `start` on. Not safe before [`sync`](Self::sync).
    ///
    /// Called by the committing thread only, and only with positions that no transaction names (R1).
    pub(crate) fn write(&self, start: u32, rows: &[f32]) -> io::Result<()> {
        let (mut start, mut rows) = (start as usize, rows);
        while !rows.is_empty() {
            let (number, first) = (start / SEGMENT_ROWS, start % SEGMENT_ROWS);
            let count = (rows.len() / self.dim).min(SEGMENT_ROWS - first);
            let (now, later) = rows.split_at(count * self.dim);
            let segment = self.segment_for_writing(number)?;
            segment.write(first, now)?;
            // Afterwards: a flush that runs at the same time must not take the mark without the bytes.
            self.dirty.lock().unwrap_or_else(PoisonError::into_inner).0.insert(number);
            (start, rows) = (start + count, later);
        }
        Ok(())
    }

    /// Makes all rows written so far safe. After an error nobody knows what is (files D3).
    pub(crate) fn sync(&self) -> io::Result<()> {
        let mut has_failed = self.has_failed.lock().unwrap_or_else(PoisonError::into_inner);
        if *has_failed {
            return Err(io::Error::other("an earlier flush failed"));
        }
        let dirty = std::mem::take(&mut *self.dirty.lock().unwrap_or_else(PoisonError::into_inner));
        let done = self.sync_files(dirty);
        *has_failed = done.is_err();
        done
    }

    fn sync_files(&self, (numbers, has_new_names): (BTreeSet<usize>, bool)) -> io::Result<()> {
        for &number in &numbers {
            if let Some(segment) = self.segment(number) {
                segment.file.sync()?;
            }
        }
        if has_new_names {
            self.files.sync_dir(&self.dir)?;
        }
        Ok(())
    }

    /// A copy of the row at `position`.
    pub(crate) fn row(&self, position: u32) -> Result<Vec<f32>, Damaged> {
        let segment = self.segment(position as usize / SEGMENT_ROWS).ok_or(Damaged { position })?;
        Ok(segment.row(position as usize % SEGMENT_ROWS).map_err(|_| Damaged { position })?.to_vec())
    }

    /// Copies the row at `position` into `out`, `[dim]`.
    ///
    /// # Panics
    /// If `out.len() != dim`.
    pub(crate) fn read(&self, position: u32, out: &mut [f32]) -> Result<(), Damaged> {
        let segment = self.segment(position as usize / SEGMENT_ROWS).ok_or(Damaged { position })?;
        let row = segment.row(position as usize % SEGMENT_ROWS).map_err(|_| Damaged { position })?;
        out.copy_from_slice(row);
        Ok(())
    }

    /// Lets go of the pages of these rows, ascending, of which somebody has copies, and of those between them.
    pub(crate) fn give_back(&self, rows: &[u32]) {
        for rows in rows.chunk_by(|a, b| *a as usize / SEGMENT_ROWS == *b as usize / SEGMENT_ROWS) {
            let (Some(&first), Some(&last)) = (rows.first(), rows.last()) else { continue };
            if let Some(segment) = self.segment(first as usize / SEGMENT_ROWS) {
                segment.give_back(first as usize % SEGMENT_ROWS, last as usize % SEGMENT_ROWS + 1);
            }
        }
    }

    /// Lets go of the pages of all rows.
    pub(crate) fn give_back_all(&self) {
        self.segments().iter().flatten().for_each(|segment| segment.give_back(0, SEGMENT_ROWS));
    }

    /// Calls `found(position, distance)` for each of `positions`, ascending, with its inside distance to `query`; rows
    /// that are damaged go to `damaged` instead.
    pub(crate) fn distances(
        &self,
        kernel: &Kernel,
        query: &[f32],
        positions: impl Iterator<Item = u32>,
        mut found: impl FnMut(u32, f32),
        mut damaged: impl FnMut(Damaged),
    ) {
        let mut positions = positions.peekable();
        let mut ids = Vec::with_capacity(GATHER);
        let mut distances = vec![0.0f32; GATHER];
        while let Some(&first) = positions.peek() {
            let number = first as usize / SEGMENT_ROWS;
            let Some(segment) = self.segment(number) else {
                while let Some(position) = positions.next_if(|&next| next as usize / SEGMENT_ROWS == number) {
                    damaged(Damaged { position });
                }
                continue;
            };
            let base = (number * SEGMENT_ROWS) as u32;
            loop {
                ids.clear();
                while ids.len() < GATHER
                    && let Some(position) = positions.next_if(|&next| next as usize / SEGMENT_ROWS == number)
                {
                    match segment.check((position - base) as usize) {
                        Ok(()) => ids.push(position - base),
                        Err(Damaged { .. }) => damaged(Damaged { position }),
                    }
                }
                let Some(&last) = ids.last() else { break };
                let distances = &mut distances[..ids.len()];
                let rows = segment.rows_up_to(last as usize);
                kernel.gather(query, rows, segment.stride(), &ids, distances);
                for (&id, &distance) in ids.iter().zip(&*distances) {
                    found(base + id, distance);
                }
            }
        }
    }

    /// Removes the file of a segment of which no row is needed any more.
    pub(crate) fn remove_segment(&self, number: usize) -> io::Result<()> {
        let mut segments = self.segments.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = segments.get_mut(number)
            && place.is_some()
        {
            self.files.remove(&self.path(number))?;
            *place = None;
            let mut codes = self.codes.write().unwrap_or_else(PoisonError::into_inner);
            *codes = Arc::new(codes.without(codes::parts(number)));
            let range = number * SEGMENT_ROWS..(number + 1) * SEGMENT_ROWS;
            let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
            ended.remove_range(range.start as u32..=(range.end - 1) as u32);
        }
        Ok(())
    }

    /// The codes that there are.
    pub(crate) fn codes(&self) -> Arc<Codes> {
        self.codes.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Rows that ended: their codes are dropped with the next change of their part (codes B4). Nothing is lost by saying so early:
    /// rows without a code are compared as they are.
    pub(crate) fn forget(&self, ended: &RoaringBitmap) {
        let ended = ended & self.codes().coded();
        if !ended.is_empty() {
            *self.ended.lock().unwrap_or_else(PoisonError::into_inner) |= ended;
        }
    }

    /// Whether [`encode`](Self::encode) may have something to do for `rows`: a look that costs little.
    pub(crate) fn is_code_missing(&self, rows: &RoaringBitmap) -> bool {
        !self.ended.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
            || rows.difference_len(self.codes().asked()) > 0
    }

    /// Gives codes to the rows of `rows` that lack them, all of them named by a transaction (codes B2), where many do, and takes those
    /// of rows that ended, where there are many; whether any were looked at. One part per call.
    pub(crate) fn encode(&self, metric: Metric, rows: &RoaringBitmap) -> bool {
        let codes = self.codes();
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let newest = rows.max();
        for segment in self.segments().into_iter().flatten() {
            for part in codes::parts(segment.number) {
                let mut here = RoaringBitmap::new();
                here.insert_range(codes::range(part));
                let here_rows = rows & &here;
                let missing = here_rows.difference_len(codes.asked());
                // An eighth more: each row is coded about eight times while a part fills. A full one gets no more rows.
                let is_full = newest.is_some_and(|newest| newest > *codes::range(part).end());
                let few = if is_full { 1 } else { FEW_UNCODED.max(here_rows.len() / 8) };
                let is_wanted = missing >= few && here_rows.len() >= CODED_PART;
                let gone = &ended & &here;
                let is_stale =
                    gone.len() * codes::GONE_PART > codes.coded().range_cardinality(codes::range(part));
                if !is_wanted && !is_stale {
                    continue;
                }
                let asked = (here_rows | (codes.asked() & here)) - &gone;
                let with = codes.with(&segment, part, self.dim, metric, &asked);
                // Read once, and not needed soon: searches look at a few of them, whole.
                segment.give_back(0, SEGMENT_ROWS);
                // Codes of a file that was removed meanwhile are there until the next change; nobody asks for them.
                *self.codes.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(with);
                *self.ended.lock().unwrap_or_else(PoisonError::into_inner) -= gone;
                return true;
            }
        }
        false
    }

    /// Rows that were written, of all files that are there.
    pub(crate) fn count(&self) -> u64 {
        self.segments().iter().flatten().map(|segment| segment.count()).sum()
    }

    /// The numbers of the segments that have a file.
    pub(crate) fn segment_numbers(&self) -> Vec<usize> {
        let segments = self.segments.read().unwrap_or_else(PoisonError::into_inner);
        segments
            .iter()
            .enumerate()
            .filter(|(_, segment)| segment.is_some())
            .map(|(number, _)| number)
            .collect()
    }

    /// Bytes of all files.
    pub(crate) fn bytes(&self) -> u64 {
        let segments = self.segments.read().unwrap_or_else(PoisonError::into_inner);
        segments.iter().flatten().map(|segment| segment.file.len().unwrap_or(0)).sum()
    }

    /// Segments whose header was damaged, or torn, when they were opened; it was written anew. Their rows carry their own
    /// checksums.
    pub(crate) fn mended_headers(&self) -> Vec<PathBuf> {
        let segments = self.segments.read().unwrap_or_else(PoisonError::into_inner);
        let mended = segments.iter().flatten().filter(|segment| segment.is_header_mended);
        mended.map(|segment| self.path(segment.number)).collect()
    }

    /// Segments whose header is damaged now.
    pub(crate) fn damaged_headers(&self) -> Vec<PathBuf> {
        let segments = self.segments.read().unwrap_or_else(PoisonError::into_inner);
        let damaged = segments.iter().flatten().filter(|segment| !segment.is_header_fine().unwrap_or(false));
        damaged.map(|segment| self.path(segment.number)).collect()
    }

    /// Forgets which rows were compared with their checksums, so that the next use compares them again.
    pub(crate) fn forget_checks(&self) {
        let segments = self.segments.read().unwrap_or_else(PoisonError::into_inner);
        for word in segments.iter().flatten().flat_map(|segment| segment.checked.iter()) {
            word.store(0, Ordering::Relaxed);
        }
    }
}

/// So few rows without a code are compared as fast as they are.
const FEW_UNCODED: u64 = 512;

/// A part gets codes when a tenant has so many rows in it.
const CODED_PART: u64 = (codes::PART_ROWS / 16) as u64;

/// Rows per call of the kernel: their distances stay in the first-level cache.
const GATHER: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::{Disk, Simulated};
    use crate::segment::HEADER;
    use orthant_engine::Metric;

    fn check(files: Arc<dyn Files>, dir: PathBuf) {
        let file = RowFile::open(files.clone(), dir.clone(), 3).unwrap();
        file.write(0, &[1.0, 0.0, 0.0, 2.0, 0.0, 0.0]).unwrap();
        file.write(SEGMENT_ROWS as u32 - 1, &[3.0, 0.0, 0.0, 4.0, 0.0, 0.0]).unwrap();
        file.sync().unwrap();
        let look = |file: &RowFile| {
            let kernel = Kernel::new(Metric::L2, 3).unwrap();
            let (mut found, mut damaged) = (Vec::new(), Vec::new());
            let positions = [0, 1, 2, SEGMENT_ROWS as u32 - 1, SEGMENT_ROWS as u32, SEGMENT_ROWS as u32 * 9];
            file.distances(
                &kernel,
                &[0.0; 3],
                positions.into_iter(),
                |position, distance| found.push((position, distance)),
                |bad| damaged.push(bad.position),
            );
            (found, damaged)
        };
        let last = SEGMENT_ROWS as u32;
        let expected = vec![(0, 1.0), (1, 4.0), (last - 1, 9.0), (last, 16.0)];
        assert_eq!(look(&file), (expected.clone(), vec![2, last * 9]));
        drop(file);
        let file = RowFile::open(files.clone(), dir.clone(), 3).unwrap();
        assert_eq!(look(&file), (expected, vec![2, last * 9]), "after opening again");
        assert_eq!(file.row(1).unwrap(), [2.0, 0.0, 0.0]);
        drop(file);
        let path = dir.join("00001.rows");
        files.open(&path).unwrap().write_at(HEADER as u64 + 2, &[1]).unwrap();
        let file = RowFile::open(files, dir, 3).unwrap();
        assert_eq!(file.row(last), Err(Damaged { position: last }));
        assert_eq!(look(&file).1, [2, last, last * 9]);
    }

    #[test]
    fn rows_are_found_again_and_damage_is_named() {
        let dir = tempfile::tempdir().unwrap();
        check(Arc::new(Disk), dir.path().join("rows"));
        check(Arc::new(Simulated::new()), "/db/rows".into());
    }
}
