//! Recall against speed on one data set: `orthant bench` measures, its ids are judged here.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use super::{
    dataset::{DataSet, read_ids},
    recall::{K, recall},
    record::{Point, Sweep},
};
use crate::{
    cargo::{cargo, succeeds, succeeds_with_lines, target_dir},
    flags::BenchFlags,
};

/// A line that `orthant bench` prints; lines that are none of these are left out.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Line {
    Build {
        build_s: f64,
        peak_rss_bytes: u64,
    },
    Search {
        ef: usize,
        qps_best: f64,
        qps_batch2_best: Option<f64>,
        p50_us: f64,
        p99_us: f64,
        ids_file: PathBuf,
    },
}

/// Builds the `orthant` program and returns where it is.
pub(crate) fn build_program() -> Result<PathBuf> {
    ensure!(
        succeeds(&mut cargo(["build", "--release", "--package", "orthant-cli"]))?,
        "orthant does not build"
    );
    Ok(target_dir().join("release").join(format!("orthant{}", env::consts::EXE_SUFFIX)))
}

/// Measures `program` on `set`.
pub(crate) fn run(program: &Path, set: &DataSet, flags: &BenchFlags) -> Result<Sweep> {
    let out = target_dir().join("bench-data/ids");
    fs::create_dir_all(&out)?;
    let threads = std::thread::available_parallelism().map_or(1, usize::from).to_string();
    let list = |numbers: &[usize]| numbers.iter().map(usize::to_string).collect::<Vec<_>>().join(",");
    let reps = if flags.quick { "1" } else { "5" };
    let mut command = Command::new(program);
    command
        .arg("bench")
        .arg("--data")
        .arg(&set.folder)
        .args(["--metric", set.metric.name()])
        .args(["--k", &K.to_string(), "--ef", &list(&flags.ef)])
        .args(["--m", "16", "--efc", "200", "--build-threads", &threads])
        .args(["--batch-threads", &threads, "--reps", reps])
        .args(["--max-queries", &flags.max_queries.to_string()])
        .arg("--out-dir")
        .arg(&out);
    let mut lines = Vec::new();
    let is_success =
        succeeds_with_lines(&mut command, |line| lines.extend(serde_json::from_str::<Line>(line).ok()))?;
    ensure!(is_success, "orthant bench failed on {}", set.folder.display());
    assemble(set, lines)
}

/// Turns the lines of one run into a sweep, with recall.
fn assemble(set: &DataSet, lines: Vec<Line>) -> Result<Sweep> {
    let mut sweep = Sweep {
        set: set.name(),
        metric: set.metric.name(),
        rows: set.base.rows,
        dim: set.base.dim,
        queries: 0,
        build_seconds: f64::NAN,
        peak_rss_bytes: 0,
        points: Vec::new(),
    };
    for line in lines {
        match line {
            Line::Build { build_s, peak_rss_bytes } => {
                (sweep.build_seconds, sweep.peak_rss_bytes) = (build_s, peak_rss_bytes);
            }
            Line::Search { ef, qps_best, qps_batch2_best, p50_us, p99_us, ids_file } => {
                let (queries, k, ids) = read_ids(&ids_file).context("the ids of a search")?;
                sweep.queries = queries;
                let recall_at_10 = recall(set, k, &ids)?;
                sweep.points.push(Point {
                    ef,
                    recall_at_10,
                    qps: qps_best,
                    qps_batch: qps_batch2_best,
                    p50_us,
                    p99_us,
                });
            }
        }
    }
    ensure!(!sweep.points.is_empty(), "orthant bench printed no search");
    ensure!(!sweep.build_seconds.is_nan(), "orthant bench printed no build");
    Ok(sweep)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_contract_are_understood() {
        let build =
            r#"{"type":"build","build_s":1.5,"rss_bytes":1,"peak_rss_bytes":2,"index_bytes":null,"info":{}}"#;
        assert!(matches!(serde_json::from_str(build).unwrap(), Line::Build { peak_rss_bytes: 2, .. }));
        let search = r#"{"type":"search","ef":16,"qps_best":10.0,"qps_median":9.0,"qps_batch1_best":1.0,"qps_batch2_best":null,"reps":3,"p50_us":1.0,"p99_us":2.0,"ids_file":"ids.bin"}"#;
        assert!(matches!(
            serde_json::from_str(search).unwrap(),
            Line::Search { ef: 16, qps_batch2_best: None, .. }
        ));
        assert!(serde_json::from_str::<Line>("building 10 %").is_err());
    }
}
