//! `orthant exact`: ground truth by scanning every row.

use anyhow::bail;
use orthant_engine::Metric;
use serde_json::json;

use crate::args::ExactArgs;
use crate::output::{self, Output, plural, rate, seconds};
use crate::vectors::Vectors;
use crate::{indexing, truth};

/// Runs the command.
pub(crate) fn run(args: &ExactArgs) -> anyhow::Result<()> {
    let output = Output::new(args.json);
    if args.k == 0 {
        bail!("-k 0: ask for at least one neighbor");
    }
    indexing::expect_writable(&args.output)?;
    let data = Vectors::open(&args.data, args.threads)?;
    let queries = Vectors::open(&args.queries, args.threads)?;
    queries.expect_dim(data.dim(), &args.data)?;
    let k = args.k.min(data.rows());
    if k < args.k {
        output::note(format_args!("{} holds {}, so k = {k}", args.data.display(), plural(k, "row", "rows")));
    }
    let metric = Metric::from(args.metric);
    let (found, exact_s) = truth::scan(metric, data.values(), queries.values(), data.dim(), k, args.threads)?;
    truth::write(&args.output, &found, Some(metric))?;
    output.line(format_args!(
        "wrote  {}: the {k} nearest of {} for {} in {} ({} queries/s, {metric})",
        args.output.display(),
        plural(data.rows(), "row", "rows"),
        plural(queries.rows(), "query", "queries"),
        seconds(exact_s),
        rate(queries.rows(), exact_s)
    ))?;
    if args.json {
        output.object(&json!({
            "n": data.rows(), "d": data.dim(), "metric": metric.to_string(), "k": k, "queries": queries.rows(),
            "output": args.output, "exact_s": exact_s, "qps": queries.rows() as f64 / exact_s.max(1e-9),
        }))?;
    }
    Ok(())
}
