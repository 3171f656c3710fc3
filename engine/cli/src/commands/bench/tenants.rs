//! `orthant bench tenants`: many small tenants in one collection.

use std::time::Instant;

use anyhow::{Context, ensure};
use orthant_engine::Metric;
use orthant_store::{Database, FieldType, Key, Options, Row, Schema, SearchRequest};
use serde_json::json;

use crate::args::TenantsArgs;
use crate::output::{Output, bytes, count, rate, seconds};
use crate::progress::Progress;
use crate::{generated, machine};

/// Threads that write: their commits share groups.
const WRITERS: usize = 4;

/// Tenants that are used after opening.
const USED: usize = 1000;

/// Runs the command.
pub(super) fn run(args: &TenantsArgs) -> anyhow::Result<()> {
    let output = Output::new(args.json);
    let made = tempfile::tempdir().context("no temporary folder")?;
    let dir = args.dir.as_deref().unwrap_or(made.path()).join("tenants");
    let (tenants, dim) = (args.tenants, args.dim);
    let elements = generated::rows(42, 0, 4096, dim, 0);
    let vector = |tenant: usize, n: usize| &elements[(tenant * args.rows + n) % 4096 * dim..][..dim];

    let database = Database::create(&dir, Options { background: false, ..Options::default() })?;
    let schema = Schema::new(dim, Metric::L2).with_field("n", FieldType::Integer);
    let collection = database.create_collection("rows", schema)?;
    let progress = Progress::start("writing", tenants);
    let started = Instant::now();
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let (collection, progress) = (&collection, &progress);
                scope.spawn(move || -> anyhow::Result<()> {
                    for tenant in (writer..tenants).step_by(WRITERS) {
                        let rows = (0..args.rows).map(|n| {
                            let row = Row::new(n as u64, vector(tenant, n));
                            Ok(row.with_payload(json!({"n": tenant}))?)
                        });
                        let rows = rows.collect::<anyhow::Result<Vec<_>>>()?;
                        collection.tenant(&format!("tenant-{tenant}"))?.upsert_batch(rows)?;
                        progress.add(1);
                    }
                    Ok(())
                })
            })
            .collect();
        writers
            .into_iter()
            .try_for_each(|writer| writer.join().map_err(|_| anyhow::anyhow!("a writer panicked"))?)
    })?;
    let write_s = started.elapsed().as_secs_f64();
    progress.finish();
    drop(collection);
    database.close()?;

    let before = machine::anonymous_bytes();
    let started = Instant::now();
    let database = Database::open(&dir, Options::default())?;
    let collection = database.collection("rows").context("the collection is gone")?;
    let open_s = started.elapsed().as_secs_f64();
    let idle = machine::anonymous_bytes().zip(before).map(|(now, before)| now.saturating_sub(before));
    let mut times = Vec::with_capacity(USED);
    let step = (tenants / USED).max(1);
    for number in (0..tenants).step_by(step) {
        let tenant = collection.tenant(&format!("tenant-{number}"))?;
        let started = Instant::now();
        let found = tenant.search(&SearchRequest::new(vector(number, 0), 10 * args.rows).with_payload())?;
        times.push(started.elapsed());
        let is_own = |n: &serde_json::Value| n.as_u64() == Some(number as u64);
        ensure!(
            found.len() == args.rows
                && found.iter().all(|found| matches!(found.key, Key::Int(_))
                    && found.payload.as_ref().and_then(|payload| payload.get("n")).is_some_and(is_own)),
            "tenant {number} found what is not its own"
        );
    }
    times.sort_unstable();
    let first_ms = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
    let stats = collection.stats()?;
    let loaded = stats.loaded_bytes / stats.loaded_tenants.max(1);
    let idle_each = idle.map(|idle| idle / tenants as u64);

    output.line(format_args!(
        "wrote {} tenants in {}: {} tenants/s",
        count(tenants as u64),
        seconds(write_s),
        rate(tenants, write_s)
    ))?;
    output.line(format_args!(
        "opened in {}; {} of memory for each idle tenant, {} for one in use",
        seconds(open_s),
        idle_each.map_or_else(|| "?".to_owned(), bytes),
        bytes(loaded)
    ))?;
    output.line(format_args!(
        "first search of a tenant p50 {:.3} ms, p99 {:.3} ms",
        first_ms(0.5),
        first_ms(0.99)
    ))?;
    if args.json {
        output.object(&json!({
            "tenants": tenants, "rows": args.rows, "dim": dim, "write_s": write_s, "open_s": open_s,
            "idle_tenant_bytes": idle_each, "loaded_tenant_bytes": loaded,
            "first_search_p50_ms": first_ms(0.5), "first_search_p99_ms": first_ms(0.99),
        }))?;
    }
    Ok(())
}
