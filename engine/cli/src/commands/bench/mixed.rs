//! `orthant bench mixed`: how long searches take while another thread inserts at full speed.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use orthant_engine::{Index, SearchParams, Searcher};
use serde_json::json;

use super::churn::Data;
use crate::args::MixedArgs;
use crate::failure::Internal;
use crate::output::{Output, count, plural, rate, seconds};
use crate::vectors::Vectors;
use crate::{machine, measure};

/// How long the caches and the processor's clock may settle before the first search that counts.
const WARM_UP: Duration = Duration::from_millis(500);

/// Runs the command.
pub(super) fn run(args: &MixedArgs) -> anyhow::Result<()> {
    let output = Output::new(args.json);
    ensure!(args.seconds > 0.0, "--seconds {}: not a time", args.seconds);
    ensure!(args.k > 0, "-k 0: ask for at least one neighbor");
    let metric = super::metric(&args.data, args.metric)?;
    let most = if args.limit == 0 { usize::MAX } else { args.limit };
    let base = Vectors::open_first(&super::find(&args.data, "base")?, most, 0)?;
    let queries = Vectors::open(&super::find(&args.data, "query")?, 0)?;
    queries.expect_dim(base.dim(), base.path())?;
    let data = Data { metric, dim: base.dim(), rows: base.values(), queries: queries.values() };
    let cores = if args.cores.is_empty() { machine::allowed_cores() } else { args.cores.clone() };
    if cores.len() < 2 {
        bail!("searching beside inserting takes two cores, this process may use {}", cores.len());
    }
    let rows = base.rows() as u32;
    let mut index = data.empty(&args.graph, args.threads)?;
    data.insert(&index, &(0..rows / 2).collect::<Vec<_>>())?;
    index.train()?;

    let params = SearchParams::new(args.k, args.ef.max(args.k));
    let half = Duration::from_secs_f64(args.seconds / 2.0);
    let inserted = AtomicUsize::new(0);
    let (idle, busy, insert_s) = std::thread::scope(|scope| {
        let searching = scope.spawn(|| {
            super::pin(&cores[..1]);
            let mut searcher = index.searcher();
            let never = AtomicBool::new(false);
            times(&mut searcher, &data, params, WARM_UP, &never)?;
            let idle = times(&mut searcher, &data, params, half, &never)?;
            let is_over = AtomicBool::new(false);
            let (busy, insert_s) = std::thread::scope(|scope| {
                let inserting = scope.spawn(|| {
                    super::pin(&cores[1..2]);
                    let seconds = insert(&index, &data, rows / 2..rows, &is_over, &inserted);
                    is_over.store(true, Ordering::Relaxed);
                    seconds
                });
                let busy = times(&mut searcher, &data, params, half, &is_over);
                is_over.store(true, Ordering::Relaxed);
                (busy, inserting.join())
            });
            anyhow::Ok((idle, busy?, insert_s))
        });
        searching.join()
    })
    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
    let insert_s = insert_s.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
    let inserted = inserted.into_inner();

    let report = index.validate();
    let validate = if report.is_ok() { "ok".to_owned() } else { report.to_string() };
    let us = |nanoseconds: &[u32], q| measure::quantile(nanoseconds, q);
    output.table(
        &["", "searches", "p50", "p99"],
        &[("idle", &idle), ("while inserting", &busy)].map(|(name, times)| {
            vec![
                name.to_owned(),
                count(times.len() as u64),
                format!("{:.0} us", us(times, 0.5)),
                format!("{:.0} us", us(times, 0.99)),
            ]
        }),
    )?;
    output.line(format_args!(
        "{} inserted in {}: {}/s; validate {validate}",
        plural(inserted, "row", "rows"),
        seconds(insert_s),
        rate(inserted, insert_s),
    ))?;
    if args.json {
        output.object(&json!({
            "type": "mixed", "n": base.rows(), "d": data.dim, "metric": metric.to_string(), "k": args.k,
            "ef": args.ef, "quantization": format!("{:?}", args.graph.quantization).to_lowercase(),
            "searches_idle": idle.len(), "searches_inserting": busy.len(),
            "p50_idle_us": us(&idle, 0.5), "p99_idle_us": us(&idle, 0.99),
            "p50_inserting_us": us(&busy, 0.5), "p99_inserting_us": us(&busy, 0.99),
            "p99_ratio": us(&busy, 0.99) / us(&idle, 0.99).max(1e-9),
            "inserts_per_s": inserted as f64 / insert_s.max(1e-9), "validate": validate,
        }))?;
    }
    if validate != "ok" {
        return Err(anyhow::anyhow!(validate)).context(Internal("the index fails its own check"));
    }
    Ok(())
}

/// Nanoseconds of each search, sorted: one query after the other until `time` or `is_over`.
fn times(
    searcher: &mut Searcher<'_>,
    data: &Data<'_>,
    params: SearchParams,
    time: Duration,
    is_over: &AtomicBool,
) -> anyhow::Result<Vec<u32>> {
    let mut nanoseconds = Vec::with_capacity(1 << 20);
    let start = Instant::now();
    let mut before = start;
    for query in data.queries.chunks_exact(data.dim).cycle() {
        std::hint::black_box(searcher.search(query, params)?);
        let now = Instant::now();
        nanoseconds.push((now - before).as_nanos() as u32);
        if now - start >= time || is_over.load(Ordering::Relaxed) {
            break;
        }
        before = Instant::now();
    }
    nanoseconds.sort_unstable();
    Ok(nanoseconds)
}

/// Inserts `rows` until they run out or it `is_over`; returns the seconds it took.
fn insert(
    index: &Index,
    data: &Data<'_>,
    rows: std::ops::Range<u32>,
    is_over: &AtomicBool,
    inserted: &AtomicUsize,
) -> anyhow::Result<f64> {
    let start = Instant::now();
    for row in rows {
        if is_over.load(Ordering::Relaxed) {
            break;
        }
        index.insert(u64::from(row), data.row(row))?;
        inserted.fetch_add(1, Ordering::Relaxed);
    }
    Ok(start.elapsed().as_secs_f64())
}
