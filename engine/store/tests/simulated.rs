//! The whole store on files that fail and forget: at every call, in every way.
//!
//! Every call is tried; of the bytes to flip only a part, `ORTHANT_FULL=1` flips them all.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use orthant_store::files::{Fault, Simulated};
use orthant_store::{
    Database, FieldType, Flush, Key, Metric, OpenError, Options, Row, Schema, ScrollRequest, SearchRequest,
    WriteError,
};
use serde_json::json;

type Model = BTreeMap<u64, (i64, f32)>;

fn options(disk: &Simulated, flush: Flush) -> Options {
    Options {
        flush,
        background: false,
        // Small enough that a checkpoint falls between two commits here and there.
        journal_bytes: 1500,
        checkpoint_every: Duration::from_secs(3600),
        cache_bytes: 1 << 20,
        files: Arc::new(disk.clone()),
    }
}

fn row(key: u64, n: i64) -> Row {
    let vector = [key as f32, n as f32];
    Row::new(key, vector).with_payload(json!({"n": n})).unwrap()
}

enum Step {
    Upsert(Vec<(u64, i64)>),
    Delete(Vec<u64>),
    Snapshot(&'static str),
    Rollback(&'static str),
    Compact,
}

fn steps() -> Vec<Step> {
    vec![
        Step::Upsert(vec![(1, 1)]),
        Step::Upsert((2..12).map(|key| (key, 2)).collect()),
        Step::Delete(vec![3, 4]),
        Step::Snapshot("s"),
        Step::Upsert(vec![(1, 3), (20, 3), (1, 4)]),
        Step::Delete(vec![5]),
        Step::Upsert((30..40).map(|key| (key, 5)).collect()),
        Step::Compact,
        Step::Rollback("s"),
        Step::Upsert(vec![(7, 6), (8, 6)]),
    ]
}

/// The rows after each number of steps that were done.
fn models() -> Vec<Model> {
    let mut models = vec![Model::new()];
    let mut saved = Model::new();
    for step in steps() {
        let mut model = models.last().unwrap().clone();
        match step {
            Step::Upsert(rows) => model.extend(rows.into_iter().map(|(key, n)| (key, (n, n as f32)))),
            Step::Delete(keys) => model.retain(|key, _| !keys.contains(key)),
            Step::Snapshot(_) => saved = model.clone(),
            Step::Rollback(_) => model = saved.clone(),
            Step::Compact => {}
        }
        models.push(model);
    }
    models
}

/// Does all steps; how many were acknowledged, and whether the first that was not may be there nevertheless.
fn work(disk: &Simulated, flush: Flush) -> (usize, bool) {
    let database = match Database::create("/db", options(disk, flush)) {
        Ok(database) => database,
        Err(OpenError::Exists { .. }) => panic!("a new disk has no database"),
        Err(_) => return (0, true),
    };
    let schema = Schema::new(2, Metric::L2).with_field("n", FieldType::Integer);
    let Ok(collection) = database.create_collection("c", schema) else { return (0, true) };
    let rows = collection.only();
    for (done, step) in steps().into_iter().enumerate() {
        let result = match step {
            Step::Upsert(list) => rows.upsert_batch(list.into_iter().map(|(key, n)| row(key, n))).map(drop),
            Step::Delete(keys) => rows.delete_batch(keys.into_iter().map(Key::from)).map(drop),
            Step::Snapshot(name) => collection.create_snapshot(name).map(drop),
            Step::Rollback(name) => collection.rollback(name),
            Step::Compact => collection.compact().map(drop),
        };
        match result {
            Ok(()) => {}
            Err(WriteError::Storage(_) | WriteError::Poisoned(_) | WriteError::Read(_)) => {
                return (done, true);
            }
            Err(error) => panic!("{error}"),
        }
    }
    (steps().len(), false)
}

/// What is on the disk; `None` if no database, or no collection, got that far.
fn contents(disk: &Simulated, what: &str) -> Option<Model> {
    let database = match Database::open("/db", options(disk, Flush::Always)) {
        Ok(database) => database,
        Err(OpenError::Missing { .. }) => return None,
        Err(error) => panic!("{what}: {error:?}"),
    };
    let recovery = database.recovery();
    let amiss = (recovery.damaged_rows, recovery.journal_damaged_at, recovery.lost_commits);
    assert_eq!(amiss, (0, None, 0), "{what}");
    let collection = database.collection("c")?;
    let report = collection.check().unwrap();
    assert!(report.damages.is_empty(), "{what}: {report:?}");
    let rows = collection.only();
    let request = ScrollRequest { limit: 1000, with_vectors: true, ..Default::default() };
    let page = rows.scroll(&request).unwrap();
    let mut model = Model::new();
    for row in page.rows {
        let Key::Int(key) = row.key else { panic!() };
        assert_eq!(row.vectors[0].1[0], key as f32);
        model.insert(key, (row.payload["n"].as_i64().unwrap(), row.vectors[0].1[1]));
    }
    assert_eq!(rows.len().unwrap(), model.len() as u64, "{what}");
    assert_eq!(rows.search(&SearchRequest::new([0.0, 0.0], 1000)).unwrap().len(), model.len(), "{what}");
    // It goes on from here.
    rows.upsert(Row::new(1000, [0.0, 0.0]).with_payload(json!({"n": 1})).unwrap()).unwrap();
    assert_eq!(rows.len().unwrap(), model.len() as u64 + 1, "{what}");
    Some(model)
}

fn every(part: u64) -> u64 {
    if std::env::var_os("ORTHANT_FULL").is_some() { 1 } else { part }
}

fn calls(flush: Flush) -> u64 {
    let disk = Simulated::new();
    assert_eq!(work(&disk, flush), (steps().len(), false));
    disk.calls()
}

#[test]
fn without_faults_everything_is_there() {
    let disk = Simulated::new();
    assert_eq!(work(&disk, Flush::Always).0, steps().len());
    assert_eq!(contents(&disk, "no fault").as_ref(), models().last());
}

#[test]
fn the_power_goes_at_every_call() {
    let models = models();
    for flush in [Flush::Always, Flush::Os] {
        let calls = calls(flush);
        for call in 0..calls {
            let disk = Simulated::new();
            disk.fail_at(call, Fault::PowerOff);
            let (done, _) = work(&disk, flush);
            for seed in 0..2 {
                let what = format!("{flush:?}, call {call} of {calls}, {done} steps done, seed {seed}");
                let found = contents(&disk.after_crash(seed * 1_000_003 + call), &what);
                let from = if flush == Flush::Always { done } else { 0 };
                let candidates = &models[from..=(done + 1).min(models.len() - 1)];
                let is_fine = match &found {
                    Some(found) => candidates.contains(found),
                    None => from == 0,
                };
                assert!(is_fine, "{what}: found {found:?}, expected one of {candidates:?}");
            }
        }
    }
}

#[test]
fn a_call_fails() {
    let models = models();
    let calls = calls(Flush::Always);
    for fault in [Fault::Io, Fault::NoSpace, Fault::ShortWrite] {
        for call in 0..calls {
            let disk = Simulated::new();
            disk.fail_at(call, fault);
            let (done, _) = work(&disk, Flush::Always);
            let what = format!("{fault:?} at call {call} of {calls}, {done} steps done");
            // Opened again, as it is; and after a crash, with what a failed flush dropped gone.
            for disk in [disk.after_crash(call), disk] {
                let found = contents(&disk, &what);
                let candidates = &models[done..=(done + 1).min(models.len() - 1)];
                let is_fine = match &found {
                    Some(found) => candidates.contains(found),
                    None => done == 0,
                };
                assert!(is_fine, "{what}: found {found:?}, expected one of {candidates:?}");
            }
        }
    }
}

#[test]
fn every_flipped_byte_is_found_or_without_effect() {
    let disk = Simulated::new();
    assert_eq!(work(&disk, Flush::Always).0, steps().len());
    let expected = models().pop();
    let files = disk.contents();
    for (number, (path, bytes)) in files.iter().enumerate() {
        // The catalog is mostly pages that hold nothing yet.
        let is_catalog = path.ends_with("catalog.redb");
        let step = if is_catalog { every(997) as usize } else { every(13) as usize };
        for place in (0..bytes.len()).step_by(step) {
            let mut damaged = files.clone();
            damaged[number].1[place] ^= 1 << (place % 8);
            let what = format!("{} byte {place} of {}", path.display(), bytes.len());
            let database =
                match Database::open("/db", options(&Simulated::with_contents(damaged), Flush::Always)) {
                    Ok(database) => database,
                    // Detected: the error names the file.
                    Err(OpenError::Storage(error)) => {
                        let name = path.file_name().unwrap().to_str().unwrap();
                        assert!(error.to_string().contains(name), "{what}: {error}");
                        continue;
                    }
                    Err(error) => panic!("{what}: {error:?}"),
                };
            let is_told = database.recovery() != &Default::default();
            let report = database.collection("c").map(|collection| collection.check().unwrap());
            let is_reported = report.as_ref().is_none_or(|report| !report.damages.is_empty());
            let request = ScrollRequest { limit: 1000, with_vectors: false, ..Default::default() };
            let found = database.collection("c").and_then(|collection| {
                let page = collection.only().scroll(&request).ok()?;
                let value = |row: &Row| match row.key {
                    Key::Int(key) => (key, row.payload["n"].as_i64().unwrap()),
                    _ => panic!(),
                };
                Some(page.rows.iter().map(value).collect::<Vec<_>>())
            });
            let wanted: Vec<_> = expected.iter().flatten().map(|(&key, &(n, _))| (key, n)).collect();
            assert!(is_told || is_reported || found == Some(wanted), "{what}: {found:?}");
        }
    }
}
