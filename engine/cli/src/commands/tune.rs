//! `orthant tune`: what building costs and brings, tried on a sample of the user's rows.
//!
//! * **T1** Every build gets the same rows, queries and truth; the truth is an exact scan of the rows that are built.
//! * **T2** Speed at the target lies on the line between the two beam widths around it.

use anyhow::bail;
use orthant_engine::{Batch, BulkOptions, Index, IndexBuilder, Metric, SearchParams};
use serde::Serialize;
use serde_json::json;

use crate::args::TuneArgs;
use crate::output::{self, Output, count, plural};
use crate::parallel::thread_count;
use crate::{indexing, measure, truth, vectors};

/// Rows set aside as queries when none are given: recall is then known to half a point.
const SET_ASIDE: usize = 500;

/// Timed passes over the queries per beam width.
const REPETITIONS: usize = 3;

/// A build whose speed is within this of the best is as good as it: less cannot be told from noise.
const AS_GOOD: f64 = 0.97;

/// One way to build.
#[derive(Debug, Serialize)]
struct Line {
    method: String,
    build_s: f64,
    build_vps: f64,
    recall: f64,
    qps: f64,
    /// None where no beam width reached the target.
    ef_at_target: Option<f64>,
    qps_at_target: Option<f64>,
}

/// Runs the command.
pub(crate) fn run(args: &TuneArgs) -> anyhow::Result<()> {
    let output = Output::new(args.json);
    if !(0.0..=1.0).contains(&args.target) || args.ef_construction.is_empty() {
        bail!("--target is a share from 0 to 1, and --ef-construction names at least one width");
    }
    let (rows, queries, dim) = sample(args)?;
    let n = rows.len() / dim;
    output.line(format_args!(
        "{} of {dim} dimensions built in each way on {}, {} searched for",
        plural(n, "row", "rows"),
        plural(thread_count(args.threads), "thread", "threads"),
        plural(queries.len() / dim, "query", "queries"),
    ))?;
    let mut lines = Vec::new();
    let mut near: Option<Batch> = None;
    let ways = std::iter::once(None).chain(args.ef_construction.iter().map(|&width| Some(width)));
    for width in ways {
        let Some((index, build_s)) = build(args, &rows, dim, width)? else { continue };
        let k = args.k.min(n);
        let near = match &near {
            Some(near) => near,
            None => near.insert(truth::scan_index(&index, &queries, k)?),
        };
        lines.push(judge(args, &index, &queries, near, (width, build_s))?);
    }
    let best = lines.iter().filter_map(|line| line.qps_at_target).fold(0.0, f64::max);
    let is_good = |line: &&Line| line.qps_at_target.is_some_and(|qps| qps >= best * AS_GOOD);
    let chosen = lines.iter().filter(is_good).min_by(|a, b| a.build_s.total_cmp(&b.build_s));
    let name = chosen.map(|line| line.method.clone());
    print(args, &lines, name.as_deref(), output)?;
    if args.json {
        output.object(&json!({ "n": n, "d": dim, "target": args.target, "ef": args.ef, "builds": lines, "chosen": name }))?;
    }
    Ok(())
}

/// Rows and queries, drawn evenly from the file.
fn sample(args: &TuneArgs) -> anyhow::Result<(Vec<f32>, Vec<f32>, usize)> {
    let file = vectors::open(&args.data)?;
    let dim = file.dim();
    let given = match &args.queries {
        None => None,
        Some(path) => {
            let given = vectors::Vectors::open_first(path, 2 * SET_ASIDE, args.threads)?;
            given.expect_dim(dim, &args.data)?;
            Some(given.values().to_vec())
        }
    };
    let aside = if given.is_some() { 0 } else { SET_ASIDE.min(file.rows() / 10) };
    let drawn = file.rows().min(args.sample + aside);
    if given.is_none() && aside == 0 {
        bail!("{}: too few rows to set some aside: give --queries", args.data.display());
    }
    let (mut rows, mut queries) = (Vec::with_capacity((drawn - aside) * dim), given.unwrap_or_default());
    let mut row = vec![0.0; dim];
    for at in 0..drawn {
        file.read_row(at * file.rows() / drawn, &mut row)?;
        // Every so many-th, `aside` in all.
        let is_query = (at + 1) * aside / drawn > at * aside / drawn;
        if is_query { &mut queries } else { &mut rows }.extend_from_slice(&row);
    }
    Ok((rows, queries, dim))
}

/// The rows in an index that inserts make with beams of `width`, or in bulk; none where there is no bulk build.
fn build(
    args: &TuneArgs,
    rows: &[f32],
    dim: usize,
    width: Option<usize>,
) -> anyhow::Result<Option<(Index, f64)>> {
    let metric = Metric::from(args.metric);
    let builder = IndexBuilder::new(dim, metric).m(args.m).seed(args.seed).threads(args.threads);
    let (started, read, count) = (std::time::Instant::now(), indexing::from_slice(rows), rows.len() / dim);
    let index = match width {
        Some(width) => builder.ef_construction(width).build_from(count, read, &|_| ())?,
        None if !matches!(metric, Metric::L2 | Metric::Cosine) => return Ok(None),
        None => {
            // The floor is what the table is for.
            let options = BulkOptions { floor: -1.0, ..BulkOptions::default() };
            builder.build_bulk_from(count, read, &options, &())?.0
        }
    };
    Ok(Some((index, started.elapsed().as_secs_f64())))
}

fn judge(
    args: &TuneArgs,
    index: &Index,
    queries: &[f32],
    near: &Batch,
    (width, build_s): (Option<usize>, f64),
) -> anyhow::Result<Line> {
    let (k, dim) = (args.k.min(index.len()), index.dim());
    let mut searcher = index.searcher();
    let mut at = |ef: usize, timed: bool| -> anyhow::Result<(f64, f64)> {
        let params = SearchParams::new(k, ef);
        let recall = truth::recall(&measure::one_by_one(&mut searcher, queries, dim, params)?.0, near);
        let qps = if timed {
            measure::speed(&mut searcher, queries, dim, params, REPETITIONS)?.qps_best
        } else {
            0.0
        };
        Ok((recall, qps))
    };
    let (recall, qps) = at(args.ef.max(k), true)?;
    let (mut below, mut found) = (None, None);
    let mut ef = k;
    while ef <= index.len().min(4096).max(k) {
        let (reached, _) = at(ef, false)?;
        if reached >= args.target {
            found = Some((ef, reached));
            break;
        }
        below = Some((ef, reached));
        ef = (ef + 1).max(ef * 6 / 5);
    }
    let (mut ef_at_target, mut qps_at_target) = (None, None);
    if let Some((ef, reached)) = found {
        let (_, high) = at(ef, true)?;
        let (low_ef, low_recall, low) = match below {
            Some((ef, recall)) => (ef, recall, at(ef, true)?.1),
            None => (ef, reached, high),
        };
        let rise = reached - low_recall;
        let share = if rise > 0.0 { (args.target - low_recall) / rise } else { 1.0 };
        ef_at_target = Some(low_ef as f64 + (ef - low_ef) as f64 * share);
        qps_at_target = Some(low + (high - low) * share);
    }
    let method = width.map_or("bulk".to_owned(), |width| format!("insert {width}"));
    let build_vps = index.len() as f64 / build_s.max(1e-9);
    Ok(Line { method, build_s, build_vps, recall, qps, ef_at_target, qps_at_target })
}

fn print(args: &TuneArgs, lines: &[Line], chosen: Option<&str>, output: Output) -> anyhow::Result<()> {
    let header = [
        "method",
        "build",
        "vec/s",
        &format!("recall@{} at ef {}", args.k, args.ef),
        "QPS",
        &format!("ef for {}", args.target),
        "QPS there",
    ];
    let row = |line: &Line| {
        let star = if chosen == Some(&line.method) { " *" } else { "" };
        vec![
            format!("{}{star}", line.method),
            output::seconds(line.build_s),
            count(line.build_vps as u64),
            format!("{:.4}", line.recall),
            count(line.qps as u64),
            line.ef_at_target.map_or("-".to_owned(), |ef| format!("{ef:.0}")),
            line.qps_at_target.map_or("-".to_owned(), |qps| count(qps as u64)),
        ]
    };
    output.table(&header, &lines.iter().map(row).collect::<Vec<_>>())?;
    match chosen {
        Some("bulk") => {
            output.line(format_args!("least work for the same speed: orthant build --method bulk"))
        }
        Some(insert) => output.line(format_args!(
            "least work for the same speed: orthant build --ef-construction {}",
            insert.trim_start_matches("insert ")
        )),
        None => output.line(format_args!("no build reached recall {}", args.target)),
    }
}
