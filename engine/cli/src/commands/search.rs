//! `orthant search`: the nearest neighbors of queries in a saved index.

use std::time::Instant;

use anyhow::bail;
use orthant_engine::{Batch, Hit, Index, Key, SearchParams};
use serde_json::{Value, json};

use crate::args::SearchArgs;
use crate::output::{self, Output, count, plural, seconds};
use crate::parallel::thread_count;
use crate::vectors::Vectors;
use crate::{indexing, truth};

/// Rows of the printed table per query: what fits on a screen.
const SHOWN_NEIGHBORS: usize = 10;

/// Queries per call of the engine: enough to keep every core busy between two looks at the clock.
const STEP: usize = 8192;

/// Runs the command.
pub(crate) fn run(args: &SearchArgs) -> anyhow::Result<()> {
    let output = Output::new(args.json);
    if args.k == 0 {
        bail!("-k 0: ask for at least one neighbor");
    }
    if let Some(out) = &args.out {
        indexing::expect_writable(out)?;
    }
    let started = Instant::now();
    let mut index = indexing::open(&args.index, args.queries.is_some())?;
    index.set_threads(args.threads, None);
    let open_s = started.elapsed().as_secs_f64();
    let file;
    let queries = match (&args.queries, &args.row) {
        (Some(path), _) => {
            file = Vectors::open(path, args.threads)?;
            file.expect_dim(index.dim(), &args.index)?;
            file.values()
        }
        (None, Some(row)) => check_row(row, &index, args)?,
        (None, None) => bail!("name a file of queries, or write one out with --row"),
    };
    if index.is_empty() {
        bail!("{}: holds no vectors", args.index.display());
    }
    let n = queries.len() / index.dim();
    let k = args.k.min(index.len());
    if k < args.k {
        output::note(format_args!(
            "{} holds {}, so k = {k}",
            args.index.display(),
            plural(k, "vector", "vectors")
        ));
    }
    // A beam cannot hold more than there is.
    let ef = args.ef.clamp(k, index.len());
    if args.ef < k {
        output::note(format_args!("--ef {} is below k = {k} and was raised to it", args.ef));
    }
    let metric = index.metric();
    let truth = args.gt.as_ref().map(|path| truth::read(path, n, false, k, metric)).transpose()?;
    let started = Instant::now();
    let find = |queries: &[f32]| Ok(index.search_batch(queries, SearchParams::new(k, ef))?);
    let found = truth::in_steps("searching", queries, index.dim(), STEP, find)?;
    let search_s = started.elapsed().as_secs_f64();
    let numbers = truth::by_number(&index, &found);
    let recall = truth.map(|truth| truth::recall(&numbers, &truth));
    if let Some(out) = &args.out {
        truth::write(out, &numbers, Some(metric))?;
    }
    print(args, &index, &found, output)?;
    let qps = n as f64 / search_s.max(1e-9);
    let recall_text = recall.map_or(String::new(), |recall| format!(", recall@{k} {recall:.4}"));
    output.line(format_args!(
        "{} in {}: {} QPS on {} (k {k}, ef {ef}{recall_text})",
        plural(n, "query", "queries"),
        seconds(search_s),
        count(qps as u64),
        plural(thread_count(args.threads), "thread", "threads"),
    ))?;
    if args.json {
        output.object(&json!({
            "n": index.len(), "d": index.dim(), "metric": metric.to_string(),
            "queries": n, "k": k, "ef": ef, "threads": thread_count(args.threads),
            "open_s": open_s, "search_s": search_s, "qps": qps, "recall": recall, "out": args.out,
            "results": results(args, &index, &found),
        }))?;
    }
    Ok(())
}

/// A query from the command line, checked like one from a file.
fn check_row<'a>(row: &'a [f32], index: &Index, args: &SearchArgs) -> anyhow::Result<&'a [f32]> {
    if row.len() != index.dim() {
        bail!(
            "--row has {}, but the vectors of {} have {}",
            plural(row.len(), "number", "numbers"),
            args.index.display(),
            index.dim()
        );
    }
    if let Some(at) = row.iter().position(|value| !value.is_finite()) {
        bail!("--row: column {at}: {} is not a finite number", row[at]);
    }
    Ok(row)
}

/// The neighbors of the first queries, as a table.
fn print(args: &SearchArgs, index: &Index, found: &Batch, output: Output) -> anyhow::Result<()> {
    let mut rows = Vec::new();
    for query in 0..args.show.min(found.nodes.len() / found.k) {
        for (rank, hit) in (1..).zip(found.hits(query).take(SHOWN_NEIGHBORS)) {
            let key = index.key(hit.id()).map_or(String::new(), |key| key.to_string());
            rows.push(vec![query.to_string(), rank.to_string(), key, format!("{:.6}", hit.distance)]);
        }
    }
    if !rows.is_empty() {
        output.table(&["query", "rank", "key", "distance"], &rows)?;
        output.line(format_args!(""))?;
    }
    Ok(())
}

/// The same for programs, with all `k`.
fn results(args: &SearchArgs, index: &Index, found: &Batch) -> Vec<Vec<Value>> {
    let hit = |hit: Hit| {
        let key = match index.key(hit.id()) {
            Some(Key::Int(number)) => number.into(),
            Some(Key::Str(text)) => text.as_ref().into(),
            None => Value::Null,
        };
        json!({"key": key, "distance": hit.distance})
    };
    (0..args.show.min(found.nodes.len() / found.k))
        .map(|query| found.hits(query).map(hit).collect())
        .collect()
}
