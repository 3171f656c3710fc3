//! What is searched for, and what is found.

use orthant_engine::Key;

use crate::filter::Filter;
use crate::values::Payload;

/// What is searched for.
#[derive(Debug, Clone, PartialEq)]
#[must_use]
pub struct SearchRequest {
    /// The query, `[dim]`; for a multi vector `[n × dim]`.
    pub query: Vec<f32>,
    /// The vector it is compared with; without, the schema's first.
    pub vector: Option<Box<str>>,
    /// Results wanted.
    pub k: usize,
    /// Beam width in a graph: larger is slower and finds more.
    pub ef: usize,
    /// Which rows may be returned.
    pub filter: Option<Filter>,
    /// Only rows at most this far, in the distance that results have.
    pub radius: Option<f32>,
    /// Trade nearness for variety: 1 is nearest only, 0 variety only.
    pub diversity: Option<f32>,
    /// Compare every row that matches.
    pub exact: bool,
    /// Return payloads.
    pub with_payload: bool,
}

impl SearchRequest {
    /// The `k` nearest rows to `query`.
    pub fn new(query: impl Into<Vec<f32>>, k: usize) -> Self {
        Self {
            query: query.into(),
            vector: None,
            k,
            // Twice the engine's usual beam for k = 10: collections favor finding over speed.
            ef: 128.max(2 * k),
            filter: None,
            radius: None,
            diversity: None,
            exact: false,
            with_payload: false,
        }
    }

    /// Compares with this vector.
    pub fn on(mut self, vector: &str) -> Self {
        self.vector = Some(vector.into());
        self
    }

    /// Only rows that fulfil `filter`.
    pub fn filter(mut self, filter: Filter) -> Self {
        self.filter = Some(filter);
        self
    }

    /// Another beam width.
    pub fn ef(mut self, ef: usize) -> Self {
        self.ef = ef;
        self
    }

    /// Only rows at most this far.
    pub fn within(mut self, radius: f32) -> Self {
        self.radius = Some(radius);
        self
    }

    /// Some variety (maximal marginal relevance, Carbonell and Goldstein 1998): `nearness` 1 is none of it.
    pub fn diverse(mut self, nearness: f32) -> Self {
        self.diversity = Some(nearness);
        self
    }

    /// Compares every row that matches.
    pub fn exact(mut self) -> Self {
        self.exact = true;
        self
    }

    /// Payloads, too.
    pub fn with_payload(mut self) -> Self {
        self.with_payload = true;
        self
    }
}

/// A result: smaller distance is nearer.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// The row.
    pub key: Key,
    /// How far it is, as the engine's hits have it; for multi vectors minus the max-sim, see [`SearchRequest`].
    pub distance: f32,
    /// Its payload, when asked for.
    pub payload: Option<Payload>,
}
