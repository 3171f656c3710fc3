//! What must hold for any bytes: used by the fuzz targets, and by a test that goes through the corpus.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock};

use orthant_engine::storage::persist::{FileWriter, MappedFile, Verify};
use orthant_engine::{Index, KeyRef, OpenOptions, ROWLESS_VERSION};
use orthant_store::files::Simulated;
use orthant_store::{
    Database, FieldType, Filter, Flush, Metric, OpenError, Options, Payload, Row, Schema, ScrollRequest,
    SearchRequest, Tenant, check_export,
};
use serde_json::{Value, json};

fn options(files: Simulated) -> Options {
    Options {
        flush: Flush::Always,
        background: false,
        cache_bytes: 1 << 20,
        files: Arc::new(files),
        ..Options::default()
    }
}

fn schema() -> Schema {
    FieldType::ALL
        .into_iter()
        .fold(Schema::new(2, Metric::L2), |schema, kind| schema.with_field(kind.name(), kind))
}

/// A tenant with a field of each type; every third row lacks some.
fn tenant() -> &'static (Database, Tenant, Vec<Payload>) {
    static TENANT: OnceLock<(Database, Tenant, Vec<Payload>)> = OnceLock::new();
    TENANT.get_or_init(|| {
        let database = Database::create("/db", options(Simulated::new())).expect("a new disk");
        let tenant = database.create_collection("c", schema()).expect("a new collection").only();
        let payloads: Vec<Payload> = (0..40i64).map(payload_of).collect();
        let rows = payloads
            .iter()
            .zip(0u64..)
            .map(|(payload, key)| Row { payload: payload.clone(), ..Row::new(key, [key as f32, 0.0]) });
        tenant.upsert_batch(rows).expect("rows that fit");
        (database, tenant, payloads)
    })
}

fn payload_of(n: i64) -> Payload {
    let keyword = ["python", "rust", "", "ünï"][n as usize % 4];
    let all = json!({
        "keyword": keyword, "integer": (n - 20) * 3, "float": n as f64 / 4.0 - 3.0,
        "bool": n % 2 == 0, "datetime": format!("2026-{:02}-01", n % 12 + 1), "tags": ["x", format!("t{}", n % 5)],
        "geo": {"lat": n - 20, "lon": 4 * n - 80},
    });
    let Value::Object(mut payload) = all else { return Payload::new() };
    if n % 3 == 0 {
        let name = FieldType::ALL[n as usize % 7].name();
        payload.remove(name);
    }
    payload
}

/// A filter's text is an error or a filter; it is the same filter when it is printed and read again, and the indexes find the rows
/// that looking at each payload finds.
pub(crate) fn filter(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(filter) = Filter::parse(text) else { return };
    let printed = filter.to_string();
    let again = Filter::parse(&printed).unwrap_or_else(|error| panic!("{text:?} as {printed:?}: {error}"));
    assert_eq!(again, filter, "{text:?} as {printed:?}");
    let (_, tenant, payloads) = tenant();
    let Ok(count) = tenant.count(Some(&filter)) else { return };
    let schema = schema();
    let naive = payloads.iter().filter(|payload| filter.matches(&schema, payload) == Some(true)).count();
    assert_eq!(count, naive as u64, "{text:?}");
}

/// A payload is refused or comes back as it was, before and after the database was opened again.
pub(crate) fn payload(bytes: &[u8]) {
    static TENANT: OnceLock<Mutex<Tenant>> = OnceLock::new();
    let Ok(value) = serde_json::from_slice::<Value>(bytes) else { return };
    let Ok(row) = Row::new(1u64, [0.5, 1.0]).with_payload(value) else { return };
    let tenant = TENANT.get_or_init(|| {
        let database = Database::create("/payloads", options(Simulated::new())).expect("a new disk");
        Mutex::new(database.create_collection("c", schema()).expect("a new collection").only())
    });
    let tenant = tenant.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let payload = row.payload.clone();
    if tenant.upsert(row).is_err() {
        return;
    }
    let found = tenant.get(1u64).expect("readable").expect("written");
    assert_eq!(found.payload, payload);
    let found = tenant.search(&SearchRequest::new([0.5, 1.0], 1).with_payload()).expect("a search");
    assert_eq!(found[0].payload.as_ref(), Some(&payload));
    // Its own values are values of filters.
    for name in FieldType::ALL.map(FieldType::name) {
        let present = Filter::parse(&format!("\"{name}\" IS NOT NULL")).expect("a filter");
        let expected = u64::from(payload.get(name).is_some_and(|value| !value.is_null()));
        assert_eq!(tenant.count(Some(&present)).expect("a count"), expected, "{name} of {payload:?}");
    }
}

/// The files of a small database, some of its commits in the journal only.
fn database_files() -> &'static Vec<(PathBuf, Vec<u8>)> {
    static FILES: OnceLock<Vec<(PathBuf, Vec<u8>)>> = OnceLock::new();
    FILES.get_or_init(|| {
        let disk = Simulated::new();
        let database = Database::create("/db", options(disk.clone())).expect("a new disk");
        let rows = database.create_collection("c", schema()).expect("a new collection").only();
        let row = |n: i64| Row { payload: payload_of(n), ..Row::new(n as u64, [n as f32, 1.0]) };
        rows.upsert_batch((0..12).map(row)).expect("rows that fit");
        database.flush().expect("a checkpoint");
        rows.upsert_batch((8..16).map(row)).expect("rows that fit");
        rows.delete(3u64).expect("a delete");
        // As a kill would leave it.
        disk.contents()
    })
}

/// Changed files of a database: opening it is an error or finds rows that were written, and it says so when some are missing.
/// `bytes`: any number of changes, each the file, the place (3 bytes) and what is put there.
pub(crate) fn files(bytes: &[u8]) {
    caught_as_the_store_does(|| changed_files(bytes));
}

fn changed_files(bytes: &[u8]) {
    let mut files = database_files().clone();
    for change in bytes.chunks_exact(5).take(64) {
        let count = files.len();
        let (_, content) = &mut files[usize::from(change[0]) % count];
        let place = usize::from(change[1]) | usize::from(change[2]) << 8 | usize::from(change[3]) << 16;
        if content.is_empty() {
            continue;
        }
        let place = place % content.len();
        match change[4] {
            // Cut there.
            255 => content.truncate(place),
            value => content[place] ^= value,
        }
    }
    let database = match Database::open("/db", options(Simulated::with_contents(files))) {
        Ok(database) => database,
        Err(OpenError::Storage(_) | OpenError::Missing { .. }) => return,
        Err(error) => panic!("{error}"),
    };
    let Some(collection) = database.collection("c") else { return };
    // Damage is an error or a report, never a row that nobody wrote.
    let report = collection.check();
    let request = ScrollRequest { limit: 1000, with_vectors: true, ..Default::default() };
    let Ok(page) = collection.only().scroll(&request) else { return };
    for row in &page.rows {
        let orthant_store::Key::Int(key) = row.key else { panic!("{row:?}") };
        assert!(key < 16 && row.payload == payload_of(key as i64), "{row:?}");
        assert_eq!(row.vectors[0].1, [key as f32, 1.0]);
    }
    let is_told = {
        let recovery = database.recovery();
        recovery.torn_bytes > 0 || recovery.journal_damaged_at.is_some() || recovery.lost_commits > 0
    };
    let is_reported = report.is_ok_and(|report| !report.damages.is_empty());
    assert!(is_told || is_reported || page.rows.len() >= 12, "{} rows, and nobody says why", page.rows.len());
}

/// The reader of Parquet, and redb where it checks its pages, panic on some damaged files, which the store catches and reports as
/// damage. libFuzzer's hook would end it all before anybody could. So a panic is judged by where it is and how far it gets: one in
/// this repository, or on a thread of the store, where nobody catches it, ends it at once; any other does if it leaves `check`.
fn caught_as_the_store_does(check: impl FnOnce()) {
    static HOOK: std::sync::Once = std::sync::Once::new();
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let file = info.location().map_or("", |location| location.file());
            // Others' code lies in the registry's folder, or is the standard library's on their behalf.
            let is_ours = !file.contains("/registry/") && !file.starts_with("/rustc/");
            let is_background =
                std::thread::current().name().is_some_and(|name| name.starts_with("orthant-"));
            if is_ours || is_background {
                before(info);
                std::process::abort();
            }
        }));
    });
    if std::panic::catch_unwind(std::panic::AssertUnwindSafe(check)).is_err() {
        // The panic that nobody caught: without a message, as the hook cannot know.
        eprintln!("a panic left the store");
        std::process::abort();
    }
}

/// Any bytes as an exported collection: an error, or rows that match the manifest's checksum.
pub(crate) fn export(bytes: &[u8]) {
    caught_as_the_store_does(|| {
        if let Ok(manifest) = check_export(bytes.to_vec()) {
            assert!(manifest.schema.check().is_ok());
        }
    });
}

const GRAPH: [u8; 8] = *b"orthless";

fn scratch(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("orthant-fuzz-{}-{name}", std::process::id()))
}

fn point(key: u64, row: &mut [f32]) {
    row.copy_from_slice(&[key as f32 % 9.0, key as f32 / 9.0]);
}

/// The sections of a small saved graph, by tag.
fn graph_sections() -> &'static Vec<([u8; 8], Vec<u8>)> {
    static SECTIONS: OnceLock<Vec<([u8; 8], Vec<u8>)>> = OnceLock::new();
    SECTIONS.get_or_init(|| {
        let index =
            Index::builder(2, Metric::L2).m(4).ef_construction(16).seed(3).build().expect("a small index");
        for key in 0..60u64 {
            let mut row = [0.0; 2];
            point(key, &mut row);
            index.insert(key, &row).expect("a row that fits");
        }
        let path = scratch("seed");
        index.save_without_rows(&path).expect("a file");
        let file = MappedFile::open(&path, GRAPH, ROWLESS_VERSION, Verify::Full).expect("a sound file");
        let tags = file.sections().iter().map(|section| section.tag.0);
        let sections = tags.map(|tag| (tag, file.bytes(tag).unwrap_or_default().to_vec())).collect();
        // It is mapped, not needed.
        let _ = std::fs::remove_file(&path);
        sections
    })
}

/// A saved graph that somebody made up, its checksums sound: an error, or a graph that is searched without harm.
/// `bytes`: any number of changes, each the section, the place (2 bytes), what is put there, and how.
pub(crate) fn graph(bytes: &[u8]) {
    let mut sections = graph_sections().clone();
    for change in bytes.chunks_exact(5).take(64) {
        let count = sections.len();
        let (_, content) = &mut sections[usize::from(change[0]) % count];
        let place = (usize::from(change[1]) | usize::from(change[2]) << 8) % (content.len() + 1);
        match change[4] % 5 {
            0 => content.truncate(place),
            1 => content.insert(place, change[3]),
            2 if place < content.len() => drop(content.remove(place)),
            3 => content.resize(content.len() + usize::from(change[3]), 0),
            _ if place < content.len() => content[place] ^= change[3],
            _ => {}
        }
    }
    let path = scratch("made-up");
    let mut writer = FileWriter::create(&path, GRAPH, ROWLESS_VERSION).expect("a new file");
    for (tag, content) in &sections {
        writer.write_section(*tag, content).expect("a section");
    }
    writer.finish().expect("a whole file");
    let mut read = |key: KeyRef<'_>, row: &mut [f32]| match key {
        KeyRef::Int(key) if key < 60 => {
            point(key, row);
            true
        }
        _ => false,
    };
    let Ok((index, missing)) = Index::open_with_rows(&path, &OpenOptions::default(), 2, &mut read) else {
        return;
    };
    assert!(index.len() + missing.len() <= 1 << 24);
    for query in [[0.0, 0.0], [4.0, 3.0], [9.0, 9.0]] {
        for hit in index.search(&query, 5, 16).expect("a search") {
            assert!(!missing.contains(&hit.key));
        }
    }
}
