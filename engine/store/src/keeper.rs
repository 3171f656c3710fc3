//! Work in the background: linking rows into graphs, forgetting rows that nobody sees, saving graphs, compacting files.
//!
//! One thread. It takes no lock that a reader or writer waits for longer than it takes to change a few sets; rows are
//! linked outside of any lock.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, RwLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use orthant_engine::storage::trim_heap;
use roaring::RoaringBitmap;

use crate::collection::{CollectionCore, Shared};
use crate::commit::{Committer, Job};
use crate::compact::Compaction;
use crate::error::WriteError;
use crate::graph::GraphPart;
use crate::schema::VectorField;
use crate::state::{TenantCell, TenantState};

/// How often it looks, and how much it does at once.
#[derive(Debug, Clone, Copy)]
pub(crate) struct KeeperOptions {
    /// Between two looks while there is nothing to do.
    pub(crate) idle: Duration,
    /// Between two steps of a compaction while there is other work: writers that never pause keep it from nothing else, and 128 rows
    /// a step are fewer than a core links in that time.
    pub(crate) compact_busy: Duration,
    /// Rows linked between two looks at whether to stop: under a second of work.
    pub(crate) link_rows: usize,
    /// A graph is saved when so many rows, as a share of those it holds, came or went since it was last saved.
    pub(crate) save_changes: f64,
    /// … which waits for the rows that are not linked yet, unless at least so many came or went: what a process that is killed while
    /// it takes in millions of rows has to link again is bounded.
    pub(crate) save_behind: u64,
    /// Tenants that stay in memory whether they are used or not.
    pub(crate) loaded_tenants: usize,
    /// How long others stay without being used, at least.
    pub(crate) idle_tenant: Duration,
}

impl Default for KeeperOptions {
    fn default() -> Self {
        Self {
            idle: Duration::from_millis(20),
            compact_busy: Duration::from_millis(100),
            link_rows: 512,
            save_changes: 0.3,
            save_behind: 1 << 16,
            loaded_tenants: 1024,
            idle_tenant: Duration::from_secs(10),
        }
    }
}

type Collections = Arc<RwLock<BTreeMap<Box<str>, Arc<CollectionCore>>>>;

enum Call {
    Settle(Sender<()>),
}

/// The background thread; dropping it ends it.
#[derive(Debug)]
pub(crate) struct Keeper {
    calls: Option<Sender<Call>>,
    thread: Option<JoinHandle<()>>,
}

impl Keeper {
    pub(crate) fn start(
        shared: Arc<Shared>,
        collections: Collections,
        jobs: Sender<Job>,
        options: KeeperOptions,
    ) -> std::io::Result<Self> {
        let (calls, received) = channel();
        let work = Work::new(shared, collections, jobs, options);
        let thread =
            std::thread::Builder::new().name("orthant-keep".to_owned()).spawn(move || work.run(&received))?;
        Ok(Self { calls: Some(calls), thread: Some(thread) })
    }

    /// Waits until there is nothing left to do.
    pub(crate) fn settle(&self) -> Result<(), WriteError> {
        let (done, answer) = channel();
        let calls = self.calls.as_ref().ok_or(WriteError::Closed)?;
        calls.send(Call::Settle(done)).map_err(|_| WriteError::Closed)?;
        answer.recv().map_err(|_| WriteError::Closed)
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.calls = None;
        if let Some(thread) = self.thread.take() {
            // A panic there was reported when it happened; graphs are derived, nothing is lost.
            let _ = thread.join();
        }
    }
}

struct Work {
    shared: Arc<Shared>,
    collections: Collections,
    jobs: Sender<Job>,
    options: KeeperOptions,
    /// The changes of each graph when it was last saved.
    saved: BTreeMap<PathBuf, u64>,
    /// When idle tenants were last looked for.
    swept: Instant,
    /// The compactions under way, by collection.
    compactions: BTreeMap<u32, Compaction>,
    /// When a compaction last had a turn.
    compacted: Instant,
}

/// The file of a graph.
pub(crate) fn graph_path(dir: &Path, collection: u32, tenant: u32, vector: usize) -> PathBuf {
    dir.join("graphs").join(format!("{collection}-{tenant}-{vector}.orthant"))
}

impl Work {
    fn new(shared: Arc<Shared>, collections: Collections, jobs: Sender<Job>, options: KeeperOptions) -> Self {
        let (saved, now) = (BTreeMap::new(), Instant::now());
        let compactions = BTreeMap::new();
        Self { shared, collections, jobs, options, saved, swept: now, compactions, compacted: now }
    }

    fn run(mut self, calls: &Receiver<Call>) {
        self.look_at_files();
        let mut waiting: Vec<Sender<()>> = Vec::new();
        loop {
            let (is_busy, is_compacting) = self.turn(!waiting.is_empty());
            if !is_busy && !is_compacting {
                for done in waiting.drain(..) {
                    let _ = done.send(());
                }
            }
            // Nobody waits for compaction to be done, but for who asked: others have the processor meanwhile.
            let is_urgent = is_busy || is_compacting && !waiting.is_empty();
            let wait = if is_urgent { Duration::ZERO } else { self.options.idle };
            match calls.recv_timeout(wait) {
                Ok(Call::Settle(done)) => waiting.push(done),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Does a little of everything; whether there was anything to do for tenants, and whether there is more to compact. Linking comes
    /// first, but does not keep compaction waiting for ever.
    fn turn(&mut self, save_all: bool) -> (bool, bool) {
        let is_busy = self.step(save_all);
        if is_busy && self.compacted.elapsed() < self.options.compact_busy {
            return (true, false);
        }
        let is_compacting = self.compact();
        self.compacted = Instant::now();
        (is_busy, is_compacting)
    }

    /// Does a little for each tenant in memory; whether there was anything to do.
    fn step(&mut self, save_all: bool) -> bool {
        let collections: Vec<_> = crate::database::read(&self.collections).values().cloned().collect();
        let mut is_busy = false;
        for core in collections {
            let from_rows = core.schema().graph.from_rows as u64;
            for cell in core.cells() {
                let state = match cell.state() {
                    // Written to and never read: it is large enough for a graph all the same. What cannot be read now is
                    // told to whoever reads it.
                    None if cell.written() >= from_rows => core.state(cell.id).ok(),
                    state => state,
                };
                if let Some(state) = state {
                    is_busy |= self.tend(&core, &cell, &state, save_all);
                }
            }
        }
        if self.swept.elapsed() >= self.options.idle_tenant {
            self.swept = Instant::now();
            self.sweep();
        }
        is_busy
    }

    /// Has all collections looked at if their files hold many more rows than the catalog names: those that ended in processes before
    /// this one were not counted.
    fn look_at_files(&self) {
        let collections = crate::database::read(&self.collections);
        let most = |core: &Arc<CollectionCore>| core.rows.iter().map(|rows| rows.count()).max().unwrap_or(0);
        let written: u64 = collections.values().map(most).sum();
        // What cannot be read now is told to whoever reads it.
        let Ok(named) = self.shared.catalog.rows() else { return };
        if written > named + named / 2 {
            collections.values().for_each(|core| core.note_ended(most(core)));
        }
    }

    /// Goes on with the compactions under way, and begins those that are due, a little at a time; whether there is more to do that
    /// need not wait for readers.
    fn compact(&mut self) -> bool {
        let collections: Vec<_> = crate::database::read(&self.collections).values().cloned().collect();
        let mut is_more = false;
        for core in collections {
            let under_way = self.compactions.remove(&core.id);
            if under_way.is_none() && !Compaction::is_due(&core) {
                continue;
            }
            // What cannot be done now is tried again when as many rows ended once more. Whoever writes or reads is told why it cannot.
            let next = match under_way {
                None => Compaction::begin(&core, &self.jobs, true),
                Some(compaction) => self.go_on(compaction),
            };
            if let Ok(compaction) = next
                && !compaction.is_over()
            {
                is_more |= !compaction.is_waiting();
                self.compactions.insert(core.id, compaction);
            }
        }
        is_more
    }

    fn go_on(&mut self, mut compaction: Compaction) -> Result<Compaction, WriteError> {
        if compaction.has_rows() {
            compaction.move_some(&self.jobs)?;
        } else if compaction.is_waiting() {
            compaction.remove(&self.jobs)?;
        } else {
            // A saved graph names rows by the files that are about to go: opening would miss them (graph G4).
            self.save_all(compaction.core());
            compaction.end_turn(&self.jobs)?;
        }
        Ok(compaction)
    }

    /// Saves the graphs of a collection that changed.
    fn save_all(&mut self, core: &CollectionCore) {
        for cell in core.cells() {
            let Some(state) = cell.state() else { continue };
            let graphs: Vec<_> = state.read().vectors.iter().map(|vector| vector.graph.clone()).collect();
            for (vector, graph) in graphs.iter().enumerate() {
                let path = graph_path(&self.shared.dir, core.id, cell.id, vector);
                if let Some(graph) =
                    graph.as_ref().filter(|graph| graph.changes() != self.saved_changes(&path))
                {
                    self.save(graph, &path);
                }
            }
        }
    }

    fn saved_changes(&self, path: &Path) -> u64 {
        self.saved.get(path).copied().unwrap_or(0)
    }

    /// Drops from memory the tenants that were not used since the last sweep, if there are many.
    fn sweep(&self) {
        let collections: Vec<_> = crate::database::read(&self.collections).values().cloned().collect();
        let mut loaded = 0;
        for core in collections {
            for cell in core.cells() {
                let was_used = cell.was_used();
                if cell.state().is_some() {
                    loaded += 1;
                    if loaded > self.options.loaded_tenants && !was_used {
                        cell.unload_idle();
                    }
                }
            }
            core.sweep_cells();
        }
    }

    fn tend(&mut self, core: &CollectionCore, cell: &TenantCell, state: &TenantState, save: bool) -> bool {
        let mut is_busy = false;
        let _reading = core.readers.enter();
        let gone = state.purge();
        if !gone.is_empty() {
            core.rows.iter().for_each(|rows| rows.forget(&gone));
        }
        let schema = core.schema();
        for (vector, field) in schema.vectors.iter().enumerate().filter(|(_, field)| !field.multi) {
            let (graph, unlinked, live) = {
                let inner = state.read();
                let rows = &inner.vectors[vector];
                (rows.graph.clone(), rows.unlinked.clone(), inner.version.live.intersection_len(&rows.all))
            };
            let path = graph_path(&self.shared.dir, core.id, cell.id, vector);
            let graph = match graph {
                Some(graph) => graph,
                None if live < schema.graph.from_rows as u64 => continue,
                None => {
                    let Some(graph) = self.graph(core, cell, vector, &path) else { continue };
                    let graph = Arc::new(graph);
                    let mut inner = state.write();
                    let linked = graph.linked();
                    let rows = &mut inner.vectors[vector];
                    *Arc::make_mut(&mut rows.unlinked) -= &linked;
                    // Rows of a saved graph that ended since: no version of this process has ever held them.
                    let ended = linked - &rows.all;
                    rows.graph = Some(graph.clone());
                    drop(inner);
                    graph.forget(&ended);
                    is_busy = true;
                    continue;
                }
            };
            graph.forget(&gone);
            if !unlinked.is_empty() {
                is_busy |= self.link(core, state, vector, &graph, &unlinked);
            }
            let changes = graph.changes().saturating_sub(self.saved_changes(&path));
            let is_large = changes as f64 > graph.len() as f64 * self.options.save_changes;
            let is_behind = !state.read().vectors[vector].unlinked.is_empty();
            let is_due = match is_behind {
                false => is_large || save && changes > 0,
                true => is_large && changes >= self.options.save_behind,
            };
            if is_due {
                self.save(&graph, &path);
            }
            if !schema.fields.is_empty() && !is_busy {
                is_busy |= self.encode(core, state, vector, field);
            }
        }
        is_busy
    }

    /// The saved graph of a tenant, or an empty one.
    fn graph(
        &mut self,
        core: &CollectionCore,
        cell: &TenantCell,
        vector: usize,
        path: &Path,
    ) -> Option<GraphPart> {
        let schema = core.schema();
        let field = schema.vectors.get(vector)?;
        if self.shared.files.system_path(path).is_some()
            && let Some(opened) = GraphPart::open(path, field, &core.rows[vector])
        {
            match opened {
                Ok(graph) => {
                    self.saved.insert(path.to_path_buf(), graph.changes());
                    return Some(graph);
                }
                Err(_) => {
                    // Damaged: the rows are the truth, a new one is built from them. The file makes room for it.
                    let _ = self.shared.files.remove(path);
                }
            }
        }
        self.saved.remove(path);
        // Any seed will do; one per tenant keeps builds repeatable.
        GraphPart::new(field, schema.graph, u64::from(cell.id)).ok()
    }

    /// Links some rows; whether any were.
    fn link(
        &self,
        core: &CollectionCore,
        state: &TenantState,
        vector: usize,
        graph: &GraphPart,
        unlinked: &RoaringBitmap,
    ) -> bool {
        let rows: Vec<u32> = unlinked.iter().take(self.options.link_rows).collect();
        let mut linked = RoaringBitmap::new();
        let mut damaged = Vec::new();
        let mut elements = Vec::new();
        let mut numbers = Vec::new();
        for row in rows {
            match core.rows[vector].row(row) {
                Ok(values) => {
                    elements.extend_from_slice(&values);
                    numbers.push(row);
                }
                Err(_) => damaged.push(row),
            }
        }
        // Few rows: one thread keeps up, and searches have the other cores.
        let is_backlog = unlinked.len() > 4 * self.options.link_rows as u64;
        if is_backlog {
            if graph.link_batch(&numbers, &elements).is_ok() {
                linked.extend(numbers.iter().copied());
            }
        } else {
            let dim = core.rows[vector].dim();
            for (row, elements) in numbers.iter().zip(elements.chunks_exact(dim)) {
                if graph.link(*row, elements).is_ok() {
                    linked.insert(*row);
                }
            }
        }
        state.note_damaged(&damaged);
        // The graph has copies of them.
        core.rows[vector].give_back(&numbers);
        let mut inner = state.write();
        let rows = &mut inner.vectors[vector];
        let unlinked = Arc::make_mut(&mut rows.unlinked);
        *unlinked -= &linked;
        // A damaged row is in no result; it need not be looked at again.
        for row in &damaged {
            unlinked.remove(*row);
        }
        !linked.is_empty() || !damaged.is_empty()
    }

    /// Gives rows codes for searches with a filter, where many lack them; whether any were looked at.
    fn encode(&self, core: &CollectionCore, state: &TenantState, vector: usize, field: &VectorField) -> bool {
        let file = &core.rows[vector];
        let all = {
            let inner = state.read();
            let all = &inner.vectors[vector].all;
            // Mostly all have been asked for.
            if !file.is_code_missing(all) {
                return false;
            }
            all.clone()
        };
        file.encode(field.metric, &all)
    }

    /// Saves a graph once its rows are safe (graph G2).
    fn save(&mut self, graph: &GraphPart, path: &Path) {
        let Some(path) = self.shared.files.system_path(path) else { return };
        let (reply, answer) = channel();
        let checkpoint = move |committer: &mut Committer| {
            let _ = reply.send(committer.checkpoint(Vec::new()).is_ok());
        };
        let is_sent = self.jobs.send(Job::Task(Box::new(checkpoint))).is_ok();
        if !is_sent || !answer.recv().unwrap_or(false) {
            return;
        }
        let changes = graph.changes();
        let folder = path.parent().map(|folder| self.shared.files.create_dir(folder));
        // Without a saved graph the next opening builds one: slower, not wrong.
        if folder.is_some_and(|made| made.is_ok()) && graph.save(&path).is_ok() {
            self.saved.insert(path, changes);
        }
        // What it was made in is not needed until the next time: 8 MB of 100,000 rows stayed with the process.
        trim_heap();
    }
}

#[cfg(test)]
mod tests;
