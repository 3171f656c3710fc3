//! A collection that a benchmark makes, or finds as an earlier run left it.

use std::path::Path;

use anyhow::ensure;
use orthant_store::{Database, OpenError, Options, Row, Schema, Tenant};

use crate::progress::Progress;

/// Rows per commit.
const BATCH: usize = 1000;

/// The collection "rows" of the database in `dir`, with `rows` rows, linked: made of those that `write` gives for a range of
/// numbers, or, if it has as many rows, taken as it is.
pub(super) fn kept(
    dir: &Path,
    schema: Schema,
    rows: usize,
    mut write: impl FnMut(std::ops::Range<usize>) -> anyhow::Result<Vec<Row>>,
) -> anyhow::Result<(Database, Tenant)> {
    let database = match Database::open(dir, Options::default()) {
        Err(OpenError::Missing { .. }) => Database::create(dir, Options::default())?,
        other => other?,
    };
    let tenant = match database.collection("rows") {
        Some(collection) => collection.only(),
        None => database.create_collection("rows", schema)?.only(),
    };
    let has = tenant.len()? as usize;
    ensure!(has == 0 || has == rows, "{}: holds {has} rows, not {rows}", dir.display());
    let progress = Progress::start("writing", rows);
    for first in (has..rows).step_by(BATCH) {
        tenant.upsert_batch(write(first..(first + BATCH).min(rows))?)?;
        progress.set(first);
    }
    progress.finish();
    let linking = Progress::start("linking", 1);
    database.settle()?;
    linking.finish();
    Ok((database, tenant))
}
