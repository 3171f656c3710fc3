//! How one row lies in memory: its dimension and the distance to the next row.
//!
//! * **L1** `dim >= 1` and `stride >= dim`, both counted in elements.
//! * **L2** A layout made by [`RowLayout::new`] has rows that start on 64 bytes, one cache line and
//!   one AVX-512 register, as long as row 0 does.
//!
//! Cost: the padding, at most 63 bytes per row for elements of up to 64 bytes.

/// Bytes on which padded rows start: a cache line, and the widest register we load with.
pub(crate) const ROW_ALIGN: usize = 64;

/// Dimension and stride of the rows of an arena, in elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RowLayout {
    dim: usize,
    stride: usize,
}

impl RowLayout {
    /// The layout for rows of `dim` elements of type `T`, each row padded so that the next one
    /// starts on 64 bytes.
    ///
    /// # Panics
    /// If `dim` is 0, if `T` has no size, or if a row would not fit the address space.
    ///
    /// # Examples
    /// ```
    /// use orthant_storage::RowLayout;
    ///
    /// let layout = RowLayout::new::<f32>(100);
    /// assert_eq!((layout.dim(), layout.stride()), (100, 112)); // 448 bytes = 7 lines
    /// assert_eq!(RowLayout::new::<u8>(3).stride(), 64);
    /// ```
    pub fn new<T>(dim: usize) -> RowLayout {
        let size = size_of::<T>();
        assert!(dim > 0, "a row needs at least one element");
        assert!(size > 0, "a row needs elements that have a size");
        // The smallest number of elements whose bytes are a multiple of 64: 64 / gcd(64, size).
        let step = ROW_ALIGN / (1 << size.trailing_zeros().min(ROW_ALIGN.trailing_zeros()));
        let stride = dim.checked_next_multiple_of(step).filter(|stride| stride.checked_mul(size).is_some());
        RowLayout { dim, stride: stride.expect("a row must fit the address space") }
    }

    /// A layout with a stride of the caller's choice; `stride == dim` packs the rows.
    ///
    /// # Panics
    /// If `dim` is 0 or `stride < dim`.
    pub fn with_stride(dim: usize, stride: usize) -> RowLayout {
        assert!(dim > 0, "a row needs at least one element");
        assert!(stride >= dim, "a stride of {stride} is less than the dimension {dim}");
        RowLayout { dim, stride }
    }

    /// Elements in a row.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// Elements from the start of a row to the start of the next, padding included.
    pub fn stride(&self) -> usize {
        self.stride
    }

    /// Bytes from row to row for elements of type `T`.
    ///
    /// # Panics
    /// If the product overflows.
    pub fn row_bytes<T>(&self) -> usize {
        self.stride.checked_mul(size_of::<T>()).expect("a row must fit the address space")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_starts_on_a_cache_line() {
        fn check<T>() {
            for dim in 1..=200 {
                let layout = RowLayout::new::<T>(dim);
                assert!(layout.stride() >= dim);
                assert_eq!(layout.row_bytes::<T>() % ROW_ALIGN, 0);
                assert!((layout.stride() - dim) * size_of::<T>() < ROW_ALIGN * size_of::<T>().max(1));
            }
        }
        check::<u8>();
        check::<u16>();
        check::<f32>();
        check::<f64>();
        check::<[u8; 3]>();
        check::<[u32; 3]>();
        check::<[u8; 128]>();
    }

    #[test]
    #[should_panic(expected = "at least one element")]
    fn a_row_of_no_elements_is_refused() {
        RowLayout::new::<f32>(0);
    }

    #[test]
    #[should_panic(expected = "less than the dimension")]
    fn a_stride_below_the_dimension_is_refused() {
        RowLayout::with_stride(4, 3);
    }
}
