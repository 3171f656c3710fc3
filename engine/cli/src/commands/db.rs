//! `orthant db`: durable collections from the command line.

mod export;
mod import;
mod rows;

use std::path::Path;

use anyhow::{Context, anyhow, bail};
use orthant_store::{
    Collection, Database, FieldType, Filter, Key, Metric, OpenError, Options, Schema, Tenant,
};
use serde_json::json;

use crate::args::{
    CollectionArgs, CreateArgs, DbArgs, DbCommand, PlaceArgs, RowsArgs, SnapshotAction, SnapshotArgs,
};
use crate::failure::WithHint;
use crate::output::{Output, plural};

/// Runs the command.
pub(crate) fn run(args: &DbArgs) -> anyhow::Result<()> {
    match &args.command {
        DbCommand::Create(args) => create(args),
        DbCommand::Import(args) => import::run(args),
        DbCommand::Export(args) => export::run(args),
        DbCommand::Upsert(args) => rows::upsert(args),
        DbCommand::Delete(args) => rows::delete(args),
        DbCommand::Search(args) => rows::search(args),
        DbCommand::Scroll(args) => rows::scroll(args),
        DbCommand::Snapshot(args) => snapshot(args),
        DbCommand::Check(args) => check(args),
        DbCommand::Repair(args) => repair(args),
        DbCommand::Compact(args) => compact(args),
        DbCommand::Stats(args) => stats(args),
        DbCommand::Copy(args) => {
            let database = open(&args.dir)?;
            database.copy_to(&args.to)?;
            Output::new(false).line(format_args!("copied to {}", args.to.display()))
        }
    }
}

/// Opens a database and says what was amiss.
fn open(dir: &Path) -> anyhow::Result<Database> {
    let opened = Database::open(dir, Options::default());
    let missing = matches!(opened, Err(OpenError::Missing { .. }));
    let database = match opened {
        Err(error) if missing => return Err(error).hint("make one with `orthant db create`"),
        other => other?,
    };
    let recovery = database.recovery();
    if let Some(at) = recovery.journal_damaged_at {
        crate::output::note(format_args!(
            "{}: the journal is damaged at byte {at}: commits behind it are lost",
            dir.display()
        ));
    }
    if recovery.lost_commits > 0 {
        crate::output::note(format_args!(
            "{}: the catalog is damaged: the last {} that were safe are lost",
            dir.display(),
            plural(recovery.lost_commits as usize, "commit", "commits")
        ));
    }
    if recovery.damaged_rows > 0 || !recovery.mended_headers.is_empty() {
        crate::output::note(format_args!("{}: opened with damages: {recovery:?}", dir.display()));
    }
    Ok(database)
}

fn collection(args: &CollectionArgs) -> anyhow::Result<(Database, Collection)> {
    let database = open(&args.dir)?;
    let collection = named(&database, &args.dir, &args.collection)?;
    Ok((database, collection))
}

fn named(database: &Database, dir: &Path, name: &str) -> anyhow::Result<Collection> {
    let collection = database.collection(name);
    let collection = collection.ok_or_else(|| anyhow!("{}: no collection {name:?}", dir.display()));
    let names = database.collections();
    collection.hint(match names.is_empty() {
        true => "there is none; make one with `orthant db create`".to_owned(),
        false => format!("there are: {}", names.join(", ")),
    })
}

fn tenant(args: &RowsArgs) -> anyhow::Result<(Database, Collection, Tenant)> {
    let (database, collection) = collection(&args.place)?;
    let tenant = collection.tenant(&args.tenant)?;
    Ok((database, collection, tenant))
}

/// A number is a number, anything else a text: so is `007`, which is another key than 7.
fn key(text: &str) -> Key {
    match text.parse::<u64>() {
        Ok(number) if number.to_string() == text => Key::Int(number),
        _ => Key::from(text),
    }
}

/// Says so when nothing was found because the tenant has no rows: of a collection with tenants, the one that is meant without
/// `--tenant` mostly has none.
fn note_if_empty(tenant: &Tenant, collection: &Collection) -> anyhow::Result<()> {
    if tenant.is_empty()? {
        let names = collection.tenants()?;
        let others: Vec<_> = names.iter().filter(|name| &***name != tenant.name()).collect();
        let shown = others.iter().take(5).map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", ");
        let rest = match others.len() {
            0 => String::new(),
            1..=5 => format!("; there are (--tenant): {shown}"),
            more => format!("; there are (--tenant): {shown} and {} more", more - 5),
        };
        crate::output::note(format_args!("tenant {:?} has no rows{rest}", tenant.name()));
    }
    Ok(())
}

fn filter(text: Option<&str>) -> anyhow::Result<Option<Filter>> {
    text.map(|text| Filter::parse(text).context("--filter")).transpose()
}

fn create(args: &CreateArgs) -> anyhow::Result<()> {
    let mut schema = Schema { vectors: Vec::new(), fields: Vec::new(), graph: Default::default() };
    if let Some(dim) = args.dim {
        schema = Schema::new(dim, args.metric.into());
    }
    for text in &args.vector {
        let parts: Vec<&str> = text.split(':').collect();
        let (&[name, dim, metric], more) =
            parts.split_first_chunk::<3>().context("--vector is name:dim:metric")?;
        let dim = dim.parse().with_context(|| format!("--vector {text}: {dim} is no dimension"))?;
        let metric: Metric = metric.parse().with_context(|| format!("--vector {text}"))?;
        schema = match more {
            [] => schema.with_vector(name, dim, metric),
            ["multi"] => schema.with_multi_vector(name, dim, metric),
            _ => bail!("--vector {text}: only `multi` may follow the metric"),
        };
    }
    for text in &args.field {
        let (name, kind) =
            text.rsplit_once(':').with_context(|| format!("--field {text}: write name:type"))?;
        let kind: FieldType = kind.parse().with_context(|| format!("--field {text}"))?;
        schema = schema.with_field(name, kind);
    }
    let database = match Database::open(&args.place.dir, Options::default()) {
        Err(OpenError::Missing { .. }) => Database::create(&args.place.dir, Options::default())?,
        other => other?,
    };
    database.create_collection(&args.place.collection, schema)?;
    database.close()?;
    let output = Output::new(args.place.json);
    output.line(format_args!("made collection {} in {}", args.place.collection, args.place.dir.display()))?;
    if args.place.json {
        output.object(&json!({"collection": args.place.collection}))?;
    }
    Ok(())
}

fn snapshot(args: &SnapshotArgs) -> anyhow::Result<()> {
    let (database, collection) = collection(&args.place)?;
    let output = Output::new(args.place.json);
    let name = args.name.as_deref().unwrap_or_default();
    match args.action {
        SnapshotAction::Create => drop(collection.create_snapshot(name)?),
        SnapshotAction::Drop => collection.drop_snapshot(name)?,
        SnapshotAction::Rollback => collection.rollback(name)?,
        SnapshotAction::List => {}
    }
    let snapshots = collection.snapshots();
    for snapshot in &snapshots {
        output.line(format_args!("{}  (commit {})", snapshot.name, snapshot.sequence))?;
    }
    if args.place.json {
        let names: Vec<_> = snapshots.iter().map(|snapshot| &snapshot.name).collect();
        output.object(&json!({"snapshots": names}))?;
    }
    database.close()?;
    Ok(())
}

/// The collections that are meant.
fn collections(database: &Database, args: &PlaceArgs) -> anyhow::Result<Vec<Collection>> {
    let names = match &args.collection {
        Some(name) => vec![name.as_str().into()],
        None => database.collections(),
    };
    names.iter().map(|name| named(database, &args.dir, name)).collect()
}

fn check(args: &PlaceArgs) -> anyhow::Result<()> {
    let database = open(&args.dir)?;
    let output = Output::new(args.json);
    let mut damages = 0;
    let mut reports = serde_json::Map::new();
    for collection in collections(&database, args)? {
        let report = collection.check()?;
        output.line(format_args!(
            "{}: {} whole, {}",
            collection.name(),
            plural(report.rows as usize, "row", "rows"),
            plural(report.damages.len(), "damage", "damages")
        ))?;
        for damage in &report.damages {
            output.line(format_args!("  {damage:?}"))?;
        }
        damages += report.damages.len();
        reports.insert(collection.name().to_owned(), serde_json::to_value(report)?);
    }
    if args.json {
        output.object(&json!({"collections": reports, "damages": damages}))?;
    }
    if damages > 0 {
        return Err(anyhow!("{}: {}", args.dir.display(), plural(damages, "damage", "damages")))
            .hint("`orthant db repair` deletes what is damaged; everything else is served as it is");
    }
    Ok(())
}

fn repair(args: &PlaceArgs) -> anyhow::Result<()> {
    let database = open(&args.dir)?;
    let output = Output::new(args.json);
    let mut deleted = 0;
    for collection in collections(&database, args)? {
        deleted += collection.repair()?;
    }
    output.line(format_args!("deleted {}", plural(deleted, "damaged row", "damaged rows")))?;
    if args.json {
        output.object(&json!({"deleted": deleted}))?;
    }
    Ok(database.close()?)
}

fn compact(args: &PlaceArgs) -> anyhow::Result<()> {
    let database = open(&args.dir)?;
    let output = Output::new(args.json);
    let mut all = serde_json::Map::new();
    for collection in collections(&database, args)? {
        let done = collection.compact()?;
        output.line(format_args!(
            "{}: moved {}, removed {}",
            collection.name(),
            plural(done.moved_rows as usize, "row", "rows"),
            plural(done.removed_files as usize, "file", "files")
        ))?;
        all.insert(collection.name().to_owned(), serde_json::to_value(done)?);
    }
    if args.json {
        output.object(&json!({"collections": all}))?;
    }
    Ok(database.close()?)
}

fn stats(args: &PlaceArgs) -> anyhow::Result<()> {
    let database = open(&args.dir)?;
    let output = Output::new(args.json);
    let mut all = serde_json::Map::new();
    for collection in collections(&database, args)? {
        let stats = collection.stats()?;
        output.line(format_args!(
            "{}: {} of {}, {} of entries, {} of vectors, {}",
            collection.name(),
            plural(stats.rows as usize, "row", "rows"),
            plural(stats.tenants as usize, "tenant", "tenants"),
            crate::output::bytes(stats.entry_bytes),
            crate::output::bytes(stats.vector_bytes),
            plural(stats.snapshots as usize, "snapshot", "snapshots")
        ))?;
        let schema = serde_json::to_value(&*collection.schema())?;
        all.insert(collection.name().to_owned(), json!({"stats": stats, "schema": schema}));
    }
    if args.json {
        output.object(&json!({"collections": all}))?;
    }
    Ok(())
}
