//! Snapshots, rollback, new fields, copies, compaction, damage.

use orthant_store::{
    Damage, Database, FieldType, Metric, Options, ReadError, Row, Schema, ScrollRequest, SearchRequest,
    WriteError, field,
};
use serde_json::json;

fn schema() -> Schema {
    Schema::new(2, Metric::L2).with_field("n", FieldType::Integer)
}

fn row(key: u64, x: f32) -> Row {
    Row::new(key, [x, 0.0]).with_payload(json!({"n": key, "word": format!("w{}", key % 3)})).unwrap()
}

fn all() -> ScrollRequest {
    ScrollRequest { limit: 1000, with_vectors: true, ..Default::default() }
}

#[test]
fn a_snapshot_stays_while_writers_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let database = Database::create(dir.path(), Options::default()).unwrap();
    let collection = database.create_collection("c", schema()).unwrap();
    let rows = collection.tenant("t").unwrap();
    rows.upsert_batch((0..10).map(|n| row(n, n as f32))).unwrap();
    let before = rows.scroll(&all()).unwrap();
    collection.create_snapshot("one").unwrap();
    rows.upsert(row(3, 30.0)).unwrap();
    rows.upsert(row(3, 31.0)).unwrap();
    rows.delete(4u64).unwrap();
    rows.upsert(row(20, 20.0)).unwrap();
    let middle = rows.scroll(&all()).unwrap();
    collection.create_snapshot("two").unwrap();
    assert!(matches!(collection.create_snapshot("two"), Err(WriteError::Name { .. })));
    rows.delete_where(&field("n").lt(100)).unwrap();
    rows.upsert(row(50, 50.0)).unwrap();
    for _ in 0..2 {
        let one = rows.at("one").unwrap();
        assert_eq!(one.scroll(&all()).unwrap(), before);
        assert_eq!(one.count(Some(&field("n").ge(4))).unwrap(), 6);
        assert_eq!(one.search(&SearchRequest::new([3.0, 0.0], 1)).unwrap()[0].distance, 0.0);
        assert_eq!(
            one.get(4u64).unwrap(),
            Some(row(4, 4.0)).map(|row| Row { vectors: vec![("vector".into(), vec![4.0, 0.0])], ..row })
        );
        assert_eq!(rows.at("two").unwrap().scroll(&all()).unwrap(), middle);
        collection.compact().unwrap();
    }
    assert!(matches!(rows.at("three"), Err(ReadError::Unknown { .. })));
    collection.rollback("two").unwrap();
    assert_eq!(rows.scroll(&all()).unwrap(), middle);
    assert_eq!(rows.at("one").unwrap().scroll(&all()).unwrap(), before);
    rows.delete(0u64).unwrap();
    collection.rollback("one").unwrap();
    assert_eq!(rows.scroll(&all()).unwrap(), before);
    assert_eq!(collection.snapshots().len(), 1, "later ones are gone");
    rows.upsert(row(3, 99.0)).unwrap();
    assert_eq!(rows.search(&SearchRequest::new([99.0, 0.0], 1)).unwrap()[0].distance, 0.0);
    drop((rows, collection));
    database.close().unwrap();
    let database = Database::open(dir.path(), Options::default()).unwrap();
    let collection = database.collection("c").unwrap();
    let rows = collection.tenant("t").unwrap();
    assert_eq!(rows.at("one").unwrap().scroll(&all()).unwrap(), before);
    collection.drop_snapshot("one").unwrap();
    assert_eq!(collection.stats().unwrap().old_rows, 0);
    assert_eq!(rows.len().unwrap(), 10);
}

#[test]
fn fields_are_added_to_rows_that_are_there() {
    let dir = tempfile::tempdir().unwrap();
    let database = Database::create(dir.path(), Options::default()).unwrap();
    let collection = database.create_collection("c", schema()).unwrap();
    let rows = collection.only();
    rows.upsert_batch((0..9).map(|n| row(n, n as f32))).unwrap();
    let word = field("word").eq("w1");
    assert!(rows.count(Some(&word)).is_err());
    let error = collection.add_field("word", FieldType::Integer).unwrap_err();
    assert!(matches!(error, WriteError::Evolution { .. }), "{error}");
    collection.add_field("word", FieldType::Keyword).unwrap();
    assert_eq!(rows.count(Some(&word)).unwrap(), 3);
    rows.upsert(row(10, 1.0)).unwrap();
    assert_eq!(rows.count(Some(&word)).unwrap(), 4);
    drop((rows, collection));
    drop(database);
    let database = Database::open(dir.path(), Options::default()).unwrap();
    assert_eq!(database.collection("c").unwrap().only().count(Some(&word)).unwrap(), 4);
}

#[test]
fn a_live_copy_opens_clean() {
    let dir = tempfile::tempdir().unwrap();
    let database = Database::create(dir.path().join("a"), Options::default()).unwrap();
    let collection = database.create_collection("c", schema()).unwrap();
    let rows = collection.only();
    rows.upsert_batch((0..100).map(|n| row(n, n as f32))).unwrap();
    let copy = dir.path().join("b");
    std::thread::scope(|scope| {
        scope.spawn(|| (100..200).for_each(|n| assert_eq!(rows.upsert(row(n, 1.0)).unwrap().rows, 1)));
        database.copy_to(&copy).unwrap();
    });
    assert!(database.copy_to(&copy).is_err());
    let copy = Database::open(&copy, Options::default()).unwrap();
    assert_eq!(copy.recovery(), &Default::default());
    let collection = copy.collection("c").unwrap();
    let report = collection.check().unwrap();
    assert!(report.damages.is_empty() && report.rows >= 100);
    assert_eq!(collection.only().len().unwrap(), report.rows);
}

#[test]
fn compaction_moves_rows_and_removes_files() {
    let dir = tempfile::tempdir().unwrap();
    let database = Database::create(dir.path(), Options::default()).unwrap();
    let collection = database.create_collection("c", schema()).unwrap();
    let rows = collection.only();
    for start in (0..140_000u64).step_by(20_000) {
        rows.upsert_batch((start..start + 20_000).map(|n| row(n, n as f32))).unwrap();
    }
    rows.delete_where(&field("n").between(50, 131_000)).unwrap();
    let before = collection.stats().unwrap().vector_bytes;
    let done = collection.compact().unwrap();
    assert_eq!((done.moved_rows, done.removed_files), (50 + 71, 2));
    assert!(collection.stats().unwrap().vector_bytes < before / 5);
    assert_eq!(rows.len().unwrap(), 50 + 8999);
    assert_eq!(rows.search(&SearchRequest::new([7.0, 0.0], 1)).unwrap()[0].distance, 0.0);
    assert!(collection.check().unwrap().damages.is_empty());
    drop((rows, collection));
    drop(database);
    let database = Database::open(dir.path(), Options::default()).unwrap();
    let collection = database.collection("c").unwrap();
    assert!(collection.check().unwrap().damages.is_empty());
    assert_eq!(collection.only().len().unwrap(), 50 + 8999);
}

#[test]
fn a_damaged_row_is_named_and_the_rest_served() {
    let dir = tempfile::tempdir().unwrap();
    let database = Database::create(dir.path(), Options::default()).unwrap();
    let rows = database.create_collection("c", schema()).unwrap().only();
    rows.upsert_batch((0..10).map(|n| row(n, n as f32))).unwrap();
    drop(rows);
    database.close().unwrap();
    let path = dir.path().join("rows/0/0/00000.rows");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[4096 + 4 * 16 + 1] ^= 4;
    std::fs::write(&path, bytes).unwrap();
    let database = Database::open(dir.path(), Options::default()).unwrap();
    let collection = database.collection("c").unwrap();
    let rows = collection.only();
    let found = rows.search(&SearchRequest::new([4.0, 0.0], 10)).unwrap();
    assert_eq!(found.len(), 9);
    assert_eq!(rows.damaged().unwrap(), [4.into()]);
    let error = rows.get(4u64).unwrap_err();
    assert_eq!(error.to_string(), "row 4: vector \"vector\" does not match its checksum");
    let damage = Damage::Vector { tenant: "default".into(), key: "4".into(), vector: "vector".into() };
    assert_eq!(collection.check().unwrap().damages, [damage]);
    assert_eq!(collection.repair().unwrap(), 1);
    assert_eq!(rows.get(4u64).unwrap(), None);
    assert!(collection.check().unwrap().damages.is_empty());
}
