//! What is in memory of a tenant: which rows live, their keys, the indexes of their fields, which of them a graph holds.
//!
//! * **V1** A row number stands for one version of a row for ever. What a reader sees is a set of row numbers, the
//!   [`Version`] it took when it began; writers publish a new set and leave the old one to those who hold it.
//! * **V2** A row is in `keys`, in the field indexes and among `unlinked` (or in the graph) before a version that holds it
//!   is published, and is purged from them only when no version that holds it is left.
//! * **V3** This is derived: everything here is read from the catalog when the tenant is first used, and changed by the
//!   committing thread after, never before, its transaction.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, Weak};

use orthant_engine::Key;
use roaring::RoaringBitmap;

use crate::fields::FieldIndexes;
use crate::graph::GraphPart;
use crate::matches::MatchCache;
use crate::record::Placed;
use crate::schema::Schema;
use crate::values::FieldValue;

/// The rows that live at one moment.
#[derive(Debug)]
pub(crate) struct Version {
    pub(crate) live: RoaringBitmap,
}

/// The keys of rows, by row number, ascending.
#[derive(Debug, Default)]
pub(crate) struct RowKeys {
    rows: Vec<u32>,
    keys: Vec<Key>,
    /// Rows that were removed and whose places are still there.
    removed: RoaringBitmap,
}

impl RowKeys {
    fn push(&mut self, row: u32, key: Key) {
        debug_assert!(self.rows.last().is_none_or(|&last| last < row));
        self.rows.push(row);
        self.keys.push(key);
    }

    pub(crate) fn key(&self, row: u32) -> Option<&Key> {
        let place = self.rows.binary_search(&row).ok().filter(|_| !self.removed.contains(row))?;
        Some(&self.keys[place])
    }

    /// Gives the keys back; the places only when they are an eighth of all, so that a row costs the same however many there are.
    fn remove_all(&mut self, gone: &RoaringBitmap) {
        for row in gone {
            if let Ok(place) = self.rows.binary_search(&row) {
                self.keys[place] = Key::Int(0);
                self.removed.insert(row);
            }
        }
        if self.removed.len() as usize * 8 <= self.rows.len() {
            return;
        }
        let removed = std::mem::take(&mut self.removed);
        let mut places = self.rows.iter();
        self.keys.retain(|_| places.next().is_none_or(|&row| !removed.contains(row)));
        self.rows.retain(|&row| !removed.contains(row));
    }

    fn bytes(&self) -> usize {
        let text = |key: &Key| if let Key::Str(text) = key { text.len() } else { 0 };
        self.rows.len() * (4 + size_of::<Key>()) + self.keys.iter().map(text).sum::<usize>()
    }
}

/// The rows that have one of the named vectors.
#[derive(Debug, Default)]
pub(crate) struct VectorRows {
    /// Rows with this vector that the graph does not hold; without a graph, all.
    pub(crate) unlinked: Arc<RoaringBitmap>,
    /// Rows with this vector.
    pub(crate) all: RoaringBitmap,
    /// Where the vectors of a row lie, for multi vectors.
    pub(crate) placed: HashMap<u32, (u32, u32)>,
    pub(crate) graph: Option<Arc<GraphPart>>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) version: Arc<Version>,
    pub(crate) keys: RowKeys,
    pub(crate) fields: FieldIndexes,
    pub(crate) vectors: Vec<VectorRows>,
    /// Rows that ended, each batch with the last version that holds it.
    retired: VecDeque<(Weak<Version>, RoaringBitmap)>,
    /// Rows whose catalog entry or vector is damaged, by key.
    pub(crate) damaged: BTreeSet<Key>,
}

/// A tenant in memory.
#[derive(Debug)]
pub(crate) struct TenantState {
    inner: RwLock<Inner>,
    pub(crate) cache: MatchCache,
}

/// A row that a commit adds.
#[derive(Debug, Clone)]
pub(crate) struct Born {
    pub(crate) row: u32,
    pub(crate) key: Key,
    pub(crate) values: Vec<Option<FieldValue>>,
    pub(crate) vectors: Vec<Placed>,
}

/// What a commit changes for one tenant.
#[derive(Debug, Default)]
pub(crate) struct Change {
    /// New rows, ascending.
    pub(crate) born: Vec<Born>,
    /// Rows that end; some may have been born in the same commit.
    pub(crate) died: RoaringBitmap,
}

impl TenantState {
    pub(crate) fn new(schema: &Schema) -> Self {
        let inner = Inner {
            version: Arc::new(Version { live: RoaringBitmap::new() }),
            keys: RowKeys::default(),
            fields: FieldIndexes::new(schema),
            vectors: schema.vectors.iter().map(|_| VectorRows::default()).collect(),
            retired: VecDeque::new(),
            damaged: BTreeSet::new(),
        };
        Self { inner: RwLock::new(inner), cache: MatchCache::default() }
    }

    pub(crate) fn read(&self) -> RwLockReadGuard<'_, Inner> {
        self.inner.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, Inner> {
        self.inner.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Publishes what a commit did (V2, V3).
    pub(crate) fn apply(&self, change: Change) {
        let mut inner = self.write();
        let inner = &mut *inner;
        let mut live = inner.version.live.clone();
        for born in change.born {
            live.insert(born.row);
            inner.fields.insert(born.row, &born.values);
            for placed in &born.vectors {
                let Some(vector) = inner.vectors.get_mut(usize::from(placed.vector)) else { continue };
                vector.all.insert(born.row);
                Arc::make_mut(&mut vector.unlinked).insert(born.row);
                if placed.start != born.row || placed.count != 1 {
                    vector.placed.insert(born.row, (placed.start, placed.count));
                }
            }
            inner.keys.push(born.row, born.key);
        }
        live -= &change.died;
        let version = Arc::new(Version { live });
        if !change.died.is_empty() {
            inner.retired.push_back((Arc::downgrade(&inner.version), change.died));
        }
        inner.version = version;
    }

    /// The rows that ended and that no reader can see any more; they are forgotten here (V2), but for the graphs.
    pub(crate) fn purge(&self) -> RoaringBitmap {
        let mut gone = RoaringBitmap::new();
        let mut inner = self.write();
        while let Some((version, _)) = inner.retired.front()
            && version.strong_count() == 0
        {
            if let Some((_, rows)) = inner.retired.pop_front() {
                gone |= rows;
            }
        }
        if gone.is_empty() {
            return gone;
        }
        inner.keys.remove_all(&gone);
        inner.fields.remove_all(&gone);
        for vector in &mut inner.vectors {
            vector.all -= &gone;
            *Arc::make_mut(&mut vector.unlinked) -= &gone;
            for row in &gone {
                vector.placed.remove(&row);
            }
        }
        gone
    }

    /// Rows that wait for a purge.
    pub(crate) fn retired(&self) -> u64 {
        self.read().retired.iter().map(|(_, rows)| rows.len()).sum()
    }

    /// Notes that rows are damaged.
    pub(crate) fn note_damaged(&self, rows: &[u32]) {
        if rows.is_empty() {
            return;
        }
        let mut inner = self.write();
        let keys: Vec<Key> = rows.iter().filter_map(|&row| inner.keys.key(row).cloned()).collect();
        inner.damaged.extend(keys);
    }

    /// Bytes of memory, about, without graphs.
    pub(crate) fn bytes(&self) -> usize {
        let inner = self.read();
        let sets: usize = inner
            .vectors
            .iter()
            .map(|vector| {
                vector.all.serialized_size() + vector.unlinked.serialized_size() + vector.placed.len() * 24
            })
            .sum();
        inner.version.live.serialized_size() + inner.keys.bytes() + inner.fields.bytes() + sets
    }
}

/// A tenant's place: its state when it is in memory, and the gate between loading and committing.
#[derive(Debug)]
pub(crate) struct TenantCell {
    pub(crate) id: u32,
    /// Held while the state is loaded, and by the committing thread from before its transaction until the change is applied:
    /// so a load sees all of a commit or is told of it.
    gate: Mutex<()>,
    state: RwLock<Option<Arc<TenantState>>>,
    /// Set by each use, cleared by each look of the keeper.
    is_used: AtomicBool,
    /// Rows written while the state was not in memory.
    written: AtomicU64,
}

impl TenantCell {
    pub(crate) fn new(id: u32) -> Self {
        Self {
            id,
            gate: Mutex::new(()),
            state: RwLock::new(None),
            is_used: AtomicBool::new(true),
            written: AtomicU64::new(0),
        }
    }

    /// Counts rows written while the state is not in memory: enough of them, and the keeper loads it to link them.
    pub(crate) fn note_written(&self, rows: usize) {
        self.written.fetch_add(rows as u64, Ordering::Relaxed);
    }

    /// Rows written since the state was last loaded, while it was not in memory.
    pub(crate) fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    pub(crate) fn gate(&self) -> MutexGuard<'_, ()> {
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn state(&self) -> Option<Arc<TenantState>> {
        self.state.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The state, loaded by `load` if it is not in memory.
    pub(crate) fn state_or_load<E>(
        &self,
        load: impl FnOnce() -> Result<TenantState, E>,
    ) -> Result<Arc<TenantState>, E> {
        // Relaxed: that it was used lately is all there is to know.
        self.is_used.store(true, Ordering::Relaxed);
        if let Some(state) = self.state() {
            return Ok(state);
        }
        let _gate = self.gate();
        if let Some(state) = self.state() {
            return Ok(state);
        }
        let state = Arc::new(load()?);
        self.written.store(0, Ordering::Relaxed);
        *self.state.write().unwrap_or_else(PoisonError::into_inner) = Some(state.clone());
        Ok(state)
    }

    /// Whether it was used since the last time this was asked.
    pub(crate) fn was_used(&self) -> bool {
        self.is_used.swap(false, Ordering::Relaxed)
    }

    /// Drops the state of a tenant that nobody uses right now and that has no graph; whether it did.
    pub(crate) fn unload_idle(&self) -> bool {
        let _gate = self.gate();
        let mut place = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let is_idle = place.as_ref().is_some_and(|state| {
            // Nobody can take a clone while the place is locked.
            Arc::strong_count(state) == 1 && state.read().vectors.iter().all(|vector| vector.graph.is_none())
        });
        if is_idle {
            *place = None;
        }
        is_idle
    }

    /// Drops the state; the next use loads it again. The caller holds the gate.
    pub(crate) fn unload(&self) {
        *self.state.write().unwrap_or_else(PoisonError::into_inner) = None;
    }
}
