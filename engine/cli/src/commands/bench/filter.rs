//! `orthant bench filter`: recall and speed of filtered searches, by how many rows match and how that goes with the query.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use orthant_engine::{FlatRows, exact};
use orthant_store::{FieldType, Filter, Found, Row, Schema, SearchRequest, Tenant, field};
use serde::Serialize;
use serde_json::json;

use super::kept::kept;
use crate::args::FilterArgs;
use crate::output::Output;
use crate::vectors::Vectors;

const K: usize = 10;

/// Shares of rows that match, in percent.
const SELECTIVITIES: [f64; 7] = [50.0, 10.0, 5.0, 1.0, 0.3, 0.1, 0.01];

/// One measurement.
#[derive(Debug, Serialize)]
struct Line {
    selectivity: f64,
    correlation: &'static str,
    recall: f64,
    /// Searches with fewer results than there were to find.
    short: usize,
    qps: f64,
    qps_unfiltered: f64,
    qps_scan: f64,
}

/// Runs the command.
pub(super) fn run(args: &FilterArgs) -> anyhow::Result<()> {
    let output = Output::new(args.json);
    let metric = super::metric(&args.data, args.metric)?;
    let most = if args.limit == 0 { usize::MAX } else { args.limit };
    let base = Vectors::open_first(&super::find(&args.data, "base")?, most, 0)?;
    let queries = Vectors::open(&super::find(&args.data, "query")?, 0)?;
    let (n, dim) = (base.rows(), base.dim());
    let row_of = |row: usize| &base.values()[row * dim..(row + 1) * dim];

    // `near` is a row's place in the order of distance from one row: a filter on it takes a region. `any` is drawn.
    let flat = FlatRows { data: base.values(), dim, stride: dim };
    let order = exact(metric, flat, row_of(n / 2), n, None, &|_| ())?;
    let mut near = vec![0; n];
    for (place, &row) in order.nodes.iter().enumerate() {
        near[row as usize] = place;
    }
    let flat = FlatRows { data: queries.values(), dim, stride: dim };
    let query_order = exact(metric, flat, row_of(n / 2), queries.rows(), None, &|_| ())?.nodes;
    let count = args.queries.min(queries.rows() / 3).max(1);
    let vector = |query: u32| queries.values()[query as usize * dim..(query as usize + 1) * dim].to_vec();
    let nearest: Vec<Vec<f32>> = query_order[..count].iter().map(|&query| vector(query)).collect();
    let farthest: Vec<Vec<f32>> = query_order.iter().rev().take(count).map(|&query| vector(query)).collect();
    let any: Vec<Vec<f32>> =
        (0..count).map(|place| vector((place * queries.rows() / count) as u32)).collect();

    let made = tempfile::tempdir().context("no temporary folder")?;
    let dir = args.dir.as_deref().unwrap_or(made.path()).join("filter");
    let schema =
        Schema::new(dim, metric).with_field("any", FieldType::Integer).with_field("near", FieldType::Integer);
    let (_database, tenant) = kept(&dir, schema, n, |numbers| {
        let row = |row: usize| {
            let drawn = (row as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
            let payload = json!({"any": (drawn as usize * n) >> 24, "near": near[row]});
            Ok(Row::new(row as u64, row_of(row)).with_payload(payload)?)
        };
        numbers.map(row).collect()
    })?;

    let mut lines = Vec::new();
    for (correlation, name, queries) in
        [("none", "any", &any), ("positive", "near", &nearest), ("negative", "near", &farthest)]
    {
        for selectivity in SELECTIVITIES {
            let bound = ((n as f64 * selectivity / 100.0).round() as i64).max(1);
            let filter: Filter = field(name).lt(bound);
            let matches = tenant.count(Some(&filter))? as usize;
            let plain = |query: &Vec<f32>| SearchRequest::new(query.clone(), K).ef(args.ef);
            let filtered = |query: &Vec<f32>| plain(query).filter(filter.clone());
            let ways: [Vec<SearchRequest>; 3] = [
                queries.iter().map(filtered).collect(),
                queries.iter().map(plain).collect(),
                queries.iter().map(|query| filtered(query).exact()).collect(),
            ];
            let ([found, _, truth], [qps, qps_unfiltered, qps_scan]) = timed(&tenant, &ways)?;
            let wanted = K.min(matches);
            let is_hit = |found: &Found, truth: &[Found]| {
                truth.last().is_some_and(|last| found.distance <= last.distance * (1.0 + 1e-5) + 1e-7)
            };
            let hits: usize = found
                .iter()
                .zip(&truth)
                .map(|(found, truth)| found.iter().filter(|found| is_hit(found, truth)).count())
                .sum();
            ensure!(truth.iter().all(|truth| truth.len() == wanted), "the scan is short");
            lines.push(Line {
                selectivity,
                correlation,
                recall: hits as f64 / (wanted * queries.len()).max(1) as f64,
                short: found.iter().filter(|found| found.len() < wanted).count(),
                qps,
                qps_unfiltered,
                qps_scan,
            });
        }
    }
    let text = |line: &Line| {
        vec![
            format!("{}", line.selectivity),
            line.correlation.to_owned(),
            format!("{:.4}", line.recall),
            line.short.to_string(),
            format!("{:.0}", line.qps),
            format!("{:.0}", line.qps_unfiltered),
            format!("{:.0}", line.qps_scan),
        ]
    };
    output.table(
        &["% match", "correlation", "recall@10", "short", "qps", "qps unfiltered", "qps scan"],
        &lines.iter().map(text).collect::<Vec<_>>(),
    )?;
    if args.json {
        output.object(&json!({"rows": lines, "n": n, "dim": dim, "ef": args.ef, "queries": count}))?;
    }
    Ok(())
}

/// How long each figure is timed for, at least: a pass over all queries may take less than a disturbance does.
const TIMED: Duration = Duration::from_millis(150);

/// The passes of a way are timed in so many turns, between those of the other ways: what is compared meets the same disturbances.
const TURNS: u32 = 6;

/// The results of one way of asking, by query.
type Answers = Vec<Vec<Found>>;

/// The results of each way of asking, and queries per second of its fastest pass on this thread.
fn timed(tenant: &Tenant, ways: &[Vec<SearchRequest>; 3]) -> anyhow::Result<([Answers; 3], [f64; 3])> {
    let mut found: [Answers; 3] = Default::default();
    for (found, requests) in found.iter_mut().zip(ways) {
        *found = requests.iter().map(|request| tenant.search(request)).collect::<Result<_, _>>()?;
    }
    let mut fastest = [f64::INFINITY; 3];
    let mut spent = [Duration::ZERO; 3];
    for turn in 1..=TURNS {
        for ((requests, fastest), spent) in ways.iter().zip(&mut fastest).zip(&mut spent) {
            while *spent < TIMED * turn / TURNS {
                let started = Instant::now();
                for request in requests {
                    std::hint::black_box(tenant.search(request)?);
                }
                *fastest = fastest.min(started.elapsed().as_secs_f64());
                *spent += started.elapsed();
            }
        }
    }
    Ok((found, fastest.map(|fastest| ways[0].len() as f64 / fastest)))
}
