//! Searching a tenant, from the request to keys and payloads.

use std::sync::Arc;

use orthant_engine::Key;

use crate::catalog::ROWS;
use crate::error::ReadError;
use crate::matches::Matches;
use crate::record::Record;
use crate::request::{Found, SearchRequest};
use crate::schema::Schema;
use crate::search::{Candidate, Search, View};
use crate::state::TenantState;
use crate::tenant::Tenant;

impl Tenant {
    pub(crate) fn search_on<'a>(
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
        let _reading = self.core.readers.enter();
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
    pub(crate) fn found(
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
                let place = self.core.entry_keys.row(id, &found.key);
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
