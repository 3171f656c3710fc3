use orthant_engine::Metric;

use super::*;
use crate::{Database, GraphChoices, Options, Row, Schema};

fn work(database: &Database, options: KeeperOptions) -> Work {
    let inner = &database.inner;
    Work::new(inner.shared.clone(), inner.collections.clone(), inner.jobs().unwrap(), options)
}

/// Writers that never pause leave rows to link at any time.
#[test]
fn compaction_goes_on_while_rows_wait_to_be_linked() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { background: false, ..Options::default() };
    let database = Database::create(dir.path(), options).unwrap();
    let choices = GraphChoices { from_rows: 100, ef_construction: 8, ..GraphChoices::default() };
    let collection = database.create_collection("c", Schema::new(2, Metric::L2).with_graph(choices)).unwrap();
    let tenant = collection.only();
    assert!(tenant.is_empty().unwrap());
    for round in 0..15u64 {
        let first = if round == 0 { 0 } else { 20 };
        tenant.upsert_batch((first..5000u64).map(|n| Row::new(n, [n as f32, round as f32]))).unwrap();
    }
    let options = KeeperOptions { link_rows: 1, compact_busy: Duration::ZERO, ..KeeperOptions::default() };
    let mut work = work(&database, options);
    for _ in 0..200 {
        assert!(work.turn(false).0, "there are rows to link");
    }
    let done = collection.compacted();
    assert_eq!((done.moved_rows, done.removed_files), (20, 1));
    assert_eq!(tenant.get(7u64).unwrap().unwrap().vectors[0].1, [7.0, 0.0]);
}

#[test]
fn a_graph_is_saved_while_rows_wait_to_be_linked() {
    let dir = tempfile::tempdir().unwrap();
    let without = Options { background: false, ..Options::default() };
    let database = Database::create(dir.path(), without.clone()).unwrap();
    let choices = GraphChoices { from_rows: 100, ef_construction: 32, ..GraphChoices::default() };
    let collection = database.create_collection("c", Schema::new(2, Metric::L2).with_graph(choices)).unwrap();
    let row = |n: u64| Row::new(n, [(n as f32).sin(), n as f32 / 500.0]);
    collection.only().upsert_batch((0..2000).map(row)).unwrap();
    assert_eq!(collection.only().len().unwrap(), 2000);
    let options = KeeperOptions { link_rows: 100, save_behind: 300, ..KeeperOptions::default() };
    let mut work = work(&database, options);
    let core = &collection.core;
    let path = graph_path(dir.path(), core.id, core.tenant_id("default").unwrap().unwrap(), 0);
    let mut saves = Vec::new();
    while work.step(false) {
        let saved = work.saved_changes(&path);
        if saved > 0 && saves.last() != Some(&saved) {
            saves.push(saved);
        }
    }
    // Each holds at least 300 more than the one before, and 30 % of all.
    assert_eq!(saves, [300, 600, 900, 1300, 1900]);
    drop((work, collection));
    database.close().unwrap();

    // What was not in it is linked, and nothing else.
    let database = Database::open(dir.path(), without).unwrap();
    let collection = database.collection("c").unwrap();
    let core = &collection.core;
    let graph = GraphPart::open(&path, &core.schema().vectors[0], &core.rows[0]).unwrap().unwrap();
    assert_eq!(graph.linked().len(), 1900);
}
