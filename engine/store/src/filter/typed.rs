//! Filters against a schema: names become numbers, literals become values of the field's type, `NOT` moves to the leaves.
//!
//! * **T1** A leaf, negated or not, is true only for rows that have the field. With that, plain set operations on
//!   "true" sets give SQL's three-valued answer: De Morgan's rules hold for unknowns too, so after `NOT` is gone
//!   from above the leaves nothing is left that could turn an unknown into a true.
//! * **T2** Numbers compare as u64 that order like them.

use super::{Comparison, FieldName, Filter, FilterError, Literal};
use crate::schema::{FieldType, Schema};
use crate::values::{is_place, parse_datetime};

/// Deepest nesting of conditions: far within the stack of any thread.
pub(super) const MAX_DEPTH: usize = 128;

/// A filter that fits a schema.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Condition {
    /// All of them.
    And(Vec<Condition>),
    /// One of them.
    Or(Vec<Condition>),
    /// The field is there and the test says `expected`.
    Test { field: usize, test: Test, expected: bool },
    /// Whether the field is missing is `expected`.
    IsNull { field: usize, expected: bool },
}

/// A test of a field that is there.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Test {
    /// The keyword, or one of the tags, is one of these.
    Terms(Vec<Box<str>>),
    /// The keyword starts with this.
    Prefix(Box<str>),
    /// The keyword lies below, or above, this; `or_equal` to it.
    TermOrder { than: Box<str>, is_less: bool, or_equal: bool },
    /// The keyword lies between, both included.
    TermsBetween(Box<str>, Box<str>),
    /// The number lies in one of these ranges, both ends included (T2).
    Ranges(Vec<(u64, u64)>),
    /// The flag is set.
    IsTrue,
    /// The place lies within so many meters.
    Near { lat: f64, lon: f64, meters: f64 },
}

/// A u64 that orders like the integer.
pub(crate) fn integer_order(number: i64) -> u64 {
    number as u64 ^ 1 << 63
}

/// A u64 that orders like the number; both zeros are one.
pub(crate) fn float_order(number: f64) -> u64 {
    let bits = if number == 0.0 { 0 } else { number.to_bits() };
    if bits >> 63 == 0 { bits | 1 << 63 } else { !bits }
}

impl Filter {
    /// The filter on rows of `schema`.
    pub(crate) fn resolve(&self, schema: &Schema) -> Result<Condition, FilterError> {
        resolve(self, schema, true, MAX_DEPTH)
    }
}

fn resolve(filter: &Filter, schema: &Schema, expected: bool, depth: usize) -> Result<Condition, FilterError> {
    let depth = depth.checked_sub(1).ok_or(FilterError::TooDeep)?;
    let all = |parts: &[Filter]| -> Result<Vec<Condition>, FilterError> {
        parts.iter().map(|part| resolve(part, schema, expected, depth)).collect()
    };
    Ok(match filter {
        Filter::And(parts) if expected => Condition::And(all(parts)?),
        Filter::And(parts) => Condition::Or(all(parts)?),
        Filter::Or(parts) if expected => Condition::Or(all(parts)?),
        Filter::Or(parts) => Condition::And(all(parts)?),
        Filter::Not(inner) => resolve(inner, schema, !expected, depth)?,
        Filter::IsNull(name) => Condition::IsNull { field: find(schema, name)?.0, expected },
        Filter::Compare(name, comparison, value) => {
            let (field, kind) = find(schema, name)?;
            let is_unequal = *comparison == Comparison::NotEqual;
            let comparison = if is_unequal { Comparison::Equal } else { *comparison };
            let test = compare(name, kind, comparison, value)?;
            // On a flag, `= FALSE` is "not set".
            let is_false = kind == FieldType::Bool && *value == Literal::Bool(false);
            Condition::Test { field, test, expected: expected ^ is_unequal ^ is_false }
        }
        Filter::Between(name, low, high) => {
            let (field, kind) = find(schema, name)?;
            Condition::Test { field, test: between(name, kind, low, high)?, expected }
        }
        Filter::In(name, values) => {
            let (field, kind) = find(schema, name)?;
            if kind == FieldType::Bool {
                let any = values.iter().map(|value| {
                    resolve(
                        &Filter::Compare(name.clone(), Comparison::Equal, value.clone()),
                        schema,
                        expected,
                        depth,
                    )
                });
                let any = any.collect::<Result<_, _>>()?;
                return Ok(if expected { Condition::Or(any) } else { Condition::And(any) });
            }
            let mut terms = Vec::new();
            let mut ranges = Vec::new();
            for value in values {
                match compare(name, kind, Comparison::Equal, value)? {
                    Test::Terms(more) => terms.extend(more),
                    Test::Ranges(more) => ranges.extend(more),
                    _ => return Err(wrong(name, kind, "IN takes values of its type")),
                }
            }
            let is_text = kind == FieldType::Keyword;
            Condition::Test {
                field,
                test: if is_text { Test::Terms(terms) } else { Test::Ranges(ranges) },
                expected,
            }
        }
        Filter::Contains(name, tag) => match find(schema, name)? {
            (field, FieldType::Tags) => {
                Condition::Test { field, test: Test::Terms(vec![tag.clone()]), expected }
            }
            (_, kind) => return Err(wrong(name, kind, "CONTAINS goes with tags only")),
        },
        Filter::StartsWith(name, prefix) => match find(schema, name)? {
            (field, FieldType::Keyword) => {
                Condition::Test { field, test: Test::Prefix(prefix.clone()), expected }
            }
            (_, kind) => return Err(wrong(name, kind, "LIKE goes with keywords only")),
        },
        &Filter::Near { field: ref name, lat, lon, meters } => match find(schema, name)? {
            (field, FieldType::Geo) if is_place(lat, lon) && meters >= 0.0 => {
                Condition::Test { field, test: Test::Near { lat, lon, meters }, expected }
            }
            (_, FieldType::Geo) => {
                let expected =
                    "NEAR takes a latitude in -90..=90, a longitude in -180..=180 and meters from 0";
                return Err(wrong(name, FieldType::Geo, expected));
            }
            (_, kind) => return Err(wrong(name, kind, "NEAR goes with geo only")),
        },
    })
}

fn find(schema: &Schema, name: &FieldName) -> Result<(usize, FieldType), FilterError> {
    match schema.field(&name.name) {
        Some((number, field)) => Ok((number, field.kind)),
        None => Err(FilterError::UnknownField { field: name.name.clone(), at: name.at }),
    }
}

fn wrong(name: &FieldName, kind: FieldType, expected: &'static str) -> FilterError {
    FilterError::Type { field: name.name.clone(), kind, expected, at: name.at }
}

fn compare(
    name: &FieldName,
    kind: FieldType,
    comparison: Comparison,
    value: &Literal,
) -> Result<Test, FilterError> {
    if kind == FieldType::Keyword {
        let Literal::Text(text) = value else {
            return Err(wrong(name, kind, "compare it with a text in single quotes"));
        };
        let order = |is_less, or_equal| Test::TermOrder { than: text.clone(), is_less, or_equal };
        return Ok(match comparison {
            Comparison::Equal | Comparison::NotEqual => Test::Terms(vec![text.clone()]),
            Comparison::Less => order(true, false),
            Comparison::LessOrEqual => order(true, true),
            Comparison::Greater => order(false, false),
            Comparison::GreaterOrEqual => order(false, true),
        });
    }
    if kind == FieldType::Bool {
        return match (comparison, value) {
            (Comparison::Equal, Literal::Bool(_)) => Ok(Test::IsTrue),
            _ => Err(wrong(name, kind, "compare it with TRUE or FALSE, by = or !=")),
        };
    }
    let bound = bound(name, kind, value)?;
    let range = match comparison {
        Comparison::Equal | Comparison::NotEqual => bound.exact.map(|exact| (exact, exact)),
        Comparison::Less => bound.below.map(|below| (0, below)),
        Comparison::LessOrEqual => bound.exact.or(bound.below).map(|last| (0, last)),
        Comparison::Greater => bound.above.map(|above| (above, u64::MAX)),
        Comparison::GreaterOrEqual => bound.exact.or(bound.above).map(|first| (first, u64::MAX)),
    };
    Ok(Test::Ranges(range.into_iter().collect()))
}

fn between(name: &FieldName, kind: FieldType, low: &Literal, high: &Literal) -> Result<Test, FilterError> {
    if kind == FieldType::Keyword {
        return match (low, high) {
            (Literal::Text(low), Literal::Text(high)) => Ok(Test::TermsBetween(low.clone(), high.clone())),
            _ => Err(wrong(name, kind, "BETWEEN takes two texts in single quotes")),
        };
    }
    if kind == FieldType::Bool {
        return Err(wrong(name, kind, "BETWEEN needs an order"));
    }
    let (low, high) = (bound(name, kind, low)?, bound(name, kind, high)?);
    let range = low.exact.or(low.above).zip(high.exact.or(high.below)).filter(|(low, high)| low <= high);
    Ok(Test::Ranges(range.into_iter().collect()))
}

/// A literal among the ordered values of a field: its own place if it has one, and the places next to it.
struct Bound {
    below: Option<u64>,
    exact: Option<u64>,
    above: Option<u64>,
}

impl Bound {
    fn exactly(place: u64) -> Self {
        Self { below: place.checked_sub(1), exact: Some(place), above: place.checked_add(1) }
    }
}

fn bound(name: &FieldName, kind: FieldType, value: &Literal) -> Result<Bound, FilterError> {
    match (kind, value) {
        (FieldType::Integer, &Literal::Integer(number)) => Ok(Bound::exactly(integer_order(number))),
        (FieldType::Integer, &Literal::Float(number)) => Ok(among_integers(number)),
        (FieldType::Integer, _) => Err(wrong(name, kind, "compare it with a number")),
        (FieldType::Float, &Literal::Integer(number)) => Ok(among_floats(number)),
        (FieldType::Float, &Literal::Float(number)) => Ok(Bound::exactly(float_order(number))),
        (FieldType::Float, _) => Err(wrong(name, kind, "compare it with a number")),
        (FieldType::Datetime, Literal::Text(text)) => match parse_datetime(text) {
            Some(micros) => Ok(Bound::exactly(integer_order(micros))),
            None => Err(FilterError::Datetime { field: name.name.clone(), text: text.clone(), at: name.at }),
        },
        (FieldType::Datetime, &Literal::Integer(seconds)) => match seconds.checked_mul(1_000_000) {
            Some(micros) => Ok(Bound::exactly(integer_order(micros))),
            None => Err(wrong(name, kind, "seconds since 1970 that fit")),
        },
        (FieldType::Datetime, _) => Err(wrong(name, kind, "compare it with a datetime in single quotes")),
        (FieldType::Tags, _) => Err(wrong(name, kind, "use CONTAINS")),
        _ => Err(wrong(name, kind, "use NEAR(field, lat, lon, meters)")),
    }
}

/// 2^63 as f64: the first float above all i64.
const ABOVE_INTEGERS: f64 = 9_223_372_036_854_775_808.0;

fn among_integers(number: f64) -> Bound {
    if number >= ABOVE_INTEGERS {
        return Bound { below: Some(u64::MAX), exact: None, above: None };
    }
    if number < -ABOVE_INTEGERS {
        return Bound { below: None, exact: None, above: Some(0) };
    }
    let floor = integer_order(number.floor() as i64);
    if number.fract() == 0.0 {
        return Bound::exactly(floor);
    }
    // 2^52 and beyond has no fraction, so the next integer exists.
    Bound { below: Some(floor), exact: None, above: Some(floor + 1) }
}

fn among_floats(number: i64) -> Bound {
    let near = number as f64;
    let place = float_order(near);
    let exact = near as i128;
    match exact.cmp(&i128::from(number)) {
        std::cmp::Ordering::Equal => Bound::exactly(place),
        std::cmp::Ordering::Less => Bound { below: Some(place), exact: None, above: place.checked_add(1) },
        std::cmp::Ordering::Greater => Bound { below: place.checked_sub(1), exact: None, above: Some(place) },
    }
}
