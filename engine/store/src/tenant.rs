//! Collections and their tenants: the handles that applications use.
//!
//! Rows belong to a tenant, and everything that touches rows is a method of [`Tenant`]: there is no call that could return a
//! row, a count, a facet or a cached answer of another one. An application without tenants uses one, [`Collection::only`].

use std::sync::{Arc, OnceLock};

use orthant_engine::Key;

use crate::catalog::ROWS;
use crate::collection::CollectionCore;
use crate::commit::{Op, Written};
use crate::database::{DatabaseInner, check_name};
use crate::error::{ReadError, WriteError};
use crate::fields::Facet;
use crate::filter::Filter;
use crate::record::Record;
use crate::row::{Row, check_key};
use crate::schema::{FieldType, Schema};
use crate::state::TenantState;

/// The tenant of an application that has no tenants.
const ONLY: &str = "default";

/// A collection: rows of one schema, kept apart by tenant.
#[derive(Debug, Clone)]
pub struct Collection {
    pub(crate) database: Arc<DatabaseInner>,
    pub(crate) core: Arc<CollectionCore>,
}

/// The rows of one tenant. A tenant needs no making: it is there when it has a row.
#[derive(Debug, Clone)]
pub struct Tenant {
    pub(crate) database: Arc<DatabaseInner>,
    pub(crate) core: Arc<CollectionCore>,
    name: Box<str>,
    id: OnceLock<u32>,
}

impl Collection {
    pub(crate) fn new(database: Arc<DatabaseInner>, core: Arc<CollectionCore>) -> Self {
        Self { database, core }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.core.name
    }

    /// Its schema as it is now.
    pub fn schema(&self) -> Arc<Schema> {
        self.core.schema()
    }

    /// The rows of one tenant.
    ///
    /// # Errors
    /// [`WriteError::Name`] if the name is empty or too long.
    pub fn tenant(&self, name: &str) -> Result<Tenant, WriteError> {
        check_name(name)?;
        Ok(Tenant {
            database: self.database.clone(),
            core: self.core.clone(),
            name: name.into(),
            id: OnceLock::new(),
        })
    }

    /// The rows of an application without tenants: those of the tenant "default".
    pub fn only(&self) -> Tenant {
        Tenant {
            database: self.database.clone(),
            core: self.core.clone(),
            name: ONLY.into(),
            id: OnceLock::new(),
        }
    }

    /// The names of all tenants that ever had a row, in order.
    ///
    /// # Errors
    /// [`ReadError::Storage`].
    pub fn tenants(&self) -> Result<Vec<Box<str>>, ReadError> {
        let names = self.core.tenant_names().map_err(Arc::new)?;
        Ok(names.into_iter().map(|(name, _)| name).collect())
    }
}

impl Tenant {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn id(&self) -> Result<Option<u32>, ReadError> {
        if let Some(&id) = self.id.get() {
            return Ok(Some(id));
        }
        let found = self.core.tenant_id(&self.name).map_err(Arc::new)?;
        Ok(found.map(|id| *self.id.get_or_init(|| id)))
    }

    /// The tenant's state; `None` if it never had a row.
    pub(crate) fn state(&self) -> Result<Option<(u32, Arc<TenantState>)>, ReadError> {
        let Some(id) = self.id()? else { return Ok(None) };
        Ok(Some((id, self.core.state(id).map_err(Arc::new)?)))
    }

    pub(crate) fn damaged_entry(&self, what: &'static str) -> ReadError {
        Arc::new(self.core.shared.catalog.damaged(what)).into()
    }

    pub(crate) fn catalog_error(&self, error: impl Into<redb::Error>) -> ReadError {
        Arc::new(self.core.shared.catalog.error(error)).into()
    }

    // Writing.

    /// Writes a row; one of the same key is replaced, payload and vectors.
    ///
    /// # Errors
    /// [`WriteError`]; nothing is written then.
    pub fn upsert(&self, row: Row) -> Result<Written, WriteError> {
        self.upsert_batch([row])
    }

    /// Writes rows in one commit: all of them are there, or none. Of two with the same key the later one counts.
    ///
    /// # Errors
    /// [`WriteError`]; nothing is written then.
    pub fn upsert_batch(&self, rows: impl IntoIterator<Item = Row>) -> Result<Written, WriteError> {
        let schema = self.core.schema();
        let ops =
            rows.into_iter().map(|row| row.prepare(&schema).map(Op::Upsert)).collect::<Result<_, _>>()?;
        self.database.commit(&self.core, &self.name, schema, ops)
    }

    /// Deletes a row; without one of this key nothing happens.
    ///
    /// # Errors
    /// [`WriteError`].
    pub fn delete(&self, key: impl Into<Key>) -> Result<Written, WriteError> {
        self.delete_batch([key.into()])
    }

    /// Deletes rows in one commit.
    ///
    /// # Errors
    /// [`WriteError`]; nothing is deleted then.
    pub fn delete_batch(&self, keys: impl IntoIterator<Item = Key>) -> Result<Written, WriteError> {
        let op = |key: Key| check_key(&key).map(|()| Op::Delete { key, if_row: None });
        let ops = keys.into_iter().map(op).collect::<Result<_, _>>()?;
        self.database.commit(&self.core, &self.name, self.core.schema(), ops)
    }

    /// Deletes the rows that fulfil `filter` in one commit. A row that is written at the same time is deleted as it was or
    /// stays as it is now.
    ///
    /// # Errors
    /// [`WriteError`]; nothing is deleted then.
    pub fn delete_where(&self, filter: &Filter) -> Result<Written, WriteError> {
        let read = |error| WriteError::Read(Box::new(error));
        let schema = self.core.schema();
        let condition = filter.resolve(&schema)?;
        let mut ops = Vec::new();
        if let Some((_, state)) = self.state().map_err(read)? {
            let inner = state.read();
            for row in inner.fields.select(&condition, &inner.version.live) {
                if let Some(key) = inner.keys.key(row) {
                    ops.push(Op::Delete { key: key.clone(), if_row: Some(row) });
                }
            }
        }
        self.database.commit(&self.core, &self.name, schema, ops)
    }

    // Reading.

    /// The row of this key.
    ///
    /// # Errors
    /// [`ReadError::RowDamaged`] if a vector does not match its checksum, [`ReadError::Storage`].
    pub fn get(&self, key: impl Into<Key>) -> Result<Option<Row>, ReadError> {
        Ok(self.get_batch(&[key.into()])?.pop().flatten())
    }

    /// The rows of these keys, in their order.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn get_batch(&self, keys: &[Key]) -> Result<Vec<Option<Row>>, ReadError> {
        let Some(id) = self.id()? else { return Ok(vec![None; keys.len()]) };
        let _reading = self.core.readers.enter();
        let read = self.core.shared.catalog.read().map_err(Arc::new)?;
        let table = read.open_table(ROWS).map_err(|error| self.catalog_error(error))?;
        let schema = self.core.schema();
        let one = |key: &Key| {
            let place = self.core.entry_keys.row(id, key);
            let Some(value) = table.get(&place[..]).map_err(|error| self.catalog_error(error))? else {
                return Ok(None);
            };
            self.row(&schema, key.clone(), &place, value.value(), true).map(Some)
        };
        keys.iter().map(one).collect()
    }

    /// A row from its entry in the catalog.
    pub(crate) fn row(
        &self,
        schema: &Schema,
        key: Key,
        place: &[u8],
        value: &[u8],
        with_vectors: bool,
    ) -> Result<Row, ReadError> {
        let record = Record::decode(place, value);
        let payload = record.as_ref().and_then(Record::payload);
        let Some((record, payload)) = record.zip(payload) else { return Err(self.damaged_entry("a row")) };
        let mut vectors = Vec::new();
        for placed in record.vectors.iter().filter(|_| with_vectors) {
            let number = usize::from(placed.vector);
            let (Some(field), Some(rows)) = (schema.vectors.get(number), self.core.rows.get(number)) else {
                return Err(self.damaged_entry("a row"));
            };
            let mut elements = Vec::with_capacity(field.dim * placed.count as usize);
            for position in placed.start..placed.start.saturating_add(placed.count) {
                match rows.row(position) {
                    Ok(row) => elements.extend_from_slice(&row),
                    Err(_) => return Err(ReadError::RowDamaged { key, vector: field.name.clone() }),
                }
            }
            vectors.push((field.name.clone(), elements));
        }
        Ok(Row { key, vectors, payload })
    }

    /// How many rows there are.
    ///
    /// # Errors
    /// [`ReadError::Storage`].
    pub fn len(&self) -> Result<u64, ReadError> {
        self.count(None)
    }

    /// Whether there is none.
    ///
    /// # Errors
    /// [`ReadError::Storage`].
    pub fn is_empty(&self) -> Result<bool, ReadError> {
        Ok(self.len()? == 0)
    }

    /// How many rows fulfil `filter`.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn count(&self, filter: Option<&Filter>) -> Result<u64, ReadError> {
        let condition = filter.map(|filter| filter.resolve(&self.core.schema())).transpose()?;
        let Some((_, state)) = self.state()? else { return Ok(0) };
        let inner = state.read();
        let live = &inner.version.live;
        Ok(condition.map_or_else(|| live.len(), |condition| inner.fields.select(&condition, live).len()))
    }

    /// The most frequent values of a field among the rows that fulfil `filter`, at most `limit`.
    ///
    /// # Errors
    /// [`ReadError::UnknownField`], [`ReadError::NoFacets`] for floats, datetimes and places, [`ReadError`].
    pub fn facets(
        &self,
        field: &str,
        filter: Option<&Filter>,
        limit: usize,
    ) -> Result<Vec<Facet>, ReadError> {
        let schema = self.core.schema();
        let Some((number, declared)) = schema.field(field) else {
            return Err(ReadError::UnknownField { field: field.into() });
        };
        let none = ReadError::NoFacets { field: field.into(), kind: declared.kind };
        if matches!(declared.kind, FieldType::Float | FieldType::Datetime | FieldType::Geo) {
            return Err(none);
        }
        let condition = filter.map(|filter| filter.resolve(&schema)).transpose()?;
        let Some((_, state)) = self.state()? else { return Ok(Vec::new()) };
        let inner = state.read();
        let live = &inner.version.live;
        let set = condition.map(|condition| inner.fields.select(&condition, live));
        inner.fields.facets(number, declared.kind, set.as_ref().unwrap_or(live), limit).ok_or(none)
    }

    /// The keys of rows that were found damaged, so far. They are in no result; [`get`](Self::get) says what is wrong.
    ///
    /// # Errors
    /// [`ReadError::Storage`].
    pub fn damaged(&self) -> Result<Vec<Key>, ReadError> {
        let Some((_, state)) = self.state()? else { return Ok(Vec::new()) };
        Ok(state.read().damaged.iter().cloned().collect())
    }
}
