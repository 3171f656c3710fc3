//! Rows at half precision: as many found as with whole rows, whatever came and went, and none lost that does not fit.

use orthant_engine::{FilterMode, Index, IndexBuilder, Key, Metric, Mode, OpenOptions, SearchParams};

mod support;
use support::{clustered, recall};

const DIM: usize = 40;

fn builder(metric: Metric) -> IndexBuilder {
    Index::builder(DIM, metric).ef_construction(80).threads(1).mode(Mode::Speed).block_bits(2)
}

fn filled(builder: IndexBuilder, rows: &[f32]) -> Index {
    let mut index = builder.build().unwrap();
    for (key, row) in (0u64..).zip(rows.chunks_exact(DIM)) {
        index.insert(key, row).unwrap();
    }
    index.train().unwrap();
    index
}

/// Distances of what is found are those of whole rows, but for what 11 bits round away.
fn agree(index: &Index, queries: &[f32]) {
    let mut searcher = index.searcher();
    for query in queries.chunks_exact(DIM) {
        let found = searcher.search(query, SearchParams::new(10, 64)).unwrap().to_vec();
        let exact = index.search_exact(query, index.len()).unwrap();
        for hit in found {
            let whole = exact.hits(0).find(|whole| whole.node == hit.node).expect("a row that is there");
            let size = whole.distance.abs().max(1e-3 * exact.distances[exact.k - 1].abs());
            assert!((hit.distance - whole.distance).abs() <= 2e-3 * size, "{hit:?} {whole:?}");
        }
    }
}

fn reopened(index: &Index, load: bool) -> Index {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("index");
    index.save(&path).unwrap();
    Index::open(&path, &OpenOptions { load, ..OpenOptions::default() }).unwrap()
}

#[test]
fn searches_find_as_much_whatever_came_and_went() {
    for metric in [Metric::L2, Metric::Cosine, Metric::InnerProduct] {
        let (rows, later, queries) = (clustered(1200, DIM, 1), clustered(600, DIM, 2), clustered(50, DIM, 3));
        let mut half = filled(builder(metric), &rows);
        let whole = filled(builder(metric).half_rows(false), &rows);
        assert!(half.info().half_rows.is_some() && whole.info().half_rows.is_none(), "{metric}");
        assert_eq!(half.info().memory.half_bytes, 128, "{metric}");
        assert!((recall(&half, &queries, 64) - recall(&whole, &queries, 64)).abs() <= 0.01, "{metric}");
        agree(&half, &queries);

        // What comes, goes, moves and is laid out anew has its halves.
        for (key, row) in (0u64..).zip(later.chunks_exact(DIM)) {
            match key % 4 {
                0 => drop(half.insert(2000 + key, row).unwrap()),
                1 => drop(half.upsert(key * 2, row).unwrap()),
                2 => assert!(half.remove(&Key::from(key))),
                _ => {}
            }
        }
        agree(&half, &queries);
        half.compact().unwrap();
        agree(&half, &queries);
        half.optimize().unwrap();
        agree(&half, &queries);
        for load in [false, true] {
            let opened = reopened(&half, load);
            assert_eq!(opened.info().half_rows, half.info().half_rows, "{metric}");
            let params = SearchParams::new(10, 64);
            assert_eq!(
                opened.search_batch(&queries, params).unwrap(),
                half.search_batch(&queries, params).unwrap()
            );
            opened.insert_batch(&later, None).unwrap_err(); // keys were given
            opened.upsert(9_000, &queries[..DIM]).unwrap();
            if metric != Metric::InnerProduct {
                assert_eq!(opened.search(&queries[..DIM], 1, 64).unwrap()[0].key, Key::from(9_000));
            }
            agree(&opened, &queries[DIM..8 * DIM]);
        }
        assert!(half.validate().is_ok());
    }
}

#[test]
fn filtered_searches_find_only_what_passes_and_as_much() {
    let (rows, queries) = (clustered(3000, DIM, 4), clustered(40, DIM, 5));
    let index = filled(builder(Metric::L2), &rows);
    let mut searcher = index.searcher();
    for mode in [FilterMode::Pool, FilterMode::TwoHop] {
        let (mut hits, mut total) = (0, 0);
        for query in queries.chunks_exact(DIM) {
            let exact = index.search_exact(query, 3000).unwrap();
            let truth: Vec<_> =
                exact.hits(0).map(|hit| hit.node).filter(|node| node % 5 == 0).take(10).collect();
            let found = searcher
                .search_filtered(query, SearchParams::new(10, 100), mode, |node| node % 5 == 0)
                .unwrap();
            assert!(found.iter().all(|hit| hit.node % 5 == 0));
            hits += found.iter().filter(|hit| truth.contains(&hit.node)).count();
            total += truth.len();
        }
        assert!(hits as f64 >= 0.95 * total as f64, "{mode:?}: {hits} of {total}");
    }
}

#[test]
fn a_row_too_large_for_them_is_found_by_its_own_distance() {
    let (rows, queries) = (clustered(2000, DIM, 6), clustered(40, DIM, 7));
    let index = filled(builder(Metric::L2), &rows);
    let before = recall(&index, &queries, 64);
    let far: Vec<f32> = queries[..DIM].iter().map(|value| value * 100.0).collect();
    index.insert(5_000u64, &far).unwrap();
    assert!(index.info().half_rows.is_none(), "whole rows are compared from here on");
    let found = index.search(&far, 1, 64).unwrap();
    assert_eq!((&found[0].key, found[0].distance), (&Key::from(5_000), 0.0));
    assert!(recall(&index, &queries, 64) >= before - 0.01);
    // Nor are they written into the file, whose rows are then loaded.
    let mut opened = reopened(&index, true);
    assert!(opened.info().half_rows.is_none());
    assert_eq!(opened.search(&far, 1, 64).unwrap()[0].key, Key::from(5_000));
    // Made anew, they fit.
    opened.retrain().unwrap();
    assert!(opened.info().half_rows.is_some());
    assert_eq!(opened.search(&far, 1, 64).unwrap()[0].key, Key::from(5_000));
    // What it decided for, by a beam of its own choice.
    assert!(recall(&opened, &queries, 64) >= 0.93);
}

#[test]
fn zero_rows_keep_their_distance() {
    let rows = clustered(1000, DIM, 8);
    let index = filled(builder(Metric::Cosine), &rows);
    index.insert(7_000u64, &[0.0; DIM]).unwrap();
    let found = index.search(&rows[..DIM], 1001, 1100).unwrap();
    let zero = found.iter().find(|found| found.key == Key::from(7_000)).expect("all rows are found");
    assert_eq!(zero.distance, 1.0);
}

#[test]
fn what_was_asked_for_is_kept_without_a_mode_too() {
    let rows = clustered(1000, DIM, 9);
    let builder = Index::builder(DIM, Metric::L2).threads(1).ef_construction(60);
    let blocks = builder.quantization(orthant_engine::Quantization::Blocks).block_bits(1);
    assert!(filled(blocks.clone(), &rows).info().half_rows.is_none());
    let mut index = filled(blocks.half_rows(true), &rows);
    assert!(index.info().half_rows.is_some());
    index.retrain().unwrap();
    assert!(index.info().half_rows.is_some());
    index.set_quantization(orthant_engine::Quantization::None);
    assert!(index.info().half_rows.is_none());
    assert_eq!(index.search(&rows[..DIM], 1, 32).unwrap()[0].distance, 0.0);
}
