use super::*;
use crate::schema::Schema;

fn schema() -> Schema {
    Schema::new(2, orthant_engine::Metric::L2)
        .with_field("section", FieldType::Keyword)
        .with_field("size", FieldType::Integer)
        .with_field("score", FieldType::Float)
        .with_field("draft", FieldType::Bool)
        .with_field("updated", FieldType::Datetime)
        .with_field("tags", FieldType::Tags)
        .with_field("place", FieldType::Geo)
        .with_field("author.name", FieldType::Keyword)
}

#[test]
fn text_gives_what_the_builder_gives() {
    let same = [
        ("section = 'python'", field("section").eq("python")),
        ("'python' = section", field("section").eq("python")),
        ("3 < size", field("size").gt(3)),
        ("size = -9223372036854775808", field("size").eq(i64::MIN)),
        ("score >= 1.5e3", field("score").ge(1500.0)),
        ("author.name != 'x'", field("author.name").ne("x")),
        ("\"author.name\" != 'it''s'", field("author.name").ne("it's")),
        ("draft", field("draft").eq(true)),
        ("NOT draft", !field("draft").eq(true)),
        (
            "tags contains 'a' AND tags CONTAINS 'b'",
            field("tags").contains("a") & field("tags").contains("b"),
        ),
        ("NOT tags CONTAINS 'a' OR draft", !field("tags").contains("a") | field("draft").eq(true)),
        ("size IN (1, 2)", field("size").one_of([1, 2])),
        ("size NOT BETWEEN 1 AND 9", !field("size").between(1, 9)),
        ("section IS NOT NULL", !field("section").is_null()),
        ("section LIKE 'ne\\_t%'", field("section").starts_with("ne_t")),
        ("section LIKE 'net'", field("section").eq("net")),
        ("near(place, 1, -2.5, 1000)", field("place").near(1.0, -2.5, 1000.0)),
        ("updated > DATE '2026-01-01'", field("updated").gt("2026-01-01")),
        ("TRUE", Filter::And(vec![])),
    ];
    for (text, built) in same {
        assert_eq!(Filter::parse(text).as_ref(), Ok(&built), "{text}");
        assert_eq!(Filter::parse(&built.to_string()).as_ref(), Ok(&built), "{built}");
        assert!(built.resolve(&schema()).is_ok(), "{text}");
    }
}

#[test]
fn and_binds_closer_than_or_and_contains_closer_than_not() {
    let filter = Filter::parse("draft OR section = 'a' AND NOT tags CONTAINS 'x'").unwrap();
    let right = field("section").eq("a") & !field("tags").contains("x");
    assert_eq!(filter, field("draft").eq(true) | right);
}

#[test]
fn errors_say_where() {
    let says = |text: &str| match Filter::parse(text) {
        Ok(filter) => filter.resolve(&schema()).unwrap_err().to_string(),
        Err(error) => error.to_string(),
    };
    assert_eq!(
        says("size = 1 AND colour = 'red'"),
        "line 1, column 14: field \"colour\" is not declared in the schema"
    );
    assert_eq!(
        says("size\n = 'x'"),
        "line 1, column 1: field \"size\" is of type integer: compare it with a number"
    );
    assert!(says("updated > 'soon'").contains("\"soon\" is none"));
    assert!(says("size = NULL").contains("IS NULL"));
    assert!(says("size = 1 size").starts_with("line 1, column 10"), "{}", says("size = 1 size"));
    assert!(says("size = ").contains("Expected"), "{}", says("size = "));
    assert!(says("tags = 'x'").contains("use CONTAINS"));
    assert!(says("section LIKE '%x'").contains("prefix"));
    assert!(says("size + 1 = 2").contains("name of a field"));
    assert!(says("near(place, 91, 0, 1)").contains("latitude"));
    assert!(says("draft < true").contains("by = or !="));
    assert!(says("(SELECT 1)").contains("filters have"));
}

#[test]
fn long_and_deep_texts_are_errors_or_fine_but_never_a_crash() {
    let chain = vec!["draft"; 1500].join(" OR ");
    assert!(matches!(Filter::parse(&chain), Ok(Filter::Or(parts)) if parts.len() == 1500));
    assert!(matches!(Filter::parse(&"x".repeat(MAX_FILTER_BYTES + 1)), Err(FilterError::TooLong { .. })));
    assert!(Filter::parse(&format!("{}draft{}", "(".repeat(1000), ")".repeat(1000))).is_err());
    assert!(Filter::parse(&format!("{}draft", "NOT ".repeat(3000))).is_err());
    let deep = (0..200).fold(field("draft").eq(true), |inner, _| !inner);
    assert_eq!(deep.resolve(&schema()), Err(FilterError::TooDeep));
}

#[test]
fn numbers_keep_their_order() {
    let integers = [i64::MIN, -7, -1, 0, 1, 7, i64::MAX].map(integer_order);
    assert!(integers.is_sorted());
    let floats = [f64::MIN, -7.5, -f64::MIN_POSITIVE, 0.0, f64::MIN_POSITIVE, 7.5, f64::MAX].map(float_order);
    assert!(floats.is_sorted());
    assert_eq!(float_order(-0.0), float_order(0.0));
}

#[test]
fn integers_and_floats_compare_by_value() {
    let ranges = |text: &str| match Filter::parse(text).unwrap().resolve(&schema()).unwrap() {
        Condition::Test { test: Test::Ranges(ranges), .. } => ranges,
        other => panic!("{other:?}"),
    };
    assert_eq!(ranges("size > 1.5"), ranges("size >= 2"));
    assert_eq!(ranges("size < 1.5"), ranges("size <= 1"));
    assert_eq!(ranges("size < 2.0"), ranges("size < 2"));
    assert_eq!(ranges("size = 1.5"), []);
    assert_eq!(ranges("size < 1e300"), [(0, u64::MAX)]);
    assert_eq!(ranges("size > 1e300"), []);
    assert_eq!(ranges("size BETWEEN 9 AND 1"), []);
    // 2^53 + 1 is no f64: equality with it holds for none, and the order is kept.
    assert_eq!(ranges("score = 9007199254740993"), []);
    assert_eq!(ranges("score > 9007199254740993"), ranges("score > 9007199254740992.0"));
}
