//! Collections and their tenants: the handles that applications use.
//!
//! Rows belong to a tenant, and everything that touches rows is a method of [`Tenant`]: there is no call that could return a
//! row, a count, a facet or a cached answer of another one. An application without tenants uses one, [`Collection::only`].

use std::ops::Bound;
use std::sync::{Arc, OnceLock};

use orthant_engine::Key;

use crate::catalog::ROWS;
use crate::collection::CollectionCore;
use crate::commit::{Op, Written};
use crate::database::{DatabaseInner, check_name};
use crate::error::{ReadError, WriteError};
use crate::fields::Facet;
use crate::filter::Filter;
use crate::matches::Matches;
use crate::record::{Record, append_key, decode_key, encode_key, prefix_end, tenant_prefix};
use crate::row::{Row, check_key};
use crate::schema::{FieldType, Schema};
use crate::search::{Candidate, Found, Search, SearchRequest, View};
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

/// What to scroll through.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ScrollRequest {
    /// Go on behind this key; without, from the first.
    pub after: Option<Key>,
    /// Rows of a page; 0 counts as 1.
    pub limit: usize,
    /// Which rows.
    pub filter: Option<Filter>,
    /// Return vectors, too.
    pub with_vectors: bool,
}

/// A page of rows, by key: numbers first, then texts.
#[derive(Debug, Clone, PartialEq)]
pub struct Page {
    /// The rows.
    pub rows: Vec<Row>,
    /// What to give as `after` for the next page; `None` when there is none.
    pub next: Option<Key>,
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

    fn id(&self) -> Result<Option<u32>, ReadError> {
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

    fn damaged_entry(&self, what: &'static str) -> ReadError {
        Arc::new(self.core.shared.catalog.damaged(what)).into()
    }

    fn catalog_error(&self, error: impl Into<redb::Error>) -> ReadError {
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
        let read = self.core.shared.catalog.read().map_err(Arc::new)?;
        let table = read.open_table(ROWS).map_err(|error| self.catalog_error(error))?;
        let schema = self.core.schema();
        let one = |key: &Key| {
            let place = encode_key(self.core.id, id, key);
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

    /// A page of rows by key. A page costs the same wherever it starts; a row that stays is on exactly one page, whatever is
    /// written meanwhile.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn scroll(&self, request: &ScrollRequest) -> Result<Page, ReadError> {
        let schema = self.core.schema();
        let condition = request.filter.as_ref().map(|filter| filter.resolve(&schema)).transpose()?;
        let mut page = Page { rows: Vec::new(), next: None };
        let Some((id, state)) = self.state()? else { return Ok(page) };
        let limit = request.limit.max(1);
        let matches = condition.map(|condition| {
            let inner = state.read();
            inner.fields.select(&condition, &inner.version.live)
        });
        let read = self.core.shared.catalog.read().map_err(Arc::new)?;
        let table = read.open_table(ROWS).map_err(|error| self.catalog_error(error))?;
        let prefix = tenant_prefix(self.core.id, id);
        let start = match &request.after {
            Some(key) => {
                let mut start = prefix.to_vec();
                append_key(&mut start, key);
                Bound::Excluded(start)
            }
            None => Bound::Included(prefix.to_vec()),
        };
        if let Some(matches) = matches.as_ref().filter(|matches| matches.len() < FEW_MATCHES) {
            // Few rows match: look them up by key instead of passing all others.
            let mut keys: Vec<Vec<u8>> = {
                let inner = state.read();
                let place = |row| inner.keys.key(row).map(|key| encode_key(self.core.id, id, key));
                matches.iter().filter_map(place).collect()
            };
            keys.sort_unstable();
            let from = match &start {
                Bound::Excluded(start) => keys.partition_point(|key| key <= start),
                _ => 0,
            };
            for place in &keys[from..] {
                let Some(value) = table.get(&place[..]).map_err(|error| self.catalog_error(error))? else {
                    continue;
                };
                if !Record::decode(place, value.value()).is_some_and(|record| matches.contains(record.row)) {
                    continue;
                }
                if page.rows.len() == limit {
                    page.next = page.rows.last().map(|row| row.key.clone());
                    break;
                }
                let key = decode_key(&place[8..]).ok_or_else(|| self.damaged_entry("a row"))?;
                page.rows.push(self.row(&schema, key, place, value.value(), request.with_vectors)?);
            }
            return Ok(page);
        }
        let end = prefix_end(&prefix).unwrap_or_else(|| vec![255; 9]);
        let start = start.as_ref().map(|start| &start[..]);
        let range = (start, Bound::Excluded(&end[..]));
        for entry in table.range::<&[u8]>(range).map_err(|error| self.catalog_error(error))? {
            let (place, value) = entry.map_err(|error| self.catalog_error(error))?;
            let (place, value) = (place.value(), value.value());
            if let Some(matches) = &matches
                && !Record::decode(place, value).is_some_and(|record| matches.contains(record.row))
            {
                continue;
            }
            if page.rows.len() == limit {
                page.next = page.rows.last().map(|row| row.key.clone());
                break;
            }
            let key = decode_key(&place[8..]).ok_or_else(|| self.damaged_entry("a row"))?;
            page.rows.push(self.row(&schema, key, place, value, request.with_vectors)?);
        }
        Ok(page)
    }

    /// The keys of rows that were found damaged, so far. They are in no result; [`get`](Self::get) says what is wrong.
    ///
    /// # Errors
    /// [`ReadError::Storage`].
    pub fn damaged(&self) -> Result<Vec<Key>, ReadError> {
        let Some((_, state)) = self.state()? else { return Ok(Vec::new()) };
        Ok(state.read().damaged.iter().cloned().collect())
    }

    // Searching.

    fn search_on<'a>(
        &'a self,
        schema: &'a Schema,
        state: &'a TenantState,
        vector: Option<&str>,
    ) -> Result<Search<'a>, ReadError> {
        let number = match vector {
            None => 0,
            Some(name) => {
                schema.vector(name).ok_or_else(|| ReadError::UnknownVector { vector: name.into() })?.0
            }
        };
        Ok(Search { schema, state, rows: &self.core.rows[number], vector: number, graph_allowed: true })
    }

    /// The rows nearest to the request's query, nearest first: `k` of them, or all that match if they are fewer. What was
    /// acknowledged before the call is found.
    ///
    /// On a multi vector, the query's vectors are compared by max-sim.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn search(&self, request: &SearchRequest) -> Result<Vec<Found>, ReadError> {
        self.search_without(request, &[])
    }

    fn search_without(&self, request: &SearchRequest, left_out: &[Key]) -> Result<Vec<Found>, ReadError> {
        let schema = self.core.schema();
        if self.id()?.is_none() {
            // The request is checked all the same.
            let empty = TenantState::new(&schema);
            let search = self.search_on(&schema, &empty, request.vector.as_deref())?;
            search.check(&request.query)?;
            search.view(request.filter.as_ref())?;
            return Ok(Vec::new());
        }
        let mut found = Vec::new();
        // A payload that was replaced between the search and its reading belongs to another row than the one that was
        // compared: search again. Each turn means that a writer was faster; after a few, what is left is returned.
        for _ in 0..4 {
            let Some((id, state)) = self.state()? else { break };
            let search = self.search_on(&schema, &state, request.vector.as_deref())?;
            search.check(&request.query)?;
            let mut view = search.view(request.filter.as_ref())?;
            if !left_out.is_empty() {
                let inner = state.read();
                let mut rows = view.matches.rows.clone();
                rows.retain(|row| inner.keys.key(row).is_none_or(|key| !left_out.contains(key)));
                view.matches = Arc::new(Matches::new(rows, true));
            }
            let items = candidates(&search, &view, request)?;
            let is_whole;
            (found, is_whole) = self.found(id, &state, &view, &items, request.with_payload)?;
            if is_whole {
                break;
            }
        }
        Ok(found)
    }

    /// The keys, and payloads, of candidates; whether none had to be left out.
    fn found(
        &self,
        id: u32,
        state: &TenantState,
        view: &View,
        items: &[Candidate],
        with_payload: bool,
    ) -> Result<(Vec<Found>, bool), ReadError> {
        // `view` holds the version, so the keys of its rows are there (state V2).
        let _version = &view.version;
        let mut found: Vec<(u32, Found)> = {
            let inner = state.read();
            let with_key = |item: &Candidate| {
                let key = inner.keys.key(item.row)?.clone();
                Some((item.row, Found { key, distance: item.distance, payload: None }))
            };
            items.iter().filter_map(with_key).collect()
        };
        let mut is_whole = true;
        if with_payload {
            let read = self.core.shared.catalog.read().map_err(Arc::new)?;
            let table = read.open_table(ROWS).map_err(|error| self.catalog_error(error))?;
            let mut failed = None;
            found.retain_mut(|(row, found)| {
                let place = encode_key(self.core.id, id, &found.key);
                let record = match table.get(&place[..]) {
                    Ok(value) => value.and_then(|value| Record::decode(&place, value.value())),
                    Err(error) => {
                        failed = Some(error);
                        None
                    }
                };
                found.payload =
                    record.filter(|record| record.row == *row).and_then(|record| record.payload());
                is_whole &= found.payload.is_some();
                found.payload.is_some()
            });
            if let Some(error) = failed {
                return Err(self.catalog_error(error));
            }
        }
        Ok((found.into_iter().map(|(_, found)| found).collect(), is_whole))
    }

    /// Rows like `positive` and unlike `negative`, which are left out themselves: a search for the mean of the positive ones,
    /// moved away from the mean of the negative ones by their difference. The request's query is not looked at.
    ///
    /// # Errors
    /// [`ReadError::NoRow`] if an example is missing or lacks the vector, [`ReadError::Request`] without positive examples or on
    /// a multi vector, [`ReadError`].
    pub fn recommend(
        &self,
        positive: &[Key],
        negative: &[Key],
        request: &SearchRequest,
    ) -> Result<Vec<Found>, ReadError> {
        let schema = self.core.schema();
        let name = match &request.vector {
            Some(name) => {
                schema.vector(name).ok_or_else(|| ReadError::UnknownVector { vector: name.clone() })?.1
            }
            None => &schema.vectors[0],
        };
        let refuse = |problem| ReadError::Request { vector: name.name.clone(), problem };
        if name.multi {
            return Err(refuse("recommendations need a plain vector"));
        }
        if positive.is_empty() {
            return Err(refuse("recommendations need a positive example"));
        }
        let mean = |keys: &[Key]| -> Result<Vec<f32>, ReadError> {
            let mut sum = vec![0.0f32; name.dim];
            for (key, row) in keys.iter().zip(self.get_batch(keys)?) {
                let vectors = row.ok_or_else(|| ReadError::NoRow { key: key.clone() })?.vectors;
                let Some((_, elements)) = vectors.into_iter().find(|(other, _)| *other == name.name) else {
                    return Err(ReadError::NoRow { key: key.clone() });
                };
                sum.iter_mut().zip(elements).for_each(|(sum, value)| *sum += value / keys.len() as f32);
            }
            Ok(sum)
        };
        let mut query = mean(positive)?;
        if !negative.is_empty() {
            let away = mean(negative)?;
            query.iter_mut().zip(away).for_each(|(value, away)| *value += *value - away);
        }
        let left_out: Vec<Key> = positive.iter().chain(negative).cloned().collect();
        self.search_without(&SearchRequest { query, ..request.clone() }, &left_out)
    }
}

/// Below this many matches a page looks its rows up one by one.
const FEW_MATCHES: u64 = 10_000;

/// The rows that answer a request, in order.
pub(crate) fn candidates(
    search: &Search<'_>,
    view: &View,
    request: &SearchRequest,
) -> Result<Vec<Candidate>, ReadError> {
    let (query, k) = (&request.query[..], request.k.max(1));
    let refuse = |problem| ReadError::Request { vector: search.field().name.clone(), problem };
    if search.field().multi {
        if request.diversity.is_some() {
            return Err(refuse("variety needs a plain vector"));
        }
        let mut items = search.max_sim(view, query, k)?;
        if let Some(radius) = request.radius {
            items.retain(|item| item.distance <= radius);
        }
        return Ok(items);
    }
    // Variety picks from several times as many as are wanted; four times is a choice, not a measured one.
    let wanted = if request.diversity.is_some() { (4 * k).max(32) } else { k };
    let items = match request.radius {
        Some(radius) => search.within(view, query, radius, wanted, request.exact)?,
        None => search.nearest(view, query, wanted, request.ef.max(wanted), request.exact)?,
    };
    match request.diversity {
        Some(nearness) if (0.0..=1.0).contains(&nearness) => search.diverse(items, k, nearness),
        Some(_) => Err(refuse("variety is a number from 0 to 1")),
        None => Ok(items),
    }
}
