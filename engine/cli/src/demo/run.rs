//! The course of the demo: get vectors, build, check, measure, ask.

use std::convert::Infallible;
use std::io::IsTerminal;

use anyhow::bail;
use orthant_engine::kernels::active_isa;
use orthant_engine::{Index, MAX_DIM, Metric, SearchParams};
use serde::Serialize;

use super::ask::{Asked, Library};
use super::builtin;
use crate::args::DemoArgs;
use crate::output::{self, Output, count, plural, rate, seconds};
use crate::parallel::{self, thread_count};
use crate::progress::Progress;
use crate::text::corpus::{Corpus, Skipped};
use crate::text::embed::{DIM, Embedder, LexicalEmbedder};
use crate::{generated, indexing, machine, measure, truth};

/// Neighbors per query while measuring.
const K: usize = 10;
/// Queries to measure with: the standard error of a recall of 0.9 over 10,000 neighbors is 0.003.
const QUERIES: usize = 1000;
/// Multiplications the exact scan may cost: a few seconds on one core.
const EXACT_BUDGET: usize = 20_000_000_000;
/// Timed passes per beam width.
const REPS: usize = 3;

/// What `--json` prints.
#[derive(Serialize)]
struct Report {
    n: usize,
    d: usize,
    metric: String,
    source: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<TextReport>,
    threads: usize,
    build_s: f64,
    build_vps: f64,
    validate: &'static str,
    #[serde(flatten)]
    measured: Measured,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    asked: Vec<Asked>,
}

/// What was read and embedded.
#[derive(Serialize)]
struct TextReport {
    files: usize,
    bytes: usize,
    passages: usize,
    repeated_passages: usize,
    read_s: f64,
    embed_s: f64,
    passages_per_s: f64,
}

/// All that was measured.
#[derive(Default, Serialize)]
struct Measured {
    queries: usize,
    points: Vec<Point>,
}

/// Recall and speed at one beam width, one query per call on one thread.
#[derive(Serialize)]
struct Point {
    ef: usize,
    recall_at_10: f64,
    qps: f64,
    p50_us: f64,
    p99_us: f64,
}

/// Runs the demo.
pub(crate) fn run(args: &DemoArgs) -> anyhow::Result<()> {
    let output = Output::new(args.json);
    if args.ef.contains(&0) {
        bail!("--ef 0: a beam holds at least one candidate");
    }
    match &args.generated {
        Some(shape) => run_generated(args, shape[0], shape[1], output),
        None => run_text(args, output),
    }
}

/// The first line, printed once there is something to work on.
fn head(args: &DemoArgs, output: Output) -> anyhow::Result<()> {
    let threads = plural(thread_count(args.threads), "thread", "threads");
    output.line(format_args!("Orthant {}, {}, {threads}", env!("CARGO_PKG_VERSION"), active_isa()?))
}

fn run_generated(args: &DemoArgs, n: usize, dim: usize, output: Output) -> anyhow::Result<()> {
    if n == 0 || dim == 0 {
        bail!("--generated {n} {dim}: both numbers must be at least 1");
    }
    if dim > MAX_DIM {
        bail!("--generated {n} {dim}: a vector has at most {MAX_DIM} dimensions");
    }
    // Once as they are made, once in the index.
    let needed = (n.saturating_add(QUERIES)).saturating_mul(2 * size_of::<f32>() * dim) as u64;
    if let Some(memory) = machine::memory_bytes().filter(|&memory| memory < needed) {
        let (needed, memory) = (output::bytes(needed), output::bytes(memory));
        bail!("--generated {n} {dim}: needs {needed} of memory, this machine has {memory}");
    }
    head(args, output)?;
    let queries = query_count(n, dim, QUERIES);
    let rows = generated::rows(args.graph.seed, 0, n + queries, dim, args.threads);
    let (base, queries) = rows.split_at(n * dim);
    let metric = Metric::from(args.metric);
    let stage = Stage { args, output, dim, metric };
    let source = format!("generated, seed {}", args.graph.seed);
    output.line(format_args!(
        "  made      {} of {dim} dimensions in clusters, seed {}",
        plural(n, "vector", "vectors"),
        args.graph.seed
    ))?;
    let (index, build_s) = stage.build(n, indexing::from_slice(base))?;
    let measured = stage.measure(&index, queries, "rows that are not in the index")?;
    stage.report(&index, source, None, (n, build_s), measured, Vec::new())
}

fn run_text(args: &DemoArgs, output: Output) -> anyhow::Result<()> {
    let (corpus, source, read_s) = read(args, output)?;
    let (rows, embedder, embed_s) = embed(&corpus, args, output)?;
    let stage = Stage { args, output, dim: DIM, metric: Metric::Cosine };

    // Every so many passages are kept out of the index to measure with, and go in afterwards.
    let held = query_count(corpus.len(), DIM, QUERIES.min(corpus.len() / 10));
    let every = corpus.len().checked_div(held).unwrap_or(usize::MAX);
    let is_held = |passage: &usize| passage % every == every - 1 && passage / every < held;
    let row = |passage: usize| &rows[passage * DIM..][..DIM];
    let mut nodes: Vec<usize> = (0..corpus.len()).filter(|passage| !is_held(passage)).collect();
    let built = nodes.len();
    nodes.extend((0..corpus.len()).filter(is_held));
    let queries: Vec<f32> = nodes[built..].iter().flat_map(|&passage| row(passage)).copied().collect();

    let read = |node: usize, out: &mut [f32]| {
        out.copy_from_slice(row(nodes[node]));
        Ok::<(), Infallible>(())
    };
    let (index, build_s) = stage.build(built, read)?;
    drop(rows);
    let measured = if held == 0 {
        output.line(format_args!("  too few passages to keep any out and measure recall with"))?;
        Measured::default()
    } else {
        let measured = stage.measure(&index, &queries, "passages kept out of the index")?;
        index.insert_batch(&queries, None)?;
        output.line(format_args!(
            "\n  The {} are in the index now as well.",
            plural(held, "passage", "passages")
        ))?;
        measured
    };

    let mut library = Library::new(&corpus, &nodes, &embedder, &index, args.show, output);
    let questions = match &args.path {
        _ if !args.ask.is_empty() => args.ask.clone(),
        None => builtin::QUESTIONS.map(String::from).to_vec(),
        Some(_) => library.own_questions(),
    };
    let asked = questions.iter().map(|question| library.ask(question)).collect::<anyhow::Result<Vec<_>>>()?;
    if args.ask.is_empty()
        && !args.no_prompt
        && !args.json
        && output.is_terminal()
        && std::io::stdin().is_terminal()
    {
        library.prompt()?;
    } else if args.ask.is_empty() {
        output.line(format_args!(
            "\nAsk your own: --ask \"words\", or run it on a folder of yours: orthant demo PATH"
        ))?;
    }
    let text = TextReport {
        files: corpus.files(),
        bytes: corpus.bytes(),
        passages: corpus.len(),
        repeated_passages: corpus.skipped.repeated,
        read_s,
        embed_s,
        passages_per_s: corpus.len() as f64 / embed_s.max(1e-9),
    };
    stage.report(&index, source, Some(text), (built, build_s), measured, asked)
}

fn read(args: &DemoArgs, output: Output) -> anyhow::Result<(Corpus, String, f64)> {
    let started = std::time::Instant::now();
    let path = args.path.clone().or_else(builtin::checkout);
    let (corpus, source) = match &path {
        Some(path) => (Corpus::read(path, args.threads)?, path.display().to_string()),
        None => (Corpus::from_texts(&builtin::DOCS), "docs compiled into orthant".to_owned()),
    };
    let read_s = started.elapsed().as_secs_f64();
    head(args, output)?;
    output.line(format_args!(
        "  read      {} under {source}: {} of text, {} in {}",
        plural(corpus.files(), "file", "files"),
        output::bytes(corpus.bytes() as u64),
        plural(corpus.len(), "passage", "passages"),
        seconds(read_s)
    ))?;
    if let Some(skipped) = describe_skipped(&corpus.skipped) {
        output.line(format_args!("            left out: {skipped}"))?;
    }
    Ok((corpus, source, read_s))
}

fn describe_skipped(skipped: &Skipped) -> Option<String> {
    let parts: Vec<String> = [
        (skipped.binary, "binary file", "binary files"),
        (skipped.large, "file over 2 MiB", "files over 2 MiB"),
        (skipped.generated, "lock, table or image file", "lock, table and image files"),
        (skipped.unreadable, "unreadable file", "unreadable files"),
        (skipped.repeated, "repeated passage", "repeated passages"),
    ]
    .into_iter()
    .filter(|(number, _, _)| *number > 0)
    .map(|(number, one, many)| plural(number, one, many))
    .collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

fn embed(
    corpus: &Corpus,
    args: &DemoArgs,
    output: Output,
) -> anyhow::Result<(Vec<f32>, LexicalEmbedder, f64)> {
    let texts: Vec<&str> = corpus.places().iter().map(|place| corpus.text(place)).collect();
    // Each passage is visited twice: once to count its words, once to embed it.
    let progress = Progress::start("embedding", 2 * texts.len());
    let embedder = LexicalEmbedder::fit(&texts, args.threads, &|done| progress.add(done));
    let mut rows = vec![0.0; texts.len() * DIM];
    parallel::for_each_chunk(args.threads, &mut rows, 64 * DIM, |offset, rows| {
        let n = rows.len() / DIM;
        embedder.embed(&texts[offset / DIM..][..n], rows);
        progress.add(n);
    });
    let embed_s = progress.finish();
    output.line(format_args!(
        "  embedded  {} in {}: {} passages/s (lexical: hashed words and n-grams, TF-IDF, {DIM} dimensions)",
        plural(texts.len(), "passage", "passages"),
        seconds(embed_s),
        rate(texts.len(), embed_s)
    ))?;
    Ok((rows, embedder, embed_s))
}

/// As many queries as asked for, unless the exact scan would take too long.
fn query_count(n: usize, dim: usize, wanted: usize) -> usize {
    wanted.min((EXACT_BUDGET / (n * dim).max(1)).max(50))
}

/// What all steps after the vectors share.
struct Stage<'a> {
    args: &'a DemoArgs,
    output: Output,
    dim: usize,
    metric: Metric,
}

impl Stage<'_> {
    fn build(
        &self,
        n: usize,
        read: impl FnMut(usize, &mut [f32]) -> Result<(), Infallible>,
    ) -> anyhow::Result<(Index, f64)> {
        let graph = &self.args.graph;
        let (index, build_s) =
            indexing::build((n, self.dim, self.metric), read, graph, (self.args.threads, None), None)?;
        self.output.line(format_args!(
            "  built     {} in {}: {} vec/s ({}, M {}, ef_construction {})",
            plural(n, "vector", "vectors"),
            seconds(build_s),
            rate(n, build_s),
            self.metric,
            graph.m,
            graph.ef_construction
        ))?;
        indexing::check_own(&index)?;
        self.output.line(format_args!("  checked   the whole graph: ok"))?;
        Ok((index, build_s))
    }

    fn measure(&self, index: &Index, queries: &[f32], what: &str) -> anyhow::Result<Measured> {
        let n = queries.len() / self.dim;
        let k = K.min(index.len());
        let truth = truth::scan_index(index, queries, k)?;
        let mut searcher = index.searcher();
        let progress = Progress::start("measuring", self.args.ef.len());
        let mut points = Vec::new();
        for &asked in &self.args.ef {
            let ef = asked.clamp(k, index.len());
            if asked < k {
                output::note(format_args!("--ef {asked} is below k = {k} and was raised to it"));
            }
            let params = SearchParams::new(k, ef);
            let (found, _) = measure::one_by_one(&mut searcher, queries, self.dim, params)?;
            let recall_at_10 = truth::recall(&found, &truth);
            let speed = measure::speed(&mut searcher, queries, self.dim, params, REPS)?;
            progress.add(1);
            points.push(Point {
                ef,
                recall_at_10,
                qps: speed.qps_best,
                p50_us: speed.p50_us,
                p99_us: speed.p99_us,
            });
        }
        progress.finish();
        self.output.line(format_args!(
            "\n  {} {what}, against an exact scan; one thread, one query per call:\n",
            count(n as u64)
        ))?;
        let row = |point: &Point| {
            vec![
                point.ef.to_string(),
                format!("{:.3}", point.recall_at_10),
                count(point.qps as u64),
                format!("{:.0} us", point.p50_us),
                format!("{:.0} us", point.p99_us),
            ]
        };
        let rows: Vec<Vec<String>> = points.iter().map(row).collect();
        self.output.table(&["ef", "recall@10", "QPS", "p50", "p99"], &rows)?;
        Ok(Measured { queries: n, points })
    }

    fn report(
        &self,
        index: &Index,
        source: String,
        text: Option<TextReport>,
        (built, build_s): (usize, f64),
        measured: Measured,
        asked: Vec<Asked>,
    ) -> anyhow::Result<()> {
        if !self.args.json {
            return Ok(());
        }
        self.output.object(&Report {
            n: index.len(),
            d: self.dim,
            metric: self.metric.to_string(),
            source,
            text,
            threads: thread_count(self.args.threads),
            build_s,
            build_vps: built as f64 / build_s.max(1e-9),
            // `build` fails when the check does.
            validate: "ok",
            measured,
            asked,
        })
    }
}
