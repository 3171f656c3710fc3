//! [`Probe`]: how many of the nearest rows a scan by codes finds.

use orthant_kernels::{IsaError, Kernel, Metric};

use crate::quantizer::Quantizer;
use crate::rerank::{Neighbor, rerank};
use crate::sq::check_rows;

/// Rows, queries and the exact answers, to measure codes against: a proxy for the recall of a search that uses them.
///
/// # Examples
/// ```
/// use orthant_kernels::Metric;
/// use orthant_quant::{MinMax, Probe};
///
/// let rows: Vec<f32> = (0..4000).map(|i| (i * i % 997) as f32).collect();
/// let probe = Probe::new(Metric::L2, 8, &rows[80..], &rows[..80], 10)?;
/// let recalls = probe.recall(&MinMax::new(8, 8)?, &[1.0, 2.0]);
/// assert!(recalls[0] > 0.9 && recalls[1] >= recalls[0]);
/// # Ok::<(), orthant_kernels::IsaError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Probe<'a> {
    metric: Metric,
    dim: usize,
    rows: &'a [f32],
    queries: &'a [f32],
    kernel: Kernel,
    k: usize,
    /// The exact distance of the k-th nearest row, per query.
    bounds: Vec<f32>,
}

impl<'a> Probe<'a> {
    /// Finds the exact answers.
    ///
    /// # Shapes
    /// `rows: [n × dim]`, `queries: [m × dim]`; `k` at most n.
    /// # Errors
    /// As [`orthant_kernels::active_isa`].
    /// # Panics
    /// If `dim` or `k` is 0, or if there are fewer rows than `k`.
    pub fn new(
        metric: Metric,
        dim: usize,
        rows: &'a [f32],
        queries: &'a [f32],
        k: usize,
    ) -> Result<Self, IsaError> {
        assert!(dim > 0 && k > 0, "there is nothing to find");
        let count = rows.len() / dim;
        check_rows(rows.len(), dim, count, dim);
        assert!(count >= k, "{count} rows hold no {k} nearest");
        let kernel = Kernel::new(metric, dim)?;
        let mut distances = vec![0.0; count];
        let bounds = queries.chunks_exact(dim).map(|query| {
            kernel.rows(query, rows, dim, &mut distances);
            let mut order: Vec<(f32, usize)> = distances.iter().copied().zip(0..).collect();
            order.select_nth_unstable_by(k - 1, |a, b| a.0.total_cmp(&b.0));
            // By pairs, as candidates are compared with it later: batches may round otherwise.
            let exact = |&(_, row): &(f32, usize)| kernel.pair(query, &rows[row * dim..][..dim]);
            order[..k].iter().map(exact).fold(f32::NEG_INFINITY, f32::max)
        });
        let bounds = bounds.collect();
        Ok(Self { metric, dim, rows, queries, kernel, k, bounds })
    }

    /// Recall@k of a scan by codes and a rerank, for each oversampling.
    pub fn recall<Q: Quantizer>(&self, quantizer: &Q, oversample: &[f32]) -> Vec<f64> {
        let count = self.rows.len() / self.dim;
        let codes = quantizer.encode_rows(self.rows, self.dim, count);
        let mut prepared = Q::Query::default();
        self.recall_of(oversample, |query, out| {
            quantizer.prepare(self.metric, query, &mut prepared);
            quantizer.distances(&prepared, &codes, out);
        })
    }

    /// Recall@k of any distances: `scan(query, out)` writes one per row. A row at the distance of the k-th counts.
    pub fn recall_of(&self, oversample: &[f32], mut scan: impl FnMut(&[f32], &mut [f32])) -> Vec<f64> {
        let mut found = vec![0usize; oversample.len()];
        let mut distances = vec![0.0; self.rows.len() / self.dim];
        for (query, &bound) in self.queries.chunks_exact(self.dim).zip(&self.bounds) {
            scan(query, &mut distances);
            let mut candidates: Vec<Neighbor> =
                distances.iter().zip(0..).map(|(&distance, id)| Neighbor { id, distance }).collect();
            for (found, &oversample) in found.iter_mut().zip(oversample) {
                let exact =
                    |id: u32| self.kernel.pair(query, &self.rows[id as usize * self.dim..][..self.dim]);
                let best = rerank(&mut candidates, self.k, oversample, exact);
                *found += best.iter().filter(|neighbor| neighbor.distance <= bound).count();
            }
        }
        let wanted = (self.k * self.bounds.len()).max(1) as f64;
        found.into_iter().map(|found| found as f64 / wanted).collect()
    }
}
