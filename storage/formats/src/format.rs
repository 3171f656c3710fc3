//! Which format a file is in, told by its extension, and where its rows lie.

use crate::{Element, FormatError, bin, npy, vecs};
use std::path::Path;

/// A file format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// NumPy's array file; any [`Element`].
    Npy,
    /// `u32` rows, `u32` dim, then `f32`s.
    Fbin,
    /// `u32` rows, `u32` dim, then `u8`s.
    U8bin,
    /// `u32` rows, `u32` dim, then `i8`s.
    I8bin,
    /// `u32` rows, `u32` dim, then `i32`s.
    Ibin,
    /// Per row: `i32` dim, then `f32`s.
    Fvecs,
    /// Per row: `i32` dim, then `u8`s.
    Bvecs,
    /// Per row: `i32` dim, then `i32`s.
    Ivecs,
}

impl Format {
    /// All of them.
    pub const ALL: [Format; 8] = [
        Format::Npy,
        Format::Fbin,
        Format::U8bin,
        Format::I8bin,
        Format::Ibin,
        Format::Fvecs,
        Format::Bvecs,
        Format::Ivecs,
    ];

    /// The format a path's extension names, in any case; `None` if it names none.
    ///
    /// # Examples
    /// ```
    /// use orthant_formats::Format;
    ///
    /// assert_eq!(Format::of_path("base.fvecs"), Some(Format::Fvecs));
    /// assert_eq!(Format::of_path("base.csv"), None);
    /// ```
    pub fn of_path(path: impl AsRef<Path>) -> Option<Format> {
        let extension = path.as_ref().extension()?.to_str()?;
        Format::ALL.into_iter().find(|format| format.extension().eq_ignore_ascii_case(extension))
    }

    /// The extension, without the dot.
    pub fn extension(self) -> &'static str {
        match self {
            Format::Npy => "npy",
            Format::Fbin => "fbin",
            Format::U8bin => "u8bin",
            Format::I8bin => "i8bin",
            Format::Ibin => "ibin",
            Format::Fvecs => "fvecs",
            Format::Bvecs => "bvecs",
            Format::Ivecs => "ivecs",
        }
    }

    /// The only type of element the format has; `None` for `.npy`, which says so in each file.
    pub fn element(self) -> Option<Element> {
        match self {
            Format::Npy => None,
            Format::Fbin | Format::Fvecs => Some(Element::F32),
            Format::U8bin | Format::Bvecs => Some(Element::U8),
            Format::I8bin => Some(Element::I8),
            Format::Ibin | Format::Ivecs => Some(Element::I32),
        }
    }

    /// Reads the header and checks it against the file's length.
    pub(crate) fn place(self, path: &Path, file: &[u8]) -> Result<Place, FormatError> {
        match self {
            Format::Npy => npy::place(path, file),
            Format::Fbin => bin::place(path, file, Element::F32),
            Format::U8bin => bin::place(path, file, Element::U8),
            Format::I8bin => bin::place(path, file, Element::I8),
            Format::Ibin => bin::place(path, file, Element::I32),
            Format::Fvecs => vecs::place(path, file, Element::F32),
            Format::Bvecs => vecs::place(path, file, Element::U8),
            Format::Ivecs => vecs::place(path, file, Element::I32),
        }
    }
}

/// Where the rows of a file lie: row `r` has its elements at `offset + r * stride`, and the last one
/// ends at the file's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) element: Element,
    pub(crate) rows: usize,
    /// At least 1.
    pub(crate) dim: usize,
    /// Bytes before the elements of row 0.
    pub(crate) offset: usize,
    /// Bytes from row to row.
    pub(crate) stride: usize,
}

/// Checks that `rows` packed rows behind `offset` bytes are exactly the file.
pub(crate) fn packed(
    path: &Path,
    file: &[u8],
    element: Element,
    rows: u64,
    dim: u64,
    offset: usize,
) -> Result<Place, FormatError> {
    let stride = dim.saturating_mul(element.bytes() as u64);
    let expected = rows.saturating_mul(stride).saturating_add(offset as u64);
    if expected != file.len() as u64 {
        return Err(FormatError::WrongLength {
            path: path.to_path_buf(),
            rows,
            dim,
            element,
            expected,
            found: file.len() as u64,
        });
    }
    // Both fit: their product is at most the length of the file in memory, except that no rows may
    // have any dimension.
    let narrow = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    Ok(Place { element, rows: narrow(rows), dim: narrow(dim), offset, stride: narrow(stride) })
}

/// The `u32` at `offset`.
///
/// # Panics
/// If it is not there.
pub(crate) fn read_u32(file: &[u8], offset: usize) -> u32 {
    u32::from_le_bytes(file[offset..offset + 4].try_into().expect("a slice of 4 bytes"))
}
