//! `orthant db`, and the measurements of durable collections below `orthant bench`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::{MetricName, from_to};

/// `orthant db`
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  orthant db create mem notes --dim 384 --metric cosine --field section:keyword --field updated:datetime
  orthant db import mem notes --vectors notes.npy --payload notes.jsonl --key id
  orthant db search mem notes --vector 0.1,0.2,0.3 --filter \"section = 'python' AND updated > '2026-01-01'\"
  orthant db delete mem notes --filter \"updated < '2020-01-01'\"
  orthant db snapshot mem notes create before-cleanup
  orthant db export mem notes notes.parquet
  orthant db import mem copy --from notes.parquet
  orthant db check mem

Types of fields: keyword, integer, float, bool, datetime, tags, geo.")]
pub(crate) struct DbArgs {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: DbCommand,
}

/// One of the commands on durable collections.
#[derive(Debug, Subcommand)]
pub(crate) enum DbCommand {
    /// Make a collection, and the database if there is none
    Create(CreateArgs),
    /// Write the rows of files: vectors, payloads, keys; or a collection that was exported
    Import(ImportArgs),
    /// Write a collection into one file: Parquet, with a manifest
    Export(ExportArgs),
    /// Write one row
    Upsert(UpsertArgs),
    /// Delete rows by key or by filter
    Delete(DeleteArgs),
    /// Find the rows nearest to a vector
    Search(FindArgs),
    /// List rows by key
    Scroll(ScrollArgs),
    /// Make, list, drop and go back to named versions
    Snapshot(SnapshotArgs),
    /// Compare everything with its checksums
    Check(PlaceArgs),
    /// Delete the rows that a check finds damaged
    Repair(PlaceArgs),
    /// Give back the space of deleted rows
    Compact(PlaceArgs),
    /// Figures
    Stats(PlaceArgs),
    /// Copy the database, whole and clean
    Copy(CopyArgs),
}

/// A database and one of its collections.
#[derive(Debug, Args)]
pub(crate) struct CollectionArgs {
    /// The database's folder
    pub(crate) dir: PathBuf,
    /// The collection
    pub(crate) collection: String,
    /// Print one JSON object on the last line instead of text
    #[arg(long)]
    pub(crate) json: bool,
}

/// A database and, maybe, one of its collections.
#[derive(Debug, Args)]
pub(crate) struct PlaceArgs {
    /// The database's folder
    pub(crate) dir: PathBuf,
    /// The collection [default: all]
    pub(crate) collection: Option<String>,
    /// Print one JSON object on the last line instead of text
    #[arg(long)]
    pub(crate) json: bool,
}

/// Rows of one tenant.
#[derive(Debug, Args)]
pub(crate) struct RowsArgs {
    /// Database and collection.
    #[command(flatten)]
    pub(crate) place: CollectionArgs,
    /// The tenant
    #[arg(long, value_name = "NAME", default_value = "default")]
    pub(crate) tenant: String,
}

/// `orthant db create`
#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    /// Database and collection.
    #[command(flatten)]
    pub(crate) place: CollectionArgs,
    /// Elements of the vector
    #[arg(long, value_name = "N", required_unless_present = "vector")]
    pub(crate) dim: Option<usize>,
    /// How near two vectors are
    #[arg(long, value_enum, default_value = "cosine")]
    pub(crate) metric: MetricName,
    /// A field that filters may name: name:type (may be repeated)
    #[arg(long, value_name = "NAME:TYPE")]
    pub(crate) field: Vec<String>,
    /// A named vector, name:dim:metric, or name:dim:metric:multi (may be repeated)
    #[arg(long, value_name = "NAME:DIM:METRIC")]
    pub(crate) vector: Vec<String>,
}

/// `orthant db export`
#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// Database and collection.
    #[command(flatten)]
    pub(crate) place: CollectionArgs,
    /// The file; it is replaced
    pub(crate) file: PathBuf,
}

/// `orthant db import`
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  orthant db import mem notes --vectors notes.npy --payload notes.jsonl --key id
  orthant db import mem notes --payload notes.parquet --vector-column embedding --key id
  orthant db import mem notes --payload rows.csv --tenant-field customer --vectors rows.fbin
  orthant db import mem copy --from notes.parquet

In CSV, tags are separated by semicolons and an empty cell is a missing field.")]
pub(crate) struct ImportArgs {
    /// Whose rows.
    #[command(flatten)]
    pub(crate) rows: RowsArgs,
    /// Vectors: .npy .fbin .fvecs …
    #[arg(long, value_name = "FILE")]
    pub(crate) vectors: Option<PathBuf>,
    /// Payloads, one per vector: .jsonl, .csv or .parquet
    #[arg(long, value_name = "FILE", required_unless_present_any = ["vectors", "from"])]
    pub(crate) payload: Option<PathBuf>,
    /// The payload's field that is the vector, a list of numbers
    #[arg(long, value_name = "FIELD", requires = "payload", conflicts_with = "vectors")]
    pub(crate) vector_column: Option<String>,
    /// A file that `orthant db export` wrote: makes the collection
    #[arg(long, value_name = "FILE", conflicts_with_all = ["vectors", "payload"])]
    pub(crate) from: Option<PathBuf>,
    /// The payload's field that is the key [default: the row's number in the file]
    #[arg(long, value_name = "FIELD", requires = "payload")]
    pub(crate) key: Option<String>,
    /// The payload's field that names the tenant, instead of --tenant
    #[arg(long, value_name = "FIELD", requires = "payload")]
    pub(crate) tenant_field: Option<String>,
    /// Rows per commit
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = from_to(1, 100_000))]
    pub(crate) batch: usize,
}

/// `orthant db upsert`
#[derive(Debug, Args)]
pub(crate) struct UpsertArgs {
    /// Whose row.
    #[command(flatten)]
    pub(crate) rows: RowsArgs,
    /// Its key: a number, or a text
    #[arg(long)]
    pub(crate) key: String,
    /// Its vector, as numbers with commas between them
    #[arg(long, value_name = "NUMBERS", value_delimiter = ',', allow_hyphen_values = true)]
    pub(crate) vector: Vec<f32>,
    /// Its payload, a JSON object
    #[arg(long, value_name = "JSON", default_value = "{}")]
    pub(crate) payload: String,
}

/// `orthant db delete`
#[derive(Debug, Args)]
pub(crate) struct DeleteArgs {
    /// Whose rows.
    #[command(flatten)]
    pub(crate) rows: RowsArgs,
    /// The keys (may be repeated)
    #[arg(long, required_unless_present = "filter", conflicts_with = "filter")]
    pub(crate) key: Vec<String>,
    /// The rows that fulfil this
    #[arg(long)]
    pub(crate) filter: Option<String>,
}

/// `orthant db search`
#[derive(Debug, Args)]
pub(crate) struct FindArgs {
    /// Whose rows.
    #[command(flatten)]
    pub(crate) rows: RowsArgs,
    /// The query, as numbers with commas between them
    #[arg(
        long,
        value_name = "NUMBERS",
        value_delimiter = ',',
        allow_hyphen_values = true,
        required_unless_present = "like"
    )]
    pub(crate) vector: Vec<f32>,
    /// Rows like this one instead (may be repeated)
    #[arg(long, value_name = "KEY", conflicts_with = "vector")]
    pub(crate) like: Vec<String>,
    /// … and unlike this one (may be repeated)
    #[arg(long, value_name = "KEY", requires = "like")]
    pub(crate) unlike: Vec<String>,
    /// The vector that is compared [default: the first of the schema]
    #[arg(long, value_name = "NAME")]
    pub(crate) on: Option<String>,
    /// Results
    #[arg(short, default_value_t = 10)]
    pub(crate) k: usize,
    /// Beam width in a graph
    #[arg(long, default_value_t = 128)]
    pub(crate) ef: usize,
    /// Which rows may be returned
    #[arg(long)]
    pub(crate) filter: Option<String>,
    /// Only rows at most this far
    #[arg(long)]
    pub(crate) radius: Option<f32>,
    /// From 1, nearest only, to 0, variety only
    #[arg(long, value_name = "NEARNESS")]
    pub(crate) diverse: Option<f32>,
    /// The nearest values of this field, -k of them, each with its nearest rows
    #[arg(long, value_name = "FIELD", conflicts_with_all = ["like", "at", "diverse"])]
    pub(crate) group_by: Option<String>,
    /// Rows of each value
    #[arg(long, value_name = "N", default_value_t = 3, requires = "group_by")]
    pub(crate) group_size: usize,
    /// Compare every row that matches
    #[arg(long)]
    pub(crate) exact: bool,
    /// As this snapshot has them
    #[arg(long, value_name = "SNAPSHOT", conflicts_with = "like")]
    pub(crate) at: Option<String>,
}

/// `orthant db scroll`
#[derive(Debug, Args)]
pub(crate) struct ScrollArgs {
    /// Whose rows.
    #[command(flatten)]
    pub(crate) rows: RowsArgs,
    /// Go on behind this key
    #[arg(long, value_name = "KEY")]
    pub(crate) after: Option<String>,
    /// Rows
    #[arg(long, default_value_t = 20)]
    pub(crate) limit: usize,
    /// Which rows
    #[arg(long)]
    pub(crate) filter: Option<String>,
    /// As this snapshot has them
    #[arg(long, value_name = "SNAPSHOT")]
    pub(crate) at: Option<String>,
}

/// What to do with snapshots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum SnapshotAction {
    /// Name the state as it is
    Create,
    /// Forget a name, and the rows only it needs
    Drop,
    /// Make the collection what it was
    Rollback,
    /// Show all names
    List,
}

/// `orthant db snapshot`
#[derive(Debug, Args)]
pub(crate) struct SnapshotArgs {
    /// Database and collection.
    #[command(flatten)]
    pub(crate) place: CollectionArgs,
    /// What to do
    #[arg(value_enum)]
    pub(crate) action: SnapshotAction,
    /// The snapshot's name
    #[arg(required_if_eq_any([("action", "create"), ("action", "drop"), ("action", "rollback")]))]
    pub(crate) name: Option<String>,
}

/// `orthant db copy`
#[derive(Debug, Args)]
pub(crate) struct CopyArgs {
    /// The database's folder
    pub(crate) dir: PathBuf,
    /// The copy's folder
    pub(crate) to: PathBuf,
}

/// When writes are made safe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum FlushName {
    /// Before each is acknowledged
    Always,
    /// Within 100 ms
    Interval,
    /// When the system gets to it
    Os,
}

/// `orthant bench crash`
#[derive(Debug, Args)]
pub(crate) struct CrashArgs {
    /// How often the writing process is killed
    #[arg(long, value_name = "N", default_value_t = 200)]
    pub(crate) kills: u64,
    /// Where the databases are made [default: a temporary folder]
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
    /// Seed of the writes
    #[arg(long, value_name = "N", default_value_t = 42)]
    pub(crate) seed: u64,
    /// Be the writing process, in this folder.
    #[arg(long, value_name = "DIR", hide = true)]
    pub(crate) writer: Option<PathBuf>,
    /// The writing process's policy.
    #[arg(long, value_enum, hide = true, default_value = "always")]
    pub(crate) flush: FlushName,
    /// Print one JSON object on the last line instead of text
    #[arg(long)]
    pub(crate) json: bool,
}

/// `orthant bench filter`
#[derive(Debug, Args)]
pub(crate) struct FilterArgs {
    /// Folder with base.* and query.*
    #[arg(long, value_name = "DIR")]
    pub(crate) data: PathBuf,
    /// How near two vectors are [default: what DIR/metric says, else l2]
    #[arg(long, value_enum)]
    pub(crate) metric: Option<MetricName>,
    /// Use the first N rows of the file; 0 = all
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) limit: usize,
    /// Queries per measurement
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = from_to(10, 100_000))]
    pub(crate) queries: usize,
    /// Beam width
    #[arg(long, default_value_t = 128)]
    pub(crate) ef: usize,
    /// Where the database is made and kept; one that is there is measured as it is [default: a temporary folder]
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
    /// Print one JSON object on the last line instead of a table
    #[arg(long)]
    pub(crate) json: bool,
}

/// `orthant bench ingest`
#[derive(Debug, Args)]
pub(crate) struct IngestArgs {
    /// Rows
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = from_to(1000, 100_000_000))]
    pub(crate) rows: usize,
    /// Elements of a row
    #[arg(long, value_name = "N", default_value_t = 384, value_parser = from_to(1, 65_536))]
    pub(crate) dim: usize,
    /// Rows per commit
    #[arg(long, value_name = "N", default_value_t = 500, value_parser = from_to(1, 100_000))]
    pub(crate) batch: usize,
    /// Writing threads
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = from_to(1, 256))]
    pub(crate) writers: usize,
    /// When writes are made safe
    #[arg(long, value_enum, default_value = "interval")]
    pub(crate) flush: FlushName,
    /// Where the database is made [default: a temporary folder]
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
    /// Print one JSON object on the last line instead of text
    #[arg(long)]
    pub(crate) json: bool,
}

/// `orthant bench agents`
#[derive(Debug, Args)]
pub(crate) struct AgentsArgs {
    /// Rows before the agents start
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = from_to(100, 100_000_000))]
    pub(crate) rows: usize,
    /// Elements of a row
    #[arg(long, value_name = "N", default_value_t = 384, value_parser = from_to(1, 65_536))]
    pub(crate) dim: usize,
    /// Agents, each a thread
    #[arg(long, value_name = "N", default_value_t = 25, value_parser = from_to(1, 1000))]
    pub(crate) agents: usize,
    /// Operations of each agent per second, one in five a write
    #[arg(long, value_name = "N", default_value_t = 10.0)]
    pub(crate) rate: f64,
    /// How long
    #[arg(long, value_name = "M", default_value_t = 10.0)]
    pub(crate) minutes: f64,
    /// Where the database is made and kept; one that is there is taken as it is [default: a temporary folder]
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
    /// Print one JSON object on the last line instead of text
    #[arg(long)]
    pub(crate) json: bool,
}

/// `orthant bench tenants`
#[derive(Debug, Args)]
pub(crate) struct TenantsArgs {
    /// Tenants
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = from_to(10, 10_000_000))]
    pub(crate) tenants: usize,
    /// Rows of each
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = from_to(1, 100_000))]
    pub(crate) rows: usize,
    /// Elements of a row
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = from_to(1, 65_536))]
    pub(crate) dim: usize,
    /// Where the database is made [default: a temporary folder]
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
    /// Print one JSON object on the last line instead of text
    #[arg(long)]
    pub(crate) json: bool,
}
