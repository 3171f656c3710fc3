use orthant_engine::{Key, Metric};
use redb::Durability;

use super::*;
use crate::catalog::Put;
use crate::{Database, GraphChoices, Options, Row, Schema};

const KEYS: u64 = 5000;

fn write(collection: &Collection, round: u64) {
    let rows = (0..KEYS).map(|key| Row::new(key, [key as f32, round as f32]));
    collection.only().upsert_batch(rows).unwrap();
}

/// Where the vectors of a damaged entry lie nobody knows: while it is there, no file goes.
#[test]
fn a_damaged_entry_keeps_all_files() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { background: false, ..Options::default() };
    let database = Database::create(dir.path(), options.clone()).unwrap();
    let choices = GraphChoices { from_rows: 1 << 20, ..GraphChoices::default() };
    let schema = Schema::new(2, Metric::L2).with_graph(choices);
    let collection = database.create_collection("c", schema).unwrap();
    write(&collection, 0);
    collection.only().upsert(Row::new(KEYS + 1, [0.5, 0.5])).unwrap();
    for round in 1..30 {
        write(&collection, round);
    }
    let core = &collection.core;
    let tenant = core.tenant_id("default").unwrap().unwrap();
    let key = core.entry_keys.row(tenant, &Key::Int(KEYS + 1));
    let mut value = core.shared.catalog.value(Table::Rows, &key).unwrap().unwrap();
    value[2] ^= 1;
    let put = Put { table: Table::Rows, key, value: Some(value) };
    core.shared.catalog.apply(&[put], Durability::Immediate).unwrap();
    let before = collection.stats().unwrap().vector_bytes;
    assert!(collection.compact().is_err());
    assert_eq!(collection.stats().unwrap().vector_bytes, before);
    drop(collection);
    database.close().unwrap();

    let database = Database::open(dir.path(), options).unwrap();
    let collection = database.collection("c").unwrap();
    assert_eq!(collection.check().unwrap().damages.len(), 1);
    assert_eq!(collection.repair().unwrap(), 1);
    let done = collection.compact().unwrap();
    assert!(done.removed_files > 0, "it is gone, and so are they");
    assert_eq!((collection.compacted(), collection.only().len().unwrap()), (done, KEYS));
}

/// A row that is written while it is moved keeps what was written: both wait for the committing thread, the writer first.
#[test]
fn a_row_that_is_written_while_it_is_moved_stays_written() {
    let dir = tempfile::tempdir().unwrap();
    let (database, collection) = mostly_dead(dir.path(), 3);
    let jobs = database.inner.jobs().unwrap();
    let mut compaction = Compaction::begin(&collection.core, &jobs, true).unwrap();
    assert!(compaction.has_rows());
    let (hold, held) = channel::<()>();
    // Until `hold` goes away nothing is committed.
    jobs.send(Job::Task(Box::new(move |_| {
        let _ = held.recv();
    })))
    .unwrap();
    let schema = collection.schema();
    let answers: Vec<_> = [Op::Upsert(Row::new(0u64, [7.0, 7.0]).prepare(&schema).unwrap()), delete(1)]
        .into_iter()
        .map(|op| {
            let (reply, answer) = channel();
            let (collection, schema) = (collection.core.clone(), schema.clone());
            let job = WriteJob { collection, tenant: "default".into(), schema, ops: vec![op], reply };
            jobs.send(Job::Write(job)).unwrap();
            answer
        })
        .collect();
    std::thread::scope(|scope| {
        let moving = scope.spawn(|| {
            while compaction.has_rows() {
                compaction.move_some(&jobs).unwrap();
            }
            compaction.done.moved_rows
        });
        // Long enough for it to have read the rows; were it not, the test would see less and pass.
        std::thread::sleep(Duration::from_millis(200));
        drop(hold);
        assert_eq!(moving.join().unwrap(), 1, "of three");
    });
    assert!(answers.iter().all(|answer| answer.recv().unwrap().unwrap().rows == 1));
    let tenant = collection.only();
    assert_eq!(tenant.get(0u64).unwrap().unwrap().vectors[0].1, [7.0, 7.0]);
    assert_eq!(tenant.get(1u64).unwrap(), None);
    assert_eq!(tenant.get(2u64).unwrap().unwrap().vectors[0].1, [2.0, 0.0]);
}

/// Moving would keep a snapshot's rows twice: files that hold some stay, and by the keeper all that a snapshot may name.
#[test]
fn files_of_snapshots_are_not_emptied() {
    let dir = tempfile::tempdir().unwrap();
    let (database, collection) = mostly_dead(dir.path(), 3);
    let jobs = database.inner.jobs().unwrap();
    let has_rows = |keeps| Compaction::begin(&collection.core, &jobs, keeps).unwrap().has_rows();
    assert!(has_rows(true) && has_rows(false));
    collection.create_snapshot("s").unwrap();
    assert!(!has_rows(true) && has_rows(false), "the snapshot names live rows only");
    collection.only().delete(0u64).unwrap();
    assert!(!has_rows(true) && !has_rows(false), "and now one that ended");
    assert_eq!(collection.compact().unwrap().moved_rows, 0);
    collection.drop_snapshot("s").unwrap();
    assert!(has_rows(true));
}

fn delete(key: u64) -> Op {
    Op::Delete { key: Key::Int(key), if_row: None }
}

/// A collection whose first file holds `kept` rows that live.
fn mostly_dead(dir: &std::path::Path, kept: u64) -> (Database, Collection) {
    let options = Options { background: false, ..Options::default() };
    let database = Database::create(dir, options).unwrap();
    let choices = GraphChoices { from_rows: 1 << 20, ..GraphChoices::default() };
    let collection = database.create_collection("c", Schema::new(2, Metric::L2).with_graph(choices)).unwrap();
    for round in 0..15 {
        let first = if round == 0 { 0 } else { kept };
        let rows = (first..KEYS).map(|key| Row::new(key, [key as f32, round as f32]));
        collection.only().upsert_batch(rows).unwrap();
    }
    (database, collection)
}
