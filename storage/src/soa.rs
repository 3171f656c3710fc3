//! Struct of arrays: several columns, one length.
//!
//! A row has a value of fixed width in every column, and each column is one contiguous array, so a
//! pass over one field reads nothing of the others. Rows are appended and published as in a
//! [`RowArena`](crate::RowArena), all columns at once.
//!
//! * **S1** Values of rows `0..len` lie in the committed part of every column's region and are never
//!   written again.
//! * **S2** A row is written by the holder of its [`RowClaim`] alone, before it is published.
//! * **S3** A [`ColumnId`] is believed only after its type and place were compared with the table's.
//!
//! Cost: a claim is three atomic read-modify-writes and one load per column; a read is one load and
//! one comparison of types. Memory: the sum of the widths, unpadded, and one bit per row.

use crate::arena::ArenaError;
use crate::pages::{MemoryOptions, PageReport, Region, RegionError};
use crate::publish::{MAX_ROWS, Publication};
use crate::sync::Shadow;
use bytemuck::Pod;
use std::any::TypeId;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;

/// Names a column of a [`Columns`] and the type of its elements.
pub struct ColumnId<T> {
    index: usize,
    elements: PhantomData<fn() -> T>,
}

// Not derived: a `ColumnId` is copied whether or not `T` is.
impl<T> Clone for ColumnId<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for ColumnId<T> {}

impl<T> std::fmt::Debug for ColumnId<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ColumnId({}: {})", self.index, std::any::type_name::<T>())
    }
}

/// Which columns a table is to have.
#[derive(Debug, Default)]
pub struct ColumnsBuilder {
    columns: Vec<Field>,
}

#[derive(Debug, Clone, Copy)]
struct Field {
    elements: TypeId,
    width: usize,
    value_bytes: usize,
}

impl ColumnsBuilder {
    /// Adds a column of `width` elements per row.
    ///
    /// # Panics
    /// If `width` is 0, or if `T` has no size or is aligned to more than a page.
    pub fn column<T: Pod + Send + Sync>(&mut self, width: usize) -> ColumnId<T> {
        assert!(width > 0, "a value needs at least one element");
        assert!(size_of::<T>() > 0, "a value needs elements that have a size");
        assert!(align_of::<T>() <= 4096, "a region starts on 4096 bytes");
        let value_bytes = width.checked_mul(size_of::<T>()).expect("a value must fit the address space");
        self.columns.push(Field { elements: TypeId::of::<T>(), width, value_bytes });
        ColumnId { index: self.columns.len() - 1, elements: PhantomData }
    }

    /// An empty table of these columns.
    ///
    /// `max_bytes` and `expected_bytes` are for the table; each column gets the share that its width
    /// has in a row, so all are full at the same row.
    ///
    /// # Errors
    /// [`ArenaError::Memory`] if the address space cannot be had.
    /// # Panics
    /// If there is no column.
    pub fn build(self, options: &MemoryOptions) -> Result<Columns, ArenaError> {
        assert!(!self.columns.is_empty(), "a table needs at least one column");
        let row_bytes: usize = self.columns.iter().map(|field| field.value_bytes).sum();
        let share = |bytes: Option<usize>, field: &Field| {
            bytes.map(|bytes| (bytes as u128 * field.value_bytes as u128 / row_bytes as u128) as usize)
        };
        let mut regions = Vec::with_capacity(self.columns.len());
        let mut max_rows = usize::MAX;
        for field in &self.columns {
            let options = MemoryOptions {
                max_bytes: share(options.max_bytes, field),
                expected_bytes: share(options.expected_bytes, field),
                ..options.clone()
            };
            let region = Region::reserve(&options)?;
            max_rows = max_rows.min(region.capacity() / field.value_bytes);
            regions.push(region);
        }
        let published = Publication::new(0, max_rows, options)?;
        Ok(Columns { fields: self.columns, regions, published, shadow: Shadow::new() })
    }
}

/// A table of columns of one length: append-only, many writers, many readers, no lock.
///
/// # Examples
/// ```
/// use orthant_storage::{Columns, MemoryOptions};
///
/// let mut builder = Columns::builder();
/// let vectors = builder.column::<f32>(4);
/// let keys = builder.column::<u64>(1);
/// let table = builder.build(&MemoryOptions::default())?;
///
/// let mut row = table.claim()?;
/// row.value_mut(vectors).fill(0.5);
/// row.value_mut(keys)[0] = 99;
/// let id = row.publish();
///
/// assert_eq!(table.value(keys, id), Some(&[99][..]));
/// assert_eq!(table.column(vectors), &[0.5; 4]);
/// assert_eq!(table.len(), 1);
/// # Ok::<(), orthant_storage::ArenaError>(())
/// ```
pub struct Columns {
    fields: Vec<Field>,
    regions: Vec<Region>,
    published: Publication,
    shadow: Shadow,
}

impl Columns {
    /// Starts a table.
    pub fn builder() -> ColumnsBuilder {
        ColumnsBuilder::default()
    }

    /// Whole rows.
    pub fn len(&self) -> usize {
        self.published.len() as usize
    }

    /// Whether no row is whole yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes the next row for the caller to fill.
    ///
    /// # Errors
    /// [`ArenaError::Memory`] if a column has no room, [`ArenaError::Full`] if there is no id.
    pub fn claim(&self) -> Result<RowClaim<'_>, ArenaError> {
        let room = |rows: u32| -> Result<(), ArenaError> {
            for (field, region) in self.fields.iter().zip(&self.regions) {
                region.ensure(rows as usize * field.value_bytes)?;
            }
            Ok(())
        };
        match self.published.claim(room)? {
            Some(id) => {
                self.shadow.write(id as usize);
                Ok(RowClaim { table: self, id })
            }
            None => Err(self.no_row_left()),
        }
    }

    #[cold]
    fn no_row_left(&self) -> ArenaError {
        let rows = self.published.claimed();
        let full = self.fields.iter().zip(&self.regions).find_map(|(field, region)| {
            let requested = (rows as usize + 1).saturating_mul(field.value_bytes);
            let capacity = region.capacity();
            (requested > capacity).then_some(RegionError::Full { requested, capacity })
        });
        match full {
            Some(full) if rows < MAX_ROWS => full.into(),
            _ => ArenaError::Full { rows },
        }
    }

    /// The value of row `id`, `[width]`; `None` if the row is not whole yet or there is none.
    ///
    /// # Panics
    /// If the column is not one of this table's.
    pub fn value<T: Pod + Send + Sync>(&self, column: ColumnId<T>, id: u32) -> Option<&[T]> {
        let width = self.field(column).width;
        let start = id as usize * width;
        self.column(column).get(start..start + width)
    }

    /// All values of a column, `[len × width]`, unpadded.
    ///
    /// # Panics
    /// If the column is not one of this table's.
    pub fn column<T: Pod + Send + Sync>(&self, column: ColumnId<T>) -> &[T] {
        let width = self.field(column).width;
        let first = self.regions[column.index].as_ptr().cast_const().cast::<T>();
        let len = self.len();
        for row in 0..len * usize::from(cfg!(loom)) {
            self.shadow.read(row);
        }
        // SAFETY: rows `0..len` are committed, were written before the `len` just observed was
        // published and are not written again (S1); the column's elements are `T` (S3, checked by
        // `field`) and aligned, since a region starts on a page.
        unsafe { std::slice::from_raw_parts(first, len * width) }
    }

    /// Elements per row of a column.
    ///
    /// # Panics
    /// If the column is not one of this table's.
    pub fn width<T: Pod + Send + Sync>(&self, column: ColumnId<T>) -> usize {
        self.field(column).width
    }

    /// Which pages a column is on.
    ///
    /// # Panics
    /// If the column is not one of this table's.
    pub fn pages<T: Pod + Send + Sync>(&self, column: ColumnId<T>) -> PageReport {
        self.field(column);
        self.regions[column.index].pages()
    }

    /// S3: the column's description, once its type is seen to be `T`.
    fn field<T: 'static>(&self, column: ColumnId<T>) -> &Field {
        let field = self.fields.get(column.index);
        field
            .filter(|field| field.elements == TypeId::of::<T>())
            .unwrap_or_else(|| panic!("{column:?} is not a column of this table"))
    }
}

impl std::fmt::Debug for Columns {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Columns")
            .field("len", &self.len())
            .field("regions", &self.regions)
            .finish_non_exhaustive()
    }
}

/// A row of a [`Columns`] that one writer has taken. Dropped without [`publish`](Self::publish), it
/// is cleared and published as zeros.
#[must_use = "a claim that is dropped publishes a row of zeros"]
pub struct RowClaim<'a> {
    table: &'a Columns,
    id: u32,
}

impl RowClaim<'_> {
    /// The row's id, final from here on.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// The row's value in a column, `[width]`; zeros until written.
    ///
    /// # Panics
    /// If the column is not one of this table's.
    pub fn value_mut<T: Pod + Send + Sync>(&mut self, column: ColumnId<T>) -> &mut [T] {
        let width = self.table.field(column).width;
        let base = self.table.regions[column.index].as_ptr().cast::<T>();
        // SAFETY: `claim` made room for rows `0..=id` in every column.
        let first = unsafe { base.add(self.id as usize * width) };
        // SAFETY: committed (as above), aligned (a region starts on a page), of type `T` (S3), and
        // nobody else's: the row is claimed once (R1), readers stop at `len`, and `self` is borrowed
        // mutably.
        unsafe { std::slice::from_raw_parts_mut(first, width) }
    }

    /// Makes the row whole, in all columns at once, and returns its id.
    pub fn publish(self) -> u32 {
        let claim = ManuallyDrop::new(self);
        claim.table.published.publish(claim.id);
        claim.id
    }
}

impl Drop for RowClaim<'_> {
    fn drop(&mut self) {
        for (field, region) in self.table.fields.iter().zip(&self.table.regions) {
            // SAFETY: `claim` made room for rows `0..=id` in every column.
            let first = unsafe { region.as_ptr().add(self.id as usize * field.value_bytes) };
            // SAFETY: the row's bytes in this column are committed and the claim's alone (S2); all
            // zeros are a value of any `Pod`.
            unsafe { first.write_bytes(0, field.value_bytes) };
        }
        self.table.published.publish(self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_of_another_table_is_refused_by_its_type() {
        let mut builder = Columns::builder();
        let floats = builder.column::<f32>(1);
        let _ = builder.column::<u8>(4);
        let mut other = Columns::builder();
        let bytes = other.column::<u8>(4);
        let table = builder.build(&MemoryOptions::default()).expect("address space");
        assert_eq!(table.width(floats), 1);
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| table.value(bytes, 0)));
        let message = *result.expect_err("the types differ").downcast::<String>().expect("a message");
        assert_eq!(message, "ColumnId(0: u8) is not a column of this table");
    }

    #[test]
    fn a_cap_is_shared_by_width_and_fills_all_columns_at_the_same_row() {
        let mut builder = Columns::builder();
        let wide = builder.column::<u32>(3);
        let narrow = builder.column::<u32>(1);
        let options = MemoryOptions { max_bytes: Some(1600), ..MemoryOptions::default() };
        let table = builder.build(&options).expect("address space");
        for row in 0..100u32 {
            let mut claim = table.claim().expect("room");
            claim.value_mut(wide).fill(row);
            claim.value_mut(narrow)[0] = row + 1;
            assert_eq!(claim.publish(), row);
        }
        let full = RegionError::Full { requested: 1212, capacity: 1200 };
        assert_eq!(table.claim().err(), Some(ArenaError::Memory(full)));
        assert_eq!((table.len(), table.value(wide, 99)), (100, Some(&[99; 3][..])));
        assert_eq!(table.column(narrow).iter().sum::<u32>(), 5050);
        assert_eq!(table.value(narrow, 100), None);
    }

    #[test]
    fn a_dropped_claim_is_a_row_of_zeros() {
        let mut builder = Columns::builder();
        let values = builder.column::<u16>(2);
        let table = builder.build(&MemoryOptions::default()).expect("address space");
        let mut claim = table.claim().expect("room");
        claim.value_mut(values).fill(7);
        drop(claim);
        assert_eq!(table.column(values), &[0, 0]);
    }
}
