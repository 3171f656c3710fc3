//! Reading a snapshot: a tenant as it was.

use std::collections::BTreeMap;
use std::sync::Arc;

use orthant_engine::Key;

use crate::catalog::{OLD, ROWS, SnapshotEntry};
use crate::collection::state_of;
use crate::compact::Reading;
use crate::entry_keys::{caller_key, prefix_end};
use crate::error::{ReadError, StorageError};
use crate::fields::Facet;
use crate::filter::Filter;
use crate::find::candidates;
use crate::old::{decode_old, old_prefix};
use crate::record::Record;
use crate::request::{Found, SearchRequest};
use crate::row::Row;
use crate::schema::Schema;
use crate::scroll::{Page, ScrollRequest};
use crate::search::Search;
use crate::state::TenantState;
use crate::tenant::{Collection, Tenant};
use crate::version::needs;

/// A tenant as a snapshot has it. Everything is in memory, and every search compares all rows that match: a way to look back,
/// not to serve.
#[derive(Debug)]
pub struct SnapshotReader {
    tenant: Tenant,
    schema: Arc<Schema>,
    state: TenantState,
    /// The tenant's number; 0 if it never had a row.
    id: u32,
    records: BTreeMap<Vec<u8>, Vec<u8>>,
    /// So that no file that the snapshot needs goes away with it.
    _reading: Reading,
}

impl Tenant {
    /// The tenant's rows as the snapshot of this name has them. The reader stays as it is, whatever is written, also when the snapshot
    /// is dropped; no file of dead rows is removed while there is one.
    ///
    /// # Errors
    /// [`ReadError::Unknown`], [`ReadError::Storage`].
    pub fn at(&self, snapshot: &str) -> Result<SnapshotReader, ReadError> {
        let collection = Collection::new(self.database.clone(), self.core.clone());
        let _reading = self.core.readers.enter();
        let Some(entry) = collection.snapshot(snapshot) else {
            return Err(ReadError::Unknown { what: "snapshot", name: snapshot.into() });
        };
        let schema = self.core.schema();
        let mut records = BTreeMap::new();
        let id = self.core.tenant_id(self.name()).map_err(Arc::new)?;
        if let Some(id) = id {
            self.records_at(&entry, id, &mut records).map_err(Arc::new)?;
        }
        let born = records.iter().filter_map(|(key, value)| self.core.born(&schema, key, value)).collect();
        let (tenant, state, id) = (self.clone(), state_of(&schema, born), id.unwrap_or(0));
        Ok(SnapshotReader { tenant, schema, state, id, records, _reading })
    }

    fn records_at(
        &self,
        entry: &SnapshotEntry,
        id: u32,
        records: &mut BTreeMap<Vec<u8>, Vec<u8>>,
    ) -> Result<(), StorageError> {
        let catalog = &self.core.shared.catalog;
        let prefix = self.core.entry_keys.tenant(id);
        let end = prefix_end(&prefix);
        // One transaction for both tables: a row that ends meanwhile is in exactly one of them.
        let read = catalog.read()?;
        let rows = read.open_table(ROWS).map_err(|error| catalog.error(error))?;
        for item in rows.range(&prefix[..]..&end[..]).map_err(|error| catalog.error(error))? {
            let (key, value) = item.map_err(|error| catalog.error(error))?;
            if Record::decode(key.value(), value.value()).is_some_and(|record| record.row < entry.bound) {
                records.insert(key.value().to_vec(), value.value().to_vec());
            }
        }
        let old = read.open_table(OLD).map_err(|error| catalog.error(error))?;
        let prefix = old_prefix(self.core.id, id);
        let end = prefix_end(&prefix);
        for item in old.range(&prefix[..]..&end[..]).map_err(|error| catalog.error(error))? {
            let (place, value) = item.map_err(|error| catalog.error(error))?;
            if let Some(old) = decode_old(place.value(), value.value()).filter(|old| needs(entry, old)) {
                records.insert(old.key, old.value);
            }
        }
        Ok(())
    }
}

impl SnapshotReader {
    /// How many rows fulfil `filter`; without one, all.
    ///
    /// # Errors
    /// [`ReadError::Filter`].
    pub fn count(&self, filter: Option<&Filter>) -> Result<u64, ReadError> {
        let inner = self.state.read();
        let live = &inner.version.live;
        match filter {
            None => Ok(live.len()),
            Some(filter) => Ok(inner.fields.select(&filter.resolve(&self.schema)?, live).len()),
        }
    }

    /// The most frequent values of a field; see [`Tenant::facets`].
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn facets(&self, field: &str, limit: usize) -> Result<Vec<Facet>, ReadError> {
        let Some((number, declared)) = self.schema.field(field) else {
            return Err(ReadError::UnknownField { field: field.into() });
        };
        let inner = self.state.read();
        let facets = inner.fields.facets(number, declared.kind, &inner.version.live, limit);
        facets.ok_or_else(|| ReadError::NoFacets { field: field.into(), kind: declared.kind })
    }

    fn place(&self, key: &Key) -> Vec<u8> {
        self.tenant.core.entry_keys.row(self.id, key)
    }

    /// The row of this key.
    ///
    /// # Errors
    /// [`ReadError::RowDamaged`], [`ReadError::Storage`].
    pub fn get(&self, key: impl Into<Key>) -> Result<Option<Row>, ReadError> {
        let key = key.into();
        let place = self.place(&key);
        let value = self.records.get(&place);
        value.map(|value| self.tenant.row(&self.schema, key, &place, value, true)).transpose()
    }

    /// A page of rows by key; see [`Tenant::scroll`].
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn scroll(&self, request: &ScrollRequest) -> Result<Page, ReadError> {
        let mut page = Page { rows: Vec::new(), next: None };
        let start = request.after.as_ref().map(|key| self.place(key));
        for (place, value) in &self.records {
            if start.as_ref().is_some_and(|start| place <= start) {
                continue;
            }
            let Some(key) = caller_key(place) else { continue };
            let row = self.tenant.row(&self.schema, key, place, value, request.with_vectors)?;
            let is_wanted = |filter: &Filter| filter.matches(&self.schema, &row.payload) == Some(true);
            if !request.filter.as_ref().is_none_or(is_wanted) {
                continue;
            }
            if page.rows.len() == request.limit.max(1) {
                page.next = page.rows.last().map(|row| row.key.clone());
                break;
            }
            page.rows.push(row);
        }
        Ok(page)
    }

    /// The rows nearest to the request's query; see [`Tenant::search`].
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn search(&self, request: &SearchRequest) -> Result<Vec<Found>, ReadError> {
        let number = match request.vector.as_deref() {
            None => 0,
            Some(name) => {
                self.schema.vector(name).ok_or_else(|| ReadError::UnknownVector { vector: name.into() })?.0
            }
        };
        let rows = &self.tenant.core.rows[number];
        let (schema, state) = (&*self.schema, &self.state);
        let search = Search { schema, state, rows, vector: number, graph_allowed: false };
        search.check(&request.query)?;
        let view = search.view(request.filter.as_ref())?;
        let items = candidates(&search, &view, request)?;
        let inner = self.state.read();
        let found = items.iter().filter_map(|item| {
            let key = inner.keys.key(item.row)?.clone();
            let payload = if request.with_payload {
                let place = self.place(&key);
                Some(Record::decode(&place, self.records.get(&place)?)?.payload()?)
            } else {
                None
            };
            Some(Found { key, distance: item.distance, payload })
        });
        Ok(found.collect())
    }
}
