//! Values of fields: what a JSON payload says, and what a filter compares it with.

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde_json::{Map, Value as Json};

use crate::schema::{Field, FieldType, Schema};

/// A payload: a JSON object.
pub type Payload = Map<String, Json>;

/// The value of one field of one row.
#[derive(Debug, Clone, PartialEq)]
pub enum FieldValue {
    /// A keyword.
    Keyword(Box<str>),
    /// An integer, or a datetime in microseconds since 1970.
    Integer(i64),
    /// A number.
    Float(f64),
    /// True or false.
    Bool(bool),
    /// Tags, in the order given.
    Tags(Vec<Box<str>>),
    /// Latitude and longitude in degrees.
    Geo(f64, f64),
}

/// A payload does not fit the schema.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("field {field:?} is {found}, expected {expected}")]
#[non_exhaustive]
pub struct FieldError {
    /// The field.
    pub field: Box<str>,
    /// What a field of its type holds.
    pub expected: &'static str,
    /// What was there.
    pub found: &'static str,
}

/// The value a dotted name leads to; `None` where it is missing or `null`.
pub(crate) fn lookup<'a>(payload: &'a Payload, name: &str) -> Option<&'a Json> {
    if let Some(value) = payload.get(name) {
        return Some(value).filter(|value| !value.is_null());
    }
    let (first, rest) = name.split_once('.')?;
    lookup(payload.get(first)?.as_object()?, rest)
}

fn kind_name(value: &Json) -> &'static str {
    match value {
        Json::Null => "null",
        Json::Bool(_) => "a bool",
        Json::Number(number) if number.is_f64() => "a number with a fraction",
        Json::Number(_) => "an integer",
        Json::String(_) => "a string",
        Json::Array(_) => "an array",
        Json::Object(_) => "an object",
    }
}

impl Field {
    /// The field's value in a payload; `None` where it is missing or `null`.
    pub(crate) fn value(&self, payload: &Payload) -> Result<Option<FieldValue>, FieldError> {
        let Some(json) = lookup(payload, &self.name) else { return Ok(None) };
        let (value, expected) = match self.kind {
            FieldType::Keyword => (json.as_str().map(|text| FieldValue::Keyword(text.into())), "a string"),
            FieldType::Integer => (json.as_i64().map(FieldValue::Integer), "an integer that fits 64 bits"),
            FieldType::Float => (json.as_f64().map(FieldValue::Float), "a number"),
            FieldType::Bool => (json.as_bool().map(FieldValue::Bool), "a bool"),
            FieldType::Datetime => {
                let micros = match json {
                    Json::String(text) => parse_datetime(text),
                    Json::Number(_) => json.as_i64().and_then(|seconds| seconds.checked_mul(1_000_000)),
                    _ => None,
                };
                (micros.map(FieldValue::Integer), "a datetime (RFC 3339, a date, or seconds since 1970)")
            }
            FieldType::Tags => {
                let tags = json.as_array().and_then(|items| {
                    items.iter().map(|item| item.as_str().map(Into::into)).collect::<Option<Vec<_>>>()
                });
                (tags.map(FieldValue::Tags), "an array of strings")
            }
            FieldType::Geo => {
                let place = || {
                    let (lat, lon) = (json.get("lat")?.as_f64()?, json.get("lon")?.as_f64()?);
                    is_place(lat, lon).then_some(FieldValue::Geo(lat, lon))
                };
                (place(), "an object with lat in -90..=90 and lon in -180..=180")
            }
        };
        match value {
            Some(value) => Ok(Some(value)),
            None => Err(FieldError { field: self.name.clone(), expected, found: kind_name(json) }),
        }
    }
}

impl Schema {
    /// The values of all declared fields of a payload, in their order.
    pub(crate) fn values(&self, payload: &Payload) -> Result<Vec<Option<FieldValue>>, FieldError> {
        self.fields.iter().map(|field| field.value(payload)).collect()
    }
}

/// Whether these are degrees of latitude and longitude.
pub(crate) fn is_place(lat: f64, lon: f64) -> bool {
    (-90.0..=90.0).contains(&lat) && (-180.0..=180.0).contains(&lon)
}

/// A moment in microseconds since 1970: RFC 3339, without an offset in UTC, or a date.
pub(crate) fn parse_datetime(text: &str) -> Option<i64> {
    if let Ok(moment) = text.parse::<Timestamp>() {
        return Some(moment.as_microsecond());
    }
    let civil = match text.parse::<jiff::civil::DateTime>() {
        Ok(civil) => civil,
        Err(_) => text.parse::<Date>().ok()?.at(0, 0, 0, 0),
    };
    Some(civil.to_zoned(TimeZone::UTC).ok()?.timestamp().as_microsecond())
}

/// The earth as a sphere, in meters (IUGG mean radius).
const EARTH_RADIUS: f64 = 6_371_008.8;

/// Meters between two places along the surface (haversine).
pub(crate) fn earth_distance(a: (f64, f64), b: (f64, f64)) -> f64 {
    let (lat_a, lat_b) = (a.0.to_radians(), b.0.to_radians());
    let (half_lat, half_lon) = ((lat_b - lat_a) / 2.0, (b.1 - a.1).to_radians() / 2.0);
    let h = half_lat.sin().powi(2) + lat_a.cos() * lat_b.cos() * half_lon.sin().powi(2);
    2.0 * EARTH_RADIUS * h.sqrt().min(1.0).asin()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn payload(value: Json) -> Payload {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn datetimes_are_read() {
        assert_eq!(parse_datetime("1970-01-01"), Some(0));
        assert_eq!(parse_datetime("1970-01-01T00:00:01Z"), Some(1_000_000));
        assert_eq!(parse_datetime("1970-01-01T02:00:00+02:00"), Some(0));
        assert_eq!(parse_datetime("1970-01-01 00:00:00.5"), Some(500_000));
        assert_eq!(parse_datetime("2026-02-30"), None);
        assert_eq!(parse_datetime("soon"), None);
    }

    #[test]
    fn payloads_are_checked() {
        let schema = Schema::new(1, orthant_engine::Metric::L2)
            .with_field("n", FieldType::Integer)
            .with_field("a.b", FieldType::Tags)
            .with_field("where", FieldType::Geo);
        let fits = payload(json!({"n": 3, "a": {"b": ["x"]}, "where": {"lat": 1, "lon": 2.5}, "other": []}));
        let values = schema.values(&fits).unwrap();
        let tags = FieldValue::Tags(vec!["x".into()]);
        assert_eq!(values, [Some(FieldValue::Integer(3)), Some(tags), Some(FieldValue::Geo(1.0, 2.5))]);
        assert_eq!(schema.values(&payload(json!({"n": null}))).unwrap(), [None, None, None]);
        let error = schema.values(&payload(json!({"n": 1.5}))).unwrap_err();
        assert_eq!(
            error.to_string(),
            "field \"n\" is a number with a fraction, expected an integer that fits 64 bits"
        );
        assert!(schema.values(&payload(json!({"where": {"lat": 91, "lon": 0}}))).is_err());
    }

    #[test]
    fn the_earth_is_round() {
        let (paris, berlin) = ((48.8566, 2.3522), (52.52, 13.405));
        let meters = earth_distance(paris, berlin);
        assert!((meters - 877_500.0).abs() < 1_500.0, "{meters}");
        let over_the_date_line = earth_distance((0.0, 179.5), (0.0, -179.5));
        assert!((over_the_date_line - 111_195.0).abs() < 100.0);
    }
}
