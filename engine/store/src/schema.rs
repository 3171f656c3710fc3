//! What a collection's rows look like: named vectors, and the fields that filters may name.
//!
//! A payload is any JSON object. Only the fields that the schema declares are checked and indexed; the others are
//! kept as they are and cannot be filtered by.
//!
//! * **S1** A row that is in the collection fits the schema: every declared field is missing, `null`, or of its
//!   type. Adding a field checks the rows that are there before it is accepted.
//! * **S2** A schema only grows: vectors and types stay, fields are added.

use orthant_engine::Metric;
use serde::{Deserialize, Serialize};

/// Most bytes of a name in a schema, and of a tenant's name.
pub const MAX_NAME_BYTES: usize = 255;

/// Most named vectors, and most fields, of a collection. Bounds against nonsense, not measured limits.
pub const MAX_FIELDS: usize = 1024;

/// The name of the vector when a schema has one and nobody named it.
pub const DEFAULT_VECTOR: &str = "vector";

/// What a field holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FieldType {
    /// A text that is compared whole: JSON string.
    Keyword,
    /// A whole number that fits i64: JSON number.
    Integer,
    /// A number: any JSON number.
    Float,
    /// True or false: JSON bool.
    Bool,
    /// A moment, to the microsecond: JSON string in RFC 3339 (`2026-01-31T12:00:00Z`) or a date (`2026-01-31`, midnight
    /// UTC), or a JSON integer: seconds since 1970.
    Datetime,
    /// Any number of keywords: JSON array of strings.
    Tags,
    /// A place on earth: JSON object with `lat` and `lon` in degrees.
    Geo,
}

impl FieldType {
    /// All types.
    pub const ALL: [Self; 7] =
        [Self::Keyword, Self::Integer, Self::Float, Self::Bool, Self::Datetime, Self::Tags, Self::Geo];

    /// The name in files, on the command line and in errors.
    pub fn name(self) -> &'static str {
        match self {
            Self::Keyword => "keyword",
            Self::Integer => "integer",
            Self::Float => "float",
            Self::Bool => "bool",
            Self::Datetime => "datetime",
            Self::Tags => "tags",
            Self::Geo => "geo",
        }
    }
}

impl std::fmt::Display for FieldType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

/// The text names no type of field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("unknown type: the names are keyword, integer, float, bool, datetime, tags and geo")]
#[non_exhaustive]
pub struct UnknownFieldType;

impl std::str::FromStr for FieldType {
    type Err = UnknownFieldType;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|known| known.name() == name).ok_or(UnknownFieldType)
    }
}

/// A field that filters may name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Field {
    /// Its name: a key of the payload. A dot leads into objects: `author.name`.
    pub name: Box<str>,
    /// What it holds.
    #[serde(rename = "type")]
    pub kind: FieldType,
}

/// A named vector of a row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VectorField {
    /// Its name.
    pub name: Box<str>,
    /// Elements.
    pub dim: usize,
    /// How it is compared.
    #[serde(with = "metric_name")]
    pub metric: Metric,
    /// Whether a row holds any number of these vectors (compared by max-sim) instead of at most one.
    #[serde(default)]
    pub multi: bool,
}

mod metric_name {
    use orthant_engine::Metric;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(metric: &Metric, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_str(metric.name())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(input: D) -> Result<Metric, D::Error> {
        let name = <std::borrow::Cow<'de, str>>::deserialize(input)?;
        name.parse().map_err(|_| D::Error::custom(format_args!("unknown metric {name:?}")))
    }
}

/// The shape of a collection.
///
/// # Examples
/// ```
/// use orthant_store::{FieldType, Metric, Schema};
///
/// let schema = Schema::new(384, Metric::Cosine)
///     .with_field("section", FieldType::Keyword)
///     .with_field("updated", FieldType::Datetime);
/// assert!(schema.check().is_ok());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schema {
    /// The vectors a row may have; at least one.
    pub vectors: Vec<VectorField>,
    /// The fields that are checked and indexed.
    #[serde(default)]
    pub fields: Vec<Field>,
    /// How graphs are built.
    #[serde(default)]
    pub graph: GraphChoices,
}

/// How the graph of a large tenant is built. The defaults are the engine's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct GraphChoices {
    /// Neighbors per node on the upper levels.
    pub m: usize,
    /// Beam width while inserting.
    pub ef_construction: usize,
    /// Rows of a tenant from which it gets a graph; below, every row is compared.
    pub from_rows: usize,
}

impl Default for GraphChoices {
    fn default() -> Self {
        // `from_rows`: comparing 5,000 rows of 384 dimensions takes well under a millisecond, and so few rows gain
        // nothing from a graph that has to be kept.
        Self { m: 16, ef_construction: 200, from_rows: 5_000 }
    }
}

/// Why a schema was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SchemaError {
    /// There is no vector.
    #[error("a schema needs at least one vector")]
    NoVector,
    /// A name is empty or too long.
    #[error("the name {name:?} is empty or longer than {MAX_NAME_BYTES} bytes")]
    Name {
        /// The name.
        name: Box<str>,
    },
    /// Two things have one name.
    #[error("the name {name:?} is given twice")]
    Twice {
        /// The name.
        name: Box<str>,
    },
    /// There are too many fields or vectors.
    #[error("{count} fields or vectors are more than {MAX_FIELDS}")]
    TooMany {
        /// How many.
        count: usize,
    },
    /// The dimension is 0 or too large.
    #[error("vector {name:?}: dimension {dim} is outside 1..={max}", max = orthant_engine::MAX_DIM)]
    Dimension {
        /// The vector.
        name: Box<str>,
        /// Its dimension.
        dim: usize,
    },
    /// The graph's parameters do not fit.
    #[error("graph: m = {m} must be in 2..=64 and ef_construction = {ef_construction} at least 1")]
    Graph {
        /// Neighbors.
        m: usize,
        /// Beam width.
        ef_construction: usize,
    },
}

impl Schema {
    /// Rows with one vector, named [`DEFAULT_VECTOR`].
    pub fn new(dim: usize, metric: Metric) -> Self {
        Self { vectors: Vec::new(), fields: Vec::new(), graph: GraphChoices::default() }.with_vector(
            DEFAULT_VECTOR,
            dim,
            metric,
        )
    }

    /// One more named vector.
    pub fn with_vector(mut self, name: &str, dim: usize, metric: Metric) -> Self {
        self.vectors.push(VectorField { name: name.into(), dim, metric, multi: false });
        self
    }

    /// One more named vector of which a row holds any number.
    pub fn with_multi_vector(mut self, name: &str, dim: usize, metric: Metric) -> Self {
        self.vectors.push(VectorField { name: name.into(), dim, metric, multi: true });
        self
    }

    /// One more field.
    pub fn with_field(mut self, name: &str, kind: FieldType) -> Self {
        self.fields.push(Field { name: name.into(), kind });
        self
    }

    /// Other choices for the graph.
    pub fn with_graph(mut self, graph: GraphChoices) -> Self {
        self.graph = graph;
        self
    }

    /// Whether a collection may have this schema.
    ///
    /// # Errors
    /// [`SchemaError`].
    pub fn check(&self) -> Result<(), SchemaError> {
        if self.vectors.is_empty() {
            return Err(SchemaError::NoVector);
        }
        for count in [self.vectors.len(), self.fields.len()] {
            if count > MAX_FIELDS {
                return Err(SchemaError::TooMany { count });
            }
        }
        let vectors: Vec<&str> = self.vectors.iter().map(|vector| &*vector.name).collect();
        let fields: Vec<&str> = self.fields.iter().map(|field| &*field.name).collect();
        for names in [vectors, fields] {
            for (place, name) in names.iter().enumerate() {
                if name.is_empty() || name.len() > MAX_NAME_BYTES {
                    return Err(SchemaError::Name { name: (*name).into() });
                }
                if names[..place].contains(name) {
                    return Err(SchemaError::Twice { name: (*name).into() });
                }
            }
        }
        for vector in &self.vectors {
            if vector.dim == 0 || vector.dim > orthant_engine::MAX_DIM {
                return Err(SchemaError::Dimension { name: vector.name.clone(), dim: vector.dim });
            }
        }
        let GraphChoices { m, ef_construction, .. } = self.graph;
        if !(2..=64).contains(&m) || ef_construction == 0 {
            return Err(SchemaError::Graph { m, ef_construction });
        }
        Ok(())
    }

    /// The field of this name, and its number.
    pub fn field(&self, name: &str) -> Option<(usize, &Field)> {
        self.fields.iter().enumerate().find(|(_, field)| &*field.name == name)
    }

    /// The vector of this name, and its number.
    pub fn vector(&self, name: &str) -> Option<(usize, &VectorField)> {
        self.vectors.iter().enumerate().find(|(_, vector)| &*vector.name == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schema_is_checked() {
        let fine = Schema::new(4, Metric::L2).with_field("a", FieldType::Keyword);
        assert_eq!(fine.check(), Ok(()));
        let twice = fine.clone().with_field("a", FieldType::Bool);
        assert_eq!(twice.check(), Err(SchemaError::Twice { name: "a".into() }));
        let empty = fine.clone().with_field("", FieldType::Bool);
        assert!(matches!(empty.check(), Err(SchemaError::Name { .. })));
        let flat = fine.with_vector("v", 0, Metric::L2);
        assert!(matches!(flat.check(), Err(SchemaError::Dimension { dim: 0, .. })));
    }

    #[test]
    fn a_schema_is_read_as_written() {
        let schema = Schema::new(4, Metric::InnerProduct).with_multi_vector("tokens", 8, Metric::Cosine);
        let schema = schema.with_field("where", FieldType::Geo);
        let text = serde_json::to_string(&schema).unwrap();
        assert_eq!(serde_json::from_str::<Schema>(&text).unwrap(), schema);
        assert!(serde_json::from_str::<Schema>(&text.replace("\"ip\"", "\"no\"")).is_err());
    }
}
