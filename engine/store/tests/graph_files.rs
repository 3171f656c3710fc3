//! Saved graphs: without rows of their own, taken up again, and never trusted with damage.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use orthant_store::{
    Damage, Database, GraphChoices, Key, Metric, Options, Row, Schema, SearchRequest, Tenant,
};

const DIM: usize = 64;
const ROWS: u64 = 1500;

/// Rows on a curve that does not meet itself.
fn vector(n: u64) -> Vec<f32> {
    (0..DIM as u64).map(|at| ((n * (at + 3)) as f32 * 0.37).sin() + n as f32 / 500.0).collect()
}

fn rows(range: std::ops::Range<u64>) -> Vec<Row> {
    range.map(|n| Row::new(n, vector(n))).collect()
}

/// A database whose one tenant has a saved graph, closed again; where the graph is.
fn saved(dir: &Path, count: u64, metric: Metric) -> PathBuf {
    let database = Database::create(dir, Options::default()).unwrap();
    let choices = GraphChoices { from_rows: 100, ef_construction: 64, ..GraphChoices::default() };
    let schema = Schema::new(DIM, metric).with_graph(choices);
    let notes = database.create_collection("notes", schema).unwrap().only();
    notes.upsert_batch(rows(0..count)).unwrap();
    database.settle().unwrap();
    database.close().unwrap();
    let mut names = std::fs::read_dir(dir.join("graphs")).unwrap();
    names.next().unwrap().unwrap().path()
}

fn open(dir: &Path) -> (Database, Tenant) {
    let database = Database::open(dir, Options::default()).unwrap();
    let notes = database.collection("notes").unwrap().only();
    // A tenant, and its graph, are read when it is first used.
    notes.search(&SearchRequest::new(vector(0), 1)).unwrap();
    (database, notes)
}

fn written(path: &Path) -> SystemTime {
    std::fs::metadata(path).unwrap().modified().unwrap()
}

/// Every step-th row is found by itself, and its ten nearest are those of a comparison with all.
fn all_found(notes: &Tenant, range: std::ops::Range<u64>, step: usize) {
    let mut hits = 0;
    let mut wanted = 0;
    for n in range.step_by(step) {
        let request = SearchRequest::new(vector(n), 10);
        let (found, exact) = (notes.search(&request).unwrap(), notes.search(&request.exact()).unwrap());
        assert_eq!(found[0].key, Key::Int(n));
        hits += found.iter().filter(|found| exact.iter().any(|exact| exact.key == found.key)).count();
        wanted += 10;
    }
    assert!(hits * 100 >= wanted * 98, "{hits} of {wanted}");
}

#[test]
fn a_saved_graph_holds_no_rows_and_is_taken_up_again() {
    for metric in [Metric::L2, Metric::Cosine] {
        let dir = tempfile::tempdir().unwrap();
        let path = saved(dir.path(), ROWS, metric);
        let bytes = std::fs::metadata(&path).unwrap().len();
        // Lists of up to 32 ids of 12 bits, and sections that start on pages; the rows alone are 256 bytes each.
        assert!(bytes < ROWS * 70 + 14 * 4096, "{bytes} bytes");
        let before = written(&path);
        let (database, notes) = open(dir.path());
        database.settle().unwrap();
        let stats = database.collection("notes").unwrap().stats().unwrap();
        assert_eq!((stats.graph_rows, stats.unlinked_rows), (ROWS, 0));
        all_found(&notes, 0..ROWS, 7);
        assert_eq!(written(&path), before, "nothing was linked or saved anew");
        // It goes on from there.
        notes.upsert_batch(rows(ROWS..ROWS + 300)).unwrap();
        notes.delete(5u64).unwrap();
        database.settle().unwrap();
        all_found(&notes, 10..ROWS + 300, 13);
        assert!(written(&path) > before, "what was linked is saved");
        drop(notes);
        database.close().unwrap();
        let (database, notes) = open(dir.path());
        database.settle().unwrap();
        all_found(&notes, 10..ROWS + 300, 13);
        assert!(notes.get(5u64).unwrap().is_none());
    }
}

#[test]
fn a_row_that_is_replaced_again_and_again_does_not_grow_old_in_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = saved(dir.path(), 300, Metric::L2);
    let before = written(&path);
    let (database, notes) = open(dir.path());
    // As many rows as before, all of them others.
    for n in 0..300u64 {
        notes.upsert(Row::new(n, vector(n + 1000))).unwrap();
    }
    database.settle().unwrap();
    assert!(written(&path) > before, "the graph has changed, though not its size");
    drop(notes);
    database.close().unwrap();
    let (database, notes) = open(dir.path());
    database.settle().unwrap();
    let found = notes.search(&SearchRequest::new(vector(1007), 1)).unwrap();
    assert_eq!((found[0].key.clone(), found[0].distance), (Key::Int(7), 0.0));
}

#[test]
fn rows_that_are_replaced_give_back_what_they_took() {
    let dir = tempfile::tempdir().unwrap();
    saved(dir.path(), ROWS, Metric::Cosine);
    let (database, notes) = open(dir.path());
    let collection = database.collection("notes").unwrap();
    let settled = || {
        database.settle().unwrap();
        let stats = collection.stats().unwrap();
        assert_eq!((stats.rows, stats.graph_rows), (ROWS, ROWS));
        assert_eq!((stats.unlinked_rows, stats.retired_rows), (0, 0));
        stats.loaded_bytes
    };
    let before = settled();
    for round in 1..=5 {
        for first in (0..ROWS).step_by(100) {
            let batch = first..first + 100;
            notes.upsert_batch(batch.map(|n| Row::new(n, vector(n + round * ROWS)))).unwrap();
        }
    }
    let after = settled();
    assert!(after <= before + before / 4, "{before} and then {after} bytes");
    let found = notes.search(&SearchRequest::new(vector(5 * ROWS + 7), 1)).unwrap();
    assert_eq!(found[0].key, Key::Int(7));
}

#[test]
fn a_damaged_row_of_a_saved_graph_is_named_and_the_rest_served() {
    let dir = tempfile::tempdir().unwrap();
    let path = saved(dir.path(), ROWS, Metric::L2);
    let before = written(&path);
    let file = dir.path().join("rows/1/0/00000.rows");
    let file = if file.exists() { file } else { dir.path().join("rows/0/0/00000.rows") };
    let mut bytes = std::fs::read(&file).unwrap();
    for bad in [77, 78, 900] {
        bytes[4096 + bad * (DIM * 4 + 8) + 20] ^= 4;
    }
    std::fs::write(&file, bytes).unwrap();
    let (database, notes) = open(dir.path());
    database.settle().unwrap();
    for bad in [77u64, 78, 900] {
        let found = notes.search(&SearchRequest::new(vector(bad), 10)).unwrap();
        assert!(
            found.len() == 10 && found.iter().all(|found| ![77, 78, 900].map(Key::Int).contains(&found.key))
        );
    }
    all_found(&notes, 100..800, 9);
    let mut damaged = notes.damaged().unwrap();
    damaged.sort_unstable();
    assert_eq!(damaged, [77, 78, 900].map(Key::Int));
    let report = database.collection("notes").unwrap().check().unwrap();
    let named = |key: u64| Damage::Vector {
        tenant: "default".into(),
        key: key.to_string().into(),
        vector: "vector".into(),
    };
    assert_eq!(report.damages.len(), 3);
    assert!([77, 78, 900].into_iter().all(|key| report.damages.contains(&named(key))));
    assert_eq!(written(&path), before, "the graph did not have to be built anew");
}

/// Where each section of a small graph file is hit, and where it is cut: the rows are all found, the file is replaced by a sound one.
#[test]
fn a_damaged_graph_is_built_again_from_the_rows() {
    let dir = tempfile::tempdir().unwrap();
    let path = saved(dir.path(), 150, Metric::Cosine);
    let good = std::fs::read(&path).unwrap();
    let steps = if std::env::var_os("ORTHANT_FULL").is_some() { 2000 } else { 24 };
    for place in (0..good.len()).step_by(good.len() / steps).chain([good.len() - 1]) {
        let mut bytes = good.clone();
        if place.is_multiple_of(2) {
            bytes[place] ^= 0x40
        } else {
            bytes.truncate(place)
        }
        std::fs::write(&path, &bytes).unwrap();
        let (database, notes) = open(dir.path());
        database.settle().unwrap();
        assert_eq!(database.collection("notes").unwrap().stats().unwrap().graph_rows, 150);
        all_found(&notes, 0..150, 29);
        drop(notes);
        database.close().unwrap();
        assert!(std::fs::read(&path).unwrap() != bytes, "byte {place}: it is saved anew");
    }
}

/// A filter that is asked again, of rows some of which no graph holds yet, and some of which have ended.
#[test]
fn filters_asked_again_find_what_a_comparison_with_all_finds() {
    let dir = tempfile::tempdir().unwrap();
    let database = Database::create(dir.path(), Options::default()).unwrap();
    let choices = GraphChoices { from_rows: 100, ef_construction: 32, ..GraphChoices::default() };
    let schema =
        Schema::new(2, Metric::L2).with_field("n", orthant_store::FieldType::Integer).with_graph(choices);
    let notes = database.create_collection("notes", schema).unwrap().only();
    let row = |key: u64, n: u64| {
        let angle = n as f32 * 2.399_963;
        let place = [(n as f32).sqrt() * angle.cos(), (n as f32).sqrt() * angle.sin()];
        Row::new(key, place).with_payload(serde_json::json!({"n": n})).unwrap()
    };
    notes.upsert_batch((0..12_000).map(|n| row(n, n))).unwrap();
    database.settle().unwrap();
    let filter = orthant_store::field("n").ge(6000);
    for round in 0..4u64 {
        let key = 7000 + round * 500;
        notes.upsert_batch((key..key + 50).map(|key| row(key, key + 12_000))).unwrap();
        notes.delete(9000 + round).unwrap();
        for _ in 0..3 {
            for n in [6500u64, 7010, 9001, 11_000, 19_020] {
                let request = SearchRequest::new(row(0, n).vectors[0].1.clone(), 20).filter(filter.clone());
                let keys = |request: &SearchRequest| -> Vec<Key> {
                    notes.search(request).unwrap().into_iter().map(|found| found.key).collect()
                };
                assert_eq!(keys(&request), keys(&request.clone().exact()), "round {round}, near {n}");
            }
        }
    }
}
