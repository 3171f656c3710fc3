//! `.fbin` and kin, the format of the billion-scale benchmarks: two counts, then all rows.
//!
//! `u32` rows, `u32` dim, then `rows × dim` elements, little endian.

use crate::format::{Place, packed, read_u32};
use crate::{Element, FormatError};
use std::path::Path;

/// Bytes of the header.
pub(crate) const HEADER: usize = 8;

/// Rows and dimension, unchecked against the length.
pub(crate) fn counts(path: &Path, file: &[u8]) -> Result<(u32, u32), FormatError> {
    if file.len() < HEADER {
        let (found, needed) = (file.len() as u64, HEADER as u64);
        return Err(FormatError::TruncatedHeader { path: path.to_path_buf(), found, needed });
    }
    let (rows, dim) = (read_u32(file, 0), read_u32(file, 4));
    if dim == 0 {
        return Err(FormatError::BadDimension { path: path.to_path_buf(), offset: 4, found: 0 });
    }
    Ok((rows, dim))
}

pub(crate) fn place(path: &Path, file: &[u8], element: Element) -> Result<Place, FormatError> {
    let (rows, dim) = counts(path, file)?;
    packed(path, file, element, rows.into(), dim.into(), HEADER)
}

/// The header of `rows` rows of `dim`; `None` if the counts are too large.
pub(crate) fn header(rows: usize, dim: usize) -> Option<Vec<u8>> {
    let (rows, dim) = (u32::try_from(rows).ok()?, u32::try_from(dim).ok()?);
    Some([rows.to_le_bytes(), dim.to_le_bytes()].concat())
}
