//! Collections as applications use them.

use std::time::Duration;

use orthant_store::{
    Database, FieldType, Filter, Flush, Found, GraphChoices, Key, Literal, Metric, OpenError, Options,
    ReadError, Row, Schema, ScrollRequest, SearchRequest, Tenant, WriteError, field,
};
use serde_json::{Value as Json, json};

fn schema() -> Schema {
    Schema::new(2, Metric::L2)
        .with_field("section", FieldType::Keyword)
        .with_field("size", FieldType::Integer)
        .with_field("tags", FieldType::Tags)
}

fn row(key: impl Into<Key>, x: f32, payload: Json) -> Row {
    Row::new(key, [x, 0.0]).with_payload(payload).unwrap()
}

fn keys(found: &[Found]) -> Vec<String> {
    found.iter().map(|found| found.key.to_string()).collect()
}

fn open(dir: &std::path::Path) -> Database {
    match Database::open(dir, Options::default()) {
        Err(OpenError::Missing { .. }) => Database::create(dir, Options::default()).unwrap(),
        other => other.unwrap(),
    }
}

fn filled(tenant: &Tenant) {
    let rows = (0..20u64).map(|n| {
        let section = if n % 2 == 0 { "python" } else { "rust" };
        row(n, n as f32, json!({"section": section, "size": n, "tags": ["all", format!("t{}", n % 3)]}))
    });
    assert_eq!(tenant.upsert_batch(rows).unwrap().rows, 20);
}

#[test]
fn rows_are_written_read_replaced_and_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let database = open(dir.path());
    let notes = database.create_collection("notes", schema()).unwrap().only();
    assert_eq!(notes.get("a").unwrap(), None);
    assert_eq!(notes.len().unwrap(), 0);
    let first = row("a", 1.0, json!({"section": "x", "other": [1, 2]}));
    notes.upsert(first.clone()).unwrap();
    let read = notes.get("a").unwrap().unwrap();
    assert_eq!(read.payload, first.payload);
    assert_eq!(read.vectors, [("vector".into(), vec![1.0, 0.0])]);
    notes.upsert(row("a", 5.0, json!({"section": "y"}))).unwrap();
    assert_eq!(notes.len().unwrap(), 1);
    assert_eq!(notes.count(Some(&field("section").eq("x"))).unwrap(), 0);
    assert_eq!(notes.count(Some(&field("section").eq("y"))).unwrap(), 1);
    assert_eq!(notes.search(&SearchRequest::new([1.0, 0.0], 3)).unwrap()[0].distance, 4.0);
    assert_eq!(notes.delete("a").unwrap().rows, 1);
    assert_eq!(notes.delete("a").unwrap().rows, 0);
    assert_eq!(notes.get("a").unwrap(), None);
    assert_eq!(notes.search(&SearchRequest::new([1.0, 0.0], 3)).unwrap(), []);
    assert_eq!(notes.scroll(&ScrollRequest::default()).unwrap().rows, []);
}

#[test]
fn what_was_written_is_there_when_it_is_opened_again() {
    let dir = tempfile::tempdir().unwrap();
    for flush in [Flush::Always, Flush::Interval(Duration::from_millis(5)), Flush::Os] {
        for is_closed in [true, false] {
            let dir = dir.path().join(format!("{flush:?}{is_closed}").replace([':', '/', ' '], ""));
            let options = Options { flush, ..Options::default() };
            let database = Database::create(&dir, options.clone()).unwrap();
            let notes = database.create_collection("notes", schema()).unwrap().tenant("t").unwrap();
            filled(&notes);
            notes.delete(3u64).unwrap();
            drop(notes);
            if is_closed {
                database.close().unwrap();
            } else {
                drop(database);
            }
            let database = Database::open(&dir, options).unwrap();
            let notes = database.collection("notes").unwrap().tenant("t").unwrap();
            assert_eq!(notes.len().unwrap(), 19);
            let found = notes.search(&SearchRequest::new([3.0, 0.0], 2).with_payload()).unwrap();
            assert_eq!(keys(&found), ["2", "4"]);
            assert_eq!(found[0].payload.as_ref().unwrap()["size"], json!(2));
            assert_eq!(database.recovery().torn_bytes, 0);
        }
    }
}

#[test]
fn filters_counts_facets_and_pages() {
    let dir = tempfile::tempdir().unwrap();
    let database = open(dir.path());
    let notes = database.create_collection("notes", schema()).unwrap().only();
    filled(&notes);
    let filter =
        Filter::parse("section = 'rust' AND size BETWEEN 4 AND 9 AND NOT tags CONTAINS 't0'").unwrap();
    assert_eq!(notes.count(Some(&filter)).unwrap(), 2);
    let found = notes.search(&SearchRequest::new([0.0, 0.0], 10).filter(filter.clone())).unwrap();
    assert_eq!(keys(&found), ["5", "7"]);
    let facets = notes.facets("tags", Some(&field("size").lt(4)), 2).unwrap();
    assert_eq!((&facets[0].value, facets[0].count), (&Literal::from("all"), 4));
    assert_eq!((&facets[1].value, facets[1].count), (&Literal::from("t0"), 2));
    let mut request =
        ScrollRequest { limit: 3, filter: Some(field("section").eq("python")), ..Default::default() };
    let mut seen = Vec::new();
    loop {
        let page = notes.scroll(&request).unwrap();
        seen.extend(page.rows.iter().map(|row| row.key.clone()));
        // Writes between pages move nothing.
        notes.upsert(row(4u64, 4.0, json!({"section": "python", "size": 4}))).unwrap();
        match page.next {
            Some(next) => request.after = Some(next),
            None => break,
        }
    }
    assert_eq!(seen, (0..10u64).map(|n| Key::from(2 * n)).collect::<Vec<_>>());
    assert_eq!(notes.delete_where(&field("size").ge(10)).unwrap().rows, 10);
    assert_eq!(notes.len().unwrap(), 10);
    let error = notes.count(Some(&Filter::parse("colour = 'red'").unwrap())).unwrap_err();
    assert!(matches!(error, ReadError::Filter(_)), "{error}");
}

#[test]
fn bad_rows_are_refused_with_what_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let database = open(dir.path());
    let notes = database.create_collection("notes", schema()).unwrap().only();
    let says = |row: Row| notes.upsert(row).unwrap_err();
    let chain = |error: WriteError| format!("{error}: {}", std::error::Error::source(&error).unwrap());
    let error = chain(says(row("a", 1.0, json!({"size": "large"}))));
    assert_eq!(error, "row a: field \"size\" is a string, expected an integer that fits 64 bits");
    assert!(matches!(says(Row::new("a", [1.0])), WriteError::Dimension { found: 1, expected: 2, .. }));
    assert!(matches!(says(Row::new("a", [1.0, f32::NAN])), WriteError::NotFinite { element: 1, .. }));
    assert!(matches!(says(Row::new("x".repeat(70_000), [1.0, 1.0])), WriteError::KeyTooLong { .. }));
    let two = Row::new("a", [1.0, 1.0]).with_vector("other", [1.0]);
    assert!(matches!(says(two), WriteError::UnknownVector { .. }));
    // A batch with one bad row leaves nothing.
    let batch = [row("a", 1.0, json!({})), Row::new("b", [1.0])];
    assert!(notes.upsert_batch(batch).is_err());
    assert_eq!(notes.len().unwrap(), 0);
    assert!(database.create_collection("notes", schema()).is_err());
    assert!(notes.search(&SearchRequest::new([1.0], 1)).is_err());
}

#[test]
fn a_second_opener_is_told_who_has_it() {
    let dir = tempfile::tempdir().unwrap();
    let database = open(dir.path());
    let error = Database::open(dir.path(), Options::default()).unwrap_err();
    assert!(error.to_string().contains(&std::process::id().to_string()), "{error}");
    drop(database);
    Database::open(dir.path(), Options::default()).unwrap();
}

#[test]
fn tenants_see_their_own_rows_only() {
    let dir = tempfile::tempdir().unwrap();
    let database = open(dir.path());
    let notes = database.create_collection("notes", schema()).unwrap();
    let (a, b) = (notes.tenant("a").unwrap(), notes.tenant("b").unwrap());
    let payload = |who: &str| json!({"section": who, "tags": [who]});
    a.upsert(row("same", 1.0, payload("a"))).unwrap();
    b.upsert(row("same", 2.0, payload("b"))).unwrap();
    b.upsert(row("more", 3.0, payload("b"))).unwrap();
    let nobody = notes.tenant("nobody").unwrap();
    for (tenant, rows, who) in [(&a, 1, Some("a")), (&b, 2, Some("b")), (&nobody, 0, None)] {
        let found = tenant.search(&SearchRequest::new([0.0, 0.0], 10).with_payload()).unwrap();
        assert_eq!(found.len(), rows);
        let facets = tenant.facets("section", None, 10).unwrap();
        let values: Vec<&Literal> = facets.iter().map(|facet| &facet.value).collect();
        assert_eq!(values, who.map(Literal::from).iter().collect::<Vec<_>>());
        assert!(found.iter().all(|found| found.payload.as_ref().unwrap()["section"] == json!(who)));
        assert_eq!(tenant.count(None).unwrap(), rows as u64);
        assert_eq!(
            tenant.scroll(&ScrollRequest { limit: 9, ..Default::default() }).unwrap().rows.len(),
            rows
        );
    }
    a.delete("more").unwrap();
    assert_eq!(b.len().unwrap(), 2);
    assert_eq!(notes.tenants().unwrap(), ["a".into(), "b".into()]);
}

#[test]
fn named_and_multi_vectors() {
    let dir = tempfile::tempdir().unwrap();
    let database = open(dir.path());
    let schema = Schema::new(2, Metric::L2).with_vector("image", 3, Metric::L2).with_multi_vector(
        "tokens",
        2,
        Metric::L2,
    );
    let docs = database.create_collection("docs", schema).unwrap().only();
    docs.upsert(
        Row::new(1, [0.0, 0.0])
            .with_vector("image", [1.0, 0.0, 0.0])
            .with_vector("tokens", [0.0, 0.0, 9.0, 9.0]),
    )
    .unwrap();
    docs.upsert(Row::without_vector(2).with_vector("tokens", [0.0, 1.0])).unwrap();
    docs.upsert(Row::new(3, [5.0, 0.0]).with_vector("image", [0.0, 4.0, 0.0])).unwrap();
    let on = |vector: &str, query: &[f32]| docs.search(&SearchRequest::new(query, 9).on(vector)).unwrap();
    assert_eq!(keys(&on("vector", &[4.0, 0.0])), ["3", "1"]);
    assert_eq!(keys(&on("image", &[0.0, 0.0, 0.0])), ["1", "3"]);
    let both = on("tokens", &[0.0, 0.0, 9.0, 9.0]);
    assert_eq!(keys(&both), ["1", "2"]);
    assert_eq!(both[0].distance, 0.0);
    assert!((both[1].distance - (1.0 + (81.0f32 + 64.0).sqrt())).abs() < 1e-5);
    assert_eq!(docs.get(1).unwrap().unwrap().vectors[2].1, [0.0, 0.0, 9.0, 9.0]);
    assert!(matches!(
        docs.search(&SearchRequest::new([1.0], 1).on("nope")),
        Err(ReadError::UnknownVector { .. })
    ));
}

#[test]
fn radius_variety_and_examples() {
    let dir = tempfile::tempdir().unwrap();
    let database = open(dir.path());
    let notes = database.create_collection("notes", schema()).unwrap().only();
    filled(&notes);
    let near = notes.search(&SearchRequest::new([5.0, 0.0], 100).within(2.0)).unwrap();
    assert_eq!(near.len(), 5);
    let varied = notes.search(&SearchRequest::new([0.0, 0.0], 3).diverse(0.4)).unwrap();
    assert_eq!(keys(&varied)[0], "0");
    assert!(keys(&varied).contains(&"19".to_owned()), "{varied:?}");
    let request = SearchRequest::new([], 2);
    let alike = notes.recommend(&[4.into(), 6.into()], &[], &request).unwrap();
    assert_eq!(keys(&alike), ["5", "3"]);
    let away = notes.recommend(&[10.into()], &[8.into()], &request).unwrap();
    assert_eq!(keys(&away), ["12", "11"]);
    assert!(matches!(notes.recommend(&[99.into()], &[], &request), Err(ReadError::NoRow { .. })));
}

/// 2-d points on a spiral, by a seed-free rule.
fn point(n: u64) -> [f32; 2] {
    let angle = n as f32 * 2.399_963;
    [(n as f32).sqrt() * angle.cos(), (n as f32).sqrt() * angle.sin()]
}

#[test]
fn a_large_tenant_gets_a_graph_and_answers_stay_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let choices = GraphChoices { from_rows: 1000, ef_construction: 64, ..GraphChoices::default() };
    let schema = schema().with_graph(choices);
    let rows = |range: std::ops::Range<u64>| {
        range.map(|n| Row::new(n, point(n)).with_payload(json!({"size": n})).unwrap()).collect::<Vec<_>>()
    };
    let check = |tenant: &Tenant, live: &dyn Fn(u64) -> bool| {
        let mut hits = 0;
        for n in (0..12_000u64).step_by(400) {
            let exact = tenant.search(&SearchRequest::new(point(n), 10).exact()).unwrap();
            let found = tenant.search(&SearchRequest::new(point(n), 10)).unwrap();
            assert_eq!(found.len(), 10);
            assert!(found.iter().all(|found| matches!(found.key, Key::Int(n) if live(n))));
            assert_eq!(exact[0].key == Key::Int(n), live(n));
            hits += found.iter().filter(|found| exact.iter().any(|exact| exact.key == found.key)).count();
        }
        assert!(hits >= 297, "{hits} of 300");
    };
    let database = open(dir.path());
    let notes = database.create_collection("notes", schema).unwrap().only();
    notes.upsert_batch(rows(0..8000)).unwrap();
    // At once, while the graph is being built, and after.
    check(&notes, &|n| n < 8000);
    database.settle().unwrap();
    notes.upsert_batch(rows(8000..12_000)).unwrap();
    check(&notes, &|n| n < 12_000);
    notes.delete_where(&field("size").lt(2000)).unwrap();
    check(&notes, &|n| n >= 2000);
    // A beam so narrow that the graph is taken: with a wider one, 6,000 matches of 10,000 rows are compared.
    let half = SearchRequest::new(point(9000), 10).ef(64).filter(field("size").ge(6000));
    assert_eq!(keys(&notes.search(&half).unwrap()), keys(&notes.search(&half.clone().exact()).unwrap()));
    database.settle().unwrap();
    check(&notes, &|n| n >= 2000);
    drop(notes);
    drop(database);
    let database = open(dir.path());
    assert!(std::fs::read_dir(dir.path().join("graphs")).unwrap().count() == 1);
    let notes = database.collection("notes").unwrap().only();
    check(&notes, &|n| n >= 2000);
    database.settle().unwrap();
    check(&notes, &|n| n >= 2000);
    // A damaged graph is built again from the rows.
    let path = std::fs::read_dir(dir.path().join("graphs")).unwrap().next().unwrap().unwrap().path();
    drop((notes, database));
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let database = open(dir.path());
    let notes = database.collection("notes").unwrap().only();
    check(&notes, &|n| n >= 2000);
    database.settle().unwrap();
    check(&notes, &|n| n >= 2000);
}

#[test]
fn a_tenant_that_is_only_written_to_gets_its_graph() {
    let dir = tempfile::tempdir().unwrap();
    let database = open(dir.path());
    let choices = GraphChoices { from_rows: 1000, ef_construction: 32, ..GraphChoices::default() };
    let notes = database.create_collection("notes", Schema::new(2, Metric::L2).with_graph(choices)).unwrap();
    notes.tenant("large").unwrap().upsert_batch((0..1500u64).map(|n| Row::new(n, point(n)))).unwrap();
    notes.tenant("small").unwrap().upsert_batch((0..500u64).map(|n| Row::new(n, point(n)))).unwrap();
    database.settle().unwrap();
    let stats = notes.stats().unwrap();
    assert_eq!((stats.graph_rows, stats.unlinked_rows, stats.loaded_tenants), (1500, 0, 1));
}

#[test]
fn readers_and_writers_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let database = open(dir.path());
    let choices = GraphChoices { from_rows: 200, ef_construction: 32, ..GraphChoices::default() };
    let notes = database.create_collection("notes", schema().with_graph(choices)).unwrap().only();
    filled(&notes);
    std::thread::scope(|scope| {
        for writer in 0..3u64 {
            let notes = notes.clone();
            scope.spawn(move || {
                for n in 0..200u64 {
                    let key = 1000 * (writer + 1) + n % 50;
                    notes.upsert(row(key, n as f32, json!({"size": n, "section": "w"}))).unwrap();
                    let mine =
                        notes.search(&SearchRequest::new([n as f32, 0.0], 700).with_payload()).unwrap();
                    let found =
                        mine.iter().find(|found| found.key == Key::Int(key)).expect("its own write is found");
                    assert_eq!(found.payload.as_ref().unwrap()["size"], json!(n));
                    if n % 7 == 0 {
                        notes.delete(key).unwrap();
                        assert_eq!(notes.get(key).unwrap(), None);
                    }
                }
            });
        }
        for _ in 0..2 {
            let notes = notes.clone();
            scope.spawn(move || {
                for _ in 0..300 {
                    let found = notes
                        .search(&SearchRequest::new([3.0, 0.0], 5).filter(field("section").ne("w")))
                        .unwrap();
                    assert_eq!(found.len(), 5);
                    let mut keys = keys(&notes.search(&SearchRequest::new([3.0, 0.0], 500)).unwrap());
                    let count = keys.len();
                    keys.sort_unstable();
                    keys.dedup();
                    assert_eq!(keys.len(), count, "one version of each row");
                }
            });
        }
    });
}

#[test]
fn a_dropped_collection_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let database = open(dir.path());
    let notes = database.create_collection("notes", schema()).unwrap().only();
    filled(&notes);
    database.drop_collection("notes").unwrap();
    assert!(database.collection("notes").is_none());
    assert!(matches!(notes.upsert(row("a", 1.0, json!({}))), Err(WriteError::Unknown { .. })));
    let again = database.create_collection("notes", schema()).unwrap().only();
    assert_eq!(again.len().unwrap(), 0);
}

/// 2,000 tenants; with `ORTHANT_FULL=1` the 100,000 that are promised to open in under a second.
#[test]
fn many_tenants_open_at_once() {
    let is_full = std::env::var_os("ORTHANT_FULL").is_some();
    let tenants = if is_full { 100_000 } else { 2_000u64 };
    let dir = tempfile::tempdir().unwrap();
    let options = Options { flush: Flush::Os, ..Options::default() };
    let database = Database::create(dir.path(), options.clone()).unwrap();
    let notes = database.create_collection("notes", schema()).unwrap();
    std::thread::scope(|scope| {
        // Several at once, so that they share commits.
        for writer in 0..8 {
            let notes = &notes;
            scope.spawn(move || {
                for n in (writer..tenants).step_by(8) {
                    let rows = (0..3).map(|at| row(at, (n + at) as f32, json!({"size": n})));
                    notes.tenant(&format!("tenant {n}")).unwrap().upsert_batch(rows).unwrap();
                }
            });
        }
    });
    drop(notes);
    database.close().unwrap();
    let started = std::time::Instant::now();
    let database = Database::open(dir.path(), options).unwrap();
    let notes = database.collection("notes").unwrap();
    let took = started.elapsed();
    println!("{tenants} tenants opened in {took:?}");
    assert!(took < Duration::from_secs(if is_full { 1 } else { 3 }), "{took:?}");
    let one = notes.tenant(&format!("tenant {}", tenants / 2)).unwrap();
    let found = one.search(&SearchRequest::new([0.0, 0.0], 10)).unwrap();
    assert_eq!(keys(&found), ["0", "1", "2"]);
    assert_eq!(found[0].distance, (tenants / 2) as f32);
    assert_eq!(notes.stats().unwrap().loaded_tenants, 1);
    assert_eq!(notes.tenants().unwrap().len() as u64, tenants);
}
