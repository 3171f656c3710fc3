//! Rows as callers give and get them.

use orthant_engine::Key;
use serde_json::Value as Json;

use crate::commit::Upsert;
use crate::error::WriteError;
use crate::record::MAX_KEY_BYTES;
use crate::schema::Schema;
use crate::values::Payload;

/// A row: key, vectors, payload.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// The caller's name for it.
    pub key: Key,
    /// Its vectors by name, `[dim]` each, or `[n × dim]` for a multi vector. A row may lack any of them: it is then in no search
    /// on that vector. The name "" stands for the schema's first vector.
    pub vectors: Vec<(Box<str>, Vec<f32>)>,
    /// Its payload.
    pub payload: Payload,
}

/// A payload has to be a JSON object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a payload has to be a JSON object")]
#[non_exhaustive]
pub struct NotAnObject;

impl Row {
    /// A row with the schema's first vector.
    pub fn new(key: impl Into<Key>, vector: impl Into<Vec<f32>>) -> Self {
        Self { key: key.into(), vectors: vec![("".into(), vector.into())], payload: Payload::new() }
    }

    /// A row without vectors.
    pub fn without_vector(key: impl Into<Key>) -> Self {
        Self { key: key.into(), vectors: Vec::new(), payload: Payload::new() }
    }

    /// One more vector.
    pub fn with_vector(mut self, name: &str, vector: impl Into<Vec<f32>>) -> Self {
        self.vectors.push((name.into(), vector.into()));
        self
    }

    /// Another payload.
    ///
    /// # Errors
    /// [`NotAnObject`].
    pub fn with_payload(mut self, payload: Json) -> Result<Self, NotAnObject> {
        match payload {
            Json::Object(payload) => self.payload = payload,
            _ => return Err(NotAnObject),
        }
        Ok(self)
    }

    /// Checks the row against the schema and makes it ready to be written.
    pub(crate) fn prepare(self, schema: &Schema) -> Result<Upsert, WriteError> {
        check_key(&self.key)?;
        let key = self.key;
        let values = schema
            .values(&self.payload)
            .map_err(|source| WriteError::Payload { key: key.clone(), source })?;
        let mut vectors: Vec<(u16, Vec<f32>)> = Vec::with_capacity(self.vectors.len());
        for (name, elements) in self.vectors {
            let found = if name.is_empty() { Some((0, &schema.vectors[0])) } else { schema.vector(&name) };
            let Some((number, field)) = found else {
                return Err(WriteError::UnknownVector { key, vector: name });
            };
            let name = field.name.clone();
            let fits =
                if field.multi { elements.len() % field.dim == 0 } else { elements.len() == field.dim };
            let number = number as u16;
            if !fits || vectors.iter().any(|(other, _)| *other == number) || vectors.len() >= 254 {
                let (found, expected) = (elements.len(), field.dim);
                return Err(WriteError::Dimension { key, vector: name, found, expected });
            }
            if let Some(element) = elements.iter().position(|value| !value.is_finite()) {
                return Err(WriteError::NotFinite { key, vector: name, element });
            }
            if !elements.is_empty() {
                vectors.push((number, elements));
            }
        }
        vectors.sort_by_key(|(number, _)| *number);
        let payload = if self.payload.is_empty() {
            Box::default()
        } else {
            // A map of JSON values always has a text.
            serde_json::to_vec(&self.payload).unwrap_or_default().into()
        };
        Ok(Upsert { key, payload, values, vectors, if_row: None })
    }
}

pub(crate) fn check_key(key: &Key) -> Result<(), WriteError> {
    match key {
        Key::Str(text) if text.len() > MAX_KEY_BYTES => Err(WriteError::KeyTooLong { bytes: text.len() }),
        _ => Ok(()),
    }
}
