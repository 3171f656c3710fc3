//! The catalog: what redb holds, and the file layer under it.
//!
//! | table | key | value |
//! |---|---|---|
//! | `rows` | collection, tenant, key | the row's [`Record`](crate::record::Record) |
//! | `old` | collection, tenant, row number | sequence of its end, key, record: rows that a snapshot still needs |
//! | `tenants` | collection, name | tenant's number, under a checksum |
//! | `collections` | name | [`CollectionEntry`] as JSON, under a checksum |
//! | `meta` | name | format, sequence, counters, under a checksum |
//!
//! A change of the tables is a list of [`Put`]s: the journal holds the same list, so that replaying is doing it again.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use redb::{
    Builder, Database, Durability, ReadableDatabase, ReadableTableMetadata, StorageBackend, TableDefinition,
};
use serde::{Deserialize, Serialize};

use crate::checksum::Checksum;
use crate::error::StorageError;
use crate::files::{FileHandle, Files};
use crate::schema::Schema;

pub(crate) type BytesTable = TableDefinition<'static, &'static [u8], &'static [u8]>;

pub(crate) const ROWS: BytesTable = TableDefinition::new("rows");
pub(crate) const OLD: BytesTable = TableDefinition::new("old");
pub(crate) const TENANTS: BytesTable = TableDefinition::new("tenants");
pub(crate) const COLLECTIONS: BytesTable = TableDefinition::new("collections");
pub(crate) const META: BytesTable = TableDefinition::new("meta");

/// All tables; a put names one by its place.
const TABLES: [BytesTable; 5] = [ROWS, OLD, TENANTS, COLLECTIONS, META];

/// The version of databases that this code writes, and the newest that it reads.
///
/// Version 1 had longer keys of rows; such a database keeps them.
pub const STORE_VERSION: u64 = 2;

/// The tables by their places in [`TABLES`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Table {
    Rows = 0,
    Old = 1,
    Tenants = 2,
    Collections = 3,
    Meta = 4,
}

impl Table {
    fn of(number: u8) -> Option<Self> {
        [Self::Rows, Self::Old, Self::Tenants, Self::Collections, Self::Meta]
            .get(usize::from(number))
            .copied()
    }

    pub(crate) fn definition(self) -> BytesTable {
        TABLES[self as usize]
    }
}

/// One change of a table: a value set, or without one, removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Put {
    pub(crate) table: Table,
    pub(crate) key: Vec<u8>,
    pub(crate) value: Option<Vec<u8>>,
}

/// Puts as the journal holds them: table u8, key bytes u32, value bytes u32 or `u32::MAX`, key, value.
pub(crate) fn encode_puts(puts: &[Put]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for put in puts {
        bytes.push(put.table as u8);
        bytes.extend_from_slice(&(put.key.len() as u32).to_le_bytes());
        bytes.extend_from_slice(
            &put.value.as_ref().map_or(u32::MAX, |value| value.len() as u32).to_le_bytes(),
        );
        bytes.extend_from_slice(&put.key);
        bytes.extend_from_slice(put.value.as_deref().unwrap_or_default());
    }
    bytes
}

/// Reads what [`encode_puts`] wrote.
pub(crate) fn decode_puts(mut bytes: &[u8]) -> Option<Vec<Put>> {
    let mut puts = Vec::new();
    while let Some((&table, rest)) = bytes.split_first() {
        let (lengths, rest) = rest.split_at_checked(8)?;
        let key_length = u32::from_le_bytes(lengths[..4].try_into().ok()?) as usize;
        let value_length = u32::from_le_bytes(lengths[4..].try_into().ok()?);
        let (key, rest) = rest.split_at_checked(key_length)?;
        let length = if value_length == u32::MAX { 0 } else { value_length as usize };
        let (value, rest) = rest.split_at_checked(length)?;
        let value = (value_length != u32::MAX).then(|| value.to_vec());
        puts.push(Put { table: Table::of(table)?, key: key.to_vec(), value });
        bytes = rest;
    }
    Some(puts)
}

/// A value with its checksum in front.
pub(crate) fn sealed(key: &[u8], value: &[u8]) -> Vec<u8> {
    let mut bytes = Checksum::of(&[key, value]).to_le_bytes().to_vec();
    bytes.extend_from_slice(value);
    bytes
}

/// The value behind its checksum; `None` if it does not match.
pub(crate) fn unsealed<'a>(key: &[u8], bytes: &'a [u8]) -> Option<&'a [u8]> {
    let (sum, value) = bytes.split_at_checked(8)?;
    (Checksum::of(&[key, value]).to_le_bytes() == sum).then_some(value)
}

/// What the catalog knows of a collection.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct CollectionEntry {
    pub(crate) id: u32,
    pub(crate) schema: Schema,
    #[serde(default)]
    pub(crate) snapshots: Vec<SnapshotEntry>,
}

/// A named snapshot: the rows below `bound` that had not ended at `sequence`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SnapshotEntry {
    pub(crate) name: Box<str>,
    pub(crate) sequence: u64,
    pub(crate) bound: u32,
}

/// The open catalog.
#[derive(Debug)]
pub(crate) struct Catalog {
    pub(crate) path: PathBuf,
    database: Database,
    format: u64,
}

impl Catalog {
    /// Opens the catalog at `path`, or makes an empty one. Every page of it is checked.
    pub(crate) fn open(
        files: &Arc<dyn Files>,
        path: &Path,
        cache_bytes: usize,
    ) -> Result<Self, StorageError> {
        let failed = |source| StorageError::Io { path: path.to_path_buf(), source };
        let file = files.create(path).map_err(failed)?;
        let is_new = file.is_empty().map_err(failed)?;
        let open = || {
            let mut builder = Builder::new();
            builder.set_cache_size(cache_bytes).set_check_integrity_on_open(!is_new);
            builder.create_with_backend(Backend(file.clone()))
        };
        // redb checks the pages it reads, but a header or a tree of nonsense may still make it panic before it could say
        // so: that is damage, too.
        let database = match catch_unwind(AssertUnwindSafe(open)) {
            Ok(Ok(database)) => database,
            Ok(Err(error)) => return Err(catalog_error(path, error)),
            Err(_) => return Err(StorageError::Entry { path: path.to_path_buf(), what: "its own pages" }),
        };
        let mut catalog = Self { path: path.to_path_buf(), database, format: STORE_VERSION };
        if is_new {
            let format = Put {
                table: Table::Meta,
                key: b"format".to_vec(),
                value: Some(sealed(b"format", &STORE_VERSION.to_le_bytes())),
            };
            catalog.apply(&[format], Durability::Immediate)?;
            if let Some(dir) = path.parent() {
                files.sync_dir(dir).map_err(failed)?;
            }
        }
        let found = catalog.number("format")?.unwrap_or(0);
        if found == 0 {
            return Err(catalog.damaged("the format"));
        }
        if found > STORE_VERSION {
            return Err(StorageError::Newer { path: path.to_path_buf(), found, known: STORE_VERSION });
        }
        catalog.format = found;
        Ok(catalog)
    }

    /// Whether keys of rows are short ones (entry keys Y1).
    pub(crate) fn has_short_keys(&self) -> bool {
        self.format > 1
    }

    pub(crate) fn error(&self, error: impl Into<redb::Error>) -> StorageError {
        catalog_error(&self.path, error)
    }

    pub(crate) fn damaged(&self, what: &'static str) -> StorageError {
        StorageError::Entry { path: self.path.clone(), what }
    }

    /// A view of the catalog as the last commit left it.
    pub(crate) fn read(&self) -> Result<redb::ReadTransaction, StorageError> {
        self.database.begin_read().map_err(|error| self.error(error))
    }

    /// A transaction. Only the committing thread writes.
    pub(crate) fn write(&self, durability: Durability) -> Result<redb::WriteTransaction, StorageError> {
        let mut transaction = self.database.begin_write().map_err(|error| self.error(error))?;
        transaction.set_durability(durability).map_err(|error| self.error(error))?;
        Ok(transaction)
    }

    /// Does these changes in one transaction.
    pub(crate) fn apply(&self, puts: &[Put], durability: Durability) -> Result<(), StorageError> {
        let transaction = self.write(durability)?;
        self.put_all(&transaction, puts)?;
        transaction.commit().map_err(|error| self.error(error))
    }

    pub(crate) fn put_all(
        &self,
        transaction: &redb::WriteTransaction,
        puts: &[Put],
    ) -> Result<(), StorageError> {
        for (number, definition) in TABLES.into_iter().enumerate() {
            let mut table = transaction.open_table(definition).map_err(|error| self.error(error))?;
            for put in puts.iter().filter(|put| put.table as usize == number) {
                let done = match &put.value {
                    Some(value) => table.insert(&put.key[..], &value[..]).map(drop),
                    None => table.remove(&put.key[..]).map(drop),
                };
                done.map_err(|error| self.error(error))?;
            }
        }
        Ok(())
    }

    /// How many rows there are, those kept for snapshots included.
    pub(crate) fn rows(&self) -> Result<u64, StorageError> {
        let read = self.read()?;
        let count = |table: BytesTable| {
            let table = read.open_table(table).map_err(|error| self.error(error))?;
            table.len().map_err(|error| self.error(error))
        };
        Ok(count(ROWS)? + count(OLD)?)
    }

    /// One value.
    pub(crate) fn value(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StorageError> {
        let read = self.read()?;
        let table = read.open_table(table.definition()).map_err(|error| self.error(error))?;
        let value = table.get(key).map_err(|error| self.error(error))?;
        Ok(value.map(|value| value.value().to_vec()))
    }

    /// A sealed value of `meta`.
    pub(crate) fn meta(&self, name: &str) -> Result<Option<Vec<u8>>, StorageError> {
        let Some(bytes) = self.value(Table::Meta, name.as_bytes())? else { return Ok(None) };
        match unsealed(name.as_bytes(), &bytes) {
            Some(value) => Ok(Some(value.to_vec())),
            None => Err(self.damaged("its own state")),
        }
    }

    /// A number of `meta`.
    pub(crate) fn number(&self, name: &str) -> Result<Option<u64>, StorageError> {
        let Some(bytes) = self.meta(name)? else { return Ok(None) };
        match bytes.try_into() {
            Ok(bytes) => Ok(Some(u64::from_le_bytes(bytes))),
            Err(_) => Err(self.damaged("its own state")),
        }
    }

    /// All collections by name.
    pub(crate) fn collections(&self) -> Result<Vec<(Box<str>, CollectionEntry)>, StorageError> {
        let read = self.read()?;
        let table = read.open_table(COLLECTIONS).map_err(|error| self.error(error))?;
        let mut collections = Vec::new();
        for entry in redb::ReadableTable::iter(&table).map_err(|error| self.error(error))? {
            let (key, value) = entry.map_err(|error| self.error(error))?;
            let entry =
                unsealed(key.value(), value.value()).and_then(|json| serde_json::from_slice(json).ok());
            let name = std::str::from_utf8(key.value()).ok();
            match (name, entry) {
                (Some(name), Some(entry)) => collections.push((name.into(), entry)),
                _ => return Err(self.damaged("a collection")),
            }
        }
        Ok(collections)
    }
}

fn catalog_error(path: &Path, error: impl Into<redb::Error>) -> StorageError {
    StorageError::Catalog { path: path.to_path_buf(), source: Box::new(error.into()) }
}

/// A put that stores a collection's entry.
pub(crate) fn put_collection(name: &str, entry: &CollectionEntry) -> Put {
    let json = serde_json::to_vec(entry).unwrap_or_default();
    Put {
        table: Table::Collections,
        key: name.as_bytes().to_vec(),
        value: Some(sealed(name.as_bytes(), &json)),
    }
}

/// A put of a sealed value of `meta`.
pub(crate) fn put_meta(name: &str, value: &[u8]) -> Put {
    Put { table: Table::Meta, key: name.as_bytes().to_vec(), value: Some(sealed(name.as_bytes(), value)) }
}

/// The file layer under redb.
#[derive(Debug)]
struct Backend(Arc<dyn FileHandle>);

impl StorageBackend for Backend {
    fn len(&self) -> Result<u64, io::Error> {
        self.0.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        self.0.read_at(offset, out)
    }

    fn set_len(&self, len: u64) -> Result<(), io::Error> {
        self.0.set_len(len)
    }

    fn sync_data(&self) -> Result<(), io::Error> {
        self.0.sync()
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        self.0.write_at(offset, data)
    }
}
