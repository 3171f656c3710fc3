use proptest::prelude::*;
use proptest::test_runner::Config;
use serde_json::{Value as Json, json};

use super::*;
use crate::filter::{Comparison, Filter, Literal, field};
use crate::values::Payload;

fn schema() -> Schema {
    Schema::new(2, orthant_engine::Metric::L2)
        .with_field("word", FieldType::Keyword)
        .with_field("size", FieldType::Integer)
        .with_field("score", FieldType::Float)
        .with_field("draft", FieldType::Bool)
        .with_field("at", FieldType::Datetime)
        .with_field("tags", FieldType::Tags)
        .with_field("place", FieldType::Geo)
}

/// Indexes over rows 10, 11, … with these payloads; the last one is deleted.
fn indexed(payloads: &[Payload]) -> (FieldIndexes, RoaringBitmap) {
    let schema = schema();
    let mut indexes = FieldIndexes::new(&schema);
    for (row, payload) in (10..).zip(payloads) {
        indexes.insert(row, &schema.values(payload).unwrap());
    }
    let live = (10..10 + payloads.len() as u32 - 1).collect();
    (indexes, live)
}

fn words() -> impl Strategy<Value = String> {
    prop_oneof![Just(String::new()), "[a-c]{1,2}", Just("ä%_'\"\\".to_owned())]
}

fn numbers() -> impl Strategy<Value = f64> {
    prop_oneof![
        (-3i32..4).prop_map(f64::from),
        (-30i32..30).prop_map(|n| f64::from(n) / 4.0),
        Just(-0.0),
        Just(1e300),
        Just(9_007_199_254_740_992.0),
        Just(-9.3e18)
    ]
}

fn integers() -> impl Strategy<Value = i64> {
    prop_oneof![-4i64..5, Just(i64::MIN), Just(i64::MAX), Just(9_007_199_254_740_993)]
}

fn dates() -> impl Strategy<Value = String> {
    (0..4, 0..3).prop_map(|(day, hour)| format!("2026-01-0{}T0{hour}:00:00Z", day + 1))
}

fn places() -> impl Strategy<Value = (f64, f64)> {
    let special = [-90.0, -89.9, 0.0, 0.01, 45.0, 90.0];
    let around = [-180.0, -179.9, 0.0, 0.01, 2.0, 179.9, 180.0];
    (prop::sample::select(special.to_vec()), prop::sample::select(around.to_vec()))
}

fn payload() -> impl Strategy<Value = Payload> {
    let some = |json: BoxedStrategy<Json>| prop::option::weighted(0.8, json);
    (
        some(words().prop_map(Json::from).boxed()),
        some(integers().prop_map(Json::from).boxed()),
        some(numbers().prop_map(Json::from).boxed()),
        some(any::<bool>().prop_map(Json::from).boxed()),
        some(dates().prop_map(Json::from).boxed()),
        some(prop::collection::vec(words(), 0..3).prop_map(Json::from).boxed()),
        some(places().prop_map(|(lat, lon)| json!({"lat": lat, "lon": lon})).boxed()),
    )
        .prop_map(|values| {
            let (a, b, c, d, e, f, g) = values;
            let pairs = ["word", "size", "score", "draft", "at", "tags", "place"]
                .into_iter()
                .zip([a, b, c, d, e, f, g]);
            pairs.filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
        })
}

fn literal() -> impl Strategy<Value = (&'static str, Literal)> {
    prop_oneof![
        words().prop_map(|text| ("word", text.into())),
        integers().prop_map(|number| ("size", number.into())),
        numbers().prop_map(|number| ("size", number.into())),
        integers().prop_map(|number| ("score", number.into())),
        numbers().prop_map(|number| ("score", number.into())),
        dates().prop_map(|text| ("at", text.into())),
    ]
}

fn leaf() -> impl Strategy<Value = Filter> {
    let comparisons = [
        Comparison::Equal,
        Comparison::NotEqual,
        Comparison::Less,
        Comparison::LessOrEqual,
        Comparison::Greater,
        Comparison::GreaterOrEqual,
    ];
    prop_oneof![
        (literal(), prop::sample::select(comparisons.to_vec())).prop_map(|((name, value), comparison)| {
            match field(name).eq(value) {
                Filter::Compare(name, _, value) => Filter::Compare(name, comparison, value),
                other => other,
            }
        }),
        (words(), words()).prop_map(|(a, b)| field("word").between(a, b)),
        (integers(), integers()).prop_map(|(a, b)| field("size").between(a, b)),
        (numbers(), integers()).prop_map(|(a, b)| field("score").between(a, b)),
        prop::collection::vec(words(), 0..3).prop_map(|list| field("word").one_of(list)),
        prop::collection::vec(numbers(), 0..3).prop_map(|list| field("size").one_of(list)),
        any::<bool>().prop_map(|flag| field("draft").eq(flag)),
        any::<bool>().prop_map(|flag| field("draft").ne(flag)),
        words().prop_map(|tag| field("tags").contains(&tag)),
        words().prop_map(|prefix| field("word").starts_with(&prefix)),
        (places(), 0.0..2e7).prop_map(|((lat, lon), meters)| field("place").near(lat, lon, meters)),
        prop::sample::select(vec!["word", "size", "tags", "place", "draft"])
            .prop_map(|name| field(name).is_null()),
    ]
}

fn filters() -> impl Strategy<Value = Filter> {
    leaf().prop_recursive(4, 24, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Filter::And),
            prop::collection::vec(inner.clone(), 0..4).prop_map(Filter::Or),
            inner.prop_map(|filter| !filter),
        ]
    })
}

proptest! {
    #![proptest_config(Config::with_cases(512))]

    /// The text, the builder, the indexes and a look at each payload agree.
    #[test]
    fn a_filter_means_one_thing(payloads in prop::collection::vec(payload(), 1..24), filter in filters()) {
        let schema = schema();
        let (indexes, live) = indexed(&payloads);
        let selected = indexes.select(&filter.resolve(&schema).unwrap(), &live);
        let expected: RoaringBitmap = (10..)
            .zip(&payloads)
            .filter(|(row, payload)| live.contains(*row) && filter.matches(&schema, payload) == Some(true))
            .map(|(row, _)| row)
            .collect();
        prop_assert_eq!(&selected, &expected, "{}", filter);
        let text = Filter::parse(&filter.to_string()).unwrap();
        prop_assert_eq!(indexes.select(&text.resolve(&schema).unwrap(), &live), expected, "{}", text);
    }

    /// Rows that were forgotten are in no answer.
    #[test]
    fn removed_rows_are_gone(payloads in prop::collection::vec(payload(), 2..12), filter in filters()) {
        let (mut indexes, live) = indexed(&payloads);
        let gone: RoaringBitmap = [10].into();
        indexes.remove_all(&gone);
        let condition = filter.resolve(&schema()).unwrap();
        let mut expected = indexed(&payloads).0.select(&condition, &live);
        expected.remove(10);
        let rest = &live - &gone;
        prop_assert_eq!(indexes.select(&condition, &rest), expected);
    }
}

#[test]
fn facets_count_live_rows() {
    let rows = ["a", "b", "a", "c"].map(|word| json!({"word": word, "size": 3}).as_object().unwrap().clone());
    let (indexes, live) = indexed(&rows);
    let facets = indexes.facets(0, FieldType::Keyword, &live, 10).unwrap();
    let facet = |value: &str, count| Facet { value: value.into(), count };
    assert_eq!(facets, [facet("a", 2), facet("b", 1)]);
    assert_eq!(
        indexes.facets(1, FieldType::Integer, &live, 1).unwrap(),
        [Facet { value: 3.into(), count: 3 }]
    );
    assert_eq!(indexes.facets(6, FieldType::Geo, &live, 1), None);
}
