//! Near rows of every row: balls, all pairs in leaves, neighbors of neighbors.
//!
//! Rows are renumbered first, so that near ones lie near each other: what is gathered from here on (leaves, unions,
//! candidates) then mostly lies in the caches already. Numbers in that order are called *places*.
//!
//! * **N1** The order depends on the codes and the seed alone.
//!
//! Cost: the codes are copied once.

use orthant_kernels::TileKernel;
use orthant_quant::Executor;

use crate::build::{Meter, Params, Phase};
use crate::grid::Codes;
use crate::join::{self, JoinScratch};
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

    /// The place of each row.
    pub(crate) fn places(&self) -> Option<Vec<u32>> {
        places_of(self.order.as_deref())
    }
}

/// The place of each row, given the row at each place.
pub(crate) fn places_of(order: Option<&[u32]>) -> Option<Vec<u32>> {
    let order = order?;
    let mut places = vec![0; order.len()];
    (0..).zip(order).for_each(|(place, &row)| places[row as usize] = place);
    Some(places)
}

/// The reservoirs of all rows of `codes`, which are put in their order. Incomplete when cancelled.
pub(crate) fn near_rows(codes: &mut Codes, width: usize, stage: Stage<'_>) -> Near {
    let Top { balls, memberships, order } = top_balls(codes, stage);
    if let Some(order) = &order {
        *codes = codes.rearranged(order, stage.executor);
    }
    let packing = Packing::of_codes(codes.len(), codes.dim());
    let mut keys = KeyTable::new(packing, codes.len(), width);
    if width > 0 {
        compare_leaves(codes, &balls, memberships, &mut keys, stage);
        drop(balls);
        for _ in 0..stage.params.joins {
            // Where one leaf holds all rows, each has met every other.
            if order.is_some() {
                join_groups(codes, &mut keys, width, stage);
            }
        }
    }
    Near { order, keys }
}

fn compare_leaves(codes: &Codes, balls: &Balls, memberships: usize, keys: &mut KeyTable, stage: Stage<'_>) {
    let Stage { kernel, params, executor, control } = stage;
    let reservoirs = Reservoirs::over(keys);
    let meter = control(Phase::Distances, (0..balls.len()).map(|ball| balls.members(ball).len()).sum());
    let spares = Spares::<(AssignScratch, LeafScratch)>::new();
    executor.run(balls.len(), &|ball| {
        if !meter.goes_on() {
            return;
        }
        spares.with(|(assign, scratch)| {
            let members = balls.members(ball);
            let mut leaf = |members: &[u32]| {
                leaf::compare(codes, kernel, members, &reservoirs, scratch);
                meter.goes_on()
            };
            let name = mix(params.seed ^ mix(ball as u64 + 3));
            descend(codes, kernel, members, (memberships, name), params, assign, &mut leaf);
            meter.add(members.len());
        });
    });
}

fn join_groups(codes: &Codes, keys: &mut KeyTable, width: usize, stage: Stage<'_>) {
    let Stage { kernel, params, executor, control } = stage;
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

fn top_balls(codes: &Codes, stage: Stage<'_>) -> Top {
    let Stage { kernel, params, executor, control } = stage;
    let members: Vec<u32> = (0..codes.len() as u32).collect();
    let meter = control(Phase::Partition, members.len());
    if members.len() <= params.leaf {
        let alone = vec![0; members.len()];
        return Top { balls: Balls::collect(&members, &alone, 1, 1), memberships: 1, order: None };
    }
    let cut = Cut::of(members.len(), params.memberships, params);
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
    Top { balls, memberships: cut.rest(params.memberships), order: Some(order) }
}
