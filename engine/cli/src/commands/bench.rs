//! `orthant bench`: build time, memory, recall and speed on a folder of files; what churn does to them is in the
//! modules below.
//!
//! Speaks the external-process contract of peer harnesses: with `--out-dir` it prints a JSON line for
//! the build and one per beam width, and leaves the ids it found in files, so that recall is computed
//! by the same code for every engine.
//!
//! * **B1** Memory is what the process grew by after all vectors were read and checked (and so were
//!   resident).
//! * **B2** One-thread measurements run on `--core`; the build and the last column run on `--cores`.
//! * **B3** The beam width in effect is `max(ef, k)`; ids come from an untimed pass before.

mod agents;
mod churn;
mod crash;
mod filter;
mod ingest;
mod kept;
mod live;
mod mixed;
mod stress;
mod tenants;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, bail};
use clap::ValueEnum;
use orthant_engine::kernels::active_isa;
use orthant_engine::{Batch, Index, Metric, SearchParams};
use serde::Serialize;
use serde_json::json;

use crate::args::{BenchArgs, BenchKind, MetricName, ModeName, SweepArgs};
use crate::failure::WithHint;
use crate::measure::Effort;
use crate::output::{self, Output, count, plural, rate, seconds};
use crate::progress::Progress;
use crate::vectors::Vectors;
use crate::{indexing, machine, measure, truth};

/// The build, as the contract wants it.
#[derive(Serialize)]
struct BuildLine {
    r#type: &'static str,
    build_s: f64,
    rss_bytes: Option<u64>,
    peak_rss_bytes: Option<u64>,
    index_bytes: Option<u64>,
    info: serde_json::Value,
}

/// One beam width, as the contract wants it.
#[derive(Serialize)]
struct SearchLine {
    r#type: &'static str,
    ef: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    recall: Option<f64>,
    qps_best: f64,
    qps_median: f64,
    qps_batch1_best: f64,
    qps_batch2_best: Option<f64>,
    reps: usize,
    p50_us: f64,
    p99_us: f64,
    effort: Effort,
    #[serde(skip_serializing_if = "Option::is_none")]
    ids_file: Option<PathBuf>,
}

/// Runs the command.
pub(crate) fn run(args: &BenchArgs) -> anyhow::Result<()> {
    match &args.kind {
        None => sweep(&args.sweep),
        Some(BenchKind::Churn(args)) => churn::run(args),
        Some(BenchKind::Mixed(args)) => mixed::run(args),
        Some(BenchKind::Stress(args)) => stress::run(args),
        Some(BenchKind::Crash(args)) => crash::run(args),
        Some(BenchKind::Filter(args)) => filter::run(args),
        Some(BenchKind::Ingest(args)) => ingest::run(args),
        Some(BenchKind::Agents(args)) => agents::run(args),
        Some(BenchKind::Tenants(args)) => tenants::run(args),
    }
}

/// Recall against speed.
fn sweep(args: &SweepArgs) -> anyhow::Result<()> {
    let folder = args.data.as_deref().context("--data DIR is needed")?;
    let output = Output::new(args.json || args.out_dir.is_some());
    check(args)?;
    let metric = metric(folder, args.metric)?;
    let base = Vectors::open(&find(folder, "base")?, 0)?;
    let most = if args.max_queries == 0 { usize::MAX } else { args.max_queries };
    let queries = Vectors::open_first(&find(folder, "query")?, most, 0)?;
    queries.expect_dim(base.dim(), base.path())?;
    let (dim, n) = (base.dim(), queries.rows());
    let k = args.k.min(base.rows());
    let truth_file = folder.join("gt.ibin");
    let truth = truth_file
        .exists()
        .then(|| truth::read(&truth_file, n, args.max_queries > 0, k, metric))
        .transpose()?;

    let cores = if args.cores.is_empty() { machine::allowed_cores() } else { args.cores.clone() };
    let (mut index, build) = build(args, &base, metric, &cores)?;
    index.set_screening(!args.no_screening);
    output.line(format_args!(
        "{} of {dim} dimensions ({metric}) built in {}: {} vec/s on {}; {} of memory",
        plural(base.rows(), "vector", "vectors"),
        seconds(build.build_s),
        rate(base.rows(), build.build_s),
        plural(args.build_threads, "thread", "threads"),
        build.rss_bytes.map_or("unknown".to_owned(), output::bytes)
    ))?;
    if output.is_json() {
        output.object(&build)?;
    }
    let progress = Progress::start("measuring", args.ef.len());
    let mut lines = Vec::new();
    for &ef in &args.ef {
        let line = search(
            args,
            &mut index,
            queries.values(),
            (k, ef.clamp(k, base.rows())),
            truth.as_ref(),
            &cores,
        )?;
        if output.is_json() {
            output.object(&line)?;
        }
        lines.push(line);
        progress.add(1);
    }
    progress.finish();
    print(args, &lines, k, output)?;
    if args.json {
        output.object(&json!({
            "type": "summary", "n": base.rows(), "d": dim, "metric": metric.to_string(), "k": k, "queries": n,
            "build_s": build.build_s, "build_vps": base.rows() as f64 / build.build_s.max(1e-9),
            "rss_bytes": build.rss_bytes, "index_bytes": build.index_bytes, "points": lines,
        }))?;
    }
    Ok(())
}

fn check(args: &SweepArgs) -> anyhow::Result<()> {
    if args.k == 0 {
        bail!("-k 0: ask for at least one neighbor");
    }
    if args.build_threads == 0 {
        bail!("--build-threads 0: say how many, so that the figure means something");
    }
    if let Some(out) = args.out_dir.as_ref().filter(|out| !out.is_dir()) {
        bail!("{}: not a folder to write ids into", out.display());
    }
    Ok(())
}

/// The metric that was asked for, or what the folder says.
fn metric(folder: &Path, asked: Option<MetricName>) -> anyhow::Result<Metric> {
    let path = folder.join("metric");
    let name = match (asked, fs::read_to_string(&path)) {
        (Some(name), _) => name,
        (None, Ok(text)) => MetricName::from_str(text.trim(), true)
            .map_err(|_| anyhow::anyhow!("{}: `{}` is no metric", path.display(), text.trim()))?,
        (None, Err(_)) => MetricName::L2,
    };
    Ok(name.into())
}

/// The file called `name` in `folder`, whatever its format.
fn find(folder: &Path, name: &str) -> anyhow::Result<PathBuf> {
    fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    ["fbin", "npy", "u8bin", "i8bin", "fvecs", "bvecs"]
        .iter()
        .map(|extension| folder.join(name).with_extension(extension))
        .find(|path| path.exists())
        .with_context(|| format!("{}: holds no {name}.fbin, nor {name} in another format", folder.display()))
        .hint("a folder to measure holds base.* and query.*, and gt.ibin for recall (see `orthant exact`)")
}

/// An index that was saved, of the rows that are measured with.
fn open(path: &Path, base: &Vectors, metric: Metric) -> anyhow::Result<Index> {
    let index = indexing::open(path, true)?;
    let (rows, dim) = (index.len(), index.dim());
    if (rows, dim, index.metric()) != (base.rows(), base.dim(), metric) {
        bail!(
            "{}: {rows} rows of {dim} dimensions ({}) are not those of the folder",
            path.display(),
            index.metric()
        );
    }
    Ok(index)
}

/// What an index is after the build where rows stay in the file: saved, and opened where it lies.
fn reopen(args: &SweepArgs, index: Index) -> anyhow::Result<Index> {
    let folder = args.out_dir.clone().unwrap_or_else(std::env::temp_dir);
    let path = folder.join(format!("orthant-bench-{}.orthant", std::process::id()));
    index.save(&path).context("the index was not saved")?;
    drop(index);
    let opened = indexing::open(&path, true);
    // The mapping keeps what it needs.
    let _ = fs::remove_file(&path);
    opened
}

/// Bytes that the process itself has gained; pages of files, which the system takes back when it needs them, are none.
fn anonymous_growth(before: Option<u64>) -> Option<u64> {
    Some(machine::anonymous_bytes()?.saturating_sub(before?))
}

fn build(
    args: &SweepArgs,
    base: &Vectors,
    metric: Metric,
    cores: &[usize],
) -> anyhow::Result<(Index, BuildLine)> {
    let cores = cores[..args.build_threads.min(cores.len())].to_vec();
    pin(&cores);
    let cores = (args.build_threads > 1 && !cores.is_empty()).then_some(cores);
    let (before, owned) = (machine::resident_bytes(), machine::anonymous_bytes());
    let has_peak = machine::reset_peak();
    let grown = |now: Option<u64>| Some(now?.saturating_sub(before?));
    let start = Instant::now();
    let (index, build_s, rss) = match &args.index {
        Some(path) => (open(path, base, metric)?, start.elapsed().as_secs_f64(), anonymous_growth(owned)),
        None => {
            let shape = (base.rows(), base.dim(), metric);
            let rows = indexing::from_slice(base.values());
            let (index, build_s) =
                indexing::build(shape, rows, &args.graph, (args.build_threads, cores), None)?;
            if args.graph.mode == Some(ModeName::Memory) || index.info().half_rows.is_some() {
                (reopen(args, index)?, build_s, anonymous_growth(owned))
            } else {
                (index, build_s, grown(machine::resident_bytes()))
            }
        }
    };
    let peak = if has_peak { grown(machine::peak_bytes()) } else { None };
    let index_bytes = match &args.out_dir {
        None => None,
        Some(folder) => {
            let path = folder.join("index.orthant");
            index.save(&path).context("the index was not saved")?;
            let bytes = fs::metadata(&path).map(|metadata| metadata.len()).ok();
            // The folder is the harness's, which removes it anyway: a file left there harms nobody.
            let _ = fs::remove_file(&path);
            bytes
        }
    };
    let info = json!({
        "version": env!("CARGO_PKG_VERSION"), "isa": active_isa()?.to_string(),
        "m": args.graph.m, "ef_construction": args.graph.ef_construction, "build_threads": args.build_threads,
        "quantization": index.info().quantization.to_string(), "rerank": args.rerank,
        "mode": index.info().mode.map(|mode| mode.name()),
    });
    let line =
        BuildLine { r#type: "build", build_s, rss_bytes: rss, peak_rss_bytes: peak, index_bytes, info };
    Ok((index, line))
}

fn search(
    args: &SweepArgs,
    index: &mut Index,
    queries: &[f32],
    (k, ef): (usize, usize),
    truth: Option<&Batch>,
    cores: &[usize],
) -> anyhow::Result<SearchLine> {
    let mut params = SearchParams::new(k, ef);
    if args.rerank > 0 {
        params = params.with_rerank(args.rerank);
    }
    pin(&[args.core.or(cores.first().copied()).unwrap_or(0)]);
    let mut searcher = index.searcher();
    let (found, effort) = measure::one_by_one(&mut searcher, queries, index.dim(), params)?;
    let ids_file = args.out_dir.as_ref().map(|folder| folder.join(format!("ids-{ef}.ibin")));
    if let Some(path) = &ids_file {
        truth::write(path, &found, None)?;
    }
    let speed = measure::speed(&mut searcher, queries, index.dim(), params, args.reps)?;
    let qps_batch1_best = batch(args, index, queries, params, (1, None))?;
    let qps_batch2_best = if args.batch_threads > 1 {
        let cores = cores[..args.batch_threads.min(cores.len())].to_vec();
        let cores = (!cores.is_empty()).then_some(cores);
        Some(batch(args, index, queries, params, (args.batch_threads, cores))?)
    } else {
        None
    };
    Ok(SearchLine {
        r#type: "search",
        ef,
        recall: truth.map(|truth| truth::recall(&found, truth)),
        qps_best: speed.qps_best,
        qps_median: speed.qps_median,
        qps_batch1_best,
        qps_batch2_best,
        reps: args.reps,
        p50_us: speed.p50_us,
        p99_us: speed.p99_us,
        effort,
        ids_file,
    })
}

/// Best queries per second of the engine's own batch call.
fn batch(
    args: &SweepArgs,
    index: &mut Index,
    queries: &[f32],
    params: SearchParams,
    (threads, cores): (usize, Option<Vec<usize>>),
) -> anyhow::Result<f64> {
    index.set_threads(threads, cores);
    let n = queries.len() / index.dim();
    // Untimed, so that the threads are up.
    index.search_batch(queries, params)?;
    let mut best = 0.0_f64;
    for _ in 0..args.reps {
        let start = Instant::now();
        std::hint::black_box(index.search_batch(queries, params)?);
        best = best.max(n as f64 / start.elapsed().as_secs_f64().max(1e-9));
    }
    Ok(best)
}

/// Keeps this thread, and those it starts, on `cores`, if there are any. Where that is impossible the figures are only less
/// steady, so it is said and not an error.
fn pin(cores: &[usize]) {
    if !cores.is_empty()
        && let Err(error) = machine::pin_to(cores)
    {
        output::note(format_args!("could not pin to cores {cores:?}: {error}"));
    }
}

fn print(args: &SweepArgs, lines: &[SearchLine], k: usize, output: Output) -> anyhow::Result<()> {
    let recall = format!("recall@{k}");
    let threads = format!("QPS batch, {} threads", args.batch_threads);
    let mut header = vec!["ef", &recall, "QPS", "QPS median", "p50", "p99", "QPS batch"];
    if args.batch_threads > 1 {
        header.push(&threads);
    }
    let row = |line: &SearchLine| {
        let mut row = vec![
            line.ef.to_string(),
            line.recall.map_or("-".to_owned(), |recall| format!("{recall:.4}")),
            count(line.qps_best as u64),
            count(line.qps_median as u64),
            format!("{:.0} us", line.p50_us),
            format!("{:.0} us", line.p99_us),
            count(line.qps_batch1_best as u64),
        ];
        row.extend(line.qps_batch2_best.map(|qps| count(qps as u64)));
        row
    };
    output.line(format_args!(""))?;
    output.table(&header, &lines.iter().map(row).collect::<Vec<_>>())
}
