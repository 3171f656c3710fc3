//! A collection as one file: Parquet, with a manifest in its footer.
//!
//! Any reader of Parquet can read the rows; what only this crate needs (the schema, how many rows, their checksum) is in the
//! manifest, JSON under the footer's key `orthant.collection`.
//!
//! # Layout (version 1)
//! ```text
//! tenant         required string
//! number         optional u64      the key, when it is a number
//! text           optional string   the key, when it is a text; exactly one of the two is there
//! payload        required string   a JSON object
//! vector:NAME    optional list of required float, one per named vector; of a multi vector all, one after the other
//! ```
//! * **T1** The rows are those of one moment: one transaction of the catalog, and the row files as they were then.
//! * **T2** The manifest's checksum covers every row, in order. An import that finds another one leaves nothing behind.
//! * **T3** The file gets its name when it is whole and flushed.

mod export;
mod headers;
mod import;

#[doc(hidden)]
pub use import::check_export;

use std::path::PathBuf;
use std::sync::Arc;

use orthant_engine::Key;
use parquet::basic::{ConvertedType, LogicalType, Repetition, Type as PhysicalType};
use parquet::errors::ParquetError;
use parquet::schema::types::Type;
use serde::{Deserialize, Serialize};

use crate::checksum::Checksum;
use crate::error::{ReadError, WriteError};
use crate::schema::Schema;

/// The footer's key of the manifest.
pub const MANIFEST_KEY: &str = "orthant.collection";

/// The newest version of the file that this code reads, and the one it writes.
pub const EXPORT_VERSION: u32 = 1;

/// Rows of a row group, and of a commit of an import: some megabytes at usual dimensions.
const GROUP_ROWS: usize = 4096;

/// What the footer says of a collection in a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Manifest {
    /// Version of the layout.
    pub format: u32,
    /// The collection's name when it was exported.
    pub collection: Box<str>,
    /// The newest commit in the file.
    pub sequence: u64,
    /// Rows.
    pub rows: u64,
    /// The checksum of all rows (T2), in hexadecimal.
    pub checksum: Box<str>,
    /// The collection's schema.
    pub schema: Schema,
}

/// Why a collection was not exported or imported.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransferError {
    /// The system refused.
    #[error("{}: cannot be read or written", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// The file is no Parquet, or a damaged one.
    #[error("{}: not read as Parquet", path.display())]
    Parquet {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: ParquetError,
    },
    /// The reader of Parquet gave up on the file in a way that it should not have.
    #[error("{}: damaged: the reader of Parquet gave up", path.display())]
    GaveUp {
        /// The file.
        path: PathBuf,
    },
    /// The file has no manifest, or one that does not fit its columns.
    #[error("{}: no exported collection: {problem}", path.display())]
    Manifest {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: &'static str,
    },
    /// The file was written by newer code.
    #[error("{}: version {found} is newer than {EXPORT_VERSION}", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
    },
    /// A row of the file is not what a row should be.
    #[error("{}: row {row}: {problem}", path.display())]
    Row {
        /// The file.
        path: PathBuf,
        /// The row, from 0.
        row: u64,
        /// What is wrong.
        problem: &'static str,
    },
    /// The rows are not those that were exported.
    #[error("{}: the rows do not match the manifest's checksum", path.display())]
    Checksum {
        /// The file.
        path: PathBuf,
    },
    /// The collection could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The rows could not be written.
    #[error(transparent)]
    Write(#[from] WriteError),
}

/// A row on its way.
struct Item {
    tenant: Box<str>,
    key: Key,
    /// JSON text of an object; empty for an empty one.
    payload: Box<[u8]>,
    /// By vector; empty where the row has none.
    vectors: Vec<Vec<f32>>,
}

/// The checksum of rows, in order.
#[derive(Default)]
struct RowsSum(u64);

impl RowsSum {
    fn add(&mut self, item: &Item) {
        let mut key = Vec::new();
        crate::entry_keys::append_key(&mut key, &item.key);
        // Lengths first, so that no part can pass for the end of the one before it.
        let lengths = [item.tenant.len(), key.len(), item.payload.len()].map(|length| length as u64);
        let before = self.0.to_le_bytes();
        let mut parts: Vec<&[u8]> =
            vec![&before, bytemuck::cast_slice(&lengths), item.tenant.as_bytes(), &key, &item.payload];
        let dims: Vec<u64> = item.vectors.iter().map(|vector| vector.len() as u64).collect();
        parts.push(bytemuck::cast_slice(&dims));
        parts.extend(item.vectors.iter().map(|vector| bytemuck::cast_slice(vector)));
        self.0 = Checksum::of(&parts);
    }

    fn text(&self) -> Box<str> {
        format!("{:016x}", self.0).into()
    }
}

/// The columns of a collection's file.
fn columns(schema: &Schema) -> Result<Arc<Type>, ParquetError> {
    let text = |name: &str, repetition| {
        Type::primitive_type_builder(name, PhysicalType::BYTE_ARRAY)
            .with_logical_type(Some(LogicalType::String))
            .with_converted_type(ConvertedType::UTF8)
            .with_repetition(repetition)
            .build()
            .map(Arc::new)
    };
    let number = Type::primitive_type_builder("number", PhysicalType::INT64)
        .with_converted_type(ConvertedType::UINT_64)
        .with_repetition(Repetition::OPTIONAL)
        .build()?;
    let mut fields = vec![
        text("tenant", Repetition::REQUIRED)?,
        Arc::new(number),
        text("text", Repetition::OPTIONAL)?,
        text("payload", Repetition::REQUIRED)?,
    ];
    for vector in &schema.vectors {
        let element = Type::primitive_type_builder("element", PhysicalType::FLOAT)
            .with_repetition(Repetition::REQUIRED)
            .build()?;
        let list = Type::group_type_builder("list")
            .with_repetition(Repetition::REPEATED)
            .with_fields(vec![Arc::new(element)])
            .build()?;
        let column = Type::group_type_builder(&format!("vector:{}", vector.name))
            .with_repetition(Repetition::OPTIONAL)
            .with_logical_type(Some(LogicalType::List))
            .with_converted_type(ConvertedType::LIST)
            .with_fields(vec![Arc::new(list)])
            .build()?;
        fields.push(Arc::new(column));
    }
    Ok(Arc::new(Type::group_type_builder("orthant").with_fields(fields).build()?))
}
