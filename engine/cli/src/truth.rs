//! Ground truth: reading it, writing it, and the recall of what was found against it.
//!
//! Files (`.ibin`) hold what other tools write too: `u32` queries, `u32` k, the ids row by row, then,
//! optionally, the distances row by row as `f32`, with L2 squared. In memory distances are the engine's,
//! with the root taken.

use std::path::Path;

use anyhow::bail;
use orthant_engine::{Batch, FlatRows, Hit, Index, KeyRef, Metric, RowId, exact, pool::Pool, recall_at_k};
use orthant_formats::GroundTruth;

use crate::failure::WithHint;
use crate::output::{self, plural};
use crate::parallel::thread_count;
use crate::progress::Progress;

/// Relative difference of two distances above which they are not of one kind. Rounding of f32 sums stays
/// far below, a forgotten root far above.
const SAME_KIND: f32 = 1e-3;

/// The `k` nearest of `rows` to each of `queries` by comparing all. Returns the seconds it took as well.
///
/// # Shapes
/// `rows: [n × dim]`, `queries: [m × dim]`, row-major.
pub(crate) fn scan(
    metric: Metric,
    rows: &[f32],
    queries: &[f32],
    dim: usize,
    k: usize,
    threads: usize,
) -> anyhow::Result<(Batch, f64)> {
    let progress = Progress::start("scanning", queries.len() / dim);
    let pool = match thread_count(threads) {
        1 => None,
        threads => Some(Pool::builder().threads(threads).build()?),
    };
    let rows = FlatRows { data: rows, dim, stride: dim };
    let batch = exact(metric, rows, queries, k, pool.as_ref(), &|done| progress.set(done))?;
    Ok((batch, progress.finish()))
}

/// The `k` nearest in `index` to each of `queries`, by comparing all its rows.
pub(crate) fn scan_index(index: &Index, queries: &[f32], k: usize) -> anyhow::Result<Batch> {
    in_steps("scanning", queries, index.dim(), 128, |queries| Ok(index.search_exact(queries, k)?))
}

/// Calls `find` for `step` queries after the other, with a progress bar, and joins what it finds.
pub(crate) fn in_steps(
    label: &'static str,
    queries: &[f32],
    dim: usize,
    step: usize,
    mut find: impl FnMut(&[f32]) -> anyhow::Result<Batch>,
) -> anyhow::Result<Batch> {
    let progress = Progress::start(label, queries.len() / dim);
    let mut all = Batch::missing(0, 0);
    for queries in queries.chunks(step * dim) {
        let batch = find(queries)?;
        all.k = batch.k;
        all.nodes.extend(batch.nodes);
        all.generations.extend(batch.generations);
        all.distances.extend(batch.distances);
        progress.add(queries.len() / dim);
    }
    progress.finish();
    Ok(all)
}

/// Reads the first `k` true neighbors of the first `queries` queries. A file for more queries fits when
/// only the first are in use, and is refused otherwise.
pub(crate) fn read(
    path: &Path,
    queries: usize,
    is_first_of_more: bool,
    k: usize,
    metric: Metric,
) -> anyhow::Result<Batch> {
    let file = GroundTruth::read(path)?;
    let path = path.display();
    if file.queries != queries && !(is_first_of_more && file.queries > queries) {
        bail!(
            "{path}: holds the neighbors of {}, but there are {queries}",
            plural(file.queries, "query", "queries")
        );
    }
    if file.k < k {
        return Err(anyhow::anyhow!(
            "{path}: holds {} per query, {k} are needed",
            plural(file.k, "neighbor", "neighbors")
        ))
        .hint("write more with `orthant exact -k`, or search with a smaller -k");
    }
    let mut batch = Batch::missing(queries, k);
    batch.nodes.clear();
    batch.distances.clear();
    for query in 0..queries {
        let range = query * file.k..query * file.k + k;
        batch.nodes.extend_from_slice(&file.ids[range.clone()]);
        match &file.distances {
            Some(distances) => batch.distances.extend(distances[range].iter().map(|&d| metric.to_border(d))),
            None => batch.distances.extend(range.map(|_| f32::NAN)),
        }
    }
    Ok(batch)
}

/// Writes ids and, if wanted, distances.
pub(crate) fn write(path: &Path, batch: &Batch, with_distances: Option<Metric>) -> anyhow::Result<()> {
    let distances =
        |metric: Metric| batch.distances.iter().map(|&distance| metric.from_border(distance)).collect();
    let file = GroundTruth {
        queries: batch.nodes.len() / batch.k.max(1),
        k: batch.k,
        ids: batch.nodes.clone(),
        distances: with_distances.map(distances),
    };
    Ok(file.write(path)?)
}

/// What was found, by row numbers instead of nodes: in an index that was optimized, or that rows were removed
/// from, the two differ. A key that is no number below 2^32 leaves the node.
pub(crate) fn by_number(index: &Index, found: &Batch) -> Batch {
    let pinned = index.pin();
    let mut numbers = found.clone();
    for (place, node) in numbers.nodes.iter_mut().enumerate() {
        let row = RowId { node: *node, generation: found.generations[place] };
        if let Some(KeyRef::Int(number)) = pinned.key(row) {
            *node = u32::try_from(number).unwrap_or(*node);
        }
    }
    numbers
}

/// Mean recall@k of `found` against `truth`, over all queries. Ties at the k-th true distance count when
/// the truth has distances of the kind that `found` has; otherwise it goes by ids, and says so.
///
/// # Panics
/// If the two are of different shapes.
pub(crate) fn recall(found: &Batch, truth: &Batch) -> f64 {
    assert_eq!((found.k, found.nodes.len()), (truth.k, truth.nodes.len()), "same queries, same k");
    let k = truth.k;
    let queries = truth.nodes.len() / k;
    let is_known = truth.distances.iter().all(|distance| !distance.is_nan());
    let has_kind = is_known && is_same_kind(found, truth);
    if is_known && !has_kind {
        output::note(format_args!(
            "the ground truth's distances are of another kind: recall goes by ids only"
        ));
    }
    let mut sum = 0.0;
    for query in 0..queries {
        let hits: Vec<Hit> = found.hits(query).collect();
        let mut exact: Vec<Hit> = truth.hits(query).collect();
        if !has_kind {
            // Below every distance, so that nothing ties.
            exact.iter_mut().for_each(|hit| hit.distance = f32::NEG_INFINITY);
        }
        sum += recall_at_k(&hits, &exact, k);
    }
    sum / queries.max(1) as f64
}

/// Whether the nodes that both list have about the same distance in both.
fn is_same_kind(found: &Batch, truth: &Batch) -> bool {
    let pairs = found.nodes.iter().zip(&found.distances).zip(truth.nodes.iter().zip(&truth.distances));
    let (mut same, mut compared) = (0, 0);
    for ((node, distance), (exact_node, exact_distance)) in pairs.filter(|((a, _), (b, _))| a == b).take(1000)
    {
        debug_assert_eq!(node, exact_node);
        compared += 1;
        let scale = distance.abs().max(exact_distance.abs()).max(SAME_KIND);
        same += usize::from((distance - exact_distance).abs() <= SAME_KIND * scale);
    }
    same * 2 >= compared
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(nodes: &[u32], distances: &[f32]) -> Batch {
        let generations = vec![0; nodes.len()];
        Batch { k: 2, nodes: nodes.to_vec(), generations, distances: distances.to_vec() }
    }

    #[test]
    fn ties_count_when_distances_are_of_one_kind() {
        let truth = batch(&[1, 2, 5, 6], &[1.0, 3.0, 2.0, 4.0]);
        assert_eq!(recall(&truth, &truth), 1.0);
        assert_eq!(recall(&batch(&[1, 9, 5, 8], &[1.0, 3.0, 2.0, 4.5]), &truth), 0.75);
        let squared = batch(&[1, 2, 5, 6], &[1.0, 9.0, 4.0, 16.0]);
        assert_eq!(recall(&batch(&[1, 9, 5, 6], &[1.0, 3.0, 2.0, 4.0]), &squared), 0.75);
        let unknown = batch(&[1, 2, 5, 6], &[f32::NAN; 4]);
        assert_eq!(recall(&batch(&[1, 9, 5, 6], &[1.0, 3.0, 2.0, 4.0]), &unknown), 0.75);
    }

    #[test]
    fn missing_results_count_as_misses() {
        let truth = batch(&[1, 2], &[1.0, 3.0]);
        assert_eq!(recall(&batch(&[1, Batch::MISSING], &[1.0, f32::INFINITY]), &truth), 0.5);
    }

    #[test]
    fn the_scan_finds_the_nearest() {
        let (found, _) = scan(Metric::L2, &[0.0, 1.0, 5.0, 6.5], &[4.0, 0.2], 1, 2, 2).unwrap();
        assert_eq!(found.nodes, [2, 3, 0, 1]);
    }
}
