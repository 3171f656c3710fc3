//! Looking after a collection: figures, a full check, repair.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use orthant_engine::Key;
use serde::Serialize;

use crate::catalog::Table;
use crate::entry_keys::{caller_key, parts};
use crate::error::{ReadError, WriteError};
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
    /// About how many bytes the codes of rows take in memory.
    pub code_bytes: u64,
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
            code_bytes: core.rows.iter().map(|rows| rows.codes().bytes() as u64).sum(),
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
        let _reading = core.readers.enter();
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
}
