//! The build: phases in order, each over all rows, each deterministic.
//!
//! 1. *Partition*: rows join the balls of their nearest leaders ([`partition`](crate::partition)).
//! 2. *Distances*: all pairs inside each leaf are offered to reservoirs ([`leaf`](crate::leaf)).
//! 3. *Joining*: rows are compared with the neighbors of their neighbors ([`join`](crate::join)).
//! 4. *Selection*: each row chooses among what it met ([`prune`](crate::prune)). 1 to 4 were done before among ever
//!    fewer rows ([`sparse`](crate::sparse)), the choices of which are added.
//! 5. *Linking*: those that a row chose and those that chose it make its list; of too many it chooses again.
//!
//! * **P1** Lists depend on codes, parameters and seed alone: reservoirs forget the order of offers (R2), joins read what
//!   was written down before (J1), and all other work is per row.
//! * **P2** A cancelled build returns [`BuildError::Cancelled`] within one leaf or one chunk per thread.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use orthant_kernels::{IsaError, TileKernel};
use orthant_quant::Executor;

use crate::grid::{Codes, stride_of};
use crate::keep::{self, Keep, Kept, Step, elements, name_of};
use crate::keys::{KeyLists, KeyTable, Packing};
use crate::near::{CHUNK, Stage, near_rows, places_of};
use crate::parallel::{Spares, for_each_chunk_mut};
use crate::prune::{PruneScratch, SLACK_UNIT, choose};
use crate::reservoir::id_of;
use crate::reverse::Reverse;
use crate::sparse::{Sparse, sparse_scales};

/// Most candidates of one list in the last phase; of more, which only rows have that hundreds chose, the nearest.
const MOST_CANDIDATES: usize = 192;

/// Ranges of rows whose lists are made one range per thread: edges into the others need not be in memory, and are read in
/// vain.
const PARTS: usize = 16;

/// What a build may be told. Defaults were chosen on text-384 and sift-128, 100,000 and 200,000 rows, one seed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Params {
    /// Most neighbors in a list.
    pub degree: usize,
    /// Most neighbors that a row chooses per scale. Three quarters of `degree`: with half of it text-384 needs a tenth more
    /// beam for recall 0.99.
    pub own: usize,
    /// Nearest rows kept per row while distances are computed, 1 to 127; twice as many on scales above 0.
    pub reservoir: usize,
    /// Leaves that each row is in, about.
    pub memberships: usize,
    /// Most rows in a leaf. A large leaf finds more for the same number of distances than many small ones.
    pub leaf: usize,
    /// Rounds of comparing rows with the neighbors of their neighbors.
    pub joins: usize,
    /// Neighbors per row that such a round looks at.
    pub breadth: usize,
    /// How many ever smaller samples of the rows are compared among themselves too, at most.
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
            own: (3 * degree).div_ceil(4),
            reservoir: 48,
            memberships: 5,
            leaf: 3072,
            joins: 1,
            breadth: 12,
            scales: 12,
            slack: 1.1,
            seed: 42,
        }
    }
}

impl Params {
    /// What holds on scales above 0: there a row is to meet many others, and need not meet just the nearest. A row keeps twice as
    /// many, so that its own cluster does not fill its reservoir, and is in two leaves of five, which pays for that.
    pub(crate) fn of_scales(&self) -> Self {
        Self { reservoir: 2 * self.reservoir, memberships: (2 * self.memberships).div_ceil(5), ..*self }
    }

    /// Bytes that a build of `rows` rows of `dim` elements takes at its peak, codes included, but for the scratch of its
    /// threads.
    pub fn peak_bytes(&self, rows: usize, dim: usize) -> usize {
        // The code and its norm; the row at each place, the place of each row; the own choices of a third of the rows.
        let always = stride_of(dim) + 4 + 8 + (6 * self.own + 16) / 3;
        // Reservoirs and their locks; members of balls, or the neighbors that joins look at.
        let met = 6 * self.reservoir + 5 + 4 * self.memberships.max(self.breadth);
        // Edges, some of the way back, lists by place and by row.
        let linked = 8 * (self.own + self.own / 3) + 8 + 2 * 4 * self.degree;
        rows * (always + met.max(linked))
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
    /// `done` of `total` units of `phase` are done. The first four phases come once per scale.
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
/// The codes are put in another order meanwhile, and are as they were in the end, on errors too.
///
/// The lists are the same for the same codes and parameters, whatever the executor. Rows without a neighbor may be left
/// when `degree` is 0 or there is one row; a graph of the lists need not hang together.
///
/// # Errors
/// [`BuildError`].
/// # Panics
/// If `leaf` is below 2, if `reservoir` is not in 1..=127, or `memberships` is 0.
pub fn build(
    codes: &mut Codes,
    params: &Params,
    executor: &dyn Executor,
    watch: &dyn Watch,
) -> Result<Lists, BuildError> {
    lists(codes, params, executor, watch, Kept(None))
}

/// As [`build`], going on from the steps that `keep` kept of the same build, and having it keep others. The lists are the same.
///
/// Builds of so few rows that they fit into one leaf keep nothing. The lists are kept last; what went before them is
/// forgotten as soon as it is not needed.
///
/// # Errors
/// As `build`; steps that are kept stay so.
/// # Panics
/// As `build`.
pub fn build_kept(
    codes: &mut Codes,
    params: &Params,
    executor: &dyn Executor,
    watch: &dyn Watch,
    keep: &dyn Keep,
) -> Result<Lists, BuildError> {
    let is_small = codes.len() <= params.leaf;
    let kept = Kept((!is_small).then(|| (keep, name_of(codes, params, executor))));
    lists(codes, params, executor, watch, kept)
}

fn lists(
    codes: &mut Codes,
    params: &Params,
    executor: &dyn Executor,
    watch: &dyn Watch,
    kept: Kept<'_>,
) -> Result<Lists, BuildError> {
    assert!(params.leaf > 1 && params.memberships > 0, "leaves of two rows and more");
    assert!((1..=127).contains(&params.reservoir), "reservoirs of 1 to 127 rows");
    let (rows, degree) = (codes.len(), params.degree);
    if let Some(words) = kept.find(Step::Lists, |parts| list_words(parts, rows, degree)) {
        return Ok(Lists { degree, words });
    }
    let kernel = TileKernel::new(codes.dim())?;
    let stopped = AtomicBool::new(false);
    let control = |phase, total| Meter::new(phase, total, watch, &stopped);
    let stage = Stage { kernel: &kernel, params, executor, control: &control, stopped: &stopped };
    let slack = (params.slack.max(1.0) * SLACK_UNIT as f32) as u64;
    let thinned = params.of_scales();
    let stages = (stage, Stage { params: &thinned, ..stage });
    let mut order = None;
    let built = choices(codes, &mut order, slack, stages, kept).and_then(|own| {
        let words = link(codes, &own, slack, stage);
        if stage.is_cancelled() { Err(BuildError::Cancelled) } else { Ok(words) }
    });
    let Some(order) = order else { return Ok(Lists { degree, words: built? }) };
    let places = places_of(&order);
    *codes = codes.rearranged(&places, executor);
    let by_place = built?;
    let mut words = vec![Lists::EMPTY; by_place.len()];
    for_each_chunk_mut(executor, &mut words, CHUNK * degree.max(1), |chunk, lists| {
        for (at, list) in lists.chunks_exact_mut(degree).enumerate() {
            let from = &by_place[places[chunk * CHUNK + at] as usize * degree..][..degree];
            for (word, &place) in list.iter_mut().zip(from.iter().take_while(|&&place| place != Lists::EMPTY))
            {
                *word = order[place as usize];
            }
        }
    });
    if kept.offer(Step::Lists, &[bytemuck::cast_slice(&words)]) {
        kept.forget(Step::before_own(params.scales).chain([Step::Own]));
    }
    Ok(Lists { degree, words })
}

/// Lists as they were kept.
fn list_words(parts: &[&[u8]], rows: usize, degree: usize) -> Option<Vec<u32>> {
    let &[words] = parts else { return None };
    let words: Vec<u32> = elements(words)?;
    let is_row = |&word: &u32| word == Lists::EMPTY || (word as usize) < rows;
    (words.len() == rows * degree && words.iter().all(is_row)).then_some(words)
}

/// What all rows chose, by place. Sets the order in which codes are from then on. `on_scales` is how scales above 0 go.
fn choices(
    codes: &mut Codes,
    order: &mut Option<Vec<u32>>,
    slack: u64,
    (stage, on_scales): (Stage<'_>, Stage<'_>),
    kept: Kept<'_>,
) -> Result<KeyLists, BuildError> {
    let rows = codes.len();
    let packing = Packing::of_codes(rows, codes.dim());
    let found = kept.find(Step::Own, |parts| {
        let &[order, starts, low, high] = parts else { return None };
        let own = KeyLists::of_parts(packing, (rows, rows), [starts, low, high])?;
        Some((keep::order(order, rows)?, own))
    });
    if let Some((found, own)) = found {
        *codes = codes.rearranged(&found, stage.executor);
        *order = Some(found);
        return Ok(own);
    }
    let cancelled = || if stage.is_cancelled() { Err(BuildError::Cancelled) } else { Ok(()) };
    let sparse = sparse_scales(codes, slack, on_scales, kept);
    cancelled()?;
    let near = near_rows(codes, stage.params.reservoir, stage, kept);
    let order = {
        *order = near.order;
        order.as_deref()
    };
    cancelled()?;
    let places = order.map(places_of);
    let own = chosen(codes, near.keys, (order, places.as_deref(), &sparse), slack, stage);
    cancelled()?;
    if let Some(order) = order {
        let [starts, low, high] = own.parts();
        if kept.offer(Step::Own, &[bytemuck::cast_slice(order), starts, low, high]) {
            kept.forget(Step::before_own(stage.params.scales));
        }
    }
    Ok(own)
}

/// Each row's choice among what it met, and what it chose on sparse scales. `keys` are by place.
fn chosen(
    codes: &Codes,
    mut keys: KeyTable,
    (order, places, sparse): (Option<&[u32]>, Option<&[u32]>, &[Sparse]),
    slack: u64,
    stage: Stage<'_>,
) -> KeyLists {
    let Stage { kernel, params, executor, control, .. } = stage;
    let meter = control(Phase::Selection, codes.len());
    let spares = Spares::<(PruneScratch, Vec<u64>)>::new();
    // Each row's choice takes the place of what it met.
    for_each_chunk_mut(executor, &mut keys.parts_mut(CHUNK), 1, |chunk, parts| {
        let [part] = parts else { return };
        if !meter.goes_on() {
            return;
        }
        spares.with(|(scratch, all)| {
            for at in 0..part.rows() {
                let place = (chunk * CHUNK + at) as u32;
                let row = order.map_or(place, |order| order[place as usize]);
                part.read(at, all);
                let taken = choose(codes, kernel, all, params.own, slack, scratch);
                all.truncate(taken);
                for key in sparse.iter().flat_map(|scale| scale.of(row)) {
                    let id = id_of(key);
                    let place = places.map_or(id, |places| places[id as usize]);
                    all.push(key >> 32 << 32 | u64::from(place));
                }
                all.sort_unstable();
                all.dedup();
                all.truncate(part.width());
                part.write(at, all);
            }
            meter.add(part.rows());
        });
    });
    keys.compact()
}

/// Lists of those that a row chose and those that chose it, `[rows × degree]` by place, naming places.
fn link(codes: &Codes, own: &KeyLists, slack: u64, stage: Stage<'_>) -> Vec<u32> {
    let Stage { kernel, params, executor, control, .. } = stage;
    let (count, degree) = (codes.len(), params.degree);
    let meter = control(Phase::Linking, count);
    let mut words = vec![Lists::EMPTY; count * degree];
    let spares = Spares::<(PruneScratch, Vec<u64>)>::new();
    let per_part = count.div_ceil(PARTS).max(1);
    for_each_chunk_mut(executor, &mut words, per_part * degree, |part, lists| {
        if !meter.goes_on() {
            return;
        }
        let first = part * per_part;
        let reverse = Reverse::of(first..first + lists.len() / degree, count, |place| own.of(place));
        for (chunk, lists) in lists.chunks_mut(CHUNK * degree).enumerate() {
            if !meter.goes_on() {
                return;
            }
            spares.with(|(scratch, candidates)| {
                for (at, list) in lists.chunks_exact_mut(degree).enumerate() {
                    let place = first + chunk * CHUNK + at;
                    candidates.clear();
                    candidates.extend(own.of(place));
                    candidates.extend_from_slice(reverse.to(place));
                    candidates.sort_unstable();
                    candidates.dedup();
                    candidates.truncate(MOST_CANDIDATES);
                    let mut kept = candidates.len();
                    if kept > degree {
                        kept = choose(codes, kernel, candidates, degree, slack, scratch);
                    }
                    list.iter_mut().zip(&candidates[..kept]).for_each(|(word, &key)| *word = id_of(key));
                }
            });
            meter.add(lists.len() / degree);
        }
    });
    words
}
