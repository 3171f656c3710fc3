//! A collection's shared parts: schema, row files, tenants in memory.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use crate::catalog::{Catalog, ROWS, SnapshotEntry, TENANTS, Table, sealed, unsealed};
use crate::compact::{Compacted, Readers};
use crate::entry_keys::{EntryKeys, caller_key, prefix_end};
use crate::error::StorageError;
use crate::files::Files;
use crate::record::Record;
use crate::rows::RowFile;
use crate::schema::Schema;
use crate::state::{Born, Change, TenantCell, TenantState};

/// What a database's collections share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) files: Arc<dyn Files>,
    pub(crate) dir: PathBuf,
    pub(crate) catalog: Catalog,
}

/// A collection, shared by handles, the committing thread and the keeper.
#[derive(Debug)]
pub(crate) struct CollectionCore {
    pub(crate) shared: Arc<Shared>,
    pub(crate) id: u32,
    pub(crate) name: Box<str>,
    pub(crate) entry_keys: EntryKeys,
    schema: RwLock<Arc<Schema>>,
    pub(crate) rows: Vec<Arc<RowFile>>,
    tenants: Mutex<HashMap<u32, Arc<TenantCell>>>,
    snapshots: RwLock<Arc<Vec<SnapshotEntry>>>,
    is_dropped: AtomicBool,
    /// Who reads rows, for those who remove files.
    pub(crate) readers: Readers,
    /// Rows that ended since somebody last looked for files that are mostly dead.
    ended_rows: AtomicU64,
    /// What compaction did since the collection was opened.
    pub(crate) compacted: Mutex<Compacted>,
}

impl CollectionCore {
    pub(crate) fn open(
        shared: &Arc<Shared>,
        name: &str,
        id: u32,
        schema: Schema,
        snapshots: Vec<SnapshotEntry>,
    ) -> Result<Self, StorageError> {
        let folder = |vector: usize| shared.dir.join("rows").join(format!("{id}")).join(format!("{vector}"));
        let rows = schema.vectors.iter().enumerate().map(|(number, vector)| {
            let path = folder(number);
            let opened = RowFile::open(shared.files.clone(), path.clone(), vector.dim);
            opened.map(Arc::new).map_err(|source| StorageError::Io { path, source })
        });
        Ok(Self {
            shared: shared.clone(),
            id,
            name: name.into(),
            entry_keys: EntryKeys::new(id, shared.catalog.has_short_keys()),
            rows: rows.collect::<Result<_, _>>()?,
            schema: RwLock::new(Arc::new(schema)),
            tenants: Mutex::default(),
            snapshots: RwLock::new(Arc::new(snapshots)),
            is_dropped: AtomicBool::new(false),
            readers: Readers::default(),
            ended_rows: AtomicU64::new(0),
            compacted: Mutex::default(),
        })
    }

    pub(crate) fn schema(&self) -> Arc<Schema> {
        self.schema.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set_schema(&self, schema: Schema) {
        *self.schema.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(schema);
    }

    pub(crate) fn snapshots(&self) -> Arc<Vec<SnapshotEntry>> {
        self.snapshots.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set_snapshots(&self, snapshots: Vec<SnapshotEntry>) {
        *self.snapshots.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(snapshots);
    }

    pub(crate) fn is_dropped(&self) -> bool {
        self.is_dropped.load(Ordering::Acquire)
    }

    pub(crate) fn set_dropped(&self) {
        self.is_dropped.store(true, Ordering::Release);
    }

    /// Counts rows that ended.
    pub(crate) fn note_ended(&self, rows: u64) {
        // Relaxed, here and below: when to look is all that hangs on it.
        self.ended_rows.fetch_add(rows, Ordering::Relaxed);
    }

    pub(crate) fn ended_rows(&self) -> u64 {
        self.ended_rows.load(Ordering::Relaxed)
    }

    pub(crate) fn forget_ended_rows(&self) {
        self.ended_rows.store(0, Ordering::Relaxed);
    }

    /// The place of a tenant in memory.
    pub(crate) fn cell(&self, tenant: u32) -> Arc<TenantCell> {
        let mut tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        tenants.entry(tenant).or_insert_with(|| Arc::new(TenantCell::new(tenant))).clone()
    }

    /// All tenants in memory.
    pub(crate) fn cells(&self) -> Vec<Arc<TenantCell>> {
        self.tenants.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Forgets the places of tenants that nobody uses and that hold no state.
    pub(crate) fn sweep_cells(&self) {
        let mut tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        // Two ends of one count: the map's own, and whoever took the cell out of it.
        tenants.retain(|_, cell| Arc::strong_count(cell) > 1 || cell.state().is_some());
    }

    /// The number of the tenant of this name, if it has ever had a row.
    pub(crate) fn tenant_id(&self, name: &str) -> Result<Option<u32>, StorageError> {
        let key = tenant_key(self.id, name);
        let Some(bytes) = self.shared.catalog.value(Table::Tenants, &key)? else { return Ok(None) };
        decode_tenant(&key, &bytes).map(Some).ok_or_else(|| self.shared.catalog.damaged("a tenant"))
    }

    /// The names of all tenants, in order.
    pub(crate) fn tenant_names(&self) -> Result<Vec<(Box<str>, u32)>, StorageError> {
        let catalog = &self.shared.catalog;
        let read = catalog.read()?;
        let table = read.open_table(TENANTS).map_err(|error| catalog.error(error))?;
        let prefix = self.id.to_be_bytes();
        let end = prefix_end(&prefix);
        let mut names = Vec::new();
        for entry in table.range(&prefix[..]..&end[..]).map_err(|error| catalog.error(error))? {
            let (key, value) = entry.map_err(|error| catalog.error(error))?;
            let name = std::str::from_utf8(&key.value()[4..]).ok();
            match name.zip(decode_tenant(key.value(), value.value())) {
                Some((name, id)) => names.push((name.into(), id)),
                None => return Err(catalog.damaged("a tenant")),
            }
        }
        Ok(names)
    }

    /// A tenant's state, in memory or read from the catalog.
    pub(crate) fn state(&self, tenant: u32) -> Result<Arc<TenantState>, StorageError> {
        self.cell(tenant).state_or_load(|| self.load(tenant))
    }

    /// Reads a tenant's rows from the catalog.
    fn load(&self, tenant: u32) -> Result<TenantState, StorageError> {
        let catalog = &self.shared.catalog;
        let read = catalog.read()?;
        let table = read.open_table(ROWS).map_err(|error| catalog.error(error))?;
        let prefix = self.entry_keys.tenant(tenant);
        let end = prefix_end(&prefix);
        let schema = self.schema();
        let mut born = Vec::new();
        let mut damaged = Vec::new();
        for entry in table.range(&prefix[..]..&end[..]).map_err(|error| catalog.error(error))? {
            let (key, value) = entry.map_err(|error| catalog.error(error))?;
            match self.born(&schema, key.value(), value.value()) {
                Some(row) => born.push(row),
                // The key is all that is known of it; without a key, the checksum of the table's page was wrong as well.
                None => damaged.extend(caller_key(key.value())),
            }
        }
        let state = state_of(&schema, born);
        state.write().damaged.extend(damaged);
        Ok(state)
    }

    /// A row of the catalog as a commit would add it.
    pub(crate) fn born(&self, schema: &Schema, key: &[u8], value: &[u8]) -> Option<Born> {
        let record = Record::decode(key, value)?;
        let values =
            if schema.fields.is_empty() { Vec::new() } else { schema.values(&record.payload()?).ok()? };
        Some(Born { row: record.row, key: caller_key(key)?, values, vectors: record.vectors })
    }
}

/// A state of these rows.
pub(crate) fn state_of(schema: &Schema, mut born: Vec<Born>) -> TenantState {
    born.sort_unstable_by_key(|row| row.row);
    // A row number is given once; should a made-up catalog say otherwise, the first one counts.
    born.dedup_by_key(|row| row.row);
    let state = TenantState::new(schema);
    state.apply(Change { born, ..Change::default() });
    state
}

pub(crate) fn tenant_key(collection: u32, name: &str) -> Vec<u8> {
    let mut key = collection.to_be_bytes().to_vec();
    key.extend_from_slice(name.as_bytes());
    key
}

pub(crate) fn encode_tenant(key: &[u8], id: u32) -> Vec<u8> {
    sealed(key, &id.to_le_bytes())
}

fn decode_tenant(key: &[u8], bytes: &[u8]) -> Option<u32> {
    Some(u32::from_le_bytes(unsealed(key, bytes)?.try_into().ok()?))
}
