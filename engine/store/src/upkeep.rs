//! Looking after a collection: figures, a full check, repair, compaction.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use orthant_engine::Key;
use serde::Serialize;

use crate::catalog::Table;
use crate::commit::{Op, Upsert};
use crate::entry_keys::{caller_key, parts};
use crate::error::{ReadError, StorageError, WriteError};
use crate::old::decode_old;
use crate::record::Record;
use crate::rows::SEGMENT_ROWS;
use crate::tenant::Collection;
use crate::version::for_each_entry;

/// Figures of a collection.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Stats {
    /// Rows of all tenants.
    pub rows: u64,
    /// Tenants that ever had a row.
    pub tenants: u64,
    /// Snapshots.
    pub snapshots: u64,
    /// Rows kept for snapshots only.
    pub old_rows: u64,
    /// Bytes of keys, payloads and what goes with them.
    pub entry_bytes: u64,
    /// Bytes of vectors on disk.
    pub vector_bytes: u64,
    /// Tenants in memory, and about how many bytes they take there without their graphs.
    pub loaded_tenants: u64,
    /// See above.
    pub loaded_bytes: u64,
    /// Rows in graphs.
    pub graph_rows: u64,
    /// Rows of tenants with a graph that are not linked yet.
    pub unlinked_rows: u64,
    /// Rows that ended and that a reader may still see.
    pub retired_rows: u64,
}

/// What a check found.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct CheckReport {
    /// Rows that are whole.
    pub rows: u64,
    /// What is damaged.
    pub damages: Vec<Damage>,
}

/// One damage: where, and what it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub enum Damage {
    /// A row's entry in the catalog does not match its checksum: key and tenant are what is left of it.
    Entry {
        /// The tenant.
        tenant: Box<str>,
        /// The row.
        key: Box<str>,
    },
    /// A row's vector does not match its checksum or is missing.
    Vector {
        /// The tenant.
        tenant: Box<str>,
        /// The row.
        key: Box<str>,
        /// The vector.
        vector: Box<str>,
    },
    /// A row kept for a snapshot is damaged.
    Old {
        /// The tenant's number.
        tenant: u32,
    },
    /// The header of a row file. Its rows have their own checksums.
    Header {
        /// The file.
        path: PathBuf,
    },
}

/// What compaction did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Compacted {
    /// Rows moved out of files that were mostly dead.
    pub moved_rows: u64,
    /// Files of dead rows that were removed.
    pub removed_files: u64,
}

/// A file with a smaller share of live rows than this is emptied: what is moved is then at most what is freed.
const SPARSE: f64 = 0.5;

/// Longest wait for readers that still see dead rows; their files stay until the next compaction.
const PATIENCE: Duration = Duration::from_secs(5);

fn storage(error: StorageError) -> WriteError {
    WriteError::Storage(Arc::new(error))
}

impl Collection {
    /// Figures.
    ///
    /// # Errors
    /// [`ReadError::Storage`].
    pub fn stats(&self) -> Result<Stats, ReadError> {
        let core = &self.core;
        let mut stats = Stats {
            tenants: core.tenant_names().map_err(Arc::new)?.len() as u64,
            snapshots: core.snapshots().len() as u64,
            vector_bytes: core.rows.iter().map(|rows| rows.bytes()).sum(),
            ..Stats::default()
        };
        let prefix = core.entry_keys.all();
        for_each_entry(&core.shared.catalog, Table::Rows, &prefix, |key, value| {
            stats.rows += 1;
            stats.entry_bytes += (key.len() + value.len()) as u64;
        })
        .map_err(Arc::new)?;
        for_each_entry(&core.shared.catalog, Table::Old, &core.id.to_be_bytes(), |_, _| stats.old_rows += 1)
            .map_err(Arc::new)?;
        for state in core.cells().iter().filter_map(|cell| cell.state()) {
            stats.loaded_tenants += 1;
            stats.loaded_bytes += state.bytes() as u64;
            stats.retired_rows += state.retired();
            for vector in state.read().vectors.iter() {
                if let Some(graph) = &vector.graph {
                    stats.graph_rows += graph.len() as u64;
                    stats.unlinked_rows += vector.unlinked.len();
                }
            }
        }
        Ok(stats)
    }

    /// Compares every entry and every vector with its checksum.
    ///
    /// # Errors
    /// [`ReadError::Storage`] if the catalog itself cannot be read.
    pub fn check(&self) -> Result<CheckReport, ReadError> {
        let core = &self.core;
        let schema = core.schema();
        let names: BTreeMap<u32, Box<str>> =
            core.tenant_names().map_err(Arc::new)?.into_iter().map(|(name, id)| (id, name)).collect();
        let mut report = CheckReport::default();
        for rows in &core.rows {
            rows.forget_checks();
            report.damages.extend(rows.damaged_headers().into_iter().map(|path| Damage::Header { path }));
        }
        let damaged_vector = |record: &Record| {
            record
                .vectors
                .iter()
                .find(|placed| {
                    let Some(rows) = core.rows.get(usize::from(placed.vector)) else { return true };
                    (placed.start..placed.start.saturating_add(placed.count)).any(|position| {
                        let segment = rows.segment(position as usize / SEGMENT_ROWS);
                        segment.is_none_or(|segment| segment.check(position as usize % SEGMENT_ROWS).is_err())
                    })
                })
                .map(|placed| usize::from(placed.vector))
        };
        let prefix = core.entry_keys.all();
        for_each_entry(&core.shared.catalog, Table::Rows, &prefix, |place, value| {
            let tenant = parts(place).map_or(u32::MAX, |parts| parts.tenant);
            let tenant = names.get(&tenant).cloned().unwrap_or_else(|| format!("#{tenant}").into());
            let key = caller_key(place).map_or_else(|| "?".into(), |key| key.to_string().into());
            match Record::decode(place, value).filter(|record| record.payload().is_some()) {
                None => report.damages.push(Damage::Entry { tenant, key }),
                Some(record) => match damaged_vector(&record) {
                    Some(number) => {
                        let vector =
                            schema.vectors.get(number).map_or_else(|| "?".into(), |field| field.name.clone());
                        report.damages.push(Damage::Vector { tenant, key, vector });
                    }
                    None => report.rows += 1,
                },
            }
        })
        .map_err(Arc::new)?;
        for_each_entry(&core.shared.catalog, Table::Old, &core.id.to_be_bytes(), |place, value| {
            let record = decode_old(place, value).and_then(|old| Record::decode(&old.key, &old.value));
            if record.is_none_or(|record| damaged_vector(&record).is_some()) {
                let tenant = u32::from_be_bytes(place[4..8].try_into().unwrap_or_default());
                report.damages.push(Damage::Old { tenant });
            }
        })
        .map_err(Arc::new)?;
        Ok(report)
    }

    /// Deletes the rows that a [`check`](Self::check) finds damaged; how many. What is left of them is gone for good.
    ///
    /// # Errors
    /// [`WriteError`].
    pub fn repair(&self) -> Result<usize, WriteError> {
        let report = self.check().map_err(|error| WriteError::Read(Box::new(error)))?;
        let mut deleted = 0;
        for damage in report.damages {
            let (Damage::Entry { tenant, key } | Damage::Vector { tenant, key, .. }) = damage else {
                continue;
            };
            // A key is shown as text; both kinds may have been meant.
            let mut keys = vec![Key::Str(key.clone())];
            keys.extend(key.parse::<u64>().map(Key::Int));
            let tenant = self.tenant(&tenant)?;
            for key in keys {
                let is_fine = matches!(tenant.get(key.clone()), Ok(None) | Ok(Some(_)));
                if !is_fine {
                    deleted += tenant.delete_batch([key])?.rows;
                }
            }
        }
        Ok(deleted)
    }

    /// Gives back the space of dead rows: rows of files that are mostly dead are written anew, then files without a live row
    /// are removed. Readers and writers go on meanwhile.
    ///
    /// # Errors
    /// [`WriteError`].
    pub fn compact(&self) -> Result<Compacted, WriteError> {
        let mut done = Compacted::default();
        let sparse = self.sparse_segments()?;
        if !sparse.is_empty() {
            done.moved_rows = self.move_rows(&sparse)?;
        }
        self.settle_readers();
        // After this no crash brings a row back that lies in a file without live ones.
        let core = self.core.clone();
        done.removed_files += self.database.task(move |committer| {
            committer.checkpoint(Vec::new())?;
            let next = committer.collections.get(&core.id).map(|(_, counters)| counters.clone());
            let Some(next) = next else { return Ok(0) };
            let used = used_segments(&core).map_err(storage)?;
            let is_seen =
                core.cells().iter().filter_map(|cell| cell.state()).any(|state| state.retired() > 0);
            let mut removed = 0;
            for (vector, rows) in core.rows.iter().enumerate().filter(|_| !is_seen) {
                let is_multi = core.schema().vectors[vector].multi;
                let last = if is_multi { next.positions[vector] } else { next.row } as usize / SEGMENT_ROWS;
                for segment in rows.segment_numbers() {
                    if segment < last
                        && !used.contains_key(&(vector, segment))
                        && rows.remove_segment(segment).is_ok()
                    {
                        removed += 1;
                    }
                }
            }
            Ok::<u64, WriteError>(removed)
        })??;
        Ok(done)
    }

    /// Row files of plain vectors, but for the last, that are mostly dead.
    fn sparse_segments(&self) -> Result<Vec<usize>, WriteError> {
        let used = used_segments(&self.core).map_err(storage)?;
        let schema = self.core.schema();
        let mut sparse: Vec<usize> = Vec::new();
        for (vector, rows) in self.core.rows.iter().enumerate() {
            if schema.vectors[vector].multi {
                continue;
            }
            let numbers = rows.segment_numbers();
            for &segment in numbers.iter().take(numbers.len().saturating_sub(1)) {
                let live = used.get(&(vector, segment)).copied().unwrap_or(0);
                if live > 0 && (live as f64) < SPARSE * SEGMENT_ROWS as f64 {
                    sparse.push(segment);
                }
            }
        }
        sparse.sort_unstable();
        sparse.dedup();
        Ok(sparse)
    }

    /// Writes the rows of these segments anew, unless they change meanwhile.
    fn move_rows(&self, segments: &[usize]) -> Result<u64, WriteError> {
        let core = &self.core;
        let read = |error| WriteError::Read(Box::new(error));
        let names: BTreeMap<u32, Box<str>> =
            core.tenant_names().map_err(storage)?.into_iter().map(|(name, id)| (id, name)).collect();
        let mut places: Vec<(u32, Vec<u8>, u32)> = Vec::new();
        for_each_entry(&core.shared.catalog, Table::Rows, &core.entry_keys.all(), |place, value| {
            if let Some(record) = Record::decode(place, value)
                && segments.binary_search(&(record.row as usize / SEGMENT_ROWS)).is_ok()
            {
                let tenant = parts(place).map_or(u32::MAX, |parts| parts.tenant);
                places.push((tenant, place.to_vec(), record.row));
            }
        })
        .map_err(storage)?;
        let mut moved = 0;
        for batch in places.chunk_by(|a, b| a.0 == b.0).flat_map(|tenant| tenant.chunks(256)) {
            let Some(name) = batch.first().and_then(|(tenant, ..)| names.get(tenant)) else { continue };
            let tenant = self.tenant(name)?;
            let schema = core.schema();
            let mut ops = Vec::with_capacity(batch.len());
            for (_, place, row) in batch {
                let Some(key) = caller_key(place) else { continue };
                match tenant.get(key) {
                    Ok(Some(found)) => {
                        let upsert = found.prepare(&schema)?;
                        ops.push(Op::Upsert(Upsert { if_row: Some(*row), ..upsert }));
                    }
                    // Deleted meanwhile, or damaged: a damaged row stays where it is, for `check` to report.
                    Ok(None) | Err(ReadError::RowDamaged { .. }) => {}
                    Err(error) => return Err(read(error)),
                }
            }
            moved += self.database.commit(core, name, schema, ops)?.rows as u64;
        }
        Ok(moved)
    }

    /// Waits, not for ever, until no reader sees a row that ended.
    fn settle_readers(&self) {
        let started = Instant::now();
        while started.elapsed() < PATIENCE {
            let states: Vec<_> = self.core.cells().iter().filter_map(|cell| cell.state()).collect();
            if states.iter().all(|state| state.retired() == 0) {
                return;
            }
            if self.database.keeper.lock().is_ok_and(|keeper| keeper.is_none()) {
                // Without background work, this is who forgets them.
                states.iter().for_each(|state| drop(state.purge()));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

/// How many rows, live or kept for snapshots, each file of each vector holds.
fn used_segments(
    core: &crate::collection::CollectionCore,
) -> Result<BTreeMap<(usize, usize), u64>, StorageError> {
    let mut used = BTreeMap::new();
    let mut count = |record: Record| {
        for placed in &record.vectors {
            for position in placed.start..placed.start.saturating_add(placed.count) {
                *used.entry((usize::from(placed.vector), position as usize / SEGMENT_ROWS)).or_default() += 1;
            }
        }
    };
    let prefix = core.entry_keys.all();
    let mut unknown = 0u64;
    for_each_entry(&core.shared.catalog, Table::Rows, &prefix, |place, value| {
        Record::decode(place, value).map_or_else(|| unknown += 1, &mut count);
    })?;
    for_each_entry(&core.shared.catalog, Table::Old, &core.id.to_be_bytes(), |place, bytes| {
        let record = decode_old(place, bytes).and_then(|old| Record::decode(&old.key, &old.value));
        record.map_or_else(|| unknown += 1, &mut count);
    })?;
    if unknown > 0 {
        // Where the vectors of a damaged entry lie is not known: no file is without use then.
        return Err(core.shared.catalog.damaged("a row"));
    }
    Ok(used)
}
