//! One arena per memory node: rows are dealt out, each node searches its own, and the answers are
//! merged.
//!
//! * **H1** Row `id` is row `id / shards` of shard `id % shards`.
//! * **H2** The answer does not depend on the number of shards, on who ran them or in what order:
//!   hits are ordered by distance, then by id.
//!
//! The store knows neither threads nor distances. Who runs the shards is a closure (a pool with
//! workers on every node, or [`search_pinned`](ShardedArena::search_pinned), which starts a thread
//! per node), and so is the scan of one shard. On a machine with one node there is one shard, and
//! the same code.
//!
//! Cost of a search: the slowest shard, and `k` comparisons per shard to merge.

use crate::arena::{ArenaError, RowArena};
use crate::layout::RowLayout;
use crate::numa::{Placement, Topology};
use crate::os;
use crate::pages::MemoryOptions;
use bytemuck::Pod;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// A row and its distance to a query.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Hit {
    /// Smaller is nearer.
    pub distance: f32,
    /// The row.
    pub id: u32,
}

impl Hit {
    /// Nearer first, ties by id; a NaN comes last.
    fn order(&self, other: &Hit) -> std::cmp::Ordering {
        self.distance.total_cmp(&other.distance).then(self.id.cmp(&other.id))
    }
}

/// The rows of one node.
#[derive(Debug)]
pub struct Shard<T> {
    node: u32,
    cores: Vec<u32>,
    arena: RowArena<T>,
}

impl<T> Shard<T> {
    /// The node the rows were meant to lie on; [`RowArena::pages`] says whether they do.
    pub fn node(&self) -> u32 {
        self.node
    }

    /// The cores of that node.
    pub fn cores(&self) -> &[u32] {
        &self.cores
    }

    /// The rows, numbered within the shard.
    pub fn arena(&self) -> &RowArena<T> {
        &self.arena
    }
}

/// Rows spread over the memory nodes of a machine.
///
/// # Examples
/// ```
/// use orthant_storage::numa::Topology;
/// use orthant_storage::{Hit, MemoryOptions, RowLayout, ShardedArena};
///
/// let layout = RowLayout::new::<f32>(2);
/// let store = ShardedArena::<f32>::new(layout, &Topology::synthetic(3, 1), &MemoryOptions::default())?;
/// for x in 0..100 {
///     store.push(&[x as f32, 0.0])?;
/// }
/// let nearest = store.search_pinned(3, |shard, hits| {
///     for id in 0..shard.arena().len() as u32 {
///         let row = shard.arena().row(id).expect("below len");
///         hits.push(Hit { distance: (row[0] - 41.2).abs(), id });
///     }
/// });
/// assert_eq!(nearest.iter().map(|hit| hit.id).collect::<Vec<_>>(), [41, 42, 40]);
/// # Ok::<(), orthant_storage::ArenaError>(())
/// ```
#[derive(Debug)]
pub struct ShardedArena<T> {
    shards: Vec<Shard<T>>,
    /// Rows dealt out so far, whether or not there was room: where the next one goes.
    dealt: AtomicUsize,
}

impl<T: Pod + Send + Sync> ShardedArena<T> {
    /// An empty store with a shard on every node that has cores, each preferring its node's memory
    /// (binding to it would end in the kernel killing the process when one node is full).
    ///
    /// `max_bytes` and `expected_bytes` are for the store, and shared equally; `placement` is not
    /// looked at.
    ///
    /// # Errors
    /// [`ArenaError::Memory`] if the address space cannot be had.
    pub fn new(
        layout: RowLayout,
        topology: &Topology,
        options: &MemoryOptions,
    ) -> Result<ShardedArena<T>, ArenaError> {
        let nodes: Vec<_> = topology.nodes().iter().filter(|node| !node.cores.is_empty()).collect();
        let share = |bytes: Option<usize>| bytes.map(|bytes| bytes / nodes.len());
        let mut shards = Vec::with_capacity(nodes.len());
        for node in &nodes {
            let options = MemoryOptions {
                max_bytes: share(options.max_bytes),
                expected_bytes: share(options.expected_bytes),
                placement: Placement::Preferred(node.id),
                ..options.clone()
            };
            let arena = RowArena::new(layout, &options)?;
            shards.push(Shard { node: node.id, cores: node.cores.clone(), arena });
        }
        Ok(ShardedArena { shards, dealt: AtomicUsize::new(0) })
    }

    /// The shards; at least one.
    pub fn shards(&self) -> &[Shard<T>] {
        &self.shards
    }

    /// Whole rows in all shards.
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.arena.len()).sum()
    }

    /// Whether no row is whole yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Appends a row to the shard whose turn it is, or to the next one that has room, and returns
    /// its id. Ids have no gaps as long as one thread pushes and no shard is full.
    ///
    /// # Errors
    /// The last shard's [`ArenaError`] if none has room, [`ArenaError::Full`] if ids run out.
    /// # Panics
    /// If `row.len() != dim`.
    pub fn push(&self, row: &[T]) -> Result<u32, ArenaError> {
        let count = self.shards.len();
        let turn = self.dealt.fetch_add(1, Ordering::Relaxed);
        let mut last = ArenaError::Full { rows: 0 };
        for step in 0..count {
            let shard = (turn + step) % count;
            let arena = &self.shards[shard].arena;
            if arena.len() >= crate::publish::MAX_ROWS as usize / count {
                last = ArenaError::Full { rows: arena.len() as u32 };
                continue;
            }
            match arena.push(row) {
                Ok(local) => return Ok(self.id_of(shard, local)),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Row `id`, `[dim]`; `None` if it is not whole yet or there is none.
    pub fn row(&self, id: u32) -> Option<&[T]> {
        let count = self.shards.len() as u32;
        self.shards[(id % count) as usize].arena.row(id / count)
    }

    /// H1.
    fn id_of(&self, shard: usize, local: u32) -> u32 {
        local * self.shards.len() as u32 + shard as u32
    }

    /// The `k` nearest rows, nearest first, ties by id.
    ///
    /// `execute` gets a job and must call it once for every shard, with the shard's index, from
    /// whatever threads it likes, and return when all calls have returned; threads on the shard's
    /// own cores are what the store is for. `scan` pushes the hits of one shard, ids within the
    /// shard, in any order; the `k` nearest of them suffice.
    ///
    /// # Panics
    /// If `execute` leaves a shard out. A panic of `scan` goes through `execute`.
    pub fn search(
        &self,
        k: usize,
        execute: impl FnOnce(&(dyn Fn(usize) + Sync)),
        scan: impl Fn(&Shard<T>, &mut Vec<Hit>) + Sync,
    ) -> Vec<Hit> {
        let answers: Vec<Mutex<Option<Vec<Hit>>>> = self.shards.iter().map(|_| Mutex::new(None)).collect();
        execute(&|index: usize| {
            let mut hits = Vec::new();
            scan(&self.shards[index], &mut hits);
            for hit in &mut hits {
                hit.id = self.id_of(index, hit.id);
            }
            hits.sort_unstable_by(Hit::order);
            hits.truncate(k);
            *answers[index].lock().unwrap_or_else(PoisonError::into_inner) = Some(hits);
        });
        let answers = answers.into_iter().map(|answer| {
            let hits = answer.into_inner().unwrap_or_else(PoisonError::into_inner);
            hits.expect("the executor must run the job of every shard")
        });
        merge(answers.collect(), k)
    }

    /// [`search`](Self::search) on one thread per shard, started for this search and pinned to the
    /// cores of the shard's node where the system allows it.
    pub fn search_pinned(&self, k: usize, scan: impl Fn(&Shard<T>, &mut Vec<Hit>) + Sync) -> Vec<Hit> {
        let on_threads = |job: &(dyn Fn(usize) + Sync)| {
            std::thread::scope(|scope| {
                for (index, shard) in self.shards.iter().enumerate() {
                    scope.spawn(move || {
                        // A refused wish costs speed, not correctness.
                        let _ = os::pin_to_cores(&shard.cores);
                        job(index);
                    });
                }
            });
        };
        self.search(k, on_threads, scan)
    }
}

/// The `k` first of several ordered lists.
fn merge(answers: Vec<Vec<Hit>>, k: usize) -> Vec<Hit> {
    let mut heads = vec![0; answers.len()];
    let mut merged = Vec::with_capacity(k.min(answers.iter().map(Vec::len).sum()));
    while merged.len() < k {
        // A handful of nodes: looking at every head beats keeping a heap.
        let next = |index: &usize| answers[*index].get(heads[*index]);
        let nearest = (0..answers.len())
            .filter(|index| next(index).is_some())
            .min_by(|a, b| next(a).zip(next(b)).map_or(std::cmp::Ordering::Equal, |(a, b)| a.order(b)));
        let Some(index) = nearest else { break };
        merged.push(answers[index][heads[index]]);
        heads[index] += 1;
    }
    merged
}
