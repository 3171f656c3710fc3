//! `orthant build`: a file of vectors becomes an index.

use anyhow::Context;
use orthant_engine::Metric;
use serde_json::json;

use crate::args::{BuildArgs, MethodName};
use crate::output::{self, Output, plural, rate, seconds};
use crate::parallel::thread_count;
use crate::{bulk, indexing, vectors};

/// Runs the command.
pub(crate) fn run(args: &BuildArgs) -> anyhow::Result<()> {
    let output = Output::new(args.json);
    indexing::expect_writable(&args.output)?;
    let data = vectors::open(&args.data)?;
    let (n, dim, metric) = (data.rows(), data.dim(), Metric::from(args.metric));
    let read = |row: usize, out: &mut [f32]| data.read_row(row, out);
    let (index, build_s) =
        indexing::build((n, dim, metric), read, &args.graph, (args.threads, None), Some(&args.output))?;
    let started = std::time::Instant::now();
    index.save(&args.output).context("the index was not saved")?;
    let save_s = started.elapsed().as_secs_f64();
    if args.graph.method == MethodName::Bulk && !args.graph.no_resume {
        bulk::resume(&args.output).discard();
    }
    let bytes = std::fs::metadata(&args.output).map_or(0, |metadata| metadata.len());
    output.line(format_args!(
        "built  {} of {dim} dimensions in {}: {} vec/s ({metric}, M {}, ef_construction {}, {})",
        plural(n, "vector", "vectors"),
        seconds(build_s),
        rate(n, build_s),
        args.graph.m,
        args.graph.ef_construction,
        plural(thread_count(args.threads), "thread", "threads")
    ))?;
    output.line(format_args!(
        "saved  {} in {}: {}, {} bytes per vector",
        args.output.display(),
        seconds(save_s),
        output::bytes(bytes),
        bytes / n.max(1) as u64
    ))?;
    if args.json {
        output.object(&json!({
            "n": n, "d": dim, "metric": metric.to_string(), "index": args.output,
            "build_s": build_s, "build_vps": n as f64 / build_s.max(1e-9), "save_s": save_s, "index_bytes": bytes,
            "m": args.graph.m, "ef_construction": args.graph.ef_construction, "seed": args.graph.seed,
            "threads": thread_count(args.threads),
        }))?;
    }
    Ok(())
}
