//! Exact search: every row is compared. The ground truth of all recall figures.
//!
//! Distances are computed by the kernels in blocks that stay in the cache for a group of queries, and the
//! best are recomputed in f64, so that the order among near ties does not depend on the instruction set.
//! Equal distances are ordered by id.

use orthant_kernels::{IsaError, Kernel, Metric, reference};
use orthant_pool::Pool;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::search::{Batch, BatchRows, Hit, SearchError};
use crate::{Index, NodeId};

/// Bytes of rows that are compared with a group of queries before the next: half of the smallest
/// second-level cache in use (256 KB).
const BLOCK_BYTES: usize = 128 << 10;

/// Queries that share a block while it is in the cache.
const GROUP: usize = 32;

/// Candidates kept beyond `k` for the second look in f64: f32 rounding moves a row by a few places at
/// most, unless there are more near ties than this, which then are ties for any purpose.
const MARGIN: usize = 32;

/// Rows to be searched exactly: row-major, `[count × stride]`, the first `dim` elements of a row.
#[derive(Debug, Clone, Copy)]
pub struct FlatRows<'a> {
    /// The elements; the last row may lack its padding.
    pub data: &'a [f32],
    /// Elements per vector.
    pub dim: usize,
    /// Elements from row to row.
    pub stride: usize,
}

impl FlatRows<'_> {
    /// How many rows there are.
    pub fn count(&self) -> usize {
        (self.data.len() + self.stride - self.dim) / self.stride
    }

    fn row(&self, id: usize) -> &[f32] {
        &self.data[id * self.stride..id * self.stride + self.dim]
    }
}

/// The `k` nearest of `rows` to each of the queries `[n × dim]`, by comparing them all, on the threads of
/// `pool` (without one: on this thread). `progress(queries)` is called with the number of queries done.
///
/// Rows and queries are taken as they are: cosine normalises on the fly. Distances are as in [`Hit`].
///
/// # Errors
/// [`IsaError`] when the environment forces an instruction set that the CPU lacks.
/// # Panics
/// If `rows.dim` is 0 or above `rows.stride`, or `queries` are no whole number of queries.
///
/// # Examples
/// ```
/// use orthant_engine::{FlatRows, Metric, exact};
/// let rows = FlatRows { data: &[0.0, 1.0, 5.0, 6.0], dim: 1, stride: 1 };
/// let found = exact(Metric::L2, rows, &[4.0], 2, None, &|_| ())?;
/// assert_eq!(found.nodes, [2, 3]);
/// assert_eq!(found.distances, [1.0, 2.0]);
/// # Ok::<(), orthant_engine::kernels::IsaError>(())
/// ```
pub fn exact(
    metric: Metric,
    rows: FlatRows<'_>,
    queries: &[f32],
    k: usize,
    pool: Option<&Pool>,
    progress: &(dyn Fn(usize) + Sync),
) -> Result<Batch, IsaError> {
    exact_where(metric, rows, queries, k, pool, progress, &|_| true)
}

/// [`exact`] over the rows for which `is_present` holds.
pub(crate) fn exact_where(
    metric: Metric,
    rows: FlatRows<'_>,
    queries: &[f32],
    k: usize,
    pool: Option<&Pool>,
    progress: &(dyn Fn(usize) + Sync),
    is_present: &(dyn Fn(NodeId) -> bool + Sync),
) -> Result<Batch, IsaError> {
    assert!(rows.dim > 0 && rows.dim <= rows.stride, "a row has elements and fits its stride");
    assert!(queries.len().is_multiple_of(rows.dim), "a whole number of queries");
    let kernel = Kernel::new(metric, rows.dim)?;
    let count = queries.len() / rows.dim;
    let mut batch =
        Batch { k, nodes: vec![Batch::MISSING; count * k], distances: vec![f32::INFINITY; count * k] };
    if k == 0 || count == 0 {
        return Ok(batch);
    }
    let out = BatchRows::new(&mut batch);
    let done = AtomicUsize::new(0);
    let work = |range: std::ops::Range<usize>| {
        let group = &queries[range.start * rows.dim..range.end * rows.dim];
        for (place, hits) in scan(&kernel, rows, group, k, is_present).into_iter().enumerate() {
            // SAFETY: every query is in exactly one range.
            unsafe { out.set(range.start + place, &hits) };
        }
        progress(done.fetch_add(range.len(), Ordering::Relaxed) + range.len());
    };
    match pool {
        Some(pool) => pool.for_each_chunk(count, GROUP, |_, range| work(range)),
        None => (0..count).step_by(GROUP).for_each(|start| work(start..(start + GROUP).min(count))),
    }
    Ok(batch)
}

/// The nearest rows to each query of a group.
fn scan(
    kernel: &Kernel,
    rows: FlatRows<'_>,
    queries: &[f32],
    k: usize,
    is_present: &dyn Fn(NodeId) -> bool,
) -> Vec<Vec<Hit>> {
    let per_block = (BLOCK_BYTES / (rows.stride * 4)).max(1);
    let mut distances = vec![0.0f32; per_block];
    let mut best: Vec<Best> = queries.chunks_exact(rows.dim).map(|_| Best::new(k + MARGIN)).collect();
    let count = rows.count();
    for start in (0..count).step_by(per_block) {
        let length = per_block.min(count - start);
        let block = &rows.data[start * rows.stride..];
        for (query, best) in queries.chunks_exact(rows.dim).zip(&mut best) {
            kernel.rows(query, block, rows.stride, &mut distances[..length]);
            for (place, &distance) in distances[..length].iter().enumerate() {
                let id = (start + place) as NodeId;
                if best.takes(distance) && is_present(id) {
                    best.add(distance, id);
                }
            }
        }
    }
    let refined = |(query, best): (&[f32], Best)| {
        let mut exact: Vec<(f64, NodeId)> = best
            .hits
            .into_iter()
            .map(|(_, id)| (reference::distance(kernel.metric(), query, rows.row(id as usize)), id))
            .collect();
        exact.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        let shown = |(distance, node)| Hit { node, distance: border(kernel.metric(), distance) };
        exact.into_iter().take(k).map(shown).collect()
    };
    queries.chunks_exact(rows.dim).zip(best).map(refined).collect()
}

fn border(metric: Metric, distance: f64) -> f32 {
    match metric {
        Metric::L2 => distance.sqrt() as f32,
        _ => distance as f32,
    }
}

/// The best so far, nearest first.
struct Best {
    hits: Vec<(f32, NodeId)>,
    limit: usize,
}

impl Best {
    fn new(limit: usize) -> Self {
        Self { hits: Vec::with_capacity(limit + 1), limit }
    }

    #[inline(always)]
    fn takes(&self, distance: f32) -> bool {
        self.hits.len() < self.limit || distance < self.hits[self.limit - 1].0
    }

    fn add(&mut self, distance: f32, id: NodeId) {
        let place = self.hits.partition_point(|&(other, _)| other.total_cmp(&distance).is_le());
        if self.hits.len() == self.limit {
            self.hits.pop();
        }
        self.hits.insert(place.min(self.hits.len()), (distance, id));
    }
}

impl Index {
    /// The `k` nearest rows to each of the queries `[n × dim]`, found by comparing all rows.
    ///
    /// # Errors
    /// [`SearchError`].
    pub fn search_exact(&self, queries: &[f32], k: usize) -> Result<Batch, SearchError> {
        self.check_queries(queries, k)?;
        let layout = self.rows.layout();
        let rows = FlatRows { data: self.rows.rows(), dim: self.dim, stride: layout.stride() };
        let pool = if self.workers.threads == 1 { None } else { Some(self.pool()?) };
        let is_present = |node| self.keys.is_present(node);
        Ok(exact_where(self.metric, rows, queries, k, pool, &|_| (), &is_present)?)
    }
}
