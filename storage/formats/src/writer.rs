//! Writing vector files, row by row.

use crate::replace::Replacement;
use crate::{Element, Format, WriteError, bin, npy, vecs};
use std::path::Path;

/// Writes a file of vectors. It takes its name when it is whole, in [`finish`](Self::finish); before
/// that, and after an error, whatever stood there stands.
///
/// See [`VectorFile`](crate::VectorFile) for an example.
#[derive(Debug)]
pub struct VectorWriter {
    file: Replacement,
    element: Element,
    rows: usize,
    dim: usize,
    written: usize,
    /// What stands before each row; empty except for `.fvecs` and kin.
    row_header: Vec<u8>,
    /// The bytes of a row, reused.
    buffer: Vec<u8>,
}

impl VectorWriter {
    /// Starts a file of `rows` rows in the format that the extension of `path` names.
    ///
    /// # Errors
    /// [`WriteError::UnknownExtension`], [`WriteError::WrongElement`], [`WriteError::TooLarge`] or
    /// [`WriteError::Io`].
    /// # Panics
    /// If `dim` is 0.
    pub fn create(
        path: impl AsRef<Path>,
        element: Element,
        rows: usize,
        dim: usize,
    ) -> Result<VectorWriter, WriteError> {
        let path = path.as_ref();
        assert!(dim > 0, "a row needs at least one element");
        let format =
            Format::of_path(path).ok_or_else(|| WriteError::UnknownExtension { path: path.to_path_buf() })?;
        if format.element().is_some_and(|only| only != element) {
            return Err(WriteError::WrongElement { path: path.to_path_buf(), element });
        }
        let too_large = || WriteError::TooLarge { path: path.to_path_buf(), rows, dim };
        let (header, row_header) = match format {
            Format::Npy => (npy::header(element, rows, dim), Vec::new()),
            Format::Fbin | Format::U8bin | Format::I8bin | Format::Ibin => {
                (bin::header(rows, dim).ok_or_else(too_large)?, Vec::new())
            }
            Format::Fvecs | Format::Bvecs | Format::Ivecs => {
                (Vec::new(), vecs::row_header(dim).ok_or_else(too_large)?.to_vec())
            }
        };
        let mut file = Replacement::create(path)?;
        file.write(&header)?;
        Ok(VectorWriter { file, element, rows, dim, written: 0, row_header, buffer: Vec::new() })
    }

    /// Writes the next row, `[dim]`.
    ///
    /// # Numerics
    /// Values are stored exactly, except that `f16` rounds to nearest. A value that the element type
    /// does not have, such as 0.5 or 256 for `u8`, is an error, never clamped.
    /// # Errors
    /// [`WriteError::OutOfRange`], [`WriteError::WrongRows`] if all rows are written already,
    /// [`WriteError::Io`].
    /// # Panics
    /// If `row.len() != dim`.
    pub fn write_row(&mut self, row: &[f32]) -> Result<(), WriteError> {
        assert_eq!(row.len(), self.dim, "the row's length must be the dimension");
        if self.written == self.rows {
            return Err(self.wrong_rows(self.rows + 1));
        }
        self.buffer.clear();
        self.buffer.extend_from_slice(&self.row_header);
        if let Err(column) = self.element.encode(row, &mut self.buffer) {
            return Err(WriteError::OutOfRange {
                path: self.file.path().to_path_buf(),
                row: self.written,
                column,
                value: row[column],
                element: self.element,
            });
        }
        self.file.write(&self.buffer)?;
        self.written += 1;
        Ok(())
    }

    /// Flushes the file and puts it in place.
    ///
    /// # Errors
    /// [`WriteError::WrongRows`] if rows are missing, [`WriteError::Io`].
    pub fn finish(self) -> Result<(), WriteError> {
        if self.written != self.rows {
            return Err(self.wrong_rows(self.written));
        }
        self.file.finish()
    }

    fn wrong_rows(&self, found: usize) -> WriteError {
        WriteError::WrongRows { path: self.file.path().to_path_buf(), found, expected: self.rows }
    }
}
