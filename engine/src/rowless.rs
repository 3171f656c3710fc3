//! Index files without rows, for who keeps the rows elsewhere: a collection's graph beside its row file.
//!
//! A file holds what [`Index::save`] writes but for the rows, its tables packed (see `packed.rs`, `edges.rs`): about 35 bytes per row with
//! lists of at most 32, where whole files have 150 beside the row. Opening asks for each row by its key and reads the tables
//! into memory; such a file is another kind than a whole one, and neither is taken for the other.
//!
//! * **O1** The rows that are given have to be those that the index was saved with: it cannot tell. Nothing goes wrong with
//!   others but what is found.
//! * **O2** A row that is not given is in no result: it is taken out before anybody can search.

use orthant_storage::persist::{self, MappedFile};
use orthant_storage::{MemoryOptions, Region, RegionError, RowArena, RowLayout};

use crate::edges::{self, AnchorForm};
use crate::ids::{Key, KeyRef};
use crate::index::Index;
use crate::keys::Keys;
use crate::packed::{Coding, unpack};
use crate::snapshot::{OpenError, OpenOptions, Opening, SaveError};
use crate::vector::{first_not_finite, normalize};

/// The kind of file.
pub(crate) const KIND: [u8; 8] = *b"orthless";

/// The version of files without rows that this code writes, and the newest that it reads.
///
/// Version 1 had lists by themselves where 2 has edges, and 2 a table of all anchors where 3 has them with the edges; both are read.
pub const ROWLESS_VERSION: u32 = 3;

/// Level 0, where it is packed as edges with their anchors: instead of its lists.
pub(crate) const EDGES: [u8; 8] = *b"edges3\0\0";

/// Edges without anchors, as version 2 has them.
pub(crate) const BARE_EDGES: [u8; 8] = *b"edges\0\0\0";

/// Whether a file has rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Whole,
    Rowless,
}

/// Fills in the row of a key, `[dim]`; whether it could.
pub type ReadRow<'a> = &'a mut dyn FnMut(KeyRef<'_>, &mut [f32]) -> bool;

impl Index {
    /// As [`save`](Self::save), without the rows.
    ///
    /// # Errors
    /// [`SaveError`]; the old file, if any, is untouched then.
    pub fn save_without_rows(&self, path: impl AsRef<std::path::Path>) -> Result<(), SaveError> {
        self.save_as(path.as_ref(), Form::Rowless)
    }

    /// Opens a file of [`save_without_rows`](Self::save_without_rows) for rows of `dim` elements, which `read` gives by key, as
    /// they were inserted. The index, and the keys of the rows that `read` did not give or that are not finite: they are not in it.
    ///
    /// # Errors
    /// [`OpenError`].
    ///
    /// # Examples
    /// ```
    /// use orthant_engine::{Index, KeyRef, Metric, OpenOptions};
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("graph.orthant");
    /// let rows = [[0.0, 1.0], [4.0, 4.0]];
    /// let index = Index::builder(2, Metric::L2).build()?;
    /// for (key, row) in (0u64..).zip(&rows) {
    ///     index.insert(key, row)?;
    /// }
    /// index.save_without_rows(&path)?;
    /// let mut read = |key: KeyRef<'_>, row: &mut [f32]| match key {
    ///     KeyRef::Int(key) => {
    ///         row.copy_from_slice(&rows[key as usize]);
    ///         true
    ///     }
    ///     _ => false,
    /// };
    /// let (index, missing) = Index::open_with_rows(&path, &OpenOptions::default(), 2, &mut read)?;
    /// assert_eq!((index.len(), missing.len()), (2, 0));
    /// assert_eq!(index.search(&[4.0, 5.0], 1, 8)?[0].distance, 1.0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn open_with_rows(
        path: impl AsRef<std::path::Path>,
        options: &OpenOptions,
        dim: usize,
        read: ReadRow<'_>,
    ) -> Result<(Self, Vec<Key>), OpenError> {
        let file = MappedFile::open(path.as_ref(), KIND, ROWLESS_VERSION, options.verify)?;
        let mut missing = Vec::new();
        let opening = Opening { file, options, form: Form::Rowless };
        let index = opening.index(Some(Rows { dim, read, missing: &mut missing }))?;
        for (row, key) in &missing {
            if !index.remove(key) {
                // Another row has the same key: nobody saved that.
                return Err(OpenError::Key { path: path.as_ref().to_path_buf(), row: *row });
            }
        }
        Ok((index, missing.into_iter().map(|(_, key)| key).collect()))
    }
}

/// Where the rows come from.
pub(crate) struct Rows<'a> {
    pub(crate) dim: usize,
    read: ReadRow<'a>,
    missing: &'a mut Vec<(u32, Key)>,
}

impl Rows<'_> {
    /// The rows of all keys, in the order of their nodes, and whether one of them has length zero.
    pub(crate) fn arena(
        self,
        (layout, count): (RowLayout, u32),
        is_unit: bool,
        keys: &Keys,
        memory: &MemoryOptions,
    ) -> Result<(RowArena<f32>, bool), orthant_storage::ArenaError> {
        let expected = layout.row_bytes::<f32>().saturating_mul(count as usize);
        let expected = expected.max(memory.expected_bytes.unwrap_or(0));
        let options = MemoryOptions { expected_bytes: Some(expected), ..memory.clone() };
        let arena = RowArena::new(layout, &options)?;
        let mut has_zero_row = false;
        for node in 0..count {
            let mut claim = arena.claim()?;
            let row = claim.row_mut();
            // SAFETY: the keys were checked (`Opening::keys`), and nobody else has them yet.
            let key = unsafe { keys.key(node) };
            if !key.is_some_and(|key| (self.read)(key, row)) || first_not_finite(row).is_some() {
                // Any row does: nobody ever compares with it (O2).
                row.fill(0.0);
                row[0] = 1.0;
                self.missing.extend(key.map(|key| (node, key.to_key())));
            } else if is_unit {
                has_zero_row |= !normalize(row);
            }
            claim.publish();
        }
        Ok((arena, has_zero_row))
    }
}

impl Opening<'_> {
    /// A section of packed words as a region of `count` words; `narrow` for bytes that were packed as words.
    pub(crate) fn unpacked(
        &self,
        tag: [u8; 8],
        coding: Coding,
        count: usize,
        is_narrow: bool,
    ) -> Result<Region, OpenError> {
        let bytes = self.file.bytes(tag).unwrap_or_default();
        // Each group takes a byte at least: no more memory is asked for than the file can fill.
        let damaged = || OpenError::Packed { path: self.path(), section: persist::Tag(tag) };
        if bytes.len().saturating_mul(coding.group()) < count {
            return Err(damaged());
        }
        let size = if is_narrow { 1 } else { 4 };
        let region = self.fresh(count * size)?;
        let mut place = 0;
        let unpacked = unpack(bytes, coding, count, |word| {
            let target = region.as_ptr().wrapping_add(place * size);
            if is_narrow {
                // SAFETY: `unpack` calls this at most `count` times (packed K2), so the byte was committed by `fresh`; nobody
                // else knows the region.
                unsafe { target.write(word as u8) };
            } else {
                // SAFETY: as above; a region starts on a page, so the word is aligned.
                unsafe { target.cast::<u32>().write(word.to_le()) };
            }
            place += 1;
        });
        unpacked.ok_or_else(damaged)?;
        Ok(region)
    }

    /// Level 0 from its edges, `[nodes × places]` words; `anchors` get those that are with the edges.
    pub(crate) fn unpacked_edges(
        &self,
        (bytes, form): (&[u8], AnchorForm),
        places: usize,
        nodes: usize,
        anchors: &Region,
    ) -> Result<Region, OpenError> {
        let damaged = || OpenError::Packed { path: self.path(), section: persist::Tag(EDGES) };
        // Each node takes half a byte at least.
        if bytes.len().saturating_mul(2) < nodes {
            return Err(damaged());
        }
        let region = self.fresh(nodes * places * 4)?;
        // SAFETY: `unpacked` committed a word per node, aligned as a page is, and nobody else knows the region.
        let anchors = unsafe { std::slice::from_raw_parts_mut(anchors.as_ptr().cast::<u32>(), nodes) };
        anchors.iter_mut().for_each(|word| *word = u32::from_le(*word));
        // SAFETY: inside what `fresh` committed, aligned as a page is, and nobody else knows the region.
        let lists = unsafe { std::slice::from_raw_parts_mut(region.as_ptr().cast::<u32>(), nodes * places) };
        edges::unpack(bytes, places, anchors, form, lists).ok_or_else(damaged)?;
        lists.iter_mut().chain(anchors).for_each(|word| *word = word.to_le());
        Ok(region)
    }

    /// The words 1, 2 … `count`.
    pub(crate) fn counted(&self, count: usize) -> Result<Region, OpenError> {
        let region = self.fresh(count * 4)?;
        for word in 0..count {
            // SAFETY: inside what `fresh` committed, aligned as a page is, and nobody else knows the region.
            unsafe { region.as_ptr().cast::<u32>().add(word).write((word as u32 + 1).to_le()) };
        }
        Ok(region)
    }

    /// The words of keys: their low halves, then their high ones.
    pub(crate) fn unpacked_keys(&self, tag: [u8; 8], count: usize) -> Result<Region, OpenError> {
        let halves = self.unpacked(tag, Coding::Steps, 2 * count, false)?;
        let region = self.fresh(count * 8)?;
        for place in 0..count {
            let half = |at: usize| {
                // SAFETY: `unpacked` wrote all `2 * count` words, aligned.
                let word = unsafe { halves.as_ptr().cast::<u32>().add(at).read() };
                u64::from(u32::from_le(word))
            };
            let word = half(place) | half(count + place) << 32;
            // SAFETY: as in `counted`.
            unsafe { region.as_ptr().cast::<u64>().add(place).write(word.to_le()) };
        }
        Ok(region)
    }

    /// Memory of so many bytes.
    fn fresh(&self, bytes: usize) -> Result<Region, OpenError> {
        let memory = |source: RegionError| OpenError::Memory { path: self.path(), source };
        let expected = bytes.max(self.options.memory.expected_bytes.unwrap_or(0));
        let options = MemoryOptions { expected_bytes: Some(expected), ..self.options.memory.clone() };
        let region = Region::reserve(&options).map_err(memory)?;
        region.ensure(bytes).map_err(memory)?;
        Ok(region)
    }
}

#[cfg(test)]
mod tests;
