//! An index laid out anew is the same index.

use orthant_engine::{Index, Key, Metric, OpenOptions, Quantization, SearchParams};

mod support;
use support::{bytes, clustered};

const DIM: usize = 24;

/// Keys and distances of the ten nearest, ties in the order of keys.
fn answers(index: &Index, queries: &[f32]) -> Vec<Vec<(f32, Key)>> {
    let answer = |query: &[f32]| {
        let mut found: Vec<_> = index
            .search(query, 10, 80)
            .unwrap()
            .into_iter()
            .map(|found| (found.distance, found.key))
            .collect();
        found.sort_by(|a, b| a.partial_cmp(b).unwrap());
        found
    };
    queries.chunks_exact(DIM).map(answer).collect()
}

fn built(metric: Metric, quantization: Quantization, named: bool) -> Index {
    let rows = clustered(2000, DIM, 1);
    let mut index = Index::builder(DIM, metric).quantization(quantization).threads(2).build().unwrap();
    let name = |row: usize| {
        if row.is_multiple_of(2) { Key::from(format!("row {row}")) } else { Key::from(row as u64) }
    };
    let keys: Vec<Key> = (0..2000).map(name).collect();
    index.insert_batch(&rows, named.then_some(&keys)).unwrap();
    index.train().unwrap();
    index
}

#[test]
fn rows_codes_and_keys_move_together() {
    let queries = clustered(40, DIM, 2);
    for (metric, quantization, named) in [
        (Metric::L2, Quantization::None, false),
        (Metric::Cosine, Quantization::Sq8, false),
        (Metric::InnerProduct, Quantization::None, true),
        (Metric::L2, Quantization::Sq8, true),
    ] {
        let mut index = built(metric, quantization, named);
        let (before, row) = (answers(&index, &queries), index.row(&Key::from(1999)).unwrap().to_vec());
        index.optimize().unwrap();
        assert_eq!(answers(&index, &queries), before, "{metric:?} {quantization} {named}");
        assert!(index.validate().is_ok());
        assert_eq!(index.row(&Key::from(1999)).unwrap(), row);
        let id = index.id(&Key::from(1999)).unwrap();
        assert_eq!(index.key(id), Some(Key::from(1999)));
        assert_eq!(index.id(&Key::from(2000)), None);
        assert!((0..2000).any(|row| index.id(&Key::from(row)).is_some_and(|id| u64::from(id.node) != row)));
    }
}

#[test]
fn it_is_saved_opened_and_takes_inserts() {
    let (queries, more) = (clustered(40, DIM, 2), clustered(300, DIM, 3));
    let folder = tempfile::tempdir().unwrap();
    for named in [false, true] {
        let mut index = built(Metric::L2, Quantization::Sq8, named);
        index.optimize().unwrap();
        let expected = answers(&index, &queries);
        let path = folder.path().join("index");
        index.save(&path).unwrap();
        let mut opened = Index::open(&path, &OpenOptions::default()).unwrap();
        assert_eq!(answers(&opened, &queries), expected);
        for index in [&mut index, &mut opened] {
            let keys: Vec<Key> = (5000..5300u64).map(Key::from).collect();
            index.insert_batch(&more, named.then_some(&keys)).unwrap();
            assert!(index.validate().is_ok());
            assert_eq!(index.len(), 2300);
            let first = if named { 5000 } else { 2000 };
            let mut found = 0;
            for (row, vector) in more.chunks_exact(DIM).enumerate() {
                let nearest = index.search(vector, 1, 64).unwrap().swap_remove(0).key;
                found += usize::from(nearest == Key::from(first + row as u64));
                assert_eq!(index.row(&Key::from(first + row as u64)).unwrap(), vector);
            }
            assert!(found >= 298, "{found} of 300 find themselves");
            // Again, on top of what was inserted since.
            index.optimize().unwrap();
            assert_eq!(index.row(&Key::from(first + 7)).unwrap(), &more[7 * DIM..8 * DIM]);
        }
        opened.save(&path).unwrap();
        let mut searcher = opened.searcher();
        let hit = searcher.search(&more[..DIM], SearchParams::new(1, 64)).unwrap()[0];
        assert!(opened.key(hit.id()).is_some());
    }
}

#[test]
fn a_moved_number_is_no_key_twice_and_an_empty_index_stays_empty() {
    let mut index = built(Metric::L2, Quantization::None, false);
    index.optimize().unwrap();
    let mut nodes: Vec<_> = (0..2000).map(|row| index.id(&Key::from(row)).unwrap().node).collect();
    nodes.sort_unstable();
    assert_eq!(nodes, (0..2000).collect::<Vec<_>>());
    let mut empty = Index::builder(2, Metric::L2).build().unwrap();
    empty.optimize().unwrap();
    assert!(empty.is_empty());
    empty.insert_batch(&[1.0, 2.0], None).unwrap();
    assert_eq!(empty.id(&Key::from(0)).unwrap().node, 0);
}

#[test]
fn a_mended_index_finds_every_row_and_is_the_same_on_any_threads() {
    // Rows of tight clusters, one cluster after the other: what came first knows little of what came later.
    let rows = |count: usize| -> Vec<f32> {
        let (centers, noise) = (clustered(count / 20, 32, 5), clustered(count, 32, 6));
        let place = |place: usize| place / 32 / 20 * 32 + place % 32;
        noise.iter().enumerate().map(|(at, noise)| noise * 0.01 + centers[place(at)]).collect()
    };
    let rows = rows(3000);
    let lost = |index: &Index| {
        let finds = |&row: &usize| {
            let found = index.search(&rows[row * 32..][..32], 10, 10).unwrap();
            found.iter().any(|found| found.key == Key::from(row as u64))
        };
        3000 - (0..3000).filter(finds).count()
    };
    let mut made = Vec::new();
    for threads in [1, 3] {
        let mut index = Index::builder(32, Metric::L2).m(4).ef_construction(8).threads(1).build().unwrap();
        index.insert_batch(&rows, None).unwrap();
        index.set_threads(threads, None);
        let before = lost(&index);
        let left = index.mend(10).unwrap();
        let after = lost(&index);
        assert!(before > 20 && after * 4 < before && left * 4 < before, "{before}, {after}, {left}");
        assert!(index.validate().is_ok(), "{}", index.validate());
        made.push(bytes(&index));
    }
    assert!(made[0] == made[1], "1 and 3 threads");
}
