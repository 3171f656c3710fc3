//! Filtered searches of an index.

use orthant_engine::{FilterMode, Index, Key, Metric, Quantization, SearchError, SearchParams};

mod support;
use support::clustered;

const DIM: usize = 24;
const MODES: [FilterMode; 4] = [FilterMode::Plain, FilterMode::Pool, FilterMode::OneHop, FilterMode::TwoHop];

#[test]
fn agrees_with_a_scan_and_returns_only_what_passes() {
    let (rows, queries) = (clustered(4000, DIM, 1), clustered(40, DIM, 2));
    for quantization in [Quantization::None, Quantization::Sq8] {
        let mut index =
            Index::builder(DIM, Metric::L2).quantization(quantization).ef_construction(100).build().unwrap();
        let keys: Vec<Key> = (0..4000u64).map(|row| Key::from(row * 3)).collect();
        index.insert_batch(&rows, Some(&keys)).unwrap();
        index.train().unwrap();
        for every in [2, 20, 150] {
            // Rows get nodes in order.
            let passes = |node| u64::from(node) * 3 % every == 0;
            let passing = (0..4000).filter(|&node| passes(node)).count();
            for mode in MODES {
                let mut searcher = index.searcher();
                let (mut hits, mut total) = (0, 0);
                for query in queries.chunks_exact(DIM) {
                    let truth: Vec<_> = {
                        let all = index.search_exact(query, 4000).unwrap();
                        all.hits(0).map(|hit| hit.node).filter(|&node| passes(node)).take(10).collect()
                    };
                    let found =
                        searcher.search_filtered(query, SearchParams::new(10, 100), mode, passes).unwrap();
                    assert_eq!(found.len(), passing.min(10));
                    assert!(found.iter().all(|hit| passes(hit.node)));
                    hits += found.iter().filter(|hit| truth.contains(&hit.node)).count();
                    total += truth.len();
                }
                let recall = hits as f64 / total as f64;
                assert!(recall >= 0.95, "{quantization} 1 in {every}, {mode:?}: {recall}");
            }
        }
    }
}

#[test]
fn bad_queries_are_errors() {
    let index = Index::builder(2, Metric::L2).build().unwrap();
    index.insert_batch(&[0.0, 1.0], None).unwrap();
    let mut searcher = index.searcher();
    let params = SearchParams::new(0, 8);
    assert!(matches!(
        searcher.search_filtered(&[0.0, 0.0], params, FilterMode::Pool, |_| true),
        Err(SearchError::ZeroK)
    ));
    let params = SearchParams::new(3, 8);
    assert!(searcher.search_filtered(&[0.0], params, FilterMode::Pool, |_| true).is_err());
    assert!(searcher.search_filtered(&[0.0, 0.0], params, FilterMode::Pool, |_| false).unwrap().is_empty());
}

#[test]
fn chosen_rows_are_compared_and_no_others() {
    // Long rows are given up early (from 96 elements on), short ones never.
    for (dim, metric, floor) in [(24, Metric::L2, 1.0), (120, Metric::L2, 0.99), (240, Metric::Cosine, 0.99)]
    {
        let (rows, queries) = (clustered(3000, dim, 1), clustered(40, dim, 2));
        let index = Index::builder(dim, metric).ef_construction(40).build().unwrap();
        let keys: Vec<Key> = (0..3000u64).map(Key::from).collect();
        index.insert_batch(&rows, Some(&keys)).unwrap();
        (0..3000).step_by(11).for_each(|key| assert!(index.remove(&Key::from(key as u64))));
        // Removed rows and numbers without one are among them.
        let chosen: Vec<u32> = (0..3100u32).filter(|node| node.is_multiple_of(3)).collect();
        let is_right = |node: u32| node.is_multiple_of(3) && !node.is_multiple_of(11) && node < 3000;
        let mut searcher = index.searcher();
        let (mut hits, mut total) = (0, 0);
        for query in queries.chunks_exact(dim) {
            let truth: Vec<_> = {
                let all = index.search_exact(query, 3000).unwrap();
                all.hits(0)
                    .map(|hit| (hit.node, hit.distance))
                    .filter(|hit| is_right(hit.0))
                    .take(10)
                    .collect()
            };
            let found = searcher.search_among(query, SearchParams::new(10, 40), &chosen).unwrap();
            assert!(found.len() == 10 && found.iter().all(|hit| is_right(hit.node)));
            assert!(found.is_sorted_by(|a, b| a.distance <= b.distance));
            let is_true = |hit: &&orthant_engine::Hit| {
                truth.iter().any(|&(node, distance)| {
                    node == hit.node && (distance - hit.distance).abs() <= 1e-3 * distance
                })
            };
            hits += found.iter().filter(is_true).count();
            total += truth.len();
        }
        assert!(hits as f64 >= floor * total as f64, "{metric} {dim}: {hits} of {total}");
        assert!(searcher.search_among(&queries[..dim], SearchParams::new(10, 40), &[]).unwrap().is_empty());
    }
}
