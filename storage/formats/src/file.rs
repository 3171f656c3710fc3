//! A vector file, mapped and read row by row.
//!
//! * **V1** The header agrees with the file's length (and, for `.fvecs` and kin, every row with the
//!   first), checked once at open, so reading a row needs no further check but its number.
//! * **V2** `dim >= 1`.
//!
//! Cost: the file is mapped, so what is not read is not loaded, and what is read is in memory once,
//! in the system's cache.

use crate::format::Place;
use crate::{Element, Format, FormatError};
use memmap2::Mmap;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// A file of vectors, `[rows × dim]`.
///
/// # Examples
/// ```
/// use orthant_formats::{Element, VectorFile, VectorWriter};
///
/// # let directory = tempfile::tempdir()?;
/// let path = directory.path().join("base.fvecs");
/// let mut writer = VectorWriter::create(&path, Element::F32, 2, 3)?;
/// writer.write_row(&[1.0, 2.0, 3.0])?;
/// writer.write_row(&[4.0, 5.0, 6.0])?;
/// writer.finish()?;
///
/// let file = VectorFile::open(&path)?;
/// assert_eq!((file.rows(), file.dim()), (2, 3));
/// let mut row = [0.0; 3];
/// file.read_row(1, &mut row)?;
/// assert_eq!(row, [4.0, 5.0, 6.0]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct VectorFile {
    path: PathBuf,
    format: Format,
    map: Mmap,
    place: Place,
}

impl VectorFile {
    /// Maps a file, in the format its extension names, and checks its header.
    ///
    /// For `.fvecs` and kin every row is looked at, since each repeats the dimension. While the value
    /// lives the file must not be cut or changed by anybody.
    ///
    /// # Errors
    /// Every [`FormatError`] except `NotFinite` and `NotAnId`, which are about single elements.
    pub fn open(path: impl AsRef<Path>) -> Result<VectorFile, FormatError> {
        let path = path.as_ref();
        let format = Format::of_path(path)
            .ok_or_else(|| FormatError::UnknownExtension { path: path.to_path_buf() })?;
        let map = map(path)?;
        let place = format.place(path, &map)?;
        Ok(VectorFile { path: path.to_path_buf(), format, map, place })
    }

    /// Where the file was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The format.
    pub fn format(&self) -> Format {
        self.format
    }

    /// The type of the elements in the file.
    pub fn element(&self) -> Element {
        self.place.element
    }

    /// Number of rows; may be 0.
    pub fn rows(&self) -> usize {
        self.place.rows
    }

    /// Elements in a row; at least 1.
    pub fn dim(&self) -> usize {
        self.place.dim
    }

    /// The elements of a row as they are in the file, little endian: `dim * element().bytes()` bytes.
    ///
    /// # Panics
    /// If `row >= rows()`.
    pub fn row_bytes(&self, row: usize) -> &[u8] {
        assert!(row < self.rows(), "row {row} of {}", self.rows());
        let start = self.place.offset + row * self.place.stride;
        &self.map[start..start + self.dim() * self.element().bytes()]
    }

    /// Reads a row as `f32`, `out: [dim]`.
    ///
    /// # Numerics
    /// Exact for `f16`, `f32`, `u8` and `i8`; rounded to nearest for `f64` and for `i32` beyond 2^24.
    /// # Errors
    /// [`FormatError::NotFinite`] names the first NaN or infinity; `out` holds the row all the same.
    /// # Panics
    /// If `row >= rows()` or `out.len() != dim()`.
    pub fn read_row(&self, row: usize, out: &mut [f32]) -> Result<(), FormatError> {
        assert_eq!(out.len(), self.dim(), "the output must hold one row");
        self.element().decode(self.row_bytes(row), out);
        // One pass without a branch per element; the column is looked for only if there is one.
        if out.iter().fold(true, |is_finite, value| is_finite & value.is_finite()) {
            return Ok(());
        }
        let column = out.iter().position(|value| !value.is_finite()).unwrap_or(0);
        Err(FormatError::NotFinite { path: self.path.clone(), row, column })
    }

    /// Reads a range of rows as `f32`, packed: `out: [rows.len() × dim]`. An empty range does
    /// nothing.
    ///
    /// # Errors
    /// As [`read_row`](Self::read_row), for the first such row.
    /// # Panics
    /// If the range leaves `0..rows()` or `out` has another length.
    pub fn read_rows(&self, rows: Range<usize>, out: &mut [f32]) -> Result<(), FormatError> {
        assert!(rows.end <= self.rows(), "rows {rows:?} of {}", self.rows());
        assert_eq!(out.len(), rows.len() * self.dim(), "the output must hold the rows");
        rows.zip(out.chunks_exact_mut(self.dim())).try_for_each(|(row, out)| self.read_row(row, out))
    }

    /// All elements, `[rows × dim]`, without a copy; `None` unless they are `f32`, packed and
    /// aligned in memory (so never for `.fvecs`), on a little-endian machine.
    ///
    /// The elements have not been looked at: there may be NaNs among them.
    pub fn as_f32(&self) -> Option<&[f32]> {
        if self.element() != Element::F32 || self.place.stride != self.dim() * 4 {
            return None;
        }
        self.as_f32_strided().map(|(elements, _)| elements)
    }

    /// The elements from the first of row 0 to the last of the last row, and the stride from row to
    /// row in elements: as [`as_f32`](Self::as_f32), but for `.fvecs` too, where the stride is
    /// `dim + 1` and the element between two rows is no number.
    pub fn as_f32_strided(&self) -> Option<(&[f32], usize)> {
        if self.element() != Element::F32 || cfg!(target_endian = "big") {
            return None;
        }
        let elements = bytemuck::try_cast_slice(&self.map[self.place.offset.min(self.map.len())..]).ok()?;
        Some((elements, self.place.stride / 4))
    }

    /// All elements, `[rows × dim]`, without a copy; `None` unless they are `u8` and packed.
    pub fn as_u8(&self) -> Option<&[u8]> {
        let is_packed = self.place.stride == self.dim();
        (self.element() == Element::U8 && is_packed).then(|| &self.map[self.place.offset..])
    }
}

/// Maps a whole file.
pub(crate) fn map(path: &Path) -> Result<Mmap, FormatError> {
    let unreadable = |source: io::Error| FormatError::Io { path: path.to_path_buf(), source };
    let file = File::open(path).map_err(unreadable)?;
    if file.metadata().map_err(unreadable)?.is_dir() {
        return Err(unreadable(io::ErrorKind::IsADirectory.into()));
    }
    // SAFETY: the mapping is only read. That nobody cuts or changes the file meanwhile is the
    // condition `VectorFile::open` states; we ourselves replace files by rename, never in place.
    unsafe { Mmap::map(&file) }.map_err(unreadable)
}
