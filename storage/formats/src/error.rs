//! What can be wrong with a vector file. Every error names the file, and the place in it.

use crate::Element;
use std::io;
use std::path::PathBuf;

/// Why a file could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FormatError {
    /// The system refused to open or map the file.
    #[error("{}: cannot be read", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The extension names no format known here.
    #[error("{}: unknown extension; known are npy, fbin, u8bin, i8bin, ibin, fvecs, bvecs, ivecs", path.display())]
    UnknownExtension {
        /// The file.
        path: PathBuf,
    },
    /// The file ends before its header does.
    #[error("{}: ends after {found} bytes, inside a header of {needed}", path.display())]
    TruncatedHeader {
        /// The file.
        path: PathBuf,
        /// Bytes in the file.
        found: u64,
        /// Bytes the header needs, as far as is known.
        needed: u64,
    },
    /// The file does not start with the six bytes of an `.npy` file.
    #[error("{}: is not an .npy file: byte {offset} is {found:#04x}, expected {expected:#04x}", path.display())]
    NotNpy {
        /// The file.
        path: PathBuf,
        /// The first byte that differs.
        offset: u64,
        /// That byte.
        found: u8,
        /// What it should be.
        expected: u8,
    },
    /// The `.npy` version is not 1, 2 or 3.
    #[error("{}: has .npy version {major}.{minor}; 1.0, 2.0 and 3.0 can be read", path.display())]
    NpyVersion {
        /// The file.
        path: PathBuf,
        /// Major version in the file.
        major: u8,
        /// Minor version in the file.
        minor: u8,
    },
    /// The `.npy` header is not the dictionary it should be.
    #[error("{}: the .npy header makes no sense at byte {offset}: expected {expected}", path.display())]
    NpyHeader {
        /// The file.
        path: PathBuf,
        /// Where in the file.
        offset: u64,
        /// What should have been there.
        expected: &'static str,
    },
    /// The elements are of a type not read here.
    #[error("{}: elements of type '{found}' cannot be read; f2, f4, f8, u1, i1, i4 can", path.display())]
    UnsupportedType {
        /// The file.
        path: PathBuf,
        /// The type as the file has it.
        found: TypeText,
    },
    /// The elements are big endian.
    #[error("{}: elements of type '{found}' are big endian; convert them to little endian", path.display())]
    BigEndian {
        /// The file.
        path: PathBuf,
        /// The type as the file has it.
        found: TypeText,
    },
    /// The array is stored column by column.
    #[error("{}: is in Fortran order, column by column; save it in C order", path.display())]
    FortranOrder {
        /// The file.
        path: PathBuf,
    },
    /// The array does not have two axes.
    #[error("{}: has {axes} axes, expected two: rows and dimension", path.display())]
    NotTwoAxes {
        /// The file.
        path: PathBuf,
        /// Axes of the array.
        axes: usize,
    },
    /// The dimension is 0 (or negative), at `offset`.
    #[error("{}: the dimension at byte {offset} is {found}, expected at least 1", path.display())]
    BadDimension {
        /// The file.
        path: PathBuf,
        /// Where in the file; for `.npy` where the array starts.
        offset: u64,
        /// The dimension.
        found: i64,
    },
    /// The file is longer or shorter than its header says.
    #[error("{}: {rows} rows of {dim} {element} make {expected} bytes, the file has {found}", path.display())]
    WrongLength {
        /// The file.
        path: PathBuf,
        /// Rows according to the header (for `.fvecs` and kin: whole rows that fit the file).
        rows: u64,
        /// Dimension according to the header.
        dim: u64,
        /// Type of the elements.
        element: Element,
        /// Bytes there should be.
        expected: u64,
        /// Bytes there are.
        found: u64,
    },
    /// A row of an `.fvecs` file or its kin has another dimension than the first.
    #[error("{}: row {row} (byte {offset}) has dimension {found}, the rows before it {expected}", path.display())]
    RaggedRow {
        /// The file.
        path: PathBuf,
        /// The first such row, counted from 0.
        row: usize,
        /// Where the row starts.
        offset: u64,
        /// Its dimension.
        found: i32,
        /// Dimension of the rows before.
        expected: usize,
    },
    /// An element is a NaN or an infinity (or a double too large for an `f32`).
    #[error("{}: row {row}, column {column} is not a finite number", path.display())]
    NotFinite {
        /// The file.
        path: PathBuf,
        /// Row, counted from 0.
        row: usize,
        /// Column, counted from 0.
        column: usize,
    },
    /// Ground truth must be ids: whole numbers, not negative.
    #[error("{}: row {row}, column {column} is not an id", path.display())]
    NotAnId {
        /// The file.
        path: PathBuf,
        /// Row, counted from 0.
        row: usize,
        /// Column, counted from 0.
        column: usize,
    },
}

/// Why a file could not be written. What stood under its name before still does.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// The system refused.
    #[error("{}: cannot be written", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The extension names no format known here.
    #[error("{}: unknown extension; known are npy, fbin, u8bin, i8bin, ibin, fvecs, bvecs, ivecs", path.display())]
    UnknownExtension {
        /// The file.
        path: PathBuf,
    },
    /// The format has no room for elements of this type.
    #[error("{}: {element} cannot be stored in this format", path.display())]
    WrongElement {
        /// The file.
        path: PathBuf,
        /// The type asked for.
        element: Element,
    },
    /// The format cannot count that far.
    #[error("{}: {rows} rows of {dim} are more than this format can count", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Rows to be written.
        rows: usize,
        /// Their dimension.
        dim: usize,
    },
    /// A value cannot be stored as an element: not finite, out of range, or not a whole number.
    #[error("{}: row {row}, column {column}: {value} is not a value of {element}", path.display())]
    OutOfRange {
        /// The file.
        path: PathBuf,
        /// Row, counted from 0.
        row: usize,
        /// Column, counted from 0.
        column: usize,
        /// The value.
        value: f32,
        /// The type it should be stored as.
        element: Element,
    },
    /// More or fewer rows were written than announced.
    #[error("{}: {found} rows were written, {expected} were announced", path.display())]
    WrongRows {
        /// The file.
        path: PathBuf,
        /// Rows written (or about to be).
        found: usize,
        /// Rows announced.
        expected: usize,
    },
}

/// The first bytes of a type description in a file, shown as text.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TypeText {
    bytes: [u8; 16],
    len: u8,
}

impl TypeText {
    /// Keeps the first 16 bytes of `text`.
    pub(crate) fn new(text: &[u8]) -> TypeText {
        let mut bytes = [0; 16];
        let len = text.len().min(16);
        bytes[..len].copy_from_slice(&text[..len]);
        TypeText { bytes, len: len as u8 }
    }
}

impl std::fmt::Display for TypeText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.bytes[..self.len as usize].escape_ascii())
    }
}

impl std::fmt::Debug for TypeText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "\"{self}\"")
    }
}
