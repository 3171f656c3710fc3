//! Rows that are appended, never moved, and changed only once nobody needs them any more.
//!
//! * **A1** Rows `0..len` lie inside the committed part of the region, row `id` at
//!   `id * stride` elements, and `len` never shrinks.
//! * **A2** A row is written by the holder of its [`Claim`] alone, before it is published, and
//!   never again, unless whoever is told of rows gives it back: then one caller of
//!   [`rewrite`](RowArena::rewrite) has it alone. The arena keeps no books on that.
//! * **A3** `len` covers whole rows only, in order (see `publish.rs` for how, and for the loom
//!   model's subject).
//! * **A4** The `stride - dim` elements behind a row are zero.
//!
//! Cost: a push is one copy and three atomic read-modify-writes; a read is one load of `len`.
//! Memory: `rows * stride` elements and one bit per row; [`RowArena::estimate`] tells beforehand.

use crate::layout::RowLayout;
use crate::os::HUGE_PAGE;
use crate::pages::{MemoryOptions, PageReport, Region, RegionError, round_up};
use crate::publish::Publication;
use crate::sync::Shadow;
use bytemuck::Pod;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;

/// Why a row could not be added. The arena is as it was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ArenaError {
    /// There is no row number left: ids are below 2^31.
    #[error("the arena holds {rows} rows, as many as it can number")]
    Full {
        /// Rows in the arena.
        rows: u32,
    },
    /// There is no memory left.
    #[error(transparent)]
    Memory(#[from] RegionError),
    /// The region holds less than the rows that were said to be in it.
    #[error("{rows} rows need {needed} bytes, the region holds {held}")]
    TooShort {
        /// Rows said to be there.
        rows: u32,
        /// Bytes they take.
        needed: usize,
        /// Bytes in the region.
        held: usize,
    },
}

/// Append-only rows of a fixed layout at a stable address: many writers, many readers, no lock.
///
/// # Shapes
/// Row-major, `[len × stride]` elements of which the first `dim` of a row are its values. Rows are
/// numbered from 0 without gaps.
///
/// # Examples
/// ```
/// use orthant_storage::{MemoryOptions, RowArena, RowLayout};
///
/// let arena = RowArena::<f32>::new(RowLayout::new::<f32>(3), &MemoryOptions::default())?;
/// let id = arena.push(&[1.0, 2.0, 3.0])?;
/// assert_eq!(arena.row(id), Some(&[1.0, 2.0, 3.0][..]));
/// assert_eq!((arena.len(), arena.row(1)), (1, None));
/// # Ok::<(), orthant_storage::ArenaError>(())
/// ```
pub struct RowArena<T> {
    layout: RowLayout,
    region: Region,
    published: Publication,
    shadow: Shadow,
    elements: PhantomData<T>,
}

impl<T: Pod + Send + Sync> RowArena<T> {
    /// An empty arena. Reserves address space, commits nothing.
    ///
    /// # Errors
    /// [`ArenaError::Memory`] if the address space cannot be had.
    pub fn new(layout: RowLayout, options: &MemoryOptions) -> Result<RowArena<T>, ArenaError> {
        Self::from_region(layout, Region::reserve(options)?, 0)
    }

    /// An arena whose first `len` rows are in `region` already, such as a section of a mapped file.
    /// Nothing is parsed or copied.
    ///
    /// The bytes are taken as they are: any bytes are rows of some numbers, since `T` is [`Pod`].
    ///
    /// # Errors
    /// [`ArenaError::TooShort`] if the region holds fewer rows.
    pub fn from_region(layout: RowLayout, region: Region, len: u32) -> Result<RowArena<T>, ArenaError> {
        assert!(size_of::<T>() > 0, "a row needs elements that have a size");
        assert!(align_of::<T>() <= 4096, "a region starts on 4096 bytes");
        let row_bytes = layout.row_bytes::<T>();
        let needed = row_bytes.saturating_mul(len as usize);
        if needed > region.committed() {
            return Err(ArenaError::TooShort { rows: len, needed, held: region.committed() });
        }
        let options = MemoryOptions { budget: region.budget(), ..MemoryOptions::default() };
        let published = Publication::new(len, region.capacity() / row_bytes, &options)?;
        Ok(RowArena { layout, region, published, shadow: Shadow::new(), elements: PhantomData })
    }

    /// Dimension and stride of the rows.
    #[inline]
    pub fn layout(&self) -> RowLayout {
        self.layout
    }

    /// Whole rows: those that every reader may see.
    #[inline]
    pub fn len(&self) -> usize {
        self.published.len() as usize
    }

    /// Whether no row is whole yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes the next row for the caller to fill in place.
    ///
    /// Later rows stay out of sight until this one is published, so fill it soon.
    ///
    /// # Errors
    /// [`ArenaError::Memory`] if there is no room for the row, [`ArenaError::Full`] if there is no
    /// id. No row is taken then.
    #[inline]
    pub fn claim(&self) -> Result<Claim<'_, T>, ArenaError> {
        let row_bytes = self.layout.stride() * size_of::<T>();
        let room = |rows: u32| -> Result<(), ArenaError> {
            // No overflow: `rows` is at most one more than what fits the region's capacity.
            Ok(self.region.ensure(rows as usize * row_bytes)?)
        };
        match self.published.claim(room)? {
            Some(id) => {
                self.shadow.write(id as usize);
                Ok(Claim { arena: self, id })
            }
            None => Err(self.no_row_left()),
        }
    }

    #[cold]
    fn no_row_left(&self) -> ArenaError {
        let rows = self.published.claimed();
        if rows < crate::publish::MAX_ROWS {
            let row_bytes = self.layout.row_bytes::<T>();
            let requested = (rows as usize + 1).saturating_mul(row_bytes);
            return RegionError::Full { requested, capacity: self.region.capacity() }.into();
        }
        ArenaError::Full { rows }
    }

    /// Appends a row and returns its id. Once this has returned, the row is whole; [`len`](Self::len)
    /// covers it as soon as the writers of all earlier rows are done.
    ///
    /// # Errors
    /// As [`claim`](Self::claim).
    /// # Panics
    /// If `row.len() != dim`.
    #[inline]
    pub fn push(&self, row: &[T]) -> Result<u32, ArenaError> {
        assert_eq!(row.len(), self.layout.dim(), "the row's length must be the dimension");
        let mut claim = self.claim()?;
        claim.row_mut().copy_from_slice(row);
        Ok(claim.publish())
    }

    /// Row `id`, `[dim]`; `None` if it is not whole yet or there is none.
    #[inline]
    pub fn row(&self, id: u32) -> Option<&[T]> {
        if id >= self.published.len() {
            return None;
        }
        // SAFETY: `id < len` was just observed, so the row is whole and its bytes were written
        // before `len` was published (A3).
        Some(unsafe { self.row_unchecked(id) })
    }

    /// Row `id`, `[dim]`, to be written again in place. It stays whole for the arena: `len` covers it all
    /// the while.
    ///
    /// # Safety
    /// The row must have been published (as for [`row_unchecked`](Self::row_unchecked)) and be the caller's
    /// alone: until the caller passes it on again through a release/acquire pair, nobody reads or writes
    /// it, and no slice that covers it is in use, one from [`rows`](Self::rows) included.
    #[inline]
    #[allow(clippy::mut_from_ref, reason = "the caller guarantees that the row is its alone")]
    pub unsafe fn rewrite(&self, id: u32) -> &mut [T] {
        self.shadow.write(id as usize);
        // SAFETY: the caller guarantees that the row was claimed, so it lies in the region (A1).
        let first = unsafe { self.region.as_ptr().cast::<T>().add(id as usize * self.layout.stride()) };
        // SAFETY: committed (A1), aligned as in `rows`, any bytes are a `T`; the caller guarantees that
        // nobody else has a reference to it.
        unsafe { std::slice::from_raw_parts_mut(first, self.layout.dim()) }
    }

    /// Gives the system back the memory of rows that are to be [`rewrite`](Self::rewrite)d before they are read
    /// again, as far as whole pages go.
    ///
    /// # Safety
    /// As for [`rewrite`](Self::rewrite), for all of `rows`.
    pub unsafe fn discard(&self, rows: std::ops::Range<usize>) {
        let row_bytes = self.layout.row_bytes::<T>();
        // SAFETY: the caller's promise.
        unsafe { self.region.discard(rows.start * row_bytes..rows.end * row_bytes) };
    }

    /// All whole rows with their padding, `[len × stride]`. Where rows are given back and written again,
    /// only for callers that know that none is being written.
    #[inline]
    pub fn rows(&self) -> &[T] {
        let len = self.len();
        for row in 0..len * usize::from(cfg!(loom)) {
            self.shadow.read(row);
        }
        // SAFETY: rows `0..len` are committed (A1), were written before the `len` just observed was
        // published (A3) and are not written again (A2; who rewrites sees to it that no slice is in use). Alignment: the region starts on a page
        // and `T` needs at most that (checked in `from_region`).
        unsafe { std::slice::from_raw_parts(self.as_ptr(), len * self.layout.stride()) }
    }

    /// The first element of row 0. It never moves; rows that are not whole must not be read.
    #[inline]
    pub fn as_ptr(&self) -> *const T {
        self.region.as_ptr().cast_const().cast()
    }

    /// Row `id`, `[dim]`, without asking whether it is whole.
    ///
    /// # Safety
    /// The row must have been published, and the caller must know: `publish` or `push` returned
    /// `id` in this thread, or in one that has since passed it on through an acquire/release pair,
    /// or `id < len()` was seen.
    #[inline]
    pub unsafe fn row_unchecked(&self, id: u32) -> &[T] {
        self.shadow.read(id as usize);
        // SAFETY: the caller guarantees that the row was claimed, so it lies in the region (A1).
        let first = unsafe { self.as_ptr().add(id as usize * self.layout.stride()) };
        // SAFETY: the caller guarantees that the row was published before, so it is committed (A1)
        // and no longer written (A2); aligned as in `rows`.
        unsafe { std::slice::from_raw_parts(first, self.layout.dim()) }
    }

    /// Which pages the rows are on.
    pub fn pages(&self) -> PageReport {
        self.region.pages()
    }

    /// The memory the rows are in.
    pub fn region(&self) -> &Region {
        &self.region
    }

    /// Bytes of memory that `rows` rows of `layout` will be backed by, with their bookkeeping.
    ///
    /// # Numerics
    /// Within 10 % of what [`pages`](Self::pages) reports as resident once that many rows are
    /// pushed, from 100 KB on; below that, pages and bookkeeping round up.
    ///
    /// # Examples
    /// ```
    /// use orthant_storage::{MemoryOptions, RowArena, RowLayout};
    ///
    /// let layout = RowLayout::new::<f32>(384);
    /// let bytes = RowArena::<f32>::estimate(1_000_000, layout, &MemoryOptions::default());
    /// assert!((1_536_000_000..1_539_000_000).contains(&bytes));
    /// ```
    pub fn estimate(rows: usize, layout: RowLayout, options: &MemoryOptions) -> usize {
        let bytes = rows.saturating_mul(layout.row_bytes::<T>());
        resident(bytes, options).saturating_add(round_up(rows.div_ceil(8), 4096))
    }
}

/// Bytes a region is backed by once its first `bytes` have been touched.
pub(crate) fn resident(bytes: usize, options: &MemoryOptions) -> usize {
    let is_huge = options.huge_pages
        && (bytes > HUGE_PAGE || options.expected_bytes.is_some_and(|expected| expected >= HUGE_PAGE / 2));
    round_up(bytes, if is_huge && bytes > 0 { HUGE_PAGE } else { 4096 })
}

impl<T> std::fmt::Debug for RowArena<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RowArena")
            .field("layout", &self.layout)
            .field("len", &self.published.len())
            .field("region", &self.region)
            .finish_non_exhaustive()
    }
}

/// A row that one writer has taken and nobody else can see yet.
///
/// Dropped without [`publish`](Claim::publish), by an early return or a panic, the row is cleared
/// and published as zeros: ids have no holes and later rows must not wait for ever.
///
/// # Examples
/// ```
/// use orthant_storage::{MemoryOptions, RowArena, RowLayout};
///
/// let arena = RowArena::<u8>::new(RowLayout::new::<u8>(4), &MemoryOptions::default())?;
/// let mut first = arena.claim()?;
/// arena.push(&[9; 4])?; // row 1 is whole, but row 0 is not
/// assert_eq!(arena.len(), 0);
/// first.row_mut().fill(7);
/// first.publish();
/// assert_eq!(arena.len(), 2);
/// # Ok::<(), orthant_storage::ArenaError>(())
/// ```
#[must_use = "a claim that is dropped publishes a row of zeros"]
pub struct Claim<'a, T: Pod + Send + Sync> {
    arena: &'a RowArena<T>,
    id: u32,
}

impl<T: Pod + Send + Sync> Claim<'_, T> {
    /// The row's id, final from here on.
    #[inline]
    pub fn id(&self) -> u32 {
        self.id
    }

    /// The row, `[dim]`; zeros until written.
    #[inline]
    pub fn row_mut(&mut self) -> &mut [T] {
        let layout = self.arena.layout;
        let base = self.arena.region.as_ptr().cast::<T>();
        // SAFETY: `claim` made room for rows `0..=id`, so the row lies in the region (A1).
        let first = unsafe { base.add(self.id as usize * layout.stride()) };
        // SAFETY: committed (as above), aligned (as in `RowArena::rows`), any bytes are a `T`; nobody
        // else has a reference: the row is claimed once (R1), readers stop at `len`, and `self` is
        // borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(first, layout.dim()) }
    }

    /// Makes the row whole and returns its id. Nobody can write it any more.
    #[inline]
    pub fn publish(self) -> u32 {
        let claim = ManuallyDrop::new(self);
        claim.arena.published.publish(claim.id);
        claim.id
    }
}

impl<T: Pod + Send + Sync> Drop for Claim<'_, T> {
    fn drop(&mut self) {
        self.row_mut().fill(T::zeroed());
        self.arena.published.publish(self.id);
    }
}
