//! A collection as one file, and back.

use orthant_store::{
    Database, FieldType, Metric, Options, ReadError, Row, Schema, ScrollRequest, TransferError, WriteError,
    field,
};
use serde_json::json;

fn database(dir: &std::path::Path) -> Database {
    Database::create(dir, Options { background: false, ..Options::default() }).unwrap()
}

/// Several tenants, both kinds of keys, rows with some, all and none of the vectors.
fn fill(database: &Database, rows: u64) -> orthant_store::Collection {
    let schema = Schema::new(3, Metric::Cosine)
        .with_vector("small", 1, Metric::L2)
        .with_multi_vector("tokens", 2, Metric::InnerProduct)
        .with_field("n", FieldType::Integer)
        .with_field("tags", FieldType::Tags);
    let collection = database.create_collection("notes", schema).unwrap();
    for tenant in ["b", "a", "zoë"] {
        let tenant = collection.tenant(tenant).unwrap();
        let row = |n: u64| {
            let x = n as f32;
            let row = match n % 4 {
                0 => Row::new(n, [x, 1.0, -x]).with_vector("tokens", vec![x; 2 * (n as usize % 3)]),
                1 => Row::new(format!("k{n}"), [x, 0.5, 0.0]).with_vector("small", [x]),
                2 => Row::without_vector(n).with_vector("tokens", [x, 1.0, x, 2.0]),
                _ => Row::without_vector(format!("lone {n}")),
            };
            if n.is_multiple_of(5) {
                return row;
            }
            row.with_payload(
                json!({"n": n, "tags": ["x", format!("t{}", n % 3)], "free": {"a": [1.5, null]}}),
            )
            .unwrap()
        };
        tenant.upsert_batch((0..rows).map(row)).unwrap();
        tenant.delete_where(&field("n").between(10, 12)).unwrap();
    }
    collection
}

fn contents(collection: &orthant_store::Collection) -> Vec<(Box<str>, Vec<Row>)> {
    let all = ScrollRequest { limit: usize::MAX, with_vectors: true, ..Default::default() };
    let names = collection.tenants().unwrap();
    let rows = |name: &str| collection.tenant(name).unwrap().scroll(&all).unwrap().rows;
    names.into_iter().map(|name| (name.clone(), rows(&name))).collect()
}

#[test]
fn a_collection_comes_back_whole() {
    let dir = tempfile::tempdir().unwrap();
    let source = database(&dir.path().join("from"));
    // More than one row group of the file.
    let collection = fill(&source, 3000);
    collection.create_snapshot("not in the file").unwrap();
    let path = dir.path().join("notes.parquet");
    let manifest = collection.export(&path).unwrap();
    let expected = contents(&collection);
    assert_eq!(manifest.rows, expected.iter().map(|(_, rows)| rows.len() as u64).sum::<u64>());
    // Written later: not in the file.
    collection.only().upsert(Row::without_vector("late")).unwrap();

    let target = database(&dir.path().join("to"));
    let copy = target.import_collection("copy", &path).unwrap();
    assert_eq!(contents(&copy), expected);
    assert_eq!(copy.schema(), collection.schema());
    assert_eq!(
        copy.tenant("a").unwrap().count(Some(&field("tags").contains("t1"))).unwrap(),
        collection.tenant("a").unwrap().count(Some(&field("tags").contains("t1"))).unwrap()
    );
    // Exported again it is the same rows.
    assert_eq!(copy.export(dir.path().join("again.parquet")).unwrap().checksum, manifest.checksum);
    let taken = target.import_collection("copy", &path).unwrap_err();
    assert!(matches!(taken, TransferError::Write(WriteError::Name { problem: "taken", .. })), "{taken:?}");
    assert_eq!(contents(&copy), expected, "an import that is refused leaves what was there");
}

#[test]
fn an_empty_collection_comes_back_empty() {
    let dir = tempfile::tempdir().unwrap();
    let database = database(&dir.path().join("db"));
    let empty = database.create_collection("empty", Schema::new(2, Metric::L2)).unwrap();
    let path = dir.path().join("e.parquet");
    assert_eq!(empty.export(&path).unwrap().rows, 0);
    assert!(database.import_collection("again", &path).unwrap().tenants().unwrap().is_empty());
}

#[test]
fn a_damaged_file_is_refused_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let database = database(&dir.path().join("db"));
    let expected = {
        let collection = fill(&database, 30);
        collection.export(dir.path().join("f.parquet")).unwrap();
        contents(&collection)
    };
    let bytes = std::fs::read(dir.path().join("f.parquet")).unwrap();
    let path = dir.path().join("bad.parquet");
    let refused = |bytes: &[u8], what: &str| {
        std::fs::write(&path, bytes).unwrap();
        match database.import_collection("bad", &path) {
            // A flip in what nothing depends on, such as a page's statistics: the rows are the same.
            Ok(collection) => {
                assert_eq!(contents(&collection), expected, "{what}");
                drop(collection);
                database.drop_collection("bad").unwrap();
                0
            }
            Err(error) => {
                assert!(
                    error.to_string().contains("bad.parquet") || matches!(error, TransferError::Write(_)),
                    "{error}"
                );
                assert!(database.collection("bad").is_none(), "{what}");
                1
            }
        }
    };
    let step = if std::env::var_os("ORTHANT_FULL").is_some() { 1 } else { 11 };
    let (mut flips, mut found) = (0, 0);
    for place in (0..bytes.len()).step_by(step) {
        let mut bad = bytes.clone();
        bad[place] ^= 1 << (place % 8);
        flips += 1;
        found += refused(&bad, &format!("byte {place} of {}", bytes.len()));
    }
    assert!(found * 2 > flips, "{found} of {flips} flips were refused");
    for length in (0..bytes.len()).step_by(97) {
        assert_eq!(refused(&bytes[..length], "cut"), 1);
    }
    assert!(matches!(
        database.import_collection("bad", dir.path().join("none")),
        Err(TransferError::Io { .. })
    ));
}

#[test]
fn a_damaged_row_is_named_and_nothing_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().join("db");
    let database = database(&at);
    let rows = database.create_collection("c", Schema::new(2, Metric::L2)).unwrap().only();
    rows.upsert_batch((0..9u64).map(|n| Row::new(n, [n as f32, 0.0]))).unwrap();
    drop(rows);
    database.close().unwrap();
    let file = at.join("rows/0/0/00000.rows");
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[4096 + 6 * 16] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    let database = Database::open(&at, Options::default()).unwrap();
    let error = database.collection("c").unwrap().export(dir.path().join("c.parquet")).unwrap_err();
    assert!(
        matches!(&error, TransferError::Read(ReadError::RowDamaged { key, .. }) if *key == 6.into()),
        "{error}"
    );
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "no file, whole or half");
}
