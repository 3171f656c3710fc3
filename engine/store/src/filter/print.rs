//! Filters as text that reads back as the same filter.

use std::fmt::{self, Display, Formatter};

use super::{Comparison, FieldName, Filter, Literal};

impl Display for FieldName {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.name.replace('"', "\"\""))
    }
}

impl Display for Literal {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Integer(number) => number.fmt(f),
            Self::Float(number) => write!(f, "{number:?}"),
            Self::Text(text) => quoted(text, f),
            Self::Bool(flag) => f.write_str(if *flag { "TRUE" } else { "FALSE" }),
        }
    }
}

fn quoted(text: &str, f: &mut Formatter<'_>) -> fmt::Result {
    write!(f, "'{}'", text.replace('\'', "''"))
}

impl Display for Comparison {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Equal => "=",
            Self::NotEqual => "!=",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
        })
    }
}

impl Display for Filter {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let list = |f: &mut Formatter<'_>, parts: &[Filter], word: &str, none: &str| {
            if parts.is_empty() {
                return f.write_str(none);
            }
            for (place, part) in parts.iter().enumerate() {
                f.write_str(if place == 0 { "" } else { word })?;
                write!(f, "({part})")?;
            }
            Ok(())
        };
        match self {
            Self::And(parts) => list(f, parts, " AND ", "TRUE"),
            Self::Or(parts) => list(f, parts, " OR ", "FALSE"),
            Self::Not(inner) => write!(f, "NOT ({inner})"),
            Self::Compare(name, comparison, value) => write!(f, "{name} {comparison} {value}"),
            Self::Between(name, low, high) => write!(f, "{name} BETWEEN {low} AND {high}"),
            Self::In(name, values) => {
                write!(f, "{name} IN (")?;
                for (place, value) in values.iter().enumerate() {
                    write!(f, "{}{value}", if place == 0 { "" } else { ", " })?;
                }
                f.write_str(")")
            }
            Self::IsNull(name) => write!(f, "{name} IS NULL"),
            Self::Contains(name, tag) => {
                write!(f, "{name} CONTAINS ")?;
                quoted(tag, f)
            }
            Self::StartsWith(name, prefix) => {
                write!(f, "{name} LIKE ")?;
                let escaped = prefix.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_");
                quoted(&format!("{escaped}%"), f)
            }
            Self::Near { field, lat, lon, meters } => {
                write!(f, "NEAR({field}, {lat:?}, {lon:?}, {meters:?})")
            }
        }
    }
}
