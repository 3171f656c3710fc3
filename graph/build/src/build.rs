//! The build: phases in order, each over all rows, each deterministic.
//!
//! 1. *Partition*: rows join the balls of their nearest leaders ([`partition`](crate::partition)).
//! 2. *Distances*: all pairs inside each leaf are offered to reservoirs ([`leaf`](crate::leaf)).
//! 3. *Joining*: rows are compared with the neighbors of their neighbors ([`join`](crate::join)). 1 to 3 are done again
//!    among ever fewer rows ([`near`](crate::near)).
//! 4. *Selection*: each row chooses among what it met on each scale ([`prune`](crate::prune)).
//! 5. *Linking*: those that a row chose and those that chose it make its list; of too many it chooses again.
//!
//! * **P1** Lists depend on codes, parameters and seed alone: reservoirs forget the order of offers (R2), joins read what
//!   was written down before (J1), and all other work is per row.
//! * **P2** A cancelled build returns [`BuildError::Cancelled`] within one leaf or one chunk per thread.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use orthant_kernels::{IsaError, TileKernel};
use orthant_quant::Executor;

use crate::grid::Codes;
use crate::near::{CHUNK, Stage, met, scales};
use crate::parallel::{Spares, for_each_chunk_mut};
use crate::prune::{PruneScratch, SLACK_UNIT, choose};
use crate::reservoir::id_of;
use crate::reverse::Reverse;

/// Most candidates of one list in the last phase; of more, which only rows have that hundreds chose, the nearest.
const MOST_CANDIDATES: usize = 192;

/// What a build may be told. Defaults were chosen on text-384 and sift-128, 100,000 and 200,000 rows, one seed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Params {
    /// Most neighbors in a list.
    pub degree: usize,
    /// Most neighbors that a row chooses per scale. Half of `degree` leaves the other half to those that choose it.
    pub own: usize,
    /// Nearest rows kept per row while distances are computed, 1 to 255; half as many on scales above 0.
    pub reservoir: usize,
    /// Leaves that each row is in, about.
    pub memberships: usize,
    /// Most rows in a leaf. A large leaf finds more for the same number of distances than many small ones.
    pub leaf: usize,
    /// Rounds of comparing rows with the neighbors of their neighbors.
    pub joins: usize,
    /// Neighbors per row that such a round looks at.
    pub breadth: usize,
    /// How many ever smaller samples of the rows are compared among themselves too.
    pub scales: usize,
    /// How much nearer to a taken neighbor than to the row a candidate must be to be turned down; 1 and above, as a
    /// factor of squared distances. More keeps more neighbors.
    pub slack: f32,
    /// Seed of leaders and scales.
    pub seed: u64,
}

impl Params {
    /// Parameters for lists of at most `degree`.
    pub fn new(degree: usize) -> Self {
        Self {
            degree,
            own: degree.div_ceil(2),
            reservoir: 64,
            memberships: 5,
            leaf: 3072,
            joins: 1,
            breadth: 12,
            scales: 3,
            slack: 1.1,
            seed: 42,
        }
    }
}

/// What a build is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Phase {
    /// Rows join balls.
    Partition,
    /// Leaves are compared.
    Distances,
    /// Neighbors of neighbors are compared.
    Joining,
    /// Rows choose neighbors.
    Selection,
    /// Rows choose again among those that chose them.
    Linking,
}

/// Who is told how far a build is, and may stop it. Called from several threads.
pub trait Watch: Sync {
    /// `done` of `total` units of `phase` are done. The first three phases come once per scale.
    fn progress(&self, phase: Phase, done: usize, total: usize) {
        let _ = (phase, done, total);
    }

    /// Whether to give up.
    fn is_cancelled(&self) -> bool {
        false
    }
}

/// Watches nothing.
impl Watch for () {}

/// Why there are no lists.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The caller said stop.
    #[error("the build was cancelled")]
    Cancelled,
    /// The environment forces an instruction set that is unknown or missing.
    #[error(transparent)]
    Isa(#[from] IsaError),
}

/// Neighbor lists of all rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lists {
    degree: usize,
    words: Vec<u32>,
}

impl Lists {
    /// What stands in the places that a list leaves empty, which are its last.
    pub const EMPTY: u32 = u32::MAX;

    /// Places per list.
    pub fn degree(&self) -> usize {
        self.degree
    }

    /// All lists, `[rows × degree]`, nearest first.
    pub fn words(&self) -> &[u32] {
        &self.words
    }

    /// As [`words`](Self::words), to keep.
    pub fn into_words(self) -> Vec<u32> {
        self.words
    }

    /// The neighbors of a row, nearest first.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn of(&self, row: usize) -> &[u32] {
        let places = &self.words[row * self.degree..][..self.degree];
        &places[..places.iter().position(|&id| id == Self::EMPTY).unwrap_or(self.degree)]
    }
}

/// A phase under way.
pub(crate) struct Meter<'a> {
    phase: Phase,
    done: AtomicUsize,
    total: usize,
    watch: &'a dyn Watch,
    is_cancelled: &'a AtomicBool,
}

impl<'a> Meter<'a> {
    fn new(phase: Phase, total: usize, watch: &'a dyn Watch, is_cancelled: &'a AtomicBool) -> Self {
        watch.progress(phase, 0, total);
        Self { phase, done: AtomicUsize::new(0), total, watch, is_cancelled }
    }

    /// Whether to go on.
    pub(crate) fn goes_on(&self) -> bool {
        if self.watch.is_cancelled() {
            self.is_cancelled.store(true, Ordering::Relaxed);
        }
        !self.is_cancelled.load(Ordering::Relaxed)
    }

    pub(crate) fn add(&self, more: usize) {
        let done = self.done.fetch_add(more, Ordering::Relaxed) + more;
        self.watch.progress(self.phase, done, self.total);
    }
}

/// Neighbor lists of all rows of `codes`: each at most `degree` rows, none twice, not the row itself.
///
/// The lists are the same for the same codes and parameters, whatever the executor. Rows without a neighbor may be left
/// when `degree` is 0 or there is one row; a graph of the lists need not hang together.
///
/// # Errors
/// [`BuildError`].
/// # Panics
/// If `leaf` is below 2, if `reservoir` is not in 1..=255, or `memberships` is 0.
pub fn build(
    codes: &Codes,
    params: &Params,
    executor: &dyn Executor,
    watch: &dyn Watch,
) -> Result<Lists, BuildError> {
    assert!(params.leaf > 1 && params.memberships > 0, "leaves of two rows and more");
    assert!((1..=255).contains(&params.reservoir), "reservoirs of 1 to 255 rows");
    let kernel = TileKernel::new(codes.dim())?;
    let is_cancelled = AtomicBool::new(false);
    let control = |phase, total| Meter::new(phase, total, watch, &is_cancelled);
    let stage = Stage { kernel: &kernel, params, executor, control: &control };
    let cancelled = || if is_cancelled.load(Ordering::Relaxed) { Err(BuildError::Cancelled) } else { Ok(()) };

    let mut scales = scales(codes, stage);
    cancelled()?;
    let mut near = scales.remove(0);
    let sparse = scales;
    let width = near.width;
    let slack = (params.slack.max(1.0) * SLACK_UNIT as f32) as u64;

    // Each row's choice takes the place of what it met.
    let mut chosen = vec![0u8; codes.len()];
    {
        let meter = control(Phase::Selection, codes.len());
        let spares = Spares::<(PruneScratch, Vec<u64>, Vec<u64>)>::new();
        let mut rows: Vec<(&mut [u64], &mut u8)> =
            near.keys.chunks_exact_mut(width).zip(&mut chosen).collect();
        for_each_chunk_mut(executor, &mut rows, CHUNK, |chunk, rows| {
            if !meter.goes_on() {
                return;
            }
            spares.with(|(scratch, candidates, all)| {
                for (at, (keys, chosen)) in rows.iter_mut().enumerate() {
                    let row = (chunk * CHUNK + at) as u32;
                    all.clear();
                    for met in std::iter::once(met(keys)).chain(sparse.iter().map(|scale| scale.of(row))) {
                        candidates.clear();
                        candidates.extend_from_slice(met);
                        let taken = choose(codes, &kernel, candidates, params.own, slack, scratch);
                        all.extend_from_slice(&candidates[..taken]);
                    }
                    all.sort_unstable();
                    all.dedup();
                    all.truncate(keys.len());
                    keys[..all.len()].copy_from_slice(all);
                    **chosen = all.len() as u8;
                }
            });
            meter.add(rows.len());
        });
    }
    drop(sparse);
    cancelled()?;

    let meter = control(Phase::Linking, codes.len());
    let own = |row: usize| &near.keys[row * width..][..usize::from(chosen[row])];
    let reverse = Reverse::of(codes.len(), own, executor);
    let degree = params.degree;
    let mut words = vec![Lists::EMPTY; codes.len() * degree];
    let spares = Spares::<(PruneScratch, Vec<u64>)>::new();
    for_each_chunk_mut(executor, &mut words, CHUNK * degree.max(1), |chunk, lists| {
        if !meter.goes_on() {
            return;
        }
        spares.with(|(scratch, candidates)| {
            for (at, list) in lists.chunks_exact_mut(degree).enumerate() {
                let row = chunk * CHUNK + at;
                candidates.clear();
                candidates.extend_from_slice(own(row));
                candidates.extend_from_slice(reverse.to(row));
                candidates.sort_unstable();
                candidates.dedup();
                candidates.truncate(MOST_CANDIDATES);
                let mut kept = candidates.len();
                if kept > degree {
                    kept = choose(codes, &kernel, candidates, degree, slack, scratch);
                }
                list.iter_mut().zip(&candidates[..kept]).for_each(|(word, &key)| *word = id_of(key));
            }
        });
        meter.add(lists.len() / degree);
    });
    cancelled()?;
    Ok(Lists { degree, words })
}
