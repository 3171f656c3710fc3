//! The record of one run: what was measured, where, when and on which commit.

use anyhow::Result;
use serde::Serialize;

use super::machine;

/// One run, as it is written to `benches/record/<cpu>/<date>.json`.
#[derive(Debug, Serialize)]
pub(crate) struct Record {
    pub(crate) date: String,
    commit: String,
    cpu: String,
    threads: usize,
    /// Quick runs show that the benchmarks work; their figures are not to be quoted.
    is_quick: bool,
    pub(crate) micro: Vec<Micro>,
    pub(crate) sweeps: Vec<Sweep>,
    #[serde(skip)]
    pub(crate) cpu_folder: String,
}

/// One micro-benchmark.
#[derive(Debug, Serialize)]
pub(crate) struct Micro {
    pub(crate) name: String,
    pub(crate) median_ns: f64,
    pub(crate) deviation_ns: f64,
}

/// One data set.
#[derive(Debug, Serialize)]
pub(crate) struct Sweep {
    pub(crate) set: String,
    pub(crate) metric: &'static str,
    pub(crate) rows: usize,
    pub(crate) dim: usize,
    pub(crate) queries: usize,
    pub(crate) build_seconds: f64,
    pub(crate) peak_rss_bytes: u64,
    pub(crate) points: Vec<Point>,
}

/// One beam width on one data set.
#[derive(Debug, Serialize)]
pub(crate) struct Point {
    pub(crate) ef: usize,
    pub(crate) recall_at_10: f64,
    /// Queries per second, one query per call on one core; the best of the repetitions.
    pub(crate) qps: f64,
    /// Queries per second of the batch call on all cores.
    pub(crate) qps_batch: Option<f64>,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
}

impl Record {
    pub(crate) fn begin(is_quick: bool) -> Result<Self> {
        let cpu = machine::cpu();
        Ok(Self {
            date: machine::date(),
            commit: machine::commit()?,
            cpu_folder: machine::folder_name(&cpu),
            cpu,
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            is_quick,
            micro: Vec::new(),
            sweeps: Vec::new(),
        })
    }
}

impl Sweep {
    /// Prints the sweep as a table.
    pub(crate) fn print(&self) {
        println!(
            "\n{}: {} x {} ({}), {} queries, built in {:.2} s",
            self.set, self.rows, self.dim, self.metric, self.queries, self.build_seconds
        );
        println!(
            "{:>6} {:>10} {:>10} {:>10} {:>9} {:>9}",
            "ef", "recall@10", "QPS", "QPS batch", "p50 us", "p99 us"
        );
        for point in &self.points {
            let batch = point.qps_batch.map_or_else(|| "-".into(), |qps| format!("{qps:.0}"));
            println!(
                "{:>6} {:>10.4} {:>10.0} {batch:>10} {:>9.1} {:>9.1}",
                point.ef, point.recall_at_10, point.qps, point.p50_us, point.p99_us
            );
        }
    }
}
