//! A group of batches on its way: what each does to rows, tables and counters, decided batch by batch before anything is written.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc::Sender;

use redb::ReadableTable;

use crate::catalog::{Put, Table};
use crate::collection::{CollectionCore, Shared, encode_tenant, tenant_key};
use crate::commit::{Committer, Op, WriteJob, Written};
use crate::counters::Counters;
use crate::error::{StorageError, WriteError};
use crate::old::encode_old;
use crate::record::{Placed, Record};
use crate::schema::Schema;
use crate::state::{Born, Change};

/// A batch in a group that went well so far.
pub(crate) struct Pending {
    pub(crate) reply: Sender<Result<Written, WriteError>>,
    pub(crate) rows: usize,
}

/// What a group is about to do.
#[derive(Default)]
pub(crate) struct Group {
    pub(crate) puts: Vec<Put>,
    pub(crate) rows: Vec<RowWrite>,
    pub(crate) changes: HashMap<(u32, u32), Change>,
    pub(crate) counters: HashMap<u32, Counters>,
    pub(crate) pending: Vec<Pending>,
}

pub(crate) struct RowWrite {
    pub(crate) collection: Arc<CollectionCore>,
    pub(crate) vector: usize,
    pub(crate) start: u32,
    pub(crate) elements: Vec<f32>,
}

impl Committer {
    /// Adds a batch to the group; one that cannot be done is answered here and leaves nothing.
    pub(crate) fn prepare(
        &self,
        mut job: WriteJob,
        sequence: u64,
        mut tables: Tables<'_, '_>,
        group: &mut Group,
    ) -> Result<(), Failure> {
        let id = job.collection.id;
        let refuse = |job: WriteJob, error| {
            let _ = job.reply.send(Err(error));
            Ok(())
        };
        let Some((_, counters)) = self.collections.get(&id).filter(|_| !job.collection.is_dropped()) else {
            let name = job.collection.name.clone();
            return refuse(job, WriteError::Unknown { what: "collection", name });
        };
        let schema = job.collection.schema();
        if !Arc::ptr_eq(&schema, &job.schema)
            && let Err(error) = read_again(&schema, &mut job.ops)
        {
            return refuse(job, error);
        }
        let counters = group.counters.entry(id).or_insert_with(|| counters.clone());
        if !has_room(counters, &schema, &job.ops) {
            return refuse(job, WriteError::RowsExhausted);
        }
        let tenant = match tables.tenant(&self.shared, id, &job.tenant)? {
            Some(tenant) => tenant,
            None if job.ops.iter().all(|op| matches!(op, Op::Delete { .. })) => {
                group.pending.push(Pending { reply: job.reply, rows: 0 });
                return Ok(());
            }
            None => {
                let tenant = counters.tenant;
                counters.tenant += 1;
                let key = tenant_key(id, &job.tenant);
                let value = encode_tenant(&key, tenant);
                tables.put(&self.shared, &mut group.puts, Table::Tenants, key, Some(value))?;
                tenant
            }
        };
        let newest_bound =
            job.collection.snapshots().iter().map(|snapshot| snapshot.bound).max().unwrap_or(0);
        let mut change = group.changes.remove(&(id, tenant)).unwrap_or_default();
        let mut rows = 0;
        for op in job.ops {
            let (key, if_row) = match &op {
                Op::Upsert(upsert) => (&upsert.key, upsert.if_row),
                Op::Delete { key, if_row } => (key, *if_row),
            };
            let bytes = job.collection.entry_keys.row(tenant, key);
            let current = tables.row(&self.shared, &bytes)?;
            let current_row =
                current.as_deref().map(|value| Record::decode(&bytes, value).map(|record| record.row));
            if if_row.is_some() && current_row != Some(if_row) {
                continue;
            }
            if let Some(value) = &current {
                // A damaged entry has no row number; it is replaced or removed all the same.
                if let Some(Some(row)) = current_row {
                    change.died.insert(row);
                    if row < newest_bound {
                        let (old_key, old) = encode_old((id, tenant, row), sequence, &bytes, value);
                        tables.put(&self.shared, &mut group.puts, Table::Old, old_key, Some(old))?;
                    }
                }
            }
            match op {
                Op::Upsert(upsert) => {
                    let row = counters.row;
                    counters.row += 1;
                    let vectors =
                        place(&job.collection, &schema, row, counters, upsert.vectors, &mut group.rows);
                    let record = Record { row, vectors: vectors.clone(), payload: upsert.payload };
                    let value = record.encode(&bytes);
                    change.born.push(Born { row, key: upsert.key, values: upsert.values, vectors });
                    tables.put(&self.shared, &mut group.puts, Table::Rows, bytes, Some(value))?;
                    rows += 1;
                }
                Op::Delete { .. } if current.is_some() => {
                    tables.put(&self.shared, &mut group.puts, Table::Rows, bytes, None)?;
                    rows += 1;
                }
                Op::Delete { .. } => {}
            }
        }
        group.changes.insert((id, tenant), change);
        group.pending.push(Pending { reply: job.reply, rows });
        Ok(())
    }
}

/// Why a group failed.
pub(crate) struct Failure {
    pub(crate) error: StorageError,
    /// Whether what the disk holds is unknown now (commit C2).
    pub(crate) is_unknown: bool,
}

impl Failure {
    pub(crate) fn before(error: StorageError) -> Self {
        Self { error, is_unknown: false }
    }
}

impl From<StorageError> for Failure {
    fn from(error: StorageError) -> Self {
        Self { error, is_unknown: true }
    }
}

type OpenTable<'t> = redb::Table<'t, &'static [u8], &'static [u8]>;

/// The tables that batches change.
pub(crate) struct Tables<'a, 't> {
    pub(crate) rows: &'a mut OpenTable<'t>,
    pub(crate) old: &'a mut OpenTable<'t>,
    pub(crate) tenants: &'a mut OpenTable<'t>,
}

impl Tables<'_, '_> {
    fn row(&self, shared: &Shared, key: &[u8]) -> Result<Option<Vec<u8>>, StorageError> {
        let value = self.rows.get(key).map_err(|error| shared.catalog.error(error))?;
        Ok(value.map(|value| value.value().to_vec()))
    }

    fn tenant(&self, shared: &Shared, collection: u32, name: &str) -> Result<Option<u32>, StorageError> {
        let key = tenant_key(collection, name);
        let Some(value) = self.tenants.get(&key[..]).map_err(|error| shared.catalog.error(error))? else {
            return Ok(None);
        };
        let bytes = crate::catalog::unsealed(&key, value.value()).and_then(|bytes| bytes.try_into().ok());
        bytes.map(|bytes| Some(u32::from_le_bytes(bytes))).ok_or_else(|| shared.catalog.damaged("a tenant"))
    }

    fn put(
        &mut self,
        shared: &Shared,
        puts: &mut Vec<Put>,
        table: Table,
        key: Vec<u8>,
        value: Option<Vec<u8>>,
    ) -> Result<(), StorageError> {
        let target = match table {
            Table::Rows => &mut *self.rows,
            Table::Old => &mut *self.old,
            _ => &mut *self.tenants,
        };
        let done = match &value {
            Some(value) => target.insert(&key[..], &value[..]).map(drop),
            None => target.remove(&key[..]).map(drop),
        };
        done.map_err(|error| shared.catalog.error(error))?;
        puts.push(Put { table, key, value });
        Ok(())
    }
}

/// Reads the values of a batch by a schema that has changed since it was checked.
fn read_again(schema: &Schema, ops: &mut [Op]) -> Result<(), WriteError> {
    for op in ops {
        let Op::Upsert(upsert) = op else { continue };
        let payload: crate::values::Payload = serde_json::from_slice(&upsert.payload).unwrap_or_default();
        upsert.values = schema
            .values(&payload)
            .map_err(|source| WriteError::Payload { key: upsert.key.clone(), source })?;
    }
    Ok(())
}

/// Whether there are numbers left for all rows and vectors of a batch.
fn has_room(counters: &Counters, schema: &Schema, ops: &[Op]) -> bool {
    let mut rows = u64::from(counters.row);
    let mut positions: Vec<u64> = counters.positions.iter().map(|&next| u64::from(next)).collect();
    for op in ops {
        let Op::Upsert(upsert) = op else { continue };
        rows += 1;
        for (vector, elements) in &upsert.vectors {
            let vector = usize::from(*vector);
            positions[vector] += (elements.len() / schema.vectors[vector].dim) as u64;
        }
    }
    rows < u64::from(u32::MAX) && positions.iter().all(|&next| next < u64::from(u32::MAX))
}

/// Decides where the vectors of a row go; neighbors in a file become one write.
fn place(
    collection: &Arc<CollectionCore>,
    schema: &Schema,
    row: u32,
    counters: &mut Counters,
    vectors: Vec<(u16, Vec<f32>)>,
    writes: &mut Vec<RowWrite>,
) -> Vec<Placed> {
    let mut placed = Vec::with_capacity(vectors.len());
    for (number, elements) in vectors {
        let vector = usize::from(number);
        let field = &schema.vectors[vector];
        let count = (elements.len() / field.dim) as u32;
        let start = if field.multi {
            let start = counters.positions[vector];
            counters.positions[vector] += count;
            start
        } else {
            row
        };
        placed.push(Placed { vector: number, start, count });
        let is_next = |write: &&mut RowWrite| {
            Arc::ptr_eq(&write.collection, collection)
                && write.vector == vector
                && write.start as usize + write.elements.len() / field.dim == start as usize
        };
        match writes.iter_mut().rev().take(schema.vectors.len()).find(is_next) {
            Some(write) => write.elements.extend_from_slice(&elements),
            None => writes.push(RowWrite { collection: collection.clone(), vector, start, elements }),
        }
    }
    placed
}
