//! Timing searches: lean loops over queries that lie in one array.
//!
//! * **M1** Nothing is allocated and nothing is computed in a timed loop but the search and one clock
//!   read per query.
//! * **M2** Results are taken from an untimed pass before, which also warms the caches.

use std::time::Instant;

use orthant_engine::{Batch, SearchParams, Searcher};
use serde::Serialize;

/// Speed of one query after the other on the calling thread.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Speed {
    /// Queries per second of the fastest repetition.
    pub(crate) qps_best: f64,
    /// Queries per second of the median repetition.
    pub(crate) qps_median: f64,
    /// Microseconds that half of the queries stay below.
    pub(crate) p50_us: f64,
    /// Microseconds that 99 of 100 queries stay below.
    pub(crate) p99_us: f64,
}

/// What searches cost, beside time.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(crate) struct Effort {
    /// Blocks read per query; 0 where lists are no blocks.
    pub(crate) expanded: f64,
    /// Whole rows screened per query; 0 where rows are read whole, or not at all.
    pub(crate) screened: f64,
    /// Share of those that were given up after their first part.
    pub(crate) given_up: f64,
}

/// What the searcher finds for each of `queries`, one per call, and at what cost.
///
/// # Shapes
/// `queries: [n × dim]`, row-major.
pub(crate) fn one_by_one(
    searcher: &mut Searcher<'_>,
    queries: &[f32],
    dim: usize,
    params: SearchParams,
) -> anyhow::Result<(Batch, Effort)> {
    let n = queries.len() / dim;
    let mut batch = Batch::missing(n, params.k);
    let (mut expanded, mut screened, mut given_up) = (0, 0, 0);
    for (query, vector) in queries.chunks_exact(dim).enumerate() {
        batch.set(query, searcher.search(vector, params)?);
        let rows = searcher.screened();
        expanded += searcher.expanded();
        screened += u64::from(rows.rows);
        given_up += u64::from(rows.given_up);
    }
    let per_query = |count: f64| count / n.max(1) as f64;
    let effort = Effort {
        expanded: per_query(expanded as f64),
        screened: per_query(screened as f64),
        given_up: given_up as f64 / screened.max(1) as f64,
    };
    Ok((batch, effort))
}

/// Times `reps` passes over `queries`, one query per call.
pub(crate) fn speed(
    searcher: &mut Searcher<'_>,
    queries: &[f32],
    dim: usize,
    params: SearchParams,
    reps: usize,
) -> anyhow::Result<Speed> {
    let n = queries.len() / dim;
    let mut nanoseconds = Vec::with_capacity(n * reps);
    let mut rates = Vec::with_capacity(reps);
    for _ in 0..reps {
        let start = Instant::now();
        let mut before = start;
        for query in queries.chunks_exact(dim) {
            std::hint::black_box(searcher.search(query, params)?);
            let now = Instant::now();
            nanoseconds.push((now - before).as_nanos() as u32);
            before = now;
        }
        rates.push(n as f64 / (before - start).as_secs_f64().max(1e-9));
    }
    nanoseconds.sort_unstable();
    Ok(Speed {
        qps_best: rates.iter().copied().fold(0.0, f64::max),
        qps_median: median(&mut rates),
        p50_us: quantile(&nanoseconds, 0.5),
        p99_us: quantile(&nanoseconds, 0.99),
    })
}

/// The middle of `values` (the mean of the two in the middle); 0 when there are none.
pub(crate) fn median(values: &mut [f64]) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => 0.0,
        n if n % 2 == 1 => values[middle],
        _ => f64::midpoint(values[middle - 1], values[middle]),
    }
}

/// The value of sorted `nanoseconds` that a share of `q` stays at or below, in microseconds.
pub(crate) fn quantile(nanoseconds: &[u32], q: f64) -> f64 {
    let at = (nanoseconds.len() as f64 * q).ceil() as usize;
    nanoseconds.get(at.max(1) - 1).map_or(0.0, |&value| f64::from(value) / 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_quantiles() {
        assert_eq!([median(&mut [3.0, 1.0, 2.0]), median(&mut [4.0, 1.0]), median(&mut [])], [2.0, 2.5, 0.0]);
        let hundred: Vec<u32> = (1..=100).map(|i| i * 1000).collect();
        assert_eq!(
            [quantile(&hundred, 0.5), quantile(&hundred, 0.99), quantile(&hundred, 1.0)],
            [50.0, 99.0, 100.0]
        );
        assert_eq!(quantile(&[], 0.5), 0.0);
    }
}
