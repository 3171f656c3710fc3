//! `orthant bench churn`: what is left of an index after all its rows were replaced several times.
//!
//! The protocol is in the command's help. Both sides, the index that went through it and a fresh one over the
//! same rows, are measured by the same code, each in a process of its own, so that memory one of them has given
//! back to the allocator cannot serve the other.

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, bail, ensure};
use orthant_engine::{Batch, Index, IndexBuilder, Key, Metric, SearchParams, Searcher};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::live::LiveRows;
use crate::args::{ChurnArgs, GraphArgs, QuantizationName};
use crate::failure::Internal;
use crate::output::{self, Output, count, seconds};
use crate::progress::Progress;
use crate::vectors::Vectors;
use crate::{machine, measure, truth};

/// Rounds per turnover: each replaces 1 % of the live rows.
const ROUNDS: usize = 100;
/// Beam width of the searches for live rows by their own vectors.
const SELF_EF: usize = 64;
/// Results that a row has to be among.
const SELF_K: usize = 10;

/// What is measured of an index, churned or fresh.
#[derive(Debug, Serialize, Deserialize)]
struct Figures {
    recall: f64,
    self_found: f64,
    rss_bytes: Option<u64>,
    /// Seconds that the inserts of a fresh index took.
    build_s: f64,
    validate: String,
}

/// Times of step 2.
#[derive(Debug, Default)]
struct Times {
    rows: usize,
    remove_s: f64,
    insert_s: f64,
}

/// Runs the command.
pub(super) fn run(args: &ChurnArgs) -> anyhow::Result<()> {
    let output = Output::new(args.json);
    ensure!(args.turnover >= 0.0, "--turnover {}: not a number of times", args.turnover);
    ensure!(args.k > 0, "-k 0: ask for at least one neighbor");
    let metric = super::metric(&args.data, args.metric)?;
    let most = |limit: usize| if limit == 0 { usize::MAX } else { limit };
    let base = Vectors::open_first(&super::find(&args.data, "base")?, most(args.limit), 0)?;
    let queries = Vectors::open_first(&super::find(&args.data, "query")?, most(args.max_queries), 0)?;
    queries.expect_dim(base.dim(), base.path())?;
    if base.rows() < 2 * ROUNDS {
        bail!("{}: {} are too few to replace by the percent", base.path().display(), base.rows());
    }
    let data = Data { metric, dim: base.dim(), rows: base.values(), queries: queries.values() };
    if let Some(path) = &args.fresh_of {
        let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        let live: Vec<u32> =
            bytes.as_chunks::<4>().0.iter().map(|&bytes| u32::from_le_bytes(bytes)).collect();
        let before = machine::anonymous_bytes();
        let (index, build_s) = data.build(args, &live)?;
        return output.object(&data.figures(args, &index, &live, (before, build_s))?);
    }

    let mut rows = LiveRows::new(args.pattern, metric, data.rows, data.dim, args.graph.seed)?;
    let first = rows.live();
    let before = machine::anonymous_bytes();
    let (mut index, build_s) = data.build(args, &first)?;
    let times = churn(args, &data, &index, &mut rows)?;
    let live = rows.live();
    let after = data.figures(args, &index, &live, (before, build_s))?;
    // Codes are decided about again, and lists chosen anew, when somebody asks for it.
    let mut trained = None;
    if matches!(args.graph.quantization, QuantizationName::Blocks) {
        let start = Instant::now();
        index.retrain()?;
        let train_s = start.elapsed().as_secs_f64();
        trained = Some((data.figures(args, &index, &live, (before, build_s))?, train_s));
    }
    drop(index);
    let fresh = in_own_process(&live)?;

    let per_row = |seconds: f64| seconds * 1e6 / times.rows.max(1) as f64;
    let ratio = |a: Option<u64>, b: Option<u64>| Some(a? as f64 / b.filter(|&b| b > 0)? as f64);
    let rss_ratio = ratio(after.rss_bytes, fresh.rss_bytes);
    let cost = times.remove_s / times.insert_s.max(1e-9);
    output.table(
        &["", "recall", "self-found", "memory", "validate"],
        &[("after churn", &after), ("fresh", &fresh)].map(|(name, figures)| {
            vec![
                name.to_owned(),
                format!("{:.4}", figures.recall),
                format!("{:.5}", figures.self_found),
                figures.rss_bytes.map_or("unknown".to_owned(), output::bytes),
                figures.validate.clone(),
            ]
        }),
    )?;
    if let Some((figures, train_s)) = &trained {
        output.line(format_args!("after retraining, {}: recall {:.4}", seconds(*train_s), figures.recall))?;
    }
    output.line(format_args!(
        "{} rows replaced in {}: {:.0} us to insert, {:.0} us to remove ({cost:.2} of an insert)",
        count(times.rows as u64),
        seconds(times.remove_s + times.insert_s),
        per_row(times.insert_s),
        per_row(times.remove_s),
    ))?;
    if args.json {
        output.object(&json!({
            "type": "churn", "n": base.rows(), "live": live.len(), "d": data.dim, "metric": metric.to_string(),
            "pattern": format!("{:?}", args.pattern).to_lowercase(), "turnover": args.turnover,
            "replaced": times.rows, "quantization": format!("{:?}", args.graph.quantization).to_lowercase(),
            "m": args.graph.m, "ef_construction": args.graph.ef_construction, "seed": args.graph.seed,
            "threads": args.threads, "k": args.k, "ef": args.ef, "queries": queries.rows(),
            "recall_fresh": fresh.recall, "recall_after": after.recall,
            "self_found": after.self_found, "self_found_fresh": fresh.self_found,
            "rss_bytes": after.rss_bytes, "rss_fresh_bytes": fresh.rss_bytes, "rss_ratio": rss_ratio,
            "insert_us": per_row(times.insert_s), "delete_us": per_row(times.remove_s),
            "fresh_insert_us": fresh.build_s * 1e6 / live.len() as f64,
            "delete_to_insert_cost": cost, "validate": after.validate,
            "recall_retrained": trained.as_ref().map(|(figures, _)| figures.recall),
            "self_found_retrained": trained.as_ref().map(|(figures, _)| figures.self_found),
            "retrain_s": trained.as_ref().map(|&(_, train_s)| train_s),
        }))?;
    }
    if after.validate != "ok" {
        return Err(anyhow::anyhow!("{}", after.validate))
            .context(Internal("the index fails its own check after churn"));
    }
    Ok(())
}

/// Step 2.
fn churn(args: &ChurnArgs, data: &Data<'_>, index: &Index, rows: &mut LiveRows) -> anyhow::Result<Times> {
    let live = index.len();
    let target = (live as f64 * args.turnover).round() as usize;
    let progress = Progress::start("replacing", target);
    let mut times = Times::default();
    while times.rows < target {
        let (gone, come) = rows.round((live / ROUNDS).min(target - times.rows));
        ensure!(gone.len() == come.len(), "{} rows cannot replace {}", come.len(), gone.len());
        let keys = |rows: &[u32]| rows.iter().map(|&row| Key::Int(u64::from(row))).collect::<Vec<_>>();
        let (gone, come_keys) = (keys(&gone), keys(&come));
        let start = Instant::now();
        let removed = if args.threads > 1 {
            index.remove_batch(&gone)?
        } else {
            gone.iter().filter(|key| index.remove(key)).count()
        };
        times.remove_s += start.elapsed().as_secs_f64();
        if removed != gone.len() {
            return Err(anyhow::anyhow!("{removed} of {} rows were there to be removed", gone.len()))
                .context(Internal("the index lost rows"));
        }
        if args.threads > 1 {
            let rows: Vec<f32> = come.iter().flat_map(|&row| data.row(row)).copied().collect();
            let start = Instant::now();
            index.insert_batch(&rows, Some(&come_keys))?;
            times.insert_s += start.elapsed().as_secs_f64();
        } else {
            let start = Instant::now();
            for (&row, key) in come.iter().zip(come_keys) {
                index.insert(key, data.row(row))?;
            }
            times.insert_s += start.elapsed().as_secs_f64();
        }
        times.rows += gone.len();
        progress.set(times.rows);
    }
    progress.finish();
    Ok(times)
}

/// Rows and queries, `[n × dim]` each.
pub(super) struct Data<'a> {
    pub(super) metric: Metric,
    pub(super) dim: usize,
    pub(super) rows: &'a [f32],
    pub(super) queries: &'a [f32],
}

impl Data<'_> {
    pub(super) fn row(&self, row: u32) -> &[f32] {
        &self.rows[row as usize * self.dim..][..self.dim]
    }

    /// An empty index.
    pub(super) fn empty(&self, graph: &GraphArgs, threads: usize) -> anyhow::Result<Index> {
        Ok(IndexBuilder::new(self.dim, self.metric)
            .m(graph.m)
            .ef_construction(graph.ef_construction)
            .seed(graph.seed)
            .threads(threads)
            .quantization(graph.quantization.into())
            .build()?)
    }

    /// An index of `live` rows under their numbers as keys, and the seconds that their inserts took.
    fn build(&self, args: &ChurnArgs, live: &[u32]) -> anyhow::Result<(Index, f64)> {
        let mut index = self.empty(&args.graph, args.threads)?;
        let build_s = self.insert(&index, live)?;
        index.train()?;
        Ok((index, build_s))
    }

    /// Inserts rows under their numbers on the threads of the index; returns the seconds it took.
    pub(super) fn insert(&self, index: &Index, rows: &[u32]) -> anyhow::Result<f64> {
        let progress = Progress::start("building", rows.len());
        let start = Instant::now();
        for chunk in rows.chunks(1000) {
            let keys: Vec<Key> = chunk.iter().map(|&row| Key::Int(u64::from(row))).collect();
            let values: Vec<f32> = chunk.iter().flat_map(|&row| self.row(row)).copied().collect();
            index.insert_batch(&values, Some(&keys))?;
            progress.add(chunk.len());
        }
        progress.finish();
        Ok(start.elapsed().as_secs_f64())
    }

    /// Mean recall@k of the queries against an exact scan of the `live` rows.
    pub(super) fn recall(&self, index: &Index, live: &[u32], params: SearchParams) -> anyhow::Result<f64> {
        let values: Vec<f32> = live.iter().flat_map(|&row| self.row(row)).copied().collect();
        let (mut exact, _) = truth::scan(self.metric, &values, self.queries, self.dim, params.k, 0)?;
        for node in exact.nodes.iter_mut().filter(|node| **node != Batch::MISSING) {
            *node = live[*node as usize];
        }
        let (found, _) = measure::one_by_one(&mut index.searcher(), self.queries, self.dim, params)?;
        Ok(truth::recall(&truth::by_number(index, &found), &exact))
    }

    /// The share of the `live` rows that are found by their own vectors.
    pub(super) fn self_found(&self, index: &Index, live: &[u32]) -> anyhow::Result<f64> {
        let progress = Progress::start("finding", live.len());
        let mut searcher = index.searcher();
        let mut found = 0;
        for chunk in live.chunks(256) {
            for &row in chunk {
                found += usize::from(finds(index, &mut searcher, row, self.row(row))?);
            }
            progress.add(chunk.len());
        }
        progress.finish();
        Ok(found as f64 / live.len().max(1) as f64)
    }

    /// Steps 3 and 4.
    fn figures(
        &self,
        args: &ChurnArgs,
        index: &Index,
        live: &[u32],
        (before, build_s): (Option<u64>, f64),
    ) -> anyhow::Result<Figures> {
        let after = machine::anonymous_bytes();
        let rss_bytes = after.zip(before).map(|(after, before)| after.saturating_sub(before));
        if index.len() != live.len() {
            return Err(anyhow::anyhow!("{} of {} rows are in the index", index.len(), live.len()))
                .context(Internal("the index lost rows"));
        }
        let report = index.validate();
        Ok(Figures {
            recall: self.recall(index, live, SearchParams::new(args.k, args.ef))?,
            self_found: self.self_found(index, live)?,
            rss_bytes,
            build_s,
            validate: if report.is_ok() { "ok".to_owned() } else { report.to_string() },
        })
    }
}

/// Whether the row `number` is found by its own vector. Where as many others are equal to it as results are
/// asked for, which of them are shown is chance: then it counts as found.
pub(super) fn finds(
    index: &Index,
    searcher: &mut Searcher<'_>,
    number: u32,
    vector: &[f32],
) -> anyhow::Result<bool> {
    let hits = searcher.search(vector, SearchParams::new(SELF_K, SELF_EF))?;
    let key = Key::Int(u64::from(number));
    let is_named = hits.iter().any(|hit| index.key(hit.id()).as_ref() == Some(&key));
    let is_crowded = || hits.len() == SELF_K && hits[SELF_K - 1].distance <= hits[0].distance;
    Ok(is_named || is_crowded())
}

/// Step 5.
fn in_own_process(live: &[u32]) -> anyhow::Result<Figures> {
    let path = std::env::temp_dir().join(format!("orthant-churn-{}", std::process::id()));
    let bytes: Vec<u8> = live.iter().flat_map(|row| row.to_le_bytes()).collect();
    fs::File::create(&path)
        .and_then(|mut file| file.write_all(&bytes))
        .with_context(|| format!("cannot write {}", path.display()))?;
    let itself = std::env::current_exe().context("cannot find this program again")?;
    let arguments = std::env::args_os().skip(1).filter(|argument| argument != "--json");
    let child =
        Command::new(itself).args(arguments).arg("--fresh-of").arg(&path).stderr(Stdio::inherit()).output();
    // A file left in the temporary folder harms nobody.
    let _ = fs::remove_file(&path);
    let child = child.context("cannot start the second process")?;
    ensure!(child.status.success(), "the fresh build in a second process failed");
    let line = String::from_utf8_lossy(&child.stdout);
    serde_json::from_str(line.trim()).context("the second process printed something else")
}
