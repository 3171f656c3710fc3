//! Filters: which rows a query may return.
//!
//! A filter is a tree of conditions on declared fields. It is written as text ([`Filter::parse`], the WHERE clause of
//! SQL with a few more words) or built with [`field`]; both give the same tree.
//!
//! # Semantics
//! SQL's. A condition on a field that is missing (or `null`) is *unknown*; `AND`, `OR` and `NOT` combine unknowns as SQL
//! does; a row is in the result when the whole is true. So `section != 'python'` and `NOT section = 'python'` both
//! leave out rows without a section; add `OR section IS NULL` to have them.
//!
//! * Keywords compare by their UTF-8 bytes; `LIKE` takes a prefix (`'net%'`) and nothing else.
//! * Integers and numbers compare by value, exactly: `size > 1.5` on an integer field means 2 and more.
//! * Datetimes are written as RFC 3339 or as a date (`'2026-01-31'`, midnight UTC).
//! * `tags CONTAINS 'x'`; `NEAR(place, lat, lon, meters)` is true within that distance on the earth's surface.
//! * A bool field may stand alone: `draft`, `NOT draft`.
//!
//! # Examples
//! ```
//! use orthant_store::{Filter, field};
//!
//! let text = Filter::parse("section = 'python' AND size BETWEEN 1 AND 9 AND NOT tags CONTAINS 'old'")?;
//! let built = field("section").eq("python") & field("size").between(1, 9) & !field("tags").contains("old");
//! assert_eq!(text, built);
//! # Ok::<(), orthant_store::FilterError>(())
//! ```

mod naive;
mod parse;
mod print;
mod typed;

pub use parse::MAX_FILTER_BYTES;
pub(crate) use typed::{Condition, Test, float_order, integer_order};

use crate::schema::FieldType;

/// A place in a filter's text, counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The line.
    pub line: u64,
    /// The column, in characters.
    pub column: u64,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "line {}, column {}", self.line, self.column)
    }
}

/// Where something stands in a filter's text; shown as nothing in a filter that was built.
#[derive(Debug, Clone, Copy, Default)]
pub struct At(pub Option<Place>);

impl std::fmt::Display for At {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.map_or(Ok(()), |place| write!(f, "{place}: "))
    }
}

/// The same filter, wherever it was written.
impl PartialEq for At {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

/// A field as a filter names it.
#[derive(Debug, Clone, PartialEq)]
pub struct FieldName {
    /// Its name.
    pub name: Box<str>,
    /// Where it stands in the text.
    pub at: At,
}

/// A value in a filter.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Literal {
    /// A whole number.
    Integer(i64),
    /// A number.
    Float(f64),
    /// A text: a keyword or a datetime, as the field has it.
    Text(Box<str>),
    /// True or false.
    Bool(bool),
}

impl From<&str> for Literal {
    fn from(text: &str) -> Self {
        Self::Text(text.into())
    }
}

impl From<String> for Literal {
    fn from(text: String) -> Self {
        Self::Text(text.into())
    }
}

impl From<i64> for Literal {
    fn from(number: i64) -> Self {
        Self::Integer(number)
    }
}

impl From<f64> for Literal {
    fn from(number: f64) -> Self {
        Self::Float(number)
    }
}

impl From<bool> for Literal {
    fn from(flag: bool) -> Self {
        Self::Bool(flag)
    }
}

/// How a field is compared with a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// A condition on the fields of a row. See the module for what it means.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Filter {
    /// All of them; without any, every row.
    And(Vec<Filter>),
    /// One of them; without any, no row.
    Or(Vec<Filter>),
    /// Not this one.
    Not(Box<Filter>),
    /// Compares a field with a value.
    Compare(FieldName, Comparison, Literal),
    /// The field is between the two, both included.
    Between(FieldName, Literal, Literal),
    /// The field is one of these.
    In(FieldName, Vec<Literal>),
    /// The field is missing or `null`.
    IsNull(FieldName),
    /// The tags hold this one.
    Contains(FieldName, Box<str>),
    /// The keyword starts with this.
    StartsWith(FieldName, Box<str>),
    /// The place lies within `meters` of `lat`, `lon` (degrees).
    #[expect(missing_docs, reason = "the variant says it")]
    Near { field: FieldName, lat: f64, lon: f64, meters: f64 },
}

/// Names a field to build a condition on it.
pub fn field(name: &str) -> FieldBuilder {
    FieldBuilder(FieldName { name: name.into(), at: At(None) })
}

/// A named field, on its way to a condition.
#[derive(Debug, Clone)]
#[must_use]
pub struct FieldBuilder(FieldName);

#[expect(missing_docs, reason = "each method is the condition of its name, documented on `Filter`")]
impl FieldBuilder {
    pub fn eq(self, value: impl Into<Literal>) -> Filter {
        Filter::Compare(self.0, Comparison::Equal, value.into())
    }

    pub fn ne(self, value: impl Into<Literal>) -> Filter {
        Filter::Compare(self.0, Comparison::NotEqual, value.into())
    }

    pub fn lt(self, value: impl Into<Literal>) -> Filter {
        Filter::Compare(self.0, Comparison::Less, value.into())
    }

    pub fn le(self, value: impl Into<Literal>) -> Filter {
        Filter::Compare(self.0, Comparison::LessOrEqual, value.into())
    }

    pub fn gt(self, value: impl Into<Literal>) -> Filter {
        Filter::Compare(self.0, Comparison::Greater, value.into())
    }

    pub fn ge(self, value: impl Into<Literal>) -> Filter {
        Filter::Compare(self.0, Comparison::GreaterOrEqual, value.into())
    }

    pub fn between(self, low: impl Into<Literal>, high: impl Into<Literal>) -> Filter {
        Filter::Between(self.0, low.into(), high.into())
    }

    pub fn one_of<L: Into<Literal>>(self, values: impl IntoIterator<Item = L>) -> Filter {
        Filter::In(self.0, values.into_iter().map(Into::into).collect())
    }

    pub fn is_null(self) -> Filter {
        Filter::IsNull(self.0)
    }

    pub fn contains(self, tag: &str) -> Filter {
        Filter::Contains(self.0, tag.into())
    }

    pub fn starts_with(self, prefix: &str) -> Filter {
        Filter::StartsWith(self.0, prefix.into())
    }

    pub fn near(self, lat: f64, lon: f64, meters: f64) -> Filter {
        Filter::Near { field: self.0, lat, lon, meters }
    }
}

impl std::ops::BitAnd for Filter {
    type Output = Filter;

    fn bitand(self, other: Filter) -> Filter {
        match self {
            Filter::And(mut all) => {
                all.push(other);
                Filter::And(all)
            }
            first => Filter::And(vec![first, other]),
        }
    }
}

impl std::ops::BitOr for Filter {
    type Output = Filter;

    fn bitor(self, other: Filter) -> Filter {
        match self {
            Filter::Or(mut any) => {
                any.push(other);
                Filter::Or(any)
            }
            first => Filter::Or(vec![first, other]),
        }
    }
}

impl std::ops::Not for Filter {
    type Output = Filter;

    fn not(self) -> Filter {
        Filter::Not(Box::new(self))
    }
}

impl std::str::FromStr for Filter {
    type Err = FilterError;

    fn from_str(text: &str) -> Result<Self, FilterError> {
        Self::parse(text)
    }
}

/// Why a filter was refused. `at` is where in the text, when there was one.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum FilterError {
    /// The text is no condition.
    #[error(transparent)]
    Syntax(#[from] sqlparser::parser::ParserError),
    /// The text goes on behind the condition.
    #[error("{at}the condition ends before this")]
    Trailing {
        /// Where.
        at: At,
    },
    /// The text is longer than a filter may be.
    #[error("a filter of {bytes} bytes is longer than {MAX_FILTER_BYTES}")]
    TooLong {
        /// Its bytes.
        bytes: usize,
    },
    /// SQL that filters do not have.
    #[error("{at}{what}")]
    Unsupported {
        /// What it is and what to write.
        what: &'static str,
        /// Where.
        at: At,
    },
    /// The schema declares no such field.
    #[error("{at}field {field:?} is not declared in the schema")]
    UnknownField {
        /// The field.
        field: Box<str>,
        /// Where.
        at: At,
    },
    /// The condition does not fit the field's type.
    #[error("{at}field {field:?} is of type {kind}: {expected}")]
    Type {
        /// The field.
        field: Box<str>,
        /// Its type.
        kind: FieldType,
        /// What goes with that type.
        expected: &'static str,
        /// Where.
        at: At,
    },
    /// The text in a condition on a datetime is none.
    #[error("{at}field {field:?} is a datetime, and {text:?} is none (RFC 3339 or a date)")]
    Datetime {
        /// The field.
        field: Box<str>,
        /// The text.
        text: Box<str>,
        /// Where.
        at: At,
    },
    /// The conditions are nested too deep.
    #[error("conditions nested deeper than {max} levels", max = typed::MAX_DEPTH)]
    TooDeep,
}

#[cfg(test)]
mod tests;
