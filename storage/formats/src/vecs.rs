//! `.fvecs`, `.bvecs`, `.ivecs`, the format of the TEXMEX corpora: every row says its dimension.
//!
//! Per row an `i32` dim, then `dim` elements, little endian. There is no header, so a file of no rows
//! is empty and has no dimension: it cannot be read.

use crate::format::{Place, read_u32};
use crate::{Element, FormatError};
use std::path::Path;

/// Bytes before the elements of a row.
pub(crate) const ROW_HEADER: usize = 4;

/// Checks the length and the dimension of every row: one look per row at memory that is read anyway
/// when the rows are.
pub(crate) fn place(path: &Path, file: &[u8], element: Element) -> Result<Place, FormatError> {
    let found = file.len() as u64;
    if file.len() < ROW_HEADER {
        let needed = ROW_HEADER as u64;
        return Err(FormatError::TruncatedHeader { path: path.to_path_buf(), found, needed });
    }
    let dim = read_u32(file, 0) as i32;
    if dim <= 0 {
        return Err(FormatError::BadDimension { path: path.to_path_buf(), offset: 0, found: dim.into() });
    }
    let dim = dim as usize;
    let stride = dim.saturating_mul(element.bytes()).saturating_add(ROW_HEADER);
    let rows = file.len() / stride;
    // Rows before the length: a ragged row is the better explanation of an odd length.
    for row in 1..rows {
        let offset = row * stride;
        let here = read_u32(file, offset) as i32;
        if usize::try_from(here) != Ok(dim) {
            let (offset, expected) = (offset as u64, dim);
            return Err(FormatError::RaggedRow {
                path: path.to_path_buf(),
                row,
                offset,
                found: here,
                expected,
            });
        }
    }
    if !file.len().is_multiple_of(stride) {
        return Err(FormatError::WrongLength {
            path: path.to_path_buf(),
            rows: rows as u64,
            dim: dim as u64,
            element,
            expected: (rows as u64).saturating_add(1).saturating_mul(stride as u64),
            found,
        });
    }
    Ok(Place { element, rows, dim, offset: ROW_HEADER, stride })
}

/// What stands before each row of `dim`; `None` if the dimension is too large.
pub(crate) fn row_header(dim: usize) -> Option<[u8; ROW_HEADER]> {
    Some(i32::try_from(dim).ok()?.to_le_bytes())
}
