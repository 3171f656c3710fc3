//! Going through a tenant's rows page by page, in the order of their keys.
//!
//! A page begins behind the last key of the one before: what is written or deleted meanwhile moves nothing, and no page passes over
//! those before it.

use std::ops::Bound;
use std::sync::Arc;

use orthant_engine::Key;
use roaring::RoaringBitmap;

use crate::catalog::ROWS;
use crate::entry_keys::{caller_key, prefix_end};
use crate::error::ReadError;
use crate::filter::Filter;
use crate::record::Record;
use crate::row::Row;
use crate::tenant::Tenant;

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

/// Below this many matches a page looks its rows up one by one.
const FEW_MATCHES: u64 = 10_000;

#[cfg(test)]
thread_local! {
    /// Entries of the catalog that this thread looked at.
    static LOOKS: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

fn note_look() {
    #[cfg(test)]
    LOOKS.set(LOOKS.get() + 1);
}

impl Tenant {
    /// A page of rows by key. A page costs the same wherever it starts; a row that stays, also one that is replaced by one that
    /// fulfils the filter as well, is on exactly one page, whatever is written meanwhile.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn scroll(&self, request: &ScrollRequest) -> Result<Page, ReadError> {
        let schema = self.core.schema();
        let condition = request.filter.as_ref().map(|filter| filter.resolve(&schema)).transpose()?;
        let mut page = Page { rows: Vec::new(), next: None };
        let _reading = self.core.readers.enter();
        let Some((id, state)) = self.state()? else { return Ok(page) };
        let limit = request.limit.max(1);
        let version = state.read().version.clone();
        let matches = condition.map(|condition| state.read().fields.select(&condition, &version.live));
        let is_match = |record: &Record, matches: &RoaringBitmap| {
            // A row that is newer than the version is asked itself: the one it replaced may have been a match.
            matches.contains(record.row)
                || !version.live.contains(record.row)
                    && request.filter.as_ref().is_none_or(|filter| {
                        record
                            .payload()
                            .is_some_and(|payload| filter.matches(&schema, &payload) == Some(true))
                    })
        };
        let read = self.core.shared.catalog.read().map_err(Arc::new)?;
        let table = read.open_table(ROWS).map_err(|error| self.catalog_error(error))?;
        let prefix = self.core.entry_keys.tenant(id);
        let start = match &request.after {
            Some(key) => Bound::Excluded(self.core.entry_keys.row(id, key)),
            None => Bound::Included(prefix.clone()),
        };
        if let Some(matches) = matches.as_ref().filter(|matches| matches.len() < FEW_MATCHES) {
            // Few rows match: look them up by key instead of passing all others.
            let mut keys: Vec<Vec<u8>> = {
                let inner = state.read();
                let place = |row| inner.keys.key(row).map(|key| self.core.entry_keys.row(id, key));
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
                note_look();
                if !Record::decode(place, value.value()).is_some_and(|record| is_match(&record, matches)) {
                    continue;
                }
                if page.rows.len() == limit {
                    page.next = page.rows.last().map(|row| row.key.clone());
                    break;
                }
                let key = caller_key(place).ok_or_else(|| self.damaged_entry("a row"))?;
                page.rows.push(self.row(&schema, key, place, value.value(), request.with_vectors)?);
            }
            return Ok(page);
        }
        let end = prefix_end(&prefix);
        let start = start.as_ref().map(|start| &start[..]);
        let range = (start, Bound::Excluded(&end[..]));
        for entry in table.range::<&[u8]>(range).map_err(|error| self.catalog_error(error))? {
            let (place, value) = entry.map_err(|error| self.catalog_error(error))?;
            let (place, value) = (place.value(), value.value());
            note_look();
            if let Some(matches) = &matches
                && !Record::decode(place, value).is_some_and(|record| is_match(&record, matches))
            {
                continue;
            }
            if page.rows.len() == limit {
                page.next = page.rows.last().map(|row| row.key.clone());
                break;
            }
            let key = caller_key(place).ok_or_else(|| self.damaged_entry("a row"))?;
            page.rows.push(self.row(&schema, key, place, value, request.with_vectors)?);
        }
        Ok(page)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::Simulated;
    use crate::{Database, FieldType, Metric, Options, Schema, field};
    use serde_json::json;

    const ROWS: u64 = 30_000;

    fn row(key: u64, version: u64) -> Row {
        let payload = json!({"part": key % 100, "version": version});
        Row::new(key, [key as f32]).with_payload(payload).unwrap()
    }

    fn tenant() -> Tenant {
        let options = Options { background: false, files: Arc::new(Simulated::new()), ..Options::default() };
        let database = Database::create("/db", options).unwrap();
        let schema = Schema::new(1, Metric::L2).with_field("part", FieldType::Integer);
        let tenant = database.create_collection("c", schema).unwrap().only();
        tenant.upsert_batch((0..ROWS).map(|key| row(key, 0))).unwrap();
        tenant
    }

    /// All pages: keys, and the entries looked at for each; `between` is done between two pages.
    fn pages(tenant: &Tenant, filter: Option<Filter>, mut between: impl FnMut(u64)) -> (Vec<u64>, Vec<u64>) {
        let mut request = ScrollRequest { limit: 100, filter, ..Default::default() };
        let (mut keys, mut looks) = (Vec::new(), Vec::new());
        loop {
            let before = LOOKS.get();
            let page = tenant.scroll(&request).unwrap();
            looks.push(LOOKS.get() - before);
            keys.extend(page.rows.iter().map(|row| match row.key {
                Key::Int(key) => key,
                Key::Str(_) => unreachable!("no such key was written"),
            }));
            request.after = page.next;
            if request.after.is_none() {
                return (keys, looks);
            }
            between(looks.len() as u64);
        }
    }

    #[test]
    fn a_page_costs_the_same_wherever_it_starts() {
        let tenant = tenant();
        let (keys, looks) = pages(&tenant, None, |_| ());
        assert_eq!(keys, (0..ROWS).collect::<Vec<_>>());
        assert!(looks.len() == 300 && looks[..299].iter().all(|&looks| looks == 101), "{looks:?}");
        // Many match, which passes over those that do not; few, which are looked up.
        for (share, most) in [(50, 300), (2, 101)] {
            let (keys, looks) = pages(&tenant, Some(field("part").lt(share as i64)), |_| ());
            assert_eq!(keys.len() as u64, ROWS * share / 100);
            assert!(looks.iter().all(|&looks| looks <= most), "{share}: {looks:?}");
        }
    }

    #[test]
    fn a_row_that_stays_is_on_one_page_whatever_is_written() {
        let tenant = tenant();
        for share in [100, 50, 2] {
            let filter = (share < 100).then(|| field("part").lt(share as i64));
            let writes = |page: u64| {
                // Replaced before and behind the page, added behind all, and one in between taken and put back.
                let keys = (0..40).map(|n| (page * 7919 + n * 769) % ROWS);
                tenant.upsert_batch(keys.map(|key| row(key, page))).unwrap();
                tenant.upsert(row(ROWS + page, page)).unwrap();
                tenant.delete(ROWS + page).unwrap();
            };
            let (keys, _) = pages(&tenant, filter, writes);
            assert_eq!(keys, (0..ROWS).filter(|key| key % 100 < share).collect::<Vec<_>>());
        }
    }
}
