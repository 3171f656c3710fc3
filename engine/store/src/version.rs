//! Versions: named snapshots, going back, new fields.
//!
//! A snapshot is a name, a commit and a bound: the rows below the bound that had not ended by then. Making one costs one small
//! transaction. A row that ends while a snapshot needs it moves, within the same commit, to the catalog's table `old`; its vectors
//! stay where they are.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::catalog::{Catalog, Put, SnapshotEntry, Table};
use crate::commit::Committer;
use crate::database::{change_entry, check_name};
use crate::entry_keys::{caller_key, parts, prefix_end};
use crate::error::{StorageError, WriteError};
use crate::old::{OldRow, decode_old};
use crate::record::Record;
use crate::schema::FieldType;
use crate::tenant::Collection;
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
pub(crate) fn needs(snapshot: &SnapshotEntry, old: &OldRow) -> bool {
    old.row < snapshot.bound && old.ended > snapshot.sequence
}

/// Calls `each(key, value)` for the entries of `table` that start with `prefix`.
pub(crate) fn for_each_entry(
    catalog: &Catalog,
    table: Table,
    prefix: &[u8],
    each: impl FnMut(&[u8], &[u8]),
) -> Result<(), StorageError> {
    for_each_in(catalog, &catalog.read()?, table, prefix, each)
}

/// As [`for_each_entry`], in a view of the catalog that was taken before.
pub(crate) fn for_each_in(
    catalog: &Catalog,
    read: &redb::ReadTransaction,
    table: Table,
    prefix: &[u8],
    mut each: impl FnMut(&[u8], &[u8]),
) -> Result<(), StorageError> {
    let table = read.open_table(table.definition()).map_err(|error| catalog.error(error))?;
    let end = prefix_end(prefix);
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

    pub(crate) fn snapshot(&self, name: &str) -> Option<SnapshotEntry> {
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
            for_each_entry(catalog, Table::Rows, &core.entry_keys.all(), |key, value| {
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
            for_each_entry(&committer.shared.catalog, Table::Rows, &core.entry_keys.all(), |key, value| {
                let Some(record) = Record::decode(key, value) else { return };
                let Some(payload) = record.payload() else { return };
                match field.value(&payload) {
                    Ok(value) => {
                        let Some(parts) = parts(key) else { return };
                        values.entry(parts.tenant).or_default().push((record.row, value));
                    }
                    Err(_) => misfit = misfit.take().or_else(|| caller_key(key)),
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
