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
    assert!(rows.dim > 0 && rows.dim <= rows.stride, "a row has elements and fits its stride");
    let kernel = Kernel::new(metric, rows.dim)?;
    Ok(scan_all(&kernel, queries, k, pool, progress, &|group| scan(&kernel, rows, group, k)))
}

/// Calls `scan` for group after group of queries, on the threads of `pool`.
fn scan_all(
    kernel: &Kernel,
    queries: &[f32],
    k: usize,
    pool: Option<&Pool>,
    progress: &(dyn Fn(usize) + Sync),
    scan: &(dyn Fn(&[f32]) -> Vec<Vec<Hit>> + Sync),
) -> Batch {
    let dim = kernel.dim();
    assert!(queries.len().is_multiple_of(dim), "a whole number of queries");
    let count = queries.len() / dim;
    let mut batch = Batch::missing(count, k);
    if k == 0 || count == 0 {
        return batch;
    }
    let out = BatchRows::new(&mut batch);
    let done = AtomicUsize::new(0);
    let work = |range: std::ops::Range<usize>| {
        let group = &queries[range.start * dim..range.end * dim];
        for (place, hits) in scan(group).into_iter().enumerate() {
            // SAFETY: every query is in exactly one range.
            unsafe { out.set(range.start + place, &hits) };
        }
        progress(done.fetch_add(range.len(), Ordering::Relaxed) + range.len());
    };
    match pool {
        Some(pool) => pool.for_each_chunk(count, GROUP, |_, range| work(range)),
        None => (0..count).step_by(GROUP).for_each(|start| work(start..(start + GROUP).min(count))),
    }
    batch
}

/// Rows that are compared with a group of queries before the next.
fn rows_per_block(stride: usize) -> usize {
    (BLOCK_BYTES / (stride * 4)).max(1)
}

/// The nearest rows to each query of a group.
fn scan(kernel: &Kernel, rows: FlatRows<'_>, queries: &[f32], k: usize) -> Vec<Vec<Hit>> {
    let per_block = rows_per_block(rows.stride);
    let mut distances = vec![0.0f32; per_block];
    let mut best = Best::for_each(queries, rows.dim, k);
    let count = rows.count();
    for start in (0..count).step_by(per_block) {
        let length = per_block.min(count - start);
        let block = &rows.data[start * rows.stride..];
        for (query, best) in queries.chunks_exact(rows.dim).zip(&mut best) {
            kernel.rows(query, block, rows.stride, &mut distances[..length]);
            for (place, &distance) in distances[..length].iter().enumerate() {
                if best.takes(distance) {
                    best.add(distance, (start + place) as NodeId);
                }
            }
        }
    }
    let queries = queries.chunks_exact(rows.dim);
    let row = |id: NodeId| rows.row(id as usize);
    queries.zip(best).map(|(query, best)| best.refined(kernel.metric(), query, k, row)).collect()
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
    /// One for each query of a group.
    fn for_each(queries: &[f32], dim: usize, k: usize) -> Vec<Self> {
        queries.chunks_exact(dim).map(|_| Self::new(k + MARGIN)).collect()
    }

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

    /// The best `k` by distances computed in f64.
    fn refined<'r>(
        self,
        metric: Metric,
        query: &[f32],
        k: usize,
        row: impl Fn(NodeId) -> &'r [f32],
    ) -> Vec<Hit> {
        let mut exact: Vec<(f64, NodeId)> =
            self.hits.into_iter().map(|(_, id)| (reference::distance(metric, query, row(id)), id)).collect();
        exact.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        let shown = |(distance, node)| Hit { node, generation: 0, distance: border(metric, distance) };
        exact.into_iter().take(k).map(shown).collect()
    }
}

impl Index {
    /// The `k` nearest rows to each of the queries `[n × dim]`, found by comparing all rows that are in the
    /// index when a group of queries comes to them.
    ///
    /// Inserts and removals may go on meanwhile; places of rows that are removed during the scan of a group of 32
    /// queries are not used again before it ends.
    ///
    /// # Errors
    /// [`SearchError`].
    pub fn search_exact(&self, queries: &[f32], k: usize) -> Result<Batch, SearchError> {
        self.check_queries(queries, k)?;
        let kernel = Kernel::new(self.metric, self.dim)?;
        let pool = if self.workers.threads == 1 { None } else { Some(self.pool()?) };
        let scan = |group: &[f32]| self.scan_live(&kernel, group, k);
        Ok(scan_all(&kernel, queries, k, pool, &|_| (), &scan))
    }

    /// The nearest live rows to each query of a group. Which rows are live is the graph's to say, so a row that
    /// is still being written somewhere hides none of those after it.
    fn scan_live(&self, kernel: &Kernel, queries: &[f32], k: usize) -> Vec<Vec<Hit>> {
        let _pin = self.graph.pin();
        let stride = self.rows.layout().stride();
        let per_block = rows_per_block(stride);
        let mut distances = vec![0.0f32; per_block];
        let mut nodes = Vec::with_capacity(per_block);
        let mut best = Best::for_each(queries, self.dim, k);
        let count = self.graph.node_bound();
        for start in (0..count).step_by(per_block) {
            let block = start as NodeId..(start + per_block).min(count) as NodeId;
            nodes.clear();
            nodes.extend(block.filter(|&node| self.graph.is_live(node)));
            for (query, best) in queries.chunks_exact(self.dim).zip(&mut best) {
                let distances = &mut distances[..nodes.len()];
                // SAFETY: the query has the kernel's dimension; the nodes were seen live under the pin, so their
                // rows are whole and not written again while it is held (N1, N4).
                unsafe { kernel.gather_raw(query.as_ptr(), self.rows.as_ptr(), stride, &nodes, distances) };
                for (&node, &distance) in nodes.iter().zip(distances.iter()) {
                    if best.takes(distance) {
                        best.add(distance, node);
                    }
                }
            }
        }
        // SAFETY: as above.
        let row = |node: NodeId| unsafe { self.rows.row_unchecked(node) };
        let refined = |(query, best): (&[f32], Best)| {
            let mut hits = best.refined(self.metric, query, k, row);
            hits.iter_mut().for_each(|hit| hit.generation = self.graph.generation(hit.node));
            hits
        };
        queries.chunks_exact(self.dim).zip(best).map(refined).collect()
    }
}
