#![doc = include_str!("../README.md")]

mod catalog;
mod checksum;
mod codes;
mod collection;
mod commit;
mod compact;
mod copy;
mod counters;
mod database;
mod entry_keys;
mod error;
mod fields;
pub mod files;
mod filter;
mod find;
mod graph;
mod group;
mod groups;
mod journal;
mod keeper;
mod matches;
mod old;
mod open;
mod record;
mod recovery;
mod request;
mod row;
mod rows;
mod schema;
mod scroll;
mod search;
mod segment;
mod snapshot;
mod state;
mod tenant;
mod transfer;
pub mod trial;
mod upkeep;
mod values;
mod version;

pub use catalog::STORE_VERSION;
pub use commit::{Flush, Written};
pub use compact::Compacted;
pub use database::Database;
pub use error::{OpenError, ReadError, StorageError, WriteError};
pub use fields::Facet;
pub use filter::{
    At, Comparison, FieldBuilder, FieldName, Filter, FilterError, Literal, MAX_FILTER_BYTES, Place, field,
};
pub use groups::Group;
pub use open::Options;
pub use orthant_engine::{Key, KeyRef, Metric};
pub use record::MAX_KEY_BYTES;
pub use recovery::Recovery;
pub use request::{Found, SearchRequest};
pub use row::{NotAnObject, Row};
pub use schema::{
    DEFAULT_VECTOR, Field, FieldType, GraphChoices, MAX_FIELDS, MAX_NAME_BYTES, Schema, SchemaError,
    UnknownFieldType, VectorField,
};
pub use scroll::{Page, ScrollRequest};
pub use snapshot::SnapshotReader;
pub use tenant::{Collection, Tenant};
#[doc(hidden)]
pub use transfer::check_export;
pub use transfer::{EXPORT_VERSION, MANIFEST_KEY, Manifest, TransferError};
pub use upkeep::{CheckReport, Damage, Stats};
pub use values::{FieldError, FieldValue, Payload};
pub use version::SnapshotInfo;
