//! Near rows of every row: balls, all pairs in leaves, neighbors of neighbors.
//!
//! Rows are renumbered first, so that near ones lie near each other: what is gathered from here on (leaves, unions,
//! candidates) then mostly lies in the caches already. Numbers in that order are called *places*.
//!
//! * **N1** The order depends on the codes and the seed alone.
//!
//! Cost: the codes are copied once.

use std::sync::atomic::{AtomicBool, Ordering};

use orthant_kernels::TileKernel;
use orthant_quant::Executor;

use crate::build::{Meter, Params, Phase};
use crate::grid::Codes;
use crate::join::{self, JoinScratch};
use crate::keep::{self, Kept, Step};
use crate::keys::{KeyTable, Packing};
use crate::leaf::{self, LeafScratch};
use crate::parallel::{Spares, for_each_chunk_mut};
use crate::partition::{AssignScratch, Balls, Cut, Leaders, descend};
use crate::random::mix;
use crate::reservoir::{Reservoirs, id_of};

/// Rows per task where work is per row.
pub(crate) const CHUNK: usize = 256;

/// What stages of a build share.
#[derive(Clone, Copy)]
pub(crate) struct Stage<'a> {
    pub(crate) kernel: &'a TileKernel,
    pub(crate) params: &'a Params,
    pub(crate) executor: &'a dyn Executor,
    pub(crate) control: &'a dyn Fn(Phase, usize) -> Meter<'a>,
    pub(crate) stopped: &'a AtomicBool,
}

impl Stage<'_> {
    /// Whether what was done last may be a part of what it should be.
    pub(crate) fn is_cancelled(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }
}

/// The nearest rows that each row met.
pub(crate) struct Near {
    /// The row at each place; `None`: each at its own.
    pub(crate) order: Option<Vec<u32>>,
    /// By place, naming places.
    pub(crate) keys: KeyTable,
}

impl Near {
    /// The row at a place.
    pub(crate) fn row_at(&self, place: u32) -> u32 {
        self.order.as_ref().map_or(place, |order| order[place as usize])
    }
}

/// The place of each row, given the row at each place.
pub(crate) fn places_of(order: &[u32]) -> Vec<u32> {
    let mut places = vec![0; order.len()];
    (0..).zip(order).for_each(|(place, &row)| places[row as usize] = place);
    places
}

/// The reservoirs of all rows of `codes`, which are put in their order. Incomplete when cancelled.
pub(crate) fn near_rows(codes: &mut Codes, width: usize, stage: Stage<'_>, kept: Kept<'_>) -> Near {
    let rows = codes.len();
    let Top { balls, memberships, order } = top_balls(codes, stage, kept);
    if let Some(order) = &order {
        *codes = codes.rearranged(order, stage.executor);
    }
    let packing = Packing::of_codes(rows, codes.dim());
    let found = kept.find(Step::Near, |parts| Met::of_parts(balls.len(), (packing, rows, width), parts));
    let mut met = found.unwrap_or_else(|| Met {
        compared: vec![0; balls.len()],
        joined: 0,
        keys: KeyTable::new(packing, rows, width),
    });
    if width > 0 {
        compare_leaves(codes, &balls, memberships, &mut met, stage, kept);
        drop(balls);
        // Where one leaf holds all rows, each has met every other.
        let joins = if order.is_some() { stage.params.joins as u64 } else { 0 };
        while met.joined < joins && !stage.is_cancelled() {
            join_groups(codes, &mut met.keys, width, stage);
            met.joined += 1;
            if !stage.is_cancelled() {
                met.offer(kept);
            }
        }
    }
    Near { order, keys: met.keys }
}

/// Reservoirs, and what has been offered to them.
struct Met {
    /// By ball, whether its leaves are compared.
    compared: Vec<u8>,
    /// Rounds of joins that are done, once all balls are.
    joined: u64,
    keys: KeyTable,
}

impl Met {
    fn of_parts(
        balls: usize,
        (packing, rows, width): (Packing, usize, usize),
        parts: &[&[u8]],
    ) -> Option<Self> {
        let &[compared, joined, low, high] = parts else { return None };
        let keys = KeyTable::of_parts(packing, rows, width, [low, high])?;
        let joined = u64::from_ne_bytes(joined.try_into().ok()?);
        (compared.len() == balls).then(|| Self { compared: compared.to_vec(), joined, keys })
    }

    /// Keeps it, if that is worth it.
    fn offer(&self, kept: Kept<'_>) {
        let [low, high] = self.keys.parts();
        kept.offer(Step::Near, &[&self.compared, &self.joined.to_ne_bytes(), low, high]);
    }

    fn bytes(&self) -> usize {
        self.keys.parts().iter().map(|part| part.len()).sum()
    }
}

/// Compares the leaves of all balls that are not compared yet. Where it is worth it, threads stop between balls until what
/// they have is kept; reservoirs take no harm from a ball that is compared again (R2).
fn compare_leaves(
    codes: &Codes,
    balls: &Balls,
    memberships: usize,
    met: &mut Met,
    stage: Stage<'_>,
    kept: Kept<'_>,
) {
    let Stage { kernel, params, executor, control, .. } = stage;
    let meter = control(Phase::Distances, (0..balls.len()).map(|ball| balls.members(ball).len()).sum());
    let spares = Spares::<(AssignScratch, LeafScratch)>::new();
    let bytes = met.bytes();
    let known = (0..balls.len()).filter(|&ball| met.compared[ball] != 0);
    meter.add(known.map(|ball| balls.members(ball).len()).sum());
    loop {
        let left: Vec<usize> = (0..balls.len()).filter(|&ball| met.compared[ball] == 0).collect();
        if left.is_empty() || !meter.goes_on() {
            return;
        }
        let (pauses, reservoirs) = (AtomicBool::new(false), Reservoirs::over(&mut met.keys));
        let is_done: Vec<AtomicBool> = left.iter().map(|_| AtomicBool::new(false)).collect();
        executor.run(left.len(), &|at| {
            if pauses.load(Ordering::Relaxed) || !meter.goes_on() {
                return;
            }
            let members = balls.members(left[at]);
            spares.with(|(assign, scratch)| {
                let mut leaf = |members: &[u32]| {
                    leaf::compare(codes, kernel, members, &reservoirs, scratch);
                    meter.goes_on()
                };
                let name = mix(params.seed ^ mix(left[at] as u64 + 3));
                descend(codes, kernel, members, (memberships, name), params, assign, &mut leaf);
            });
            meter.add(members.len());
            is_done[at].store(true, Ordering::Relaxed);
            if kept.is_worth(bytes) {
                pauses.store(true, Ordering::Relaxed);
            }
        });
        drop(reservoirs);
        left.iter()
            .zip(is_done)
            .for_each(|(&ball, is_done)| met.compared[ball] = is_done.into_inner().into());
        if !stage.is_cancelled() {
            met.offer(kept);
        }
    }
}

fn join_groups(codes: &Codes, keys: &mut KeyTable, width: usize, stage: Stage<'_>) {
    let Stage { kernel, params, executor, control, .. } = stage;
    let (count, breadth) = (codes.len(), params.breadth.clamp(1, width));
    let mut known = vec![u32::MAX; count * breadth];
    for_each_chunk_mut(executor, &mut known, CHUNK * breadth, |chunk, known| {
        for (at, known) in known.chunks_exact_mut(breadth).enumerate() {
            let near = keys.row(chunk * CHUNK + at);
            known.iter_mut().zip(near).for_each(|(known, key)| *known = id_of(key));
        }
    });
    let meter = control(Phase::Joining, count);
    let reservoirs = Reservoirs::over(keys);
    let spares = Spares::<JoinScratch>::new();
    executor.run(count.div_ceil(CHUNK), &|chunk| {
        if meter.goes_on() {
            let (from, to) = ((chunk * CHUNK) as u32, count.min((chunk + 1) * CHUNK) as u32);
            spares.with(|scratch| {
                for first in (from..to).step_by(join::GROUP) {
                    let group = first..to.min(first + join::GROUP as u32);
                    join::join(codes, kernel, group, (&known, breadth), &reservoirs, scratch);
                }
            });
            meter.add((to - from) as usize);
        }
    });
}

/// The first cut.
struct Top {
    /// By place.
    balls: Balls,
    /// Leaves that a member of a ball may still be in.
    memberships: usize,
    /// The row at each place, near ones near each other; none when one leaf holds all.
    order: Option<Vec<u32>>,
}

fn top_balls(codes: &Codes, stage: Stage<'_>, kept: Kept<'_>) -> Top {
    let Stage { kernel, params, executor, control, .. } = stage;
    let members: Vec<u32> = (0..codes.len() as u32).collect();
    let meter = control(Phase::Partition, members.len());
    if members.len() <= params.leaf {
        let alone = vec![0; members.len()];
        return Top { balls: Balls::collect(&members, &alone, 1, 1), memberships: 1, order: None };
    }
    let cut = Cut::of(members.len(), params.memberships, params);
    let memberships = cut.rest(params.memberships);
    let found = kept.find(Step::Balls, |parts| {
        let &[order, starts, joined] = parts else { return None };
        let balls = Balls::of_parts(members.len(), [starts, joined])?;
        Some(Top { balls, memberships, order: Some(keep::order(order, members.len())?) })
    });
    if let Some(found) = found {
        return found;
    }
    let leaders = Leaders::draw(codes, kernel, &members, cut.leaders, mix(params.seed));
    let joined = cut.joined.min(leaders.count());
    let mut joined_by = vec![0; members.len() * joined];
    let spares = Spares::<AssignScratch>::new();
    for_each_chunk_mut(executor, &mut joined_by, CHUNK * joined, |chunk, joined_by| {
        if meter.goes_on() {
            let members = &members[chunk * CHUNK..][..joined_by.len() / joined];
            spares.with(|scratch| leaders.assign(codes, kernel, members, joined, joined_by, scratch));
            meter.add(members.len());
        }
    });
    let mut order = members.clone();
    order.sort_by_cached_key(|&row| {
        let joined_by = &joined_by[row as usize * joined..][..joined];
        (joined_by[0], joined_by.get(1).copied(), joined_by.get(2).copied(), row)
    });
    let mut joined_in_order = Vec::with_capacity(joined_by.len());
    for &row in &order {
        joined_in_order.extend_from_slice(&joined_by[row as usize * joined..][..joined]);
    }
    drop(joined_by);
    let balls = Balls::collect(&members, &joined_in_order, joined, leaders.count());
    if !stage.is_cancelled() {
        let [starts, joined] = balls.parts();
        kept.offer(Step::Balls, &[bytemuck::cast_slice(&order), starts, joined]);
    }
    Top { balls, memberships, order: Some(order) }
}
