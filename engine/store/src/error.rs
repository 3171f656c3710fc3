//! What can go wrong: with the files, when opening, writing, reading.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use orthant_engine::Key;

use crate::files::LockError;
use crate::filter::FilterError;
use crate::schema::{FieldType, SchemaError};
use crate::values::FieldError;

/// The files do not do what they should.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StorageError {
    /// The system refused.
    #[error("{}: cannot be read or written", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The catalog refused.
    #[error("{}: the catalog failed", path.display())]
    Catalog {
        /// The catalog's file.
        path: PathBuf,
        /// What it says.
        source: Box<redb::Error>,
    },
    /// An entry of the catalog does not match its checksum or is not what it should be.
    #[error("{}: the catalog's entry for {what} is damaged", path.display())]
    Entry {
        /// The catalog's file.
        path: PathBuf,
        /// What the entry is.
        what: &'static str,
    },
    /// The journal is damaged where it had been flushed.
    #[error("{}: the journal is damaged at byte {offset}", path.display())]
    Journal {
        /// The journal.
        path: PathBuf,
        /// Where.
        offset: u64,
    },
    /// The database was written by newer code.
    #[error("{}: format {found} is newer than {known}", path.display())]
    Newer {
        /// The catalog's file.
        path: PathBuf,
        /// Its version.
        found: u64,
        /// The newest that this code reads.
        known: u64,
    },
}

/// Why a database could not be opened or made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Somebody else has it.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// There is a database already.
    #[error("{}: there is a database already", path.display())]
    Exists {
        /// The folder.
        path: PathBuf,
    },
    /// There is no database.
    #[error("{}: there is no database", path.display())]
    Missing {
        /// The folder.
        path: PathBuf,
    },
    /// The files are damaged or refuse.
    #[error(transparent)]
    Storage(#[from] Arc<StorageError>),
}

/// Why nothing was written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// A key is too long.
    #[error("a key of {bytes} bytes is longer than {max}", max = crate::record::MAX_KEY_BYTES)]
    KeyTooLong {
        /// Its bytes.
        bytes: usize,
    },
    /// A name (of a tenant, a collection, a snapshot) is empty, too long, or taken.
    #[error("the name {name:?} is {problem}")]
    Name {
        /// The name.
        name: Box<str>,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A payload does not fit the schema.
    #[error("row {key}")]
    Payload {
        /// The row.
        key: Key,
        /// The field.
        source: FieldError,
    },
    /// A row names a vector that the schema does not have.
    #[error("row {key}: the schema has no vector {vector:?}")]
    UnknownVector {
        /// The row.
        key: Key,
        /// The vector.
        vector: Box<str>,
    },
    /// A vector has another dimension, or more than one is given where there is one.
    #[error("row {key}: vector {vector:?} has {found} elements, expected {expected}")]
    Dimension {
        /// The row.
        key: Key,
        /// The vector.
        vector: Box<str>,
        /// Elements given.
        found: usize,
        /// Elements of the vector.
        expected: usize,
    },
    /// A vector holds a NaN or an infinity.
    #[error("row {key}: vector {vector:?} holds a value that is not finite at {element}")]
    NotFinite {
        /// The row.
        key: Key,
        /// The vector.
        vector: Box<str>,
        /// The element, from 0.
        element: usize,
    },
    /// The row numbers of the collection are used up: export it and import it into a new one.
    #[error("the collection has had 2^32 rows and their versions: export and import it")]
    RowsExhausted,
    /// A schema was refused.
    #[error(transparent)]
    Schema(#[from] SchemaError),
    /// A new field does not fit a row that is there.
    #[error("field {field:?} cannot be of type {kind}: row {key} does not fit")]
    Evolution {
        /// The field.
        field: Box<str>,
        /// The type asked for.
        kind: FieldType,
        /// The first row that does not fit.
        key: Key,
    },
    /// The filter of a write was refused.
    #[error(transparent)]
    Filter(#[from] FilterError),
    /// The rows to be written could not be read first.
    #[error("what is to be written could not be read first")]
    Read(#[source] Box<ReadError>),
    /// There is no such thing.
    #[error("there is no {what} {name:?}")]
    Unknown {
        /// What was looked for.
        what: &'static str,
        /// Its name.
        name: Box<str>,
    },
    /// The files refused; nothing of this write is there.
    #[error("not written")]
    Storage(#[source] Arc<StorageError>),
    /// An earlier failure left it unknown what the disk holds; the database has to be opened again.
    #[error("writes are off since an earlier failure: open the database again")]
    Poisoned(#[source] Arc<StorageError>),
    /// The database was closed.
    #[error("the database is closed")]
    Closed,
}

/// Why something could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The filter was refused.
    #[error(transparent)]
    Filter(#[from] FilterError),
    /// The schema has no such vector.
    #[error("the schema has no vector {vector:?}")]
    UnknownVector {
        /// The vector.
        vector: Box<str>,
    },
    /// The schema has no such field.
    #[error("the schema has no field {field:?}")]
    UnknownField {
        /// The field.
        field: Box<str>,
    },
    /// Fields of this type have no facets.
    #[error("field {field:?} of type {kind} has no facets")]
    NoFacets {
        /// The field.
        field: Box<str>,
        /// Its type.
        kind: FieldType,
    },
    /// Rows are not grouped by fields of this type.
    #[error("rows cannot be grouped by field {field:?} of type {kind}")]
    NoGroups {
        /// The field.
        field: Box<str>,
        /// Its type.
        kind: FieldType,
    },
    /// The query has another dimension than the vector.
    #[error("a query of {found} elements does not fit vector {vector:?} of {expected}")]
    Dimension {
        /// The vector.
        vector: Box<str>,
        /// Elements in the query.
        found: usize,
        /// Elements of the vector.
        expected: usize,
    },
    /// The query holds a NaN or an infinity.
    #[error("the query holds a value that is not finite at {element}")]
    NotFinite {
        /// The element, from 0.
        element: usize,
    },
    /// There is no row of this key, where one is needed.
    #[error("there is no row {key}")]
    NoRow {
        /// The key.
        key: Key,
    },
    /// The row's vector is damaged on disk.
    #[error("row {key}: vector {vector:?} does not match its checksum")]
    RowDamaged {
        /// The row.
        key: Key,
        /// The vector.
        vector: Box<str>,
    },
    /// There is no such thing.
    #[error("there is no {what} {name:?}")]
    Unknown {
        /// What was looked for.
        what: &'static str,
        /// Its name.
        name: Box<str>,
    },
    /// The request does not fit the vector: what it asks for is for multi vectors only, or not for them.
    #[error("vector {vector:?}: {problem}")]
    Request {
        /// The vector.
        vector: Box<str>,
        /// What is wrong.
        problem: &'static str,
    },
    /// The files refused.
    #[error("cannot be read")]
    Storage(#[from] Arc<StorageError>),
    /// The index refused.
    #[error(transparent)]
    Search(#[from] orthant_engine::SearchError),
    /// The environment forces an instruction set that the CPU lacks.
    #[error(transparent)]
    Isa(#[from] orthant_engine::kernels::IsaError),
}
