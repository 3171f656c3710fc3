//! Filters evaluated on one payload, condition by condition: the oracle of the indexes, and how a single row is judged.

use std::cmp::Ordering;

use super::{Comparison, FieldName, Filter, Literal};
use crate::schema::{FieldType, Schema};
use crate::values::{FieldValue, Payload, earth_distance, parse_datetime};

impl Filter {
    /// Whether a payload fulfils the filter: `None` when that is unknown, because a field is missing.
    ///
    /// Fields that the schema does not declare, and literals that do not fit a field, count as missing.
    pub fn matches(&self, schema: &Schema, payload: &Payload) -> Option<bool> {
        let value =
            |name: &FieldName| schema.field(&name.name).and_then(|(_, field)| field.value(payload).ok()?);
        match self {
            Filter::And(parts) => combine(parts, schema, payload, false),
            Filter::Or(parts) => combine(parts, schema, payload, true),
            Filter::Not(inner) => inner.matches(schema, payload).map(|is_true| !is_true),
            Filter::IsNull(name) => Some(value(name).is_none()),
            Filter::Compare(name, comparison, literal) => {
                let order = order(schema, name, &value(name)?, literal)?;
                Some(match comparison {
                    Comparison::Equal => order.is_eq(),
                    Comparison::NotEqual => order.is_ne(),
                    Comparison::Less => order.is_lt(),
                    Comparison::LessOrEqual => order.is_le(),
                    Comparison::Greater => order.is_gt(),
                    Comparison::GreaterOrEqual => order.is_ge(),
                })
            }
            Filter::Between(name, low, high) => {
                let value = value(name)?;
                let (low, high) = (order(schema, name, &value, low)?, order(schema, name, &value, high)?);
                Some(low.is_ge() && high.is_le())
            }
            Filter::In(name, literals) => {
                let value = value(name)?;
                Some(
                    literals
                        .iter()
                        .any(|literal| order(schema, name, &value, literal) == Some(Ordering::Equal)),
                )
            }
            Filter::Contains(name, tag) => match value(name)? {
                FieldValue::Tags(tags) => Some(tags.contains(tag)),
                _ => None,
            },
            Filter::StartsWith(name, prefix) => match value(name)? {
                FieldValue::Keyword(text) => Some(text.starts_with(&**prefix)),
                _ => None,
            },
            &Filter::Near { ref field, lat, lon, meters } => match value(field)? {
                FieldValue::Geo(a, b) => Some(earth_distance((lat, lon), (a, b)) <= meters),
                _ => None,
            },
        }
    }
}

/// AND (`decides` = false) and OR (`decides` = true): one part that says `decides` decides.
fn combine(parts: &[Filter], schema: &Schema, payload: &Payload, decides: bool) -> Option<bool> {
    let mut is_unknown = false;
    for part in parts {
        match part.matches(schema, payload) {
            Some(answer) if answer == decides => return Some(decides),
            Some(_) => {}
            None => is_unknown = true,
        }
    }
    if is_unknown { None } else { Some(!decides) }
}

fn order(schema: &Schema, name: &FieldName, value: &FieldValue, literal: &Literal) -> Option<Ordering> {
    let kind = schema.field(&name.name)?.1.kind;
    match (value, literal) {
        (FieldValue::Keyword(text), Literal::Text(other)) => Some(text.as_bytes().cmp(other.as_bytes())),
        (FieldValue::Integer(micros), Literal::Text(text)) if kind == FieldType::Datetime => {
            Some(micros.cmp(&parse_datetime(text)?))
        }
        (FieldValue::Integer(micros), Literal::Integer(seconds)) if kind == FieldType::Datetime => {
            Some(micros.cmp(&seconds.checked_mul(1_000_000)?))
        }
        (FieldValue::Integer(a), Literal::Integer(b)) => Some(a.cmp(b)),
        (FieldValue::Integer(a), Literal::Float(b)) => Some(integer_with_float(*a, *b)),
        (FieldValue::Float(a), Literal::Integer(b)) => Some(integer_with_float(*b, *a).reverse()),
        (FieldValue::Float(a), Literal::Float(b)) => a.partial_cmp(b),
        (FieldValue::Bool(a), Literal::Bool(b)) => Some(a.cmp(b)),
        _ => None,
    }
}

/// Compares by value, without rounding either.
fn integer_with_float(a: i64, b: f64) -> Ordering {
    if b >= 9.3e18 {
        return Ordering::Less;
    }
    if b <= -9.3e18 {
        return Ordering::Greater;
    }
    // Within ±9.3e18 the whole part fits i128, and the fraction decides among equals.
    i128::from(a).cmp(&(b.trunc() as i128)).then(0.0f64.partial_cmp(&b.fract()).unwrap_or(Ordering::Equal))
}
