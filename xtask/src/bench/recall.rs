//! Recall@10 from returned ids.

use anyhow::{Result, ensure};

use super::dataset::DataSet;

/// Neighbors looked at per query.
pub(crate) const K: usize = 10;
/// Two distances this close, relative, are a tie: f32 sums in different orders differ by more than 0.
const TIE: f64 = 1e-6;

/// The share of the exact `K` nearest among the returned ones, over all queries with `k` ids each.
///
/// A returned row that is as near as the `K`-th exact one counts (a tie); a row returned twice counts once.
pub(crate) fn recall(set: &DataSet, k: usize, ids: &[u32]) -> Result<f64> {
    ensure!(
        k >= K && set.truth.k >= K,
        "recall@{K} needs {K} neighbors, of {k} returned and {} known",
        set.truth.k
    );
    let queries = ids.len() / k;
    ensure!(
        queries > 0 && queries <= set.truth.queries,
        "{queries} queries, answers for {}",
        set.truth.queries
    );
    let mut found = 0;
    for (query, returned) in ids.chunks_exact(k).enumerate() {
        let mut returned = returned[..K].to_vec();
        returned.sort_unstable();
        returned.dedup();
        let exact = &set.truth.row(query)[..K];
        let (right, other): (Vec<u32>, Vec<u32>) = returned.into_iter().partition(|id| exact.contains(id));
        found += right.len();
        // Missing neighbors are marked by an id that no row has.
        let other = other.into_iter().filter(|&id| (id as usize) < set.base.rows);
        let mut other = other.peekable();
        if other.peek().is_some() {
            let vector = set.queries.row(query)?;
            let distance =
                |id: u32| Ok::<_, anyhow::Error>(set.metric.distance(&vector, &set.base.row(id as usize)?));
            let last = distance(exact[K - 1])?;
            for id in other {
                found += usize::from(distance(id)? <= last + TIE * last.abs());
            }
        }
    }
    Ok(found as f64 / (queries * K) as f64)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::bench::dataset::{write_ids, write_vectors};

    #[test]
    fn ties_count_and_duplicates_do_not() {
        let folder = std::env::temp_dir().join(format!("orthant-recall-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        // Rows 9 and 10 lie at the same place, as near as the tenth.
        let rows = [0., 1., 2., 3., 4., 5., 6., 7., 8., 9., 9., 50.];
        write_vectors(&folder.join("base.fbin"), 1, &rows).unwrap();
        write_vectors(&folder.join("query.fbin"), 1, &[0.0]).unwrap();
        write_ids(&folder.join("gt.ibin"), 10, &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]).unwrap();
        let set = DataSet::open(&folder).unwrap();
        let of = |ids: [u32; 10]| recall(&set, 10, &ids).unwrap();
        assert_eq!(of([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]), 1.0);
        assert_eq!(of([0, 1, 2, 3, 4, 5, 6, 7, 8, 10]), 1.0);
        assert_eq!(of([0, 1, 2, 3, 4, 5, 6, 7, 8, 11]), 0.9);
        assert_eq!(of([0, 1, 2, 3, 4, 5, 6, 7, 8, u32::MAX]), 0.9);
        assert_eq!(of([0, 0, 0, 0, 0, 0, 0, 0, 0, 0]), 0.1);
        assert!(recall(&set, 5, &[0; 10]).is_err());
        fs::remove_dir_all(&folder).unwrap();
    }
}
