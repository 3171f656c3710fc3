//! Rows that are written again and again: what they leave behind stays bounded, by itself, and nobody who reads loses a row.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use orthant_store::files::Simulated;
use orthant_store::{
    Collection, Database, FieldType, Filter, Flush, GraphChoices, Metric, Options, Row, Schema,
    ScrollRequest, SearchRequest, field,
};
use serde_json::json;

/// Positions of a row file.
const FILE_ROWS: u64 = 1 << 16;

const DIM: usize = 2;

/// Bytes of a whole row file.
const FILE_BYTES: u64 = 4096 + FILE_ROWS * (DIM as u64 * 4 + 8);

const KEYS: u64 = 5000;

fn schema() -> Schema {
    // Without a graph: linking is not what is tested.
    let choices = GraphChoices { from_rows: 1 << 20, ..GraphChoices::default() };
    Schema::new(DIM, Metric::L2).with_field("round", FieldType::Integer).with_graph(choices)
}

fn vector(key: u64, round: u64) -> [f32; DIM] {
    [key as f32, round as f32]
}

fn write(collection: &Collection, round: u64) {
    write_keys(collection, round, 0);
}

fn write_keys(collection: &Collection, round: u64, first: u64) {
    let row = |key| Row::new(key, vector(key, round)).with_payload(json!({"round": round})).unwrap();
    let keys: Vec<u64> = (first..KEYS).collect();
    for keys in keys.chunks(1000) {
        collection.only().upsert_batch(keys.iter().map(|&key| row(key))).unwrap();
    }
}

fn round(round: u64) -> Filter {
    field("round").eq(round as i64)
}

#[test]
fn files_and_codes_of_rows_that_ended_go_by_themselves() {
    let dir = tempfile::tempdir().unwrap();
    let database = Database::create(dir.path(), Options::default()).unwrap();
    let collection = database.create_collection("c", schema()).unwrap();
    let rounds = 60;
    let mut most_codes = 0;
    for number in 0..rounds {
        write(&collection, number);
        if number % 10 == 9 {
            // The background does not hold writers up: without this it might be behind.
            database.settle().unwrap();
            most_codes = most_codes.max(collection.stats().unwrap().code_bytes);
        }
    }
    let stats = collection.stats().unwrap();
    assert_eq!(stats.rows, KEYS);
    let written = rounds * KEYS / FILE_ROWS * FILE_BYTES;
    // The file that is written, one that was when somebody looked, and one of what ended since.
    assert!(
        stats.vector_bytes <= 3 * FILE_BYTES && stats.vector_bytes < written,
        "{stats:?}, {written} written"
    );
    // Codes of 16 bytes: of the rows that live and a sixteenth, and what a part with few rows takes.
    assert!(most_codes > 0 && most_codes < 600_000, "{most_codes} bytes of codes");
    let tenant = collection.only();
    assert_eq!(tenant.count(Some(&round(rounds - 1))).unwrap(), KEYS);
    for key in (0..KEYS).step_by(97) {
        let found = tenant.search(&SearchRequest::new(vector(key, rounds - 1), 1)).unwrap();
        assert_eq!((found[0].key.to_string(), found[0].distance), (key.to_string(), 0.0));
    }
    assert!(collection.check().unwrap().damages.is_empty());
    drop((tenant, collection));
    database.close().unwrap();
    let database = Database::open(dir.path(), Options::default()).unwrap();
    assert_eq!(database.collection("c").unwrap().only().count(Some(&round(rounds - 1))).unwrap(), KEYS);
}

#[test]
fn whoever_reads_a_snapshot_keeps_its_rows() {
    let dir = tempfile::tempdir().unwrap();
    let database = Database::create(dir.path(), Options::default()).unwrap();
    let collection = database.create_collection("c", schema()).unwrap();
    write(&collection, 0);
    collection.create_snapshot("first").unwrap();
    for number in 1..30 {
        write(&collection, number);
    }
    database.settle().unwrap();
    let tenant = collection.only();
    let reader = tenant.at("first").unwrap();
    let check = |what: &str| {
        assert_eq!(reader.count(Some(&round(0))).unwrap(), KEYS, "{what}");
        let page = reader
            .scroll(&ScrollRequest { limit: usize::MAX, with_vectors: true, ..Default::default() })
            .unwrap();
        assert!(page.rows.iter().zip(0..).all(|(row, key)| row.vectors[0].1 == vector(key, 0)), "{what}");
        let found = reader.search(&SearchRequest::new(vector(77, 0), 1)).unwrap();
        assert_eq!((found[0].key.to_string(), found[0].distance), ("77".to_owned(), 0.0), "{what}");
    };
    check("while the snapshot is there");
    collection.drop_snapshot("first").unwrap();
    for number in 30..60 {
        write(&collection, number);
    }
    assert_eq!(collection.compact().unwrap().removed_files, 0, "somebody reads");
    check("after it was dropped");
    drop(reader);
    assert!(collection.compact().unwrap().removed_files > 0, "nobody does");
    assert_eq!(tenant.count(Some(&round(59))).unwrap(), KEYS);
    assert!(collection.check().unwrap().damages.is_empty());
}

#[test]
fn readers_find_every_row_while_files_go() {
    let dir = tempfile::tempdir().unwrap();
    let database = Database::create(dir.path(), Options::default()).unwrap();
    let collection = database.create_collection("c", schema()).unwrap();
    write(&collection, 0);
    let is_over = AtomicBool::new(false);
    let looks = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for seed in 0..2 {
            let (collection, is_over, looks) = (&collection, &is_over, &looks);
            scope.spawn(move || {
                let tenant = collection.only();
                let mut key = seed;
                while !is_over.load(Ordering::Relaxed) {
                    key = (key * 31 + 7) % KEYS;
                    let row = tenant.get(key).expect("a sound row").expect("a row");
                    assert_eq!(row.vectors[0].1[0], key as f32);
                    assert_eq!(row.vectors[0].1[1], row.payload["round"].as_f64().unwrap() as f32);
                    let found = tenant.search(&SearchRequest::new([key as f32, 1e3], 3)).expect("a search");
                    assert_eq!(found.len(), 3);
                    looks.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for number in 1..45 {
            write(&collection, number);
            if number % 15 == 0 {
                collection.compact().unwrap();
            }
        }
        is_over.store(true, Ordering::Relaxed);
    });
    assert!(looks.load(Ordering::Relaxed) > 0);
    assert!(collection.only().damaged().unwrap().is_empty(), "no row that a search met was missing");
}

/// Whatever moment the power goes at while files are emptied and removed: what was acknowledged is there.
#[test]
fn a_crash_during_compaction_loses_nothing() {
    let disk = Simulated::new();
    let options = |disk: &Simulated| Options {
        flush: Flush::Always,
        journal_bytes: 256 << 10,
        files: Arc::new(disk.clone()),
        ..Options::default()
    };
    let database = Database::create("/db", options(&disk)).unwrap();
    let collection = database.create_collection("c", schema()).unwrap();
    // A few rows are never written again: the file they lie in is emptied, which moves them.
    let kept = 500;
    write(&collection, 0);
    let mut removed = false;
    for number in 1..48 {
        write_keys(&collection, number, kept);
        if number % 6 != 5 {
            continue;
        }
        let before = collection.stats().unwrap().vector_bytes;
        let crashed = std::thread::scope(|scope| {
            let compacting = scope.spawn(|| collection.compact().map(drop));
            let crashed = disk.after_crash(number);
            compacting.join().unwrap().unwrap();
            crashed
        });
        removed |= collection.stats().unwrap().vector_bytes < before;
        for disk in [crashed, disk.after_crash(number + 1000)] {
            let again = Database::open("/db", Options { background: false, ..options(&disk) }).unwrap();
            let recovery = again.recovery();
            assert_eq!((recovery.damaged_rows, recovery.lost_commits), (0, 0), "{recovery:?}");
            let collection = again.collection("c").unwrap();
            assert!(collection.check().unwrap().damages.is_empty(), "round {number}");
            let count = |number| collection.only().count(Some(&round(number))).unwrap();
            assert_eq!((count(0), count(number)), (kept, KEYS - kept), "round {number}");
        }
    }
    assert!(removed, "a file was removed in the course of it");
}

fn without_background() -> Options {
    Options { background: false, flush: Flush::Os, ..Options::default() }
}

/// What is moved is the whole row: each of its vectors, its payload, its fields, under its tenant.
#[test]
fn rows_of_every_kind_are_moved_whole() {
    let dir = tempfile::tempdir().unwrap();
    let database = Database::create(dir.path(), without_background()).unwrap();
    let schema =
        schema().with_vector("image", 3, Metric::L2).with_multi_vector("tokens", 2, Metric::InnerProduct);
    let collection = database.create_collection("c", schema).unwrap();
    let tenants = ["a", "b"].map(|name| collection.tenant(name).unwrap());
    let row = |tenant: usize, key: u64, number: u64| {
        let n = (tenant as u64 * 1000 + key) as f32;
        let mut row =
            Row::new(key, [n, number as f32]).with_payload(json!({"round": number, "n": n})).unwrap();
        // Some lack one of the vectors.
        if !key.is_multiple_of(3) {
            row = row.with_vector("image", [n, 1.0, 2.0]);
        }
        if !key.is_multiple_of(5) {
            row = row.with_vector("tokens", vec![n; 2 * (key as usize % 4 + 1)]);
        }
        row
    };
    let kept = 300;
    let write = |number: u64, keys: std::ops::Range<u64>| {
        for (place, tenant) in tenants.iter().enumerate() {
            tenant.upsert_batch(keys.clone().map(|key| row(place, key, number))).unwrap();
        }
    };
    write(0, 0..kept);
    // Three files of row numbers, of which only the kept ones and the last round live.
    for number in 1..=10 {
        for first in (1000..11_000).step_by(2000) {
            write(number, first..first + 2000);
        }
    }
    let before = collection.stats().unwrap();
    // In memory, so that what is moved has to be moved there as well.
    assert!(tenants.iter().all(|tenant| tenant.count(Some(&round(0))).unwrap() == kept));
    let done = collection.compact().unwrap();
    assert!(done.moved_rows >= 2 * kept && done.removed_files >= 6, "{done:?}");
    assert!(collection.stats().unwrap().vector_bytes < before.vector_bytes / 2);
    let check = |collection: &Collection, what: &str| {
        assert!(collection.check().unwrap().damages.is_empty(), "{what}");
        for (place, name) in ["a", "b"].into_iter().enumerate() {
            let tenant = collection.tenant(name).unwrap();
            assert_eq!(
                (tenant.count(Some(&round(0))).unwrap(), tenant.len().unwrap()),
                (kept, kept + 10_000)
            );
            for key in 0..kept {
                let found = tenant.get(key).unwrap().unwrap();
                let mut expected = row(place, key, 0);
                expected.vectors[0].0 = "vector".into();
                assert_eq!(found, expected, "{what}, tenant {name}");
            }
            let n = (place * 1000 + 77) as f32;
            let request = SearchRequest::new([n, 1.0, 2.0], 1).on("image").filter(round(0));
            assert_eq!(tenant.search(&request).unwrap()[0].key.to_string(), "77", "{what}");
        }
    };
    check(&collection, "as it goes on");
    drop((tenants, collection));
    database.close().unwrap();
    let database = Database::open(dir.path(), without_background()).unwrap();
    check(&database.collection("c").unwrap(), "opened again");
}

/// Several vectors of one row may lie in two files: both stay.
#[test]
fn a_row_across_two_files_keeps_both() {
    let dir = tempfile::tempdir().unwrap();
    let database = Database::create(dir.path(), without_background()).unwrap();
    let schema =
        Schema { vectors: Vec::new(), ..schema() }.with_multi_vector("tokens", 1, Metric::InnerProduct);
    let tenant = database.create_collection("c", schema).unwrap().only();
    let row = |key: u64, count: u64| Row::new(key, vec![key as f32; count as usize]);
    let part = FILE_ROWS / 8;
    for key in 0..7 {
        tenant.upsert(row(key, part)).unwrap();
    }
    tenant.upsert(row(7, part - 3)).unwrap();
    tenant.upsert(row(100, 10)).unwrap();
    for key in 8..18 {
        tenant.upsert(row(key, part)).unwrap();
    }
    for key in 0..18u64 {
        tenant.delete(key).unwrap();
    }
    let collection = database.collection("c").unwrap();
    assert_eq!(collection.compact().unwrap().removed_files, 0);
    assert!(collection.check().unwrap().damages.is_empty());
    assert_eq!(tenant.get(100u64).unwrap().unwrap().vectors[0].1, [100.0; 10]);
    tenant.delete(100u64).unwrap();
    assert_eq!(collection.compact().unwrap().removed_files, 2);
}

/// The journal may still name rows of a file that goes: not after the checkpoint before it goes.
#[test]
fn what_the_journal_names_outlives_removed_files() {
    let disk = Simulated::new();
    let options = |disk: &Simulated| Options {
        flush: Flush::Always,
        journal_bytes: 1 << 30,
        checkpoint_every: std::time::Duration::from_secs(3600),
        background: false,
        files: Arc::new(disk.clone()),
        ..Options::default()
    };
    let database = Database::create("/db", options(&disk)).unwrap();
    let collection = database.create_collection("c", schema()).unwrap();
    for number in 0..30 {
        write(&collection, number);
    }
    assert!(collection.compact().unwrap().removed_files > 0);
    let crashed = disk.after_crash(1);
    let again = Database::open("/db", options(&crashed)).unwrap();
    let recovery = again.recovery();
    assert_eq!((recovery.damaged_rows, recovery.lost_commits), (0, 0), "{recovery:?}");
    let collection = again.collection("c").unwrap();
    assert!(collection.check().unwrap().damages.is_empty());
    assert_eq!(collection.only().count(Some(&round(29))).unwrap(), KEYS);
}
