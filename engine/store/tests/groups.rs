//! Searches grouped by a field.

use orthant_store::{
    Database, FieldType, Group, Literal, Metric, Options, ReadError, Row, Schema, SearchRequest, field,
};
use serde_json::json;

fn literal(n: u64) -> Literal {
    Literal::from(format!("s{}", n % 23))
}

fn schema() -> Schema {
    Schema::new(2, Metric::L2)
        .with_field("section", FieldType::Keyword)
        .with_field("size", FieldType::Integer)
        .with_field("old", FieldType::Bool)
        .with_field("tags", FieldType::Tags)
}

fn place(n: u64) -> [f32; 2] {
    [(n * 7919 % 401) as f32, (n * 104_729 % 397) as f32]
}

#[test]
fn groups_are_the_nearest_values_and_their_nearest_rows() {
    let dir = tempfile::tempdir().unwrap();
    let database = Database::create(dir.path(), Options::default()).unwrap();
    let tenant = database.create_collection("c", schema()).unwrap().only();
    let rows = (0..700u64).map(|n| {
        let mut payload = json!({"size": n / 100, "old": n % 2 == 0});
        // Every tenth has no section.
        if n % 10 != 0 {
            payload["section"] = json!(format!("s{}", n % 23));
        }
        Row::new(n, place(n)).with_payload(payload).unwrap()
    });
    tenant.upsert_batch(rows).unwrap();
    let filters =
        [(0.0, 0, None), (200.0, 300, Some(field("size").ge(3))), (390.0, 600, Some(field("size").eq(6)))];
    for (x, lowest, filter) in filters {
        let query = [x, 400.0 - x];
        let distance = |n: u64| {
            let at = place(n);
            ((at[0] - query[0]).powi(2) + (at[1] - query[1]).powi(2)).sqrt()
        };
        let mut nearest: Vec<u64> = (lowest..700).filter(|n| n % 10 != 0).collect();
        nearest.sort_by(|&a, &b| distance(a).total_cmp(&distance(b)).then(a.cmp(&b)));
        let mut expected: Vec<(Literal, Vec<f32>)> = Vec::new();
        for &n in &nearest {
            match expected.iter_mut().find(|(value, _)| *value == literal(n)) {
                Some((_, hits)) if hits.len() < 3 => hits.push(distance(n)),
                Some(_) => {}
                None => expected.push((literal(n), vec![distance(n)])),
            }
        }
        for k in [1, 5, 23, 40] {
            let mut request = SearchRequest::new(query, k).with_payload();
            request.filter = filter.clone();
            let groups = tenant.search_groups(&request, "section", 3).unwrap();
            let shown = |group: &Group| {
                (group.value.clone(), group.hits.iter().map(|hit| hit.distance).collect::<Vec<_>>())
            };
            let found: Vec<_> = groups.iter().map(shown).collect();
            assert_eq!(found, expected[..k.min(expected.len())], "{k} at {x}");
            for group in &groups {
                let Literal::Text(value) = &group.value else { panic!("{:?}", group.value) };
                let is_own = |payload: &orthant_store::Payload| payload["section"] == **value;
                assert!(group.hits.iter().all(|hit| hit.payload.as_ref().is_some_and(is_own)));
            }
        }
    }
    let request = SearchRequest::new([5.0, 5.0], 10);
    let sizes = tenant.search_groups(&request, "size", 1).unwrap();
    assert_eq!(sizes.len(), 7);
    assert_eq!(
        tenant.search_groups(&request, "old", 700).unwrap().iter().map(|g| g.hits.len()).sum::<usize>(),
        700
    );
}

#[test]
fn what_cannot_be_grouped_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let database = Database::create(dir.path(), Options::default()).unwrap();
    let tenant = database.create_collection("c", schema()).unwrap().only();
    let request = SearchRequest::new([0.0, 0.0], 3);
    assert_eq!(tenant.search_groups(&request, "section", 2).unwrap(), []);
    let wrong = SearchRequest::new([0.0], 3);
    assert!(matches!(tenant.search_groups(&wrong, "section", 2), Err(ReadError::Dimension { .. })));
    tenant.upsert(Row::new(1u64, [0.0, 1.0])).unwrap();
    assert_eq!(tenant.search_groups(&request, "section", 2).unwrap(), [], "a row without a section");
    assert!(matches!(tenant.search_groups(&request, "tags", 2), Err(ReadError::NoGroups { .. })));
    assert!(matches!(tenant.search_groups(&request, "other", 2), Err(ReadError::UnknownField { .. })));
    let diverse = request.diverse(0.5);
    assert!(matches!(tenant.search_groups(&diverse, "section", 2), Err(ReadError::Request { .. })));
}
