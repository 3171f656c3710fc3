//! `orthant db export` and its way back: a collection as one file.

use std::path::Path;
use std::time::Instant;

use orthant_store::{Database, OpenError, Options};
use serde_json::json;

use super::collection;
use crate::args::{CollectionArgs, ExportArgs};
use crate::output::{Output, plural, seconds};

pub(super) fn run(args: &ExportArgs) -> anyhow::Result<()> {
    let (_database, collection) = collection(&args.place)?;
    let started = Instant::now();
    let manifest = collection.export(&args.file)?;
    let output = Output::new(args.place.json);
    output.line(format_args!(
        "{} into {} in {}",
        plural(manifest.rows as usize, "row", "rows"),
        args.file.display(),
        seconds(started.elapsed().as_secs_f64())
    ))?;
    if args.place.json {
        output.object(&serde_json::to_value(manifest)?)?;
    }
    Ok(())
}

/// Makes the collection that `from` holds, and the database if there is none.
pub(super) fn back(place: &CollectionArgs, from: &Path) -> anyhow::Result<()> {
    let database = match Database::open(&place.dir, Options::default()) {
        Err(OpenError::Missing { .. }) => Database::create(&place.dir, Options::default())?,
        other => other?,
    };
    let started = Instant::now();
    let collection = database.import_collection(&place.collection, from)?;
    let took = started.elapsed().as_secs_f64();
    let rows = collection.stats()?.rows;
    drop(collection);
    database.close()?;
    let output = Output::new(place.json);
    output.line(format_args!("imported {} in {}", plural(rows as usize, "row", "rows"), seconds(took)))?;
    if place.json {
        output.object(&json!({"rows": rows, "seconds": took}))?;
    }
    Ok(())
}
