//! What an index promises to its users.

use orthant_engine::{
    Hit, Index, InsertError, Key, Metric, Quantization, RowId, SearchError, SearchParams, recall_at_k,
};

mod support;
use support::{clustered, xorshift};

fn built(dim: usize, metric: Metric, quantization: Quantization, rows: &[f32], threads: usize) -> Index {
    let mut index = Index::builder(dim, metric)
        .quantization(quantization)
        .threads(threads)
        .ef_construction(100)
        .build()
        .unwrap();
    index.insert_batch(rows, None).unwrap();
    index.train().unwrap();
    index
}

fn mean_recall(index: &Index, queries: &[f32], k: usize, ef: usize) -> f64 {
    let truth = index.search_exact(queries, k).unwrap();
    let found = index.search_batch(queries, SearchParams::new(k, ef)).unwrap();
    let count = queries.len() / index.dim();
    let sum: f64 = (0..count)
        .map(|query| {
            let truth: Vec<Hit> = truth.hits(query).collect();
            let found: Vec<Hit> = found.hits(query).collect();
            recall_at_k(&found, &truth, k)
        })
        .sum();
    sum / count as f64
}

#[test]
fn finds_what_the_flat_scan_finds_for_every_metric_and_quantization() {
    let dim = 24;
    let (rows, queries) = (clustered(4000, dim, 1), clustered(100, dim, 2));
    for metric in Metric::ALL {
        for quantization in [Quantization::None, Quantization::Sq8] {
            if metric == Metric::L1 && quantization == Quantization::Sq8 {
                continue;
            }
            let index = built(dim, metric, quantization, &rows, 2);
            let report = index.validate();
            assert!(report.is_ok(), "{metric} {quantization}: {report}");
            let recall = mean_recall(&index, &queries, 10, 128);
            assert!(recall >= 0.97, "{metric} {quantization}: {recall}");
        }
    }
}

#[test]
fn no_row_is_found_twice() {
    // Wide rows, a large beam: a node is met many times, in batches of different lengths.
    let dim = 200;
    let (rows, queries) = (clustered(3000, dim, 1), clustered(60, dim, 2));
    for metric in [Metric::L2, Metric::Cosine, Metric::InnerProduct] {
        let index = built(dim, metric, Quantization::None, &rows, 2);
        for (k, ef) in [(10, 16), (100, 100), (300, 600)] {
            let found = index.search_batch(&queries, SearchParams::new(k, ef)).unwrap();
            for query in 0..60 {
                let mut nodes: Vec<u32> = found.hits(query).map(|hit| hit.node).collect();
                nodes.sort_unstable();
                nodes.dedup();
                assert_eq!(nodes.len(), k, "{metric}, k = {k}, ef = {ef}");
            }
        }
    }
}

#[test]
fn distances_are_shown_as_promised() {
    let rows = [3.0, 4.0, 0.0, 2.0];
    let shown = |metric| {
        let index = Index::builder(2, metric).build().unwrap();
        index.insert_batch(&rows, None).unwrap();
        let found = index.search(&[0.0, 1.0], 2, 8).unwrap();
        found.iter().map(|found| (found.key.clone(), found.distance)).collect::<Vec<_>>()
    };
    assert_eq!(shown(Metric::L2), [(Key::Int(1), 1.0), (Key::Int(0), 18f32.sqrt())]);
    assert_eq!(shown(Metric::InnerProduct), [(Key::Int(0), -4.0), (Key::Int(1), -2.0)]);
    assert_eq!(shown(Metric::L1), [(Key::Int(1), 1.0), (Key::Int(0), 6.0)]);
    let cosine = shown(Metric::Cosine);
    assert_eq!(cosine[0], (Key::Int(1), 0.0));
    assert!((cosine[1].1 - 0.2).abs() < 1e-6);
}

#[test]
fn small_indexes_return_all_they_have() {
    for quantization in [Quantization::None, Quantization::Sq8] {
        for count in [0usize, 1, 9, 10] {
            let index = built(4, Metric::L2, quantization, &clustered(count, 4, 3), 1);
            assert_eq!((index.len(), index.is_empty()), (count, count == 0));
            let found = index.search(&[0.0; 4], 10, 64).unwrap();
            assert_eq!(found.len(), count);
            assert_eq!(index.search_exact(&[0.0; 4], 10).unwrap().hits(0).count(), count);
            assert!(index.validate().is_ok());
        }
    }
}

#[test]
fn bad_input_is_an_error_that_says_where() {
    let index = Index::builder(3, Metric::L2).build().unwrap();
    assert!(matches!(index.insert(1, &[1.0]), Err(InsertError::Dimension { found: 1, expected: 3 })));
    assert!(matches!(
        index.insert_batch(&[0.0, 0.0, 0.0, 0.0, f32::NAN, 0.0], None),
        Err(InsertError::NotFinite { row: 1, column: 1 })
    ));
    assert!(matches!(index.insert_batch(&[0.0; 4], None), Err(InsertError::Ragged { elements: 4, dim: 3 })));
    assert!(index.is_empty(), "nothing was inserted");
    index.insert(5, &[1.0, 2.0, 3.0]).unwrap();
    assert!(matches!(index.insert(5, &[1.0; 3]), Err(InsertError::DuplicateKey { key: Key::Int(5) })));
    assert!(matches!(index.insert_batch(&[0.0; 3], None), Err(InsertError::MixedKeys { given: false })));
    assert!(matches!(index.search(&[0.0; 3], 0, 8), Err(SearchError::ZeroK)));
    assert!(matches!(index.search(&[0.0; 2], 1, 8), Err(SearchError::Dimension { .. })));
    assert!(matches!(
        index.search(&[0.0, f32::INFINITY, 0.0], 1, 8),
        Err(SearchError::NotFinite { query: 0, column: 1 })
    ));
    let long = "x".repeat(70_000);
    assert!(matches!(index.insert(long, &[0.0; 3]), Err(InsertError::KeyTooLong { bytes: 70_000 })));
    assert_eq!(index.len(), 1);
}

#[test]
fn a_failed_batch_leaves_its_keys_free() {
    let index = Index::builder(2, Metric::L2).build().unwrap();
    index.insert("b", &[0.0, 0.0]).unwrap();
    let keys = ["a".into(), "b".into()];
    assert!(matches!(index.insert_batch(&[1.0; 4], Some(&keys)), Err(InsertError::DuplicateKey { .. })));
    index.insert("a", &[1.0, 1.0]).unwrap();
    assert_eq!(index.len(), 2);
}

#[test]
fn keys_lead_to_rows_and_back() {
    let index = Index::builder(2, Metric::L2).build().unwrap();
    let keys: Vec<Key> =
        (0..500u64).map(|i| if i % 2 == 0 { i.into() } else { format!("row {i}").into() }).collect();
    let rows = clustered(500, 2, 9);
    let ids = index.insert_batch(&rows, Some(&keys)).unwrap();
    for (place, key) in keys.iter().enumerate() {
        assert_eq!(index.id(key), Some(ids[place]));
        assert_eq!(index.key(ids[place]).unwrap(), *key);
        assert_eq!(index.row(key).unwrap(), &rows[place * 2..place * 2 + 2]);
    }
    assert_eq!(index.id(&"no such key".into()), None);
    assert_eq!(index.key(RowId { node: 1_000_000, generation: 0 }), None);
    assert_eq!(index.key(RowId { generation: 1, ..ids[0] }), None);
}

#[test]
fn equal_rows_stay_reachable() {
    for threads in [1, 2] {
        let index = built(8, Metric::L2, Quantization::None, &vec![0.25; 8 * 5000], threads);
        let report = index.validate();
        assert!(report.is_ok(), "{threads} threads: {report}");
        assert_eq!(index.search(&[0.25; 8], 10, 64).unwrap().len(), 10);
    }
}

#[test]
fn inserting_and_searching_at_once_finds_every_inserted_row() {
    let dim = 16;
    let rows = clustered(6000, dim, 5);
    let index = Index::builder(dim, Metric::L2).ef_construction(64).build().unwrap();
    std::thread::scope(|scope| {
        for half in 0..2usize {
            let (index, rows) = (&index, &rows);
            scope.spawn(move || {
                for i in (half..6000).step_by(2) {
                    index.insert(i as u64, &rows[i * dim..(i + 1) * dim]).unwrap();
                    if i % 16 == half {
                        let found = index.search(&rows[i * dim..(i + 1) * dim], 1, 64).unwrap();
                        assert_eq!(found[0].distance, 0.0, "row {i} is found at once");
                    }
                }
            });
        }
        scope.spawn(|| {
            let mut searcher = index.searcher();
            for i in 0..3000usize {
                let query = &rows[(i % 6000) * dim..(i % 6000 + 1) * dim];
                let hits = searcher.search(query, SearchParams::new(10, 32)).unwrap();
                assert!(hits.windows(2).all(|pair| pair[0].distance <= pair[1].distance));
            }
        });
    });
    let report = index.validate();
    assert!(report.is_ok(), "{report}");
    assert_eq!(index.len(), 6000);
}

#[test]
fn batch_and_single_searches_agree() {
    let dim = 12;
    let rows = clustered(2000, dim, 6);
    for quantization in [Quantization::None, Quantization::Sq8] {
        let index = built(dim, Metric::L2, quantization, &rows, 2);
        let queries = clustered(70, dim, 7);
        let batch = index.search_batch(&queries, SearchParams::new(5, 40)).unwrap();
        let mut searcher = index.searcher();
        for (number, query) in queries.chunks_exact(dim).enumerate() {
            let single = searcher.search(query, SearchParams::new(5, 40)).unwrap();
            assert_eq!(batch.hits(number).collect::<Vec<_>>(), single);
        }
    }
}

#[test]
fn rows_added_after_training_are_found_by_code() {
    let dim = 16;
    let index = built(dim, Metric::L2, Quantization::Sq8, &clustered(2000, dim, 11), 1);
    let mut state = 99;
    for _ in 0..200 {
        // Trained on about -3..3: some of these lie a little outside.
        let row: Vec<f32> = (0..dim).map(|_| (xorshift(&mut state) % 1000) as f32 / 150.0 - 3.33).collect();
        let ids = index.insert_batch(&row, None).unwrap();
        let found = index.search(&row, 1, 64).unwrap();
        assert_eq!((found[0].key.clone(), found[0].distance), (Key::Int(u64::from(ids[0].node)), 0.0));
    }
}
