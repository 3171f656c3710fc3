//! `orthant bench ingest`: how fast rows are written durably, how long a single one takes, what they take on disk.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use orthant_engine::Metric;
use orthant_store::{Database, FieldType, Key, Options, Row, Schema, SearchRequest};
use serde_json::json;

use super::crash::flush;
use crate::args::IngestArgs;
use crate::output::{Output, bytes, count, rate, seconds};
use crate::progress::Progress;
use crate::{generated, machine};

/// Single writes that are timed.
const SINGLES: usize = 2000;

/// Runs the command.
pub(super) fn run(args: &IngestArgs) -> anyhow::Result<()> {
    let output = Output::new(args.json);
    let made = tempfile::tempdir().context("no temporary folder")?;
    let dir = args.dir.as_deref().unwrap_or(made.path()).join("ingest");
    let dim = args.dim;
    let all = generated::rows(42, 0, args.rows + SINGLES, dim, 0);
    let (rows, singles) = all.split_at(args.rows * dim);
    let options = Options { flush: flush(args.flush), ..Options::default() };
    let database = Database::create(&dir, options.clone())?;
    let schema = Schema::new(dim, Metric::Cosine).with_field("n", FieldType::Integer);
    let tenant = database.create_collection("rows", schema)?.only();
    let row = |n: usize, elements: &[f32]| -> anyhow::Result<Row> {
        Ok(Row::new(n as u64, elements).with_payload(json!({"n": n, "text": "some words about it"}))?)
    };
    let payload_bytes: usize = (0..args.rows + SINGLES)
        .map(|n| json!({"n": n, "text": "some words about it"}).to_string().len())
        .sum();

    let progress = Progress::start("writing", args.rows);
    let next = AtomicUsize::new(0);
    let started = Instant::now();
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..args.writers)
            .map(|_| {
                scope.spawn(|| -> anyhow::Result<()> {
                    loop {
                        let first = next.fetch_add(args.batch, Ordering::Relaxed);
                        if first >= args.rows {
                            return Ok(());
                        }
                        let last = (first + args.batch).min(args.rows);
                        let batch = (first..last).map(|n| row(n, &rows[n * dim..(n + 1) * dim]));
                        tenant.upsert_batch(batch.collect::<anyhow::Result<Vec<_>>>()?)?;
                        progress.add(last - first);
                    }
                })
            })
            .collect();
        writers
            .into_iter()
            .try_for_each(|writer| writer.join().map_err(|_| anyhow::anyhow!("a writer panicked"))?)
    })?;
    let write_s = started.elapsed().as_secs_f64();
    progress.finish();
    database.flush()?;
    let flushed_s = started.elapsed().as_secs_f64();

    // Single writes beside the linking of the rows above, each looked for at once.
    let mut times = Vec::with_capacity(SINGLES);
    let mut is_found = true;
    for (place, elements) in singles.chunks_exact(dim).enumerate() {
        let n = args.rows + place;
        let single = row(n, elements)?;
        let started = Instant::now();
        tenant.upsert(single)?;
        times.push(started.elapsed());
        if place % 100 == 0 {
            let found = tenant.search(&SearchRequest::new(elements, 1))?;
            is_found &= found.first().is_some_and(|found| found.key == Key::Int(n as u64));
        }
    }
    ensure!(is_found, "a row that was acknowledged was not found at once");
    times.sort_unstable();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
    let (p50, p99) = (at(0.5), at(0.99));

    let started = Instant::now();
    database.settle()?;
    let settle_s = started.elapsed().as_secs_f64();
    let resident = machine::resident_bytes();
    drop(tenant);
    database.close()?;
    let total = args.rows + SINGLES;
    let disk = disk_bytes(&dir)?;
    let started = Instant::now();
    let database = Database::open(&dir, options)?;
    let tenant = database.collection("rows").context("the collection is gone")?.only();
    ensure!(tenant.len()? == total as u64, "rows are missing");
    let found = tenant.search(&SearchRequest::new(&singles[..dim], 1))?;
    ensure!(found.first().is_some_and(|found| found.key == Key::Int(args.rows as u64)), "a row is not found");
    let reopen_s = started.elapsed().as_secs_f64();

    let per_row = disk.0.saturating_sub(payload_bytes as u64) as f64 / total as f64;
    let milliseconds = |time: Duration| time.as_secs_f64() * 1e3;
    output.line(format_args!(
        "wrote    {} rows of {dim} in {}: {} rows/s; safe {} later",
        count(args.rows as u64),
        seconds(write_s),
        rate(args.rows, write_s),
        seconds(flushed_s - write_s)
    ))?;
    output.line(format_args!("single   p50 {:.2} ms, p99 {:.2} ms", milliseconds(p50), milliseconds(p99)))?;
    output.line(format_args!(
        "linked   {} later; open again, first search done, in {}",
        seconds(settle_s),
        seconds(reopen_s)
    ))?;
    output.line(format_args!(
        "disk     {} ({per_row:.1} bytes per row beyond the payload; graphs {})",
        bytes(disk.0),
        bytes(disk.1)
    ))?;
    if args.json {
        output.object(&json!({
            "rows": args.rows, "dim": dim, "batch": args.batch, "writers": args.writers,
            "rows_per_s": args.rows as f64 / write_s, "rows_per_s_flushed": args.rows as f64 / flushed_s,
            "single_p50_ms": milliseconds(p50), "single_p99_ms": milliseconds(p99), "found_at_once": is_found,
            "settle_s": settle_s, "reopen_s": reopen_s, "disk_bytes": disk.0, "graph_bytes": disk.1,
            "disk_bytes_per_row_beyond_payload": per_row, "resident_bytes": resident,
        }))?;
    }
    Ok(())
}

/// Bytes of all files below a folder, and of those of graphs.
fn disk_bytes(dir: &Path) -> anyhow::Result<(u64, u64)> {
    let (mut all, mut graphs) = (0, 0);
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            let below = disk_bytes(&entry.path())?;
            all += below.0;
            graphs += if entry.file_name() == "graphs" { below.0 } else { below.1 };
        } else {
            use std::os::unix::fs::MetadataExt;
            all += entry.metadata()?.blocks() * 512;
        }
    }
    Ok((all, graphs))
}
