//! Fixed-width values beside the rows of an arena, one array per field.
//!
//! * **C1** The value of row `id` is the `width` elements from `id * width`; zero until put.
//! * **C2** A column has no length and no readers' protocol of its own: both are those of the arena
//!   (or graph) whose ids it is keyed by, which is why `put` and `at` are `unsafe`.
//!
//! Cost: `put` and `at` are a multiplication and a copy or none. Memory: `rows * width` elements.

use crate::layout::RowLayout;
use crate::pages::{MemoryOptions, PageReport, Region, RegionError};
use bytemuck::Pod;
use std::marker::PhantomData;

/// Values of a fixed width, keyed by the ids of an arena.
///
/// # Examples
/// ```
/// use orthant_storage::{Column, MemoryOptions};
///
/// let norms = Column::<f32>::new(1, &MemoryOptions::default())?;
/// norms.ensure(1000)?;
/// // SAFETY: row 7 is below 1000, and nobody else reads or writes it.
/// unsafe { norms.put(7, &[0.5]) };
/// // SAFETY: as above, and the value was put by this thread.
/// assert_eq!(unsafe { norms.at(7) }, &[0.5]);
/// // SAFETY: a value that was never put is zero.
/// assert_eq!(unsafe { norms.at(8) }, &[0.0]);
/// # Ok::<(), orthant_storage::RegionError>(())
/// ```
pub struct Column<T> {
    width: usize,
    region: Region,
    elements: PhantomData<T>,
}

impl<T: Pod + Send + Sync> Column<T> {
    /// An empty column of `width` elements per row.
    ///
    /// # Errors
    /// [`RegionError::Refused`] if the address space cannot be had.
    /// # Panics
    /// If `width` is 0.
    pub fn new(width: usize, options: &MemoryOptions) -> Result<Column<T>, RegionError> {
        Ok(Self::from_region(width, Region::reserve(options)?))
    }

    /// A column whose first values are in `region` already.
    ///
    /// # Panics
    /// If `width` is 0, or if `T` has no size or is aligned to more than a page.
    pub fn from_region(width: usize, region: Region) -> Column<T> {
        // The same conditions as for the rows of an arena.
        let _ = RowLayout::with_stride(width, width).row_bytes::<T>();
        assert!(size_of::<T>() > 0, "a column needs elements that have a size");
        assert!(align_of::<T>() <= 4096, "a region starts on 4096 bytes");
        Column { width, region, elements: PhantomData }
    }

    /// Elements per row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Makes room for `rows` rows. Any thread, at any time; one load while there is room.
    ///
    /// # Errors
    /// As [`Region::ensure`].
    #[inline]
    pub fn ensure(&self, rows: usize) -> Result<(), RegionError> {
        self.region.ensure(rows.saturating_mul(self.width * size_of::<T>()))
    }

    /// Sets the value of row `id`.
    ///
    /// # Panics
    /// If `value.len() != width`.
    /// # Safety
    /// [`ensure`](Self::ensure) must have been called for more than `id` rows, and while this runs
    /// nobody may read or write the value of `id`, nor hold a slice of it.
    #[inline]
    pub unsafe fn put(&self, id: u32, value: &[T]) {
        assert_eq!(value.len(), self.width, "the value's length must be the width");
        // SAFETY: the caller guarantees that the row lies in the committed part of the region.
        let first = unsafe { self.region.as_ptr().cast::<T>().add(id as usize * self.width) };
        // SAFETY: `width` elements from `first` are committed and aligned (a region starts on a page)
        // and, as the caller guarantees, nobody else's; `value` is not in this column for the same
        // reason.
        unsafe { first.copy_from_nonoverlapping(value.as_ptr(), self.width) };
    }

    /// The value of row `id`, `[width]`.
    ///
    /// # Safety
    /// [`ensure`](Self::ensure) must have been called for more than `id` rows, and the last `put` of
    /// `id` must have happened before this call (an acquire/release pair lies between, such as the
    /// publishing of the row) and no other may follow while the slice is used.
    #[inline]
    pub unsafe fn at(&self, id: u32) -> &[T] {
        // SAFETY: the caller guarantees that the row lies in the committed part of the region.
        let first = unsafe { self.as_ptr().add(id as usize * self.width) };
        // SAFETY: committed, aligned, any bytes are a `T`, and not written while the slice lives, as
        // the caller guarantees.
        unsafe { std::slice::from_raw_parts(first, self.width) }
    }

    /// The same, to be written.
    ///
    /// # Safety
    /// As [`put`](Self::put), for as long as the slice is used.
    #[inline]
    #[allow(clippy::mut_from_ref)]
    pub unsafe fn at_mut(&self, id: u32) -> &mut [T] {
        // SAFETY: the caller guarantees that the row lies in the committed part of the region.
        let first = unsafe { self.region.as_ptr().cast::<T>().add(id as usize * self.width) };
        // SAFETY: committed, aligned, any bytes are a `T`, and nobody else's while the slice lives, as the caller
        // guarantees.
        unsafe { std::slice::from_raw_parts_mut(first, self.width) }
    }

    /// The first element of row 0; never moves.
    #[inline]
    pub fn as_ptr(&self) -> *const T {
        self.region.as_ptr().cast_const().cast()
    }

    /// Bytes of memory that the values of `rows` rows will be backed by, once all are touched.
    pub fn estimate(rows: usize, width: usize, options: &MemoryOptions) -> usize {
        crate::arena::resident(rows.saturating_mul(width).saturating_mul(size_of::<T>()), options)
    }

    /// Which pages the values are on.
    pub fn pages(&self) -> PageReport {
        self.region.pages()
    }

    /// The memory the values are in.
    pub fn region(&self) -> &Region {
        &self.region
    }
}

impl<T> std::fmt::Debug for Column<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Column")
            .field("width", &self.width)
            .field("region", &self.region)
            .finish_non_exhaustive()
    }
}
