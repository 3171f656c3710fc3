//! `orthant info`: what is in an index, whether it is sound, and what this machine offers.

use std::fs;
use std::path::Path;
use std::time::Instant;

use anyhow::bail;
use orthant_engine::kernels::{active_isa, available_isas};
use orthant_engine::{Advice, Choice, HalfRows, Info, MemoryInfo, Report, Trial};
use serde_json::{Map, Value, json};

use crate::args::InfoArgs;
use crate::indexing;
use crate::output::{self, Output, count, plural, seconds};
use crate::parallel::thread_count;

/// Rows of the quality estimate: enough to see one node in a hundred that is lost.
const QUALITY_ROWS: usize = 300;

/// Runs the command.
pub(crate) fn run(args: &InfoArgs) -> anyhow::Result<()> {
    let output = Output::new(args.json);
    let mut object = Map::new();
    if let Some(path) = &args.index {
        index(path, args.validate, output, &mut object)?;
    }
    if args.cpu {
        cpu(output, &mut object)?;
    }
    if args.json {
        output.object(&object)?;
    }
    Ok(())
}

fn index(path: &Path, validate: bool, output: Output, object: &mut Map<String, Value>) -> anyhow::Result<()> {
    let started = Instant::now();
    let index = indexing::open(path, false)?;
    let open_s = started.elapsed().as_secs_f64();
    let info = index.info();
    let file_bytes = fs::metadata(path)?.len();
    let facts = json!({
        "n": info.rows, "d": info.dim, "metric": info.metric.to_string(), "m": info.m, "m0": info.m0,
        "ef_construction": info.ef_construction, "seed": info.seed, "quantization": info.quantization.to_string(),
        "is_trained": info.is_trained, "top_level": info.entry.map(|(_, level)| level), "file_bytes": file_bytes,
        "row_bytes": info.memory.row_bytes, "code_bytes": info.memory.code_bytes,
        "list_bytes": info.memory.list_bytes, "half_bytes": info.memory.half_bytes, "open_s": open_s, "mode": info.mode.map(|mode| mode.name()),
        "decided_rows": info.decided_rows, "inserted_since": info.inserted_since,
        "half_rows": info.half_rows.map(|half| json!({
            "points": half.points, "recall_whole": half.recall_whole, "recall_half": half.recall_half,
        })),
        "choice": info.choice.as_ref().map(|choice| json!({
            "bits": choice.bits, "target": choice.target, "points": choice.points,
            "trials": choice.trials.iter().map(|trial| json!({
                "bits": trial.bits, "ef": trial.ef, "recall": trial.recall, "expanded": trial.expanded,
                "list_bytes": trial.list_bytes,
            })).collect::<Vec<_>>(),
        })),
    });
    if let Value::Object(facts) = facts {
        object.extend(facts);
    }
    let line = |name: &str, value: String| output.line(format_args!("{name:<16} {value}"));
    line("index", path.display().to_string())?;
    line("vectors", format!("{} of {} dimensions", count(info.rows as u64), info.dim))?;
    line("metric", info.metric.to_string())?;
    line(
        "graph",
        format!(
            "M {}, {} on level 0, ef_construction {}, seed {}",
            info.m, info.m0, info.ef_construction, info.seed
        ),
    )?;
    line(
        "entry",
        info.entry.map_or("none".to_owned(), |(node, level)| format!("node {node} on level {level}")),
    )?;
    line("quantization", info.quantization.to_string())?;
    line("mode", info.mode.map_or("none".to_owned(), |mode| mode.to_string()))?;
    if let Some(choice) = &info.choice {
        line("searches read", chosen(choice))?;
        line("decided on", decided_on(&info))?;
        for trial in &choice.trials {
            line("  tried", tried(trial, choice.target))?;
        }
    }
    if let Some(half) = &info.half_rows {
        line("compared last", halved(half))?;
    }
    line(
        "bytes per row",
        format!(
            "{} vector{}, {} codes, {} neighbor list",
            info.memory.row_bytes,
            in_file(&info.memory),
            info.memory.code_bytes,
            info.memory.list_bytes
        ),
    )?;
    line("file", format!("{}, opened and checked in {}", output::bytes(file_bytes), seconds(open_s)))?;
    if !validate {
        return Ok(());
    }
    let started = Instant::now();
    let report = index.validate();
    if !report.is_ok() {
        bail!("{}: the graph breaks its invariants: {report}", path.display());
    }
    let validate_s = started.elapsed().as_secs_f64();
    object.insert("validate".to_owned(), "ok".into());
    let graph = report.graph;
    line(
        "validate",
        format!(
            "ok in {}: all of {} reachable over {} edges on {}",
            seconds(validate_s),
            plural(graph.nodes, "node", "nodes"),
            count((graph.base_edges + graph.upper_edges) as u64),
            plural(graph.level_counts.len(), "level", "levels"),
        ),
    )?;
    line(
        "in-degree",
        format!("{} to {} edges per node; {}", graph.in_degree.0, graph.in_degree.1, few_edges(&graph)),
    )?;
    line(
        "shape",
        format!(
            "{} on level 0, {} from the farthest node to the root of the anchor tree",
            plural(graph.components, "component", "components"),
            plural(graph.tree_depth, "step", "steps"),
        ),
    )?;
    let quality = index.quality(QUALITY_ROWS, info.seed);
    line(
        "quality",
        format!(
            "{:.1} % of {} find themselves at ef 64, which finds {:.1} % of what ef 512 does: {}",
            quality.self_found * 100.0,
            plural(quality.sampled, "sampled row", "sampled rows"),
            quality.recall * 100.0,
            match quality.advice() {
                Advice::Keep => "nothing to be done",
                Advice::Compact => "compact it",
                _ => "build it again",
            },
        ),
    )?;
    let details = json!({
        "report": {
            "nodes": graph.nodes, "base_edges": graph.base_edges, "upper_edges": graph.upper_edges,
            "level_counts": graph.level_counts, "unreachable": graph.unreachable, "components": graph.components,
            "tree_depth": graph.tree_depth, "waiting": graph.waiting, "empty": graph.empty,
            "stale_edges": graph.stale_edges, "in_degree": [graph.in_degree.0, graph.in_degree.1],
            "in_degree_histogram": graph.in_degree_histogram, "faults": graph.fault_count,
            "unkeyed": report.unkeyed, "misled": report.misled,
        },
        "quality": {
            "sampled": quality.sampled, "self_found": quality.self_found, "recall": quality.recall,
            "unreachable_share": quality.unreachable_share, "tombstone_share": quality.tombstone_share,
            "free_share": quality.free_share, "advice": format!("{:?}", quality.advice()).to_lowercase(),
        },
        "validate_s": validate_s,
    });
    if let Value::Object(details) = details {
        object.extend(details);
    }
    Ok(())
}

/// How many rows it was decided on, and how many came since.
fn decided_on(info: &Info) -> String {
    let since = match info.inserted_since {
        0 => String::new(),
        inserted => format!(
            "; {} since, asked again at {}",
            plural(inserted as usize, "insert", "inserts"),
            count(info.decided_rows.div_ceil(2))
        ),
    };
    format!("{}{since}", plural(info.decided_rows as usize, "row", "rows"))
}

/// What searches compare, and who decided it.
fn chosen(choice: &Choice) -> String {
    let codes = match choice.bits {
        0 => "whole rows".to_owned(),
        8 => "rows by code, one byte per dimension".to_owned(),
        bits => format!("codes of edges, {} per dimension", plural(bits, "bit", "bits")),
    };
    match choice.points {
        0 => format!("{codes}, as it was asked for"),
        points => format!(
            "{codes}, decided on {points} rows left out of their own searches, for recall@10 {}",
            choice.target
        ),
    }
}

/// What rows at half precision did.
fn halved(half: &HalfRows) -> String {
    let rows = "rows at half precision";
    match half.points {
        0 => rows.to_owned(),
        _ => format!("{rows}: recall {:.4}, whole rows {:.4}", half.recall_half, half.recall_whole),
    }
}

/// Where whole rows are, if that is not in memory.
fn in_file(memory: &MemoryInfo) -> String {
    match memory.half_bytes {
        0 => String::new(),
        bytes => format!(" in the file, {bytes} at half precision"),
    }
}

/// What one kind of code did.
fn tried(trial: &Trial, target: f32) -> String {
    let codes = match trial.bits {
        0 => "whole rows".to_owned(),
        8 => "rows by code".to_owned(),
        bits => plural(bits, "bit", "bits"),
    };
    let verdict = if trial.recall >= target { "" } else { ", not enough" };
    format!(
        "{codes}: recall {:.3} at ef {}{verdict}; {} per list",
        trial.recall,
        trial.ef,
        output::bytes(trial.list_bytes as u64)
    )
}

/// How many nodes few edges lead to.
fn few_edges(graph: &Report) -> String {
    let histogram = &graph.in_degree_histogram;
    let counts: Vec<String> = (0..4)
        .filter(|&edges| histogram[edges] > 0)
        .map(|edges| format!("{} with {edges}", count(histogram[edges] as u64)))
        .collect();
    if counts.is_empty() { "none has fewer than 4".to_owned() } else { counts.join(", ") }
}

fn cpu(output: Output, object: &mut Map<String, Value>) -> anyhow::Result<()> {
    let active = active_isa()?.to_string();
    let available: Vec<String> = available_isas().iter().map(ToString::to_string).collect();
    let transparent = transparent_pages();
    let pool = meminfo("HugePages_Total:").unwrap_or(0);
    let line = |name: &str, value: &str| output.line(format_args!("{name:<16} {value}"));
    line("instructions", &format!("{active} in use, {} available", available.join(" ")))?;
    line("cores", &plural(thread_count(0), "core", "cores"))?;
    line(
        "huge pages",
        &format!("transparent: {}; set aside: {pool}", transparent.as_deref().unwrap_or("not offered")),
    )?;
    object.insert("isa".to_owned(), json!({"active": active, "available": available}));
    object.insert("cores".to_owned(), thread_count(0).into());
    object.insert("huge_pages".to_owned(), json!({"transparent": transparent, "set_aside": pool}));
    Ok(())
}

/// The mode the system is in: `always`, `madvise` (we ask, so that is enough) or `never`.
fn transparent_pages() -> Option<String> {
    let modes = fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled").ok()?;
    Some(modes.split('[').nth(1)?.split(']').next()?.to_owned())
}

fn meminfo(name: &str) -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    text.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?.parse().ok()
}
