//! Versions: named snapshots, reading them, going back, new fields, copies.
//!
//! A snapshot is a name, a commit and a bound: the rows below the bound that had not ended by then. Making one costs one small
//! transaction. A row that ends while a snapshot needs it moves, within the same commit, to the catalog's table `old`; its vectors
//! stay where they are.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use orthant_engine::Key;

use crate::catalog::{Catalog, OLD, Put, ROWS, SnapshotEntry, Table};
use crate::collection::state_of;
use crate::commit::{Committer, OldRow, decode_old};
use crate::database::{Database, change_entry, check_name};
use crate::error::{ReadError, StorageError, WriteError};
use crate::fields::Facet;
use crate::filter::Filter;
use crate::record::{Record, decode_key, prefix_end, tenant_prefix};
use crate::row::Row;
use crate::schema::{FieldType, Schema};
use crate::search::{Found, Search, SearchRequest};
use crate::state::TenantState;
use crate::tenant::{Collection, Page, ScrollRequest, Tenant, candidates};
use crate::values::FieldValue;

/// A named snapshot of a collection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotInfo {
    /// Its name.
    pub name: Box<str>,
    /// The newest commit it holds.
    pub sequence: u64,
}

/// Whether snapshot `snapshot` needs a row that ended.
fn needs(snapshot: &SnapshotEntry, old: &OldRow) -> bool {
    old.row < snapshot.bound && old.ended > snapshot.sequence
}

/// Calls `each(key, value)` for the entries of `table` that start with `prefix`.
pub(crate) fn for_each_entry(
    catalog: &Catalog,
    table: Table,
    prefix: &[u8],
    mut each: impl FnMut(&[u8], &[u8]),
) -> Result<(), StorageError> {
    let read = catalog.read()?;
    let table = read.open_table(table.definition()).map_err(|error| catalog.error(error))?;
    let end = prefix_end(prefix).unwrap_or_else(|| vec![255; prefix.len() + 1]);
    for entry in table.range(prefix..&end[..]).map_err(|error| catalog.error(error))? {
        let (key, value) = entry.map_err(|error| catalog.error(error))?;
        each(key.value(), value.value());
    }
    Ok(())
}

fn storage(error: StorageError) -> WriteError {
    WriteError::Storage(Arc::new(error))
}

impl Collection {
    /// Makes a snapshot of all tenants as they are now. It is safe when this returns.
    ///
    /// # Errors
    /// [`WriteError::Name`] for a name that is taken, empty or too long, [`WriteError`].
    pub fn create_snapshot(&self, name: &str) -> Result<SnapshotInfo, WriteError> {
        check_name(name)?;
        let (core, name) = (self.core.clone(), Box::<str>::from(name));
        self.database.task(move |committer| {
            if core.snapshots().iter().any(|snapshot| snapshot.name == name) {
                return Err(WriteError::Name { name, problem: "taken" });
            }
            let Some((_, counters)) = committer.collections.get(&core.id) else {
                return Err(WriteError::Unknown { what: "collection", name: core.name.clone() });
            };
            let snapshot = SnapshotEntry { name, sequence: committer.sequence, bound: counters.row };
            let added = snapshot.clone();
            let entry = change_entry(committer, &core, |entry| entry.snapshots.push(added), Vec::new())?;
            core.set_snapshots(entry.snapshots);
            Ok(SnapshotInfo { name: snapshot.name, sequence: snapshot.sequence })
        })?
    }

    /// All snapshots, oldest first.
    pub fn snapshots(&self) -> Vec<SnapshotInfo> {
        let info =
            |entry: &SnapshotEntry| SnapshotInfo { name: entry.name.clone(), sequence: entry.sequence };
        self.core.snapshots().iter().map(info).collect()
    }

    fn snapshot(&self, name: &str) -> Option<SnapshotEntry> {
        self.core.snapshots().iter().find(|snapshot| &*snapshot.name == name).cloned()
    }

    /// Removes a snapshot, and the rows that only it needed.
    ///
    /// # Errors
    /// [`WriteError::Unknown`], [`WriteError`].
    pub fn drop_snapshot(&self, name: &str) -> Result<(), WriteError> {
        let (core, name) = (self.core.clone(), Box::<str>::from(name));
        self.database.task(move |committer| {
            let mut left = (*core.snapshots()).clone();
            left.retain(|snapshot| snapshot.name != name);
            if left.len() == core.snapshots().len() {
                return Err(WriteError::Unknown { what: "snapshot", name });
            }
            let puts = unneeded(committer, core.id, &left).map_err(storage)?;
            let kept = left.clone();
            change_entry(committer, &core, |entry| entry.snapshots = kept, puts)?;
            core.set_snapshots(left);
            Ok(())
        })?
    }

    /// Makes the collection what it was when the snapshot was made. Snapshots made later are dropped. Searches that run at
    /// the same time see the one state or the other.
    ///
    /// # Errors
    /// [`WriteError::Unknown`], [`WriteError`]; nothing has changed then.
    pub fn rollback(&self, name: &str) -> Result<(), WriteError> {
        let (core, name) = (self.core.clone(), Box::<str>::from(name));
        self.database.task(move |committer| {
            let snapshots = core.snapshots();
            let Some(target) = snapshots.iter().find(|snapshot| snapshot.name == name).cloned() else {
                return Err(WriteError::Unknown { what: "snapshot", name });
            };
            let catalog = &committer.shared.catalog;
            let mut puts = Vec::new();
            for_each_entry(catalog, Table::Rows, &core.id.to_be_bytes(), |key, value| {
                // A damaged entry says nothing of its age: it stays, and is reported as it was.
                if Record::decode(key, value).is_some_and(|record| record.row >= target.bound) {
                    puts.push(Put { table: Table::Rows, key: key.to_vec(), value: None });
                }
            })
            .map_err(storage)?;
            for_each_entry(catalog, Table::Old, &core.id.to_be_bytes(), |place, bytes| {
                let Some(old) = decode_old(place, bytes) else { return };
                if needs(&target, &old) {
                    puts.push(Put { table: Table::Rows, key: old.key, value: Some(old.value) });
                }
                // What earlier snapshots need of it, it has as a row that lives; later ones are dropped.
                puts.push(Put { table: Table::Old, key: place.to_vec(), value: None });
            })
            .map_err(storage)?;
            let left: Vec<_> =
                snapshots.iter().filter(|snapshot| snapshot.sequence <= target.sequence).cloned().collect();
            let older = older_rows(committer, core.id, &left, &target).map_err(storage)?;
            puts.retain(|put| put.table != Table::Old || !older.contains(&put.key));
            // Readers and loaders wait while their tenant changes; nobody commits, as this is the committing thread.
            let cells = core.cells();
            let gates: Vec<_> = cells.iter().map(|cell| cell.gate()).collect();
            let kept = left.clone();
            change_entry(committer, &core, |entry| entry.snapshots = kept, puts)?;
            cells.iter().for_each(|cell| cell.unload());
            drop(gates);
            core.set_snapshots(left);
            Ok(())
        })?
    }

    /// Adds a field. Rows that are there are checked and indexed; their payloads may have had the field all along.
    ///
    /// # Errors
    /// [`WriteError::Evolution`] with the first row that does not fit, [`WriteError::Schema`], [`WriteError`]; nothing has
    /// changed then.
    pub fn add_field(&self, name: &str, kind: FieldType) -> Result<(), WriteError> {
        let core = self.core.clone();
        let name = name.to_owned();
        self.database.task(move |committer| {
            let schema = (*core.schema()).clone().with_field(&name, kind);
            schema.check()?;
            let Some(field) = schema.fields.last() else { return Ok(()) };
            let mut values: BTreeMap<u32, Vec<(u32, Option<FieldValue>)>> = BTreeMap::new();
            let mut misfit = None;
            for_each_entry(&committer.shared.catalog, Table::Rows, &core.id.to_be_bytes(), |key, value| {
                let Some(record) = Record::decode(key, value) else { return };
                let Some(payload) = record.payload() else { return };
                match field.value(&payload) {
                    Ok(value) => {
                        let tenant = u32::from_be_bytes(key[4..8].try_into().unwrap_or_default());
                        values.entry(tenant).or_default().push((record.row, value));
                    }
                    Err(_) => misfit = misfit.take().or_else(|| decode_key(&key[8..])),
                }
            })
            .map_err(storage)?;
            if let Some(key) = misfit {
                return Err(WriteError::Evolution { field: name.into(), kind, key });
            }
            let stored = schema.clone();
            change_entry(committer, &core, |entry| entry.schema = stored, Vec::new())?;
            // First the schema, for tenants that are loaded from now on; then those that are in memory.
            core.set_schema(schema.clone());
            for cell in core.cells() {
                let _gate = cell.gate();
                let Some(state) = cell.state() else { continue };
                let mut inner = state.write();
                let known = inner.fields.len();
                if known < schema.fields.len() {
                    inner.fields.extend(&schema);
                    for (row, value) in values.remove(&cell.id).unwrap_or_default() {
                        inner.fields.insert_from(known, row, &[value]);
                    }
                }
            }
            Ok(())
        })?
    }
}

/// Removals of the old rows that none of `snapshots` needs.
fn unneeded(
    committer: &Committer,
    collection: u32,
    snapshots: &[SnapshotEntry],
) -> Result<Vec<Put>, StorageError> {
    let mut puts = Vec::new();
    for_each_entry(&committer.shared.catalog, Table::Old, &collection.to_be_bytes(), |place, bytes| {
        let is_needed =
            decode_old(place, bytes).is_none_or(|old| snapshots.iter().any(|snapshot| needs(snapshot, &old)));
        if !is_needed {
            puts.push(Put { table: Table::Old, key: place.to_vec(), value: None });
        }
    })?;
    Ok(puts)
}

/// The places of old rows that had ended before `target` but that a snapshot before it needs.
fn older_rows(
    committer: &Committer,
    collection: u32,
    snapshots: &[SnapshotEntry],
    target: &SnapshotEntry,
) -> Result<std::collections::BTreeSet<Vec<u8>>, StorageError> {
    let mut places = std::collections::BTreeSet::new();
    for_each_entry(&committer.shared.catalog, Table::Old, &collection.to_be_bytes(), |place, bytes| {
        if let Some(old) = decode_old(place, bytes)
            && !needs(target, &old)
            && snapshots.iter().any(|snapshot| needs(snapshot, &old))
        {
            places.insert(place.to_vec());
        }
    })?;
    Ok(places)
}

/// A tenant as a snapshot has it. Everything is in memory, and every search compares all rows that match: a way to look back,
/// not to serve.
#[derive(Debug)]
pub struct SnapshotReader {
    tenant: Tenant,
    schema: Arc<Schema>,
    state: TenantState,
    records: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Tenant {
    /// The tenant's rows as the snapshot of this name has them. The reader stays as it is, whatever is written, until the snapshot
    /// is dropped and the collection compacted.
    ///
    /// # Errors
    /// [`ReadError::Unknown`], [`ReadError::Storage`].
    pub fn at(&self, snapshot: &str) -> Result<SnapshotReader, ReadError> {
        let collection = Collection::new(self.database.clone(), self.core.clone());
        let Some(entry) = collection.snapshot(snapshot) else {
            return Err(ReadError::Unknown { what: "snapshot", name: snapshot.into() });
        };
        let schema = self.core.schema();
        let mut records = BTreeMap::new();
        if let Some(id) = self.core.tenant_id(self.name()).map_err(Arc::new)? {
            self.records_at(&entry, id, &mut records).map_err(Arc::new)?;
        }
        let born = records.iter().filter_map(|(key, value)| self.core.born(&schema, key, value)).collect();
        Ok(SnapshotReader { tenant: self.clone(), state: state_of(&schema, born), schema, records })
    }

    fn records_at(
        &self,
        entry: &SnapshotEntry,
        id: u32,
        records: &mut BTreeMap<Vec<u8>, Vec<u8>>,
    ) -> Result<(), StorageError> {
        let catalog = &self.core.shared.catalog;
        let prefix = tenant_prefix(self.core.id, id);
        let end = prefix_end(&prefix).unwrap_or_else(|| vec![255; 9]);
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

    fn place(&self, key: &Key) -> Option<Vec<u8>> {
        // All records are of one tenant: the first says which.
        let prefix = self.records.keys().next()?.get(..8)?;
        let mut place = prefix.to_vec();
        crate::record::append_key(&mut place, key);
        Some(place)
    }

    /// The row of this key.
    ///
    /// # Errors
    /// [`ReadError::RowDamaged`], [`ReadError::Storage`].
    pub fn get(&self, key: impl Into<Key>) -> Result<Option<Row>, ReadError> {
        let key = key.into();
        let Some(place) = self.place(&key) else { return Ok(None) };
        let value = self.records.get(&place);
        value.map(|value| self.tenant.row(&self.schema, key, &place, value, true)).transpose()
    }

    /// A page of rows by key; see [`Tenant::scroll`].
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn scroll(&self, request: &ScrollRequest) -> Result<Page, ReadError> {
        let mut page = Page { rows: Vec::new(), next: None };
        let start = request.after.as_ref().and_then(|key| self.place(key));
        for (place, value) in &self.records {
            if start.as_ref().is_some_and(|start| place <= start) {
                continue;
            }
            let Some(key) = decode_key(&place[8..]) else { continue };
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
                let place = self.place(&key)?;
                Some(Record::decode(&place, self.records.get(&place)?)?.payload()?)
            } else {
                None
            };
            Some(Found { key, distance: item.distance, payload })
        });
        Ok(found.collect())
    }
}

impl Database {
    /// Copies the database to folder `dir`, which must not hold one, as it is at this moment. Searches go on; writes wait.
    ///
    /// # Errors
    /// [`WriteError::Name`] if there is a database, [`WriteError::Storage`].
    pub fn copy_to(&self, dir: impl AsRef<Path>) -> Result<(), WriteError> {
        let dir = dir.as_ref().to_path_buf();
        let inner = self.inner.clone();
        self.inner.task(move |committer| {
            committer.checkpoint(Vec::new())?;
            let (files, from) = (inner.shared.files.clone(), inner.shared.dir.clone());
            let failed = |path: &Path, source| storage(StorageError::Io { path: path.to_path_buf(), source });
            files.create_dir(&dir).map_err(|source| failed(&dir, source))?;
            let catalog = Path::new("catalog.redb");
            let there = files.list(&dir).map_err(|source| failed(&dir, source))?;
            if there.contains(&dir.join(catalog)) {
                return Err(WriteError::Name {
                    name: dir.display().to_string().into(),
                    problem: "a database already",
                });
            }
            let mut folders = vec![from.join("graphs")];
            for (core, _) in committer.collections.values() {
                for vector in 0..core.rows.len() {
                    folders.push(from.join("rows").join(core.id.to_string()).join(vector.to_string()));
                }
            }
            for folder in folders {
                // Graphs may never have been saved.
                let Ok(names) = files.list(&folder) else { continue };
                let target = dir.join(folder.strip_prefix(&from).unwrap_or(&folder));
                files.create_dir(&target).map_err(|source| failed(&target, source))?;
                for name in names {
                    let to = target.join(name.file_name().unwrap_or_default());
                    copy(&*files, &name, &to).map_err(|source| failed(&to, source))?;
                }
                files.sync_dir(&target).map_err(|source| failed(&target, source))?;
            }
            // The catalog last, under another name until it is whole: what is there before is no database.
            let (to, whole) = (dir.join("catalog.new"), dir.join(catalog));
            copy(&*files, &from.join(catalog), &to).map_err(|source| failed(&to, source))?;
            files.rename(&to, &whole).map_err(|source| failed(&whole, source))?;
            files.sync_dir(&dir).map_err(|source| failed(&dir, source))
        })?
    }
}

/// Copies a file through the file layer, safely.
fn copy(files: &dyn crate::files::Files, from: &Path, to: &Path) -> std::io::Result<()> {
    let (from, to) = (files.open(from)?, files.create(to)?);
    let length = from.len()?;
    to.set_len(0)?;
    let mut buffer = vec![0; 1 << 20];
    let mut at = 0;
    while at < length {
        let bytes = ((length - at) as usize).min(buffer.len());
        from.read_at(at, &mut buffer[..bytes])?;
        to.write_at(at, &buffer[..bytes])?;
        at += bytes as u64;
    }
    to.sync()
}
