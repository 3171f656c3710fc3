use orthant_engine::{Key, Metric};
use serde_json::json;

use super::*;
use crate::catalog::{ROWS, Table, put_meta};
use crate::entry_keys::is_short;
use crate::files::Simulated;
use crate::scroll::ScrollRequest;
use crate::tenant::Tenant;
use crate::{Row, Schema, SearchRequest};

fn options(disk: &Simulated) -> Options {
    Options { flush: Flush::Always, background: false, files: Arc::new(disk.clone()), ..Options::default() }
}

/// An empty database of this format.
fn database(disk: &Simulated, format: u64) -> Database {
    Database::create("/db", options(disk)).unwrap().close().unwrap();
    let files: Arc<dyn Files> = Arc::new(disk.clone());
    let catalog = Catalog::open(&files, &catalog_path("/db".as_ref()), 1 << 20).unwrap();
    catalog.apply(&[put_meta("format", &format.to_le_bytes())], redb::Durability::Immediate).unwrap();
    drop(catalog);
    Database::open("/db", options(disk)).unwrap()
}

fn row(key: impl Into<Key>, n: i64) -> Row {
    Row::new(key, [n as f32, 1.0]).with_payload(json!({"n": n})).unwrap()
}

fn contents(tenant: &Tenant) -> Vec<(Key, i64)> {
    let all = ScrollRequest { limit: 1000, ..Default::default() };
    let rows = tenant.scroll(&all).unwrap().rows;
    rows.into_iter().map(|row| (row.key, row.payload["n"].as_i64().unwrap())).collect()
}

/// The forms of the keys in `rows`.
fn forms(database: &Database) -> Vec<bool> {
    let mut forms = Vec::new();
    let catalog = &database.inner.shared.catalog;
    crate::version::for_each_entry(catalog, Table::Rows, &[], |key, _| forms.push(is_short(key))).unwrap();
    forms.dedup();
    forms
}

#[test]
fn databases_of_version_1_keep_their_keys_and_work() {
    for (format, is_short) in [(1, false), (2, true)] {
        let disk = Simulated::new();
        let opened = database(&disk, format);
        // The second collection and tenant are there to be left alone.
        for name in ["c", "d"] {
            let schema = Schema::new(2, Metric::L2).with_field("n", crate::FieldType::Integer);
            let collection = opened.create_collection(name, schema).unwrap();
            for tenant in ["t", "u"] {
                let tenant = collection.tenant(tenant).unwrap();
                tenant.upsert_batch((0..300u64).map(|key| row(key, key as i64))).unwrap();
                tenant.upsert_batch([row("", 900), row("ü", 901)]).unwrap();
            }
        }
        let tenant = opened.collection("c").unwrap().tenant("t").unwrap();
        let before = contents(&tenant);
        assert_eq!(before.len(), 302);
        assert_eq!((before[299].1, before[300].1), (299, 900));
        opened.collection("c").unwrap().create_snapshot("s").unwrap();
        tenant.upsert(row(3u64, 7777)).unwrap();
        tenant.delete("ü").unwrap();
        tenant.delete(4u64).unwrap();
        drop((tenant, opened));

        let opened = Database::open("/db", options(&disk)).unwrap();
        assert_eq!(forms(&opened), [is_short], "format {format}");
        let collection = opened.collection("c").unwrap();
        let tenant = collection.tenant("t").unwrap();
        let mut expected = before.clone();
        expected[3].1 = 7777;
        expected.retain(|(key, _)| *key != Key::Int(4) && *key != Key::from("ü"));
        assert_eq!(contents(&tenant), expected);
        assert_eq!(tenant.search(&SearchRequest::new([7777.0, 1.0], 1)).unwrap()[0].key, Key::Int(3));
        let page = ScrollRequest { after: Some(Key::Int(298)), limit: 2, ..Default::default() };
        let page: Vec<Key> = tenant.scroll(&page).unwrap().rows.into_iter().map(|row| row.key).collect();
        assert_eq!(page, [Key::Int(299), Key::from("")]);
        let then = tenant.at("s").unwrap();
        assert_eq!((then.count(None).unwrap(), then.get("ü").unwrap().is_some()), (302, true));
        assert!(collection.check().unwrap().damages.is_empty());
        collection.rollback("s").unwrap();
        assert_eq!(contents(&tenant), before);
        opened.drop_collection("d").unwrap();
        assert_eq!(contents(&collection.tenant("u").unwrap()).len(), 302);
        drop((tenant, collection));
        assert_eq!(forms(&opened), [is_short]);
    }
}

#[test]
fn newer_databases_are_refused() {
    let disk = Simulated::new();
    drop(database(&disk, 2));
    let files: Arc<dyn Files> = Arc::new(disk.clone());
    let catalog = Catalog::open(&files, &catalog_path("/db".as_ref()), 1 << 20).unwrap();
    catalog.apply(&[put_meta("format", &3u64.to_le_bytes())], redb::Durability::Immediate).unwrap();
    assert!(catalog.read().unwrap().open_table(ROWS).is_ok());
    drop(catalog);
    let error = Database::open("/db", options(&disk)).unwrap_err();
    assert!(error.to_string().contains('3'), "{error}");
}
