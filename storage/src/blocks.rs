//! Dimension-major blocks: `lanes` rows side by side, first all their first elements, then all
//! their second ones.
//!
//! A scan that scores every row reads a block as `dim` vectors of `lanes` elements: one lane per row,
//! no sum across lanes at the end, the query's elements broadcast. A single row is spread over `dim`
//! cache lines, so for picking rows one by one, as a graph does, this layout is the wrong one; the
//! README has the figures of both.
//!
//! * **B1** Element `d` of row `id` lies at `(id / lanes) * dim * lanes + d * lanes + id % lanes`.
//! * **B2** Slices are handed out over whole blocks only, all of whose rows are published and never
//!   written again. Rows of the last, partial block are copied out element by element, so no slice
//!   ever covers memory that a writer may still write.
//!
//! Cost: a push writes `dim` cache lines. Memory: as packed rows, rounded up to a block.

use crate::arena::ArenaError;
use crate::pages::{MemoryOptions, PageReport, Region, RegionError};
use crate::publish::{MAX_ROWS, Publication};
use crate::sync::Shadow;
use bytemuck::Pod;
use std::marker::PhantomData;

/// Append-only rows in dimension-major blocks: many writers, many readers, no lock.
///
/// # Shapes
/// `[blocks × dim × lanes]`; see the module text for where an element lies.
///
/// # Examples
/// ```
/// use orthant_storage::{BlockArena, MemoryOptions};
///
/// let blocks = BlockArena::<f32>::new(3, 16, &MemoryOptions::default())?;
/// for row in 0..20 {
///     let row = row as f32;
///     blocks.push(&[row, row + 0.25, row + 0.5])?;
/// }
/// // Squared distances of the first 16 rows to the origin, 16 lanes at a time.
/// let mut distances = [0.0; 16];
/// for lanes in blocks.whole_blocks().chunks_exact(16) {
///     for (distance, element) in distances.iter_mut().zip(lanes) {
///         *distance += element * element;
///     }
/// }
/// assert_eq!(distances[2], 2.0 * 2.0 + 2.25 * 2.25 + 2.5 * 2.5);
/// // The other four are in a block that is not whole yet.
/// let mut tail = [0.0; 3 * 16];
/// assert_eq!(blocks.copy_tail(&mut tail), 4);
/// assert_eq!(&tail[16..21], &[16.25, 17.25, 18.25, 19.25, 0.0]);
/// # Ok::<(), orthant_storage::ArenaError>(())
/// ```
pub struct BlockArena<T> {
    dim: usize,
    lanes: usize,
    region: Region,
    published: Publication,
    shadow: Shadow,
    elements: PhantomData<T>,
}

impl<T: Pod + Send + Sync> BlockArena<T> {
    /// An empty arena for rows of `dim` elements, `lanes` of them in a block: 16 fill an AVX-512
    /// register of `f32`.
    ///
    /// # Errors
    /// [`ArenaError::Memory`] if the address space cannot be had.
    /// # Panics
    /// If `dim` is 0, if `lanes` is not a power of two up to 256, or if `T` has no size or is aligned
    /// to more than a page.
    pub fn new(dim: usize, lanes: usize, options: &MemoryOptions) -> Result<BlockArena<T>, ArenaError> {
        assert!(dim > 0, "a row needs at least one element");
        assert!(lanes.is_power_of_two() && lanes <= 256, "lanes must be a power of two up to 256");
        assert!(size_of::<T>() > 0, "a row needs elements that have a size");
        assert!(align_of::<T>() <= 4096, "a region starts on 4096 bytes");
        let region = Region::reserve(options)?;
        let block_bytes =
            dim.checked_mul(lanes * size_of::<T>()).expect("a block must fit the address space");
        let published =
            Publication::new(0, (region.capacity() / block_bytes).saturating_mul(lanes), options)?;
        Ok(BlockArena { dim, lanes, region, published, shadow: Shadow::new(), elements: PhantomData })
    }

    /// Elements in a row.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// Rows in a block.
    pub fn lanes(&self) -> usize {
        self.lanes
    }

    /// Whole rows.
    pub fn len(&self) -> usize {
        self.published.len() as usize
    }

    /// Whether no row is whole yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Appends a row, `[dim]`, and returns its id.
    ///
    /// # Errors
    /// [`ArenaError::Memory`] if there is no room for another block, [`ArenaError::Full`] if there is
    /// no id.
    /// # Panics
    /// If `row.len() != dim`.
    pub fn push(&self, row: &[T]) -> Result<u32, ArenaError> {
        assert_eq!(row.len(), self.dim, "the row's length must be the dimension");
        let block_bytes = self.block() * size_of::<T>();
        let room = |rows: u32| -> Result<(), ArenaError> {
            Ok(self.region.ensure((rows as usize).div_ceil(self.lanes) * block_bytes)?)
        };
        let Some(id) = self.published.claim(room)? else { return Err(self.no_row_left()) };
        self.shadow.write(id as usize);
        let first = self.first_of(id);
        for (d, &element) in row.iter().enumerate() {
            // SAFETY: element `d < dim` of a claimed row lies in the room just made (B1).
            let place = unsafe { first.add(d * self.lanes) };
            // SAFETY: committed and aligned; the row is this call's alone until it is published
            // (R1), and no slice covers a block with an unpublished row (B2).
            unsafe { place.write(element) };
        }
        self.published.publish(id);
        Ok(id)
    }

    #[cold]
    fn no_row_left(&self) -> ArenaError {
        let rows = self.published.claimed();
        if rows < MAX_ROWS {
            let requested = (rows as usize / self.lanes + 1) * self.block() * size_of::<T>();
            return RegionError::Full { requested, capacity: self.region.capacity() }.into();
        }
        ArenaError::Full { rows }
    }

    /// The blocks all of whose rows are whole, `[len / lanes × dim × lanes]`.
    pub fn whole_blocks(&self) -> &[T] {
        let rows = self.len() / self.lanes * self.lanes;
        for row in 0..rows * usize::from(cfg!(loom)) {
            self.shadow.read(row);
        }
        // SAFETY: the rows of these blocks are below the `len` just observed, so the blocks are
        // committed, written and never written again (B2); aligned, since a region starts on a page.
        unsafe { std::slice::from_raw_parts(self.region.as_ptr().cast(), rows * self.dim) }
    }

    /// Copies the whole rows of the last, partial block to `out`, `[dim × lanes]`, with zeros in the
    /// lanes that have no row yet. Returns how many rows there are: `len % lanes`, from the same look
    /// at `len`.
    ///
    /// # Panics
    /// If `out` does not hold a block.
    pub fn copy_tail(&self, out: &mut [T]) -> usize {
        assert_eq!(out.len(), self.block(), "the output must hold one block");
        let len = self.len();
        let rows = len % self.lanes;
        out.fill(T::zeroed());
        for lane in 0..rows {
            let id = (len - rows + lane) as u32;
            for (d, place) in out.iter_mut().skip(lane).step_by(self.lanes).enumerate() {
                *place = self.element(id, d);
            }
        }
        rows
    }

    /// Copies row `id` to `out`, `[dim]`; `false` if it is not whole yet or there is none.
    ///
    /// # Panics
    /// If `out.len() != dim`.
    pub fn copy_row(&self, id: u32, out: &mut [T]) -> bool {
        assert_eq!(out.len(), self.dim, "the output must hold one row");
        if id as usize >= self.len() {
            return false;
        }
        for (d, place) in out.iter_mut().enumerate() {
            *place = self.element(id, d);
        }
        true
    }

    /// Element `d` of a row that the caller has seen below `len`.
    fn element(&self, id: u32, d: usize) -> T {
        debug_assert!(d < self.dim);
        self.shadow.read(id as usize);
        // SAFETY: the row was seen below `len`, so its block is committed (B1).
        let place = unsafe { self.first_of(id).add(d * self.lanes) };
        // SAFETY: written before `len` was published and never again; writers of other rows of the
        // block write other elements.
        unsafe { place.read() }
    }

    /// Where row `id` starts; its elements follow every `lanes` elements.
    fn first_of(&self, id: u32) -> *mut T {
        let id = id as usize;
        self.region.as_ptr().cast::<T>().wrapping_add(id / self.lanes * self.block() + id % self.lanes)
    }

    /// Elements in a block.
    fn block(&self) -> usize {
        self.dim * self.lanes
    }

    /// Which pages the blocks are on.
    pub fn pages(&self) -> PageReport {
        self.region.pages()
    }
}

impl<T> std::fmt::Debug for BlockArena<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BlockArena")
            .field("dim", &self.dim)
            .field("lanes", &self.lanes)
            .field("len", &self.published.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_back_whichever_way_they_are_read() {
        for (dim, lanes) in [(1, 1), (3, 4), (17, 16), (5, 64)] {
            let blocks = BlockArena::<u32>::new(dim, lanes, &MemoryOptions::default()).expect("memory");
            let element = |row: usize, d: usize| (row * 1000 + d + 1) as u32;
            for row in 0..130 {
                let values: Vec<u32> = (0..dim).map(|d| element(row, d)).collect();
                assert_eq!(blocks.push(&values), Ok(row as u32));
            }
            let whole = blocks.whole_blocks();
            assert_eq!(whole.len(), 130 / lanes * lanes * dim);
            for (at, &value) in whole.iter().enumerate() {
                let (block, d, lane) = (at / (dim * lanes), at / lanes % dim, at % lanes);
                assert_eq!(value, element(block * lanes + lane, d));
            }
            let mut tail = vec![9; dim * lanes];
            let rows = blocks.copy_tail(&mut tail);
            assert_eq!(rows, 130 % lanes);
            for (at, &value) in tail.iter().enumerate() {
                let (d, lane) = (at / lanes, at % lanes);
                let expected = if lane < rows { element(130 - rows + lane, d) } else { 0 };
                assert_eq!(value, expected);
            }
            let mut row = vec![0; dim];
            assert!(blocks.copy_row(129, &mut row));
            assert_eq!(row, (0..dim).map(|d| element(129, d)).collect::<Vec<_>>());
            assert!(!blocks.copy_row(130, &mut row));
        }
    }

    #[test]
    fn a_cap_below_one_more_block_is_an_error() {
        let options = MemoryOptions { max_bytes: Some(2 * 4 * 3), ..MemoryOptions::default() };
        let blocks = BlockArena::<u8>::new(3, 4, &options).expect("address space");
        for row in 0..8 {
            assert_eq!(blocks.push(&[1; 3]), Ok(row));
        }
        let full = RegionError::Full { requested: 36, capacity: 24 };
        assert_eq!(blocks.push(&[1; 3]), Err(ArenaError::Memory(full)));
    }
}
