//! Near rows of every row: balls, all pairs in leaves, neighbors of neighbors; the same among ever fewer rows.
//!
//! A graph of nearest neighbors alone is hard to cross: each step is as short as the rows are dense. So every fourth row
//! is also compared with the other fourth rows, every fourth of those again, and so on: the *scales*. What a row finds on
//! a sparse scale is what an insert would have found while the graph was small.
//!
//! * **N1** Scale 0 has all rows; a row is on scale s + 1 by its own draw, if it is on scale s.
//!
//! Cost: a third more than scale 0 alone.

use orthant_kernels::TileKernel;
use orthant_quant::Executor;

use crate::build::{Meter, Params, Phase};
use crate::grid::Codes;
use crate::join::{self, JoinScratch};
use crate::leaf::{self, LeafScratch};
use crate::parallel::{Spares, for_each_chunk_mut};
use crate::partition::{AssignScratch, Balls, Cut, Leaders, descend};
use crate::random::mix;
use crate::reservoir::{NOTHING, Reservoirs, id_of};

/// Rows per task where work is per row.
pub(crate) const CHUNK: usize = 256;

/// One in so many rows is on the next scale: the sum over all scales is then a third of the first.
const THINNING: u64 = 4;

/// What stages of a build share.
#[derive(Clone, Copy)]
pub(crate) struct Stage<'a> {
    pub(crate) kernel: &'a TileKernel,
    pub(crate) params: &'a Params,
    pub(crate) executor: &'a dyn Executor,
    pub(crate) control: &'a dyn Fn(Phase, usize) -> Meter<'a>,
}

/// The nearest rows that the rows of one scale met.
pub(crate) struct Near {
    /// The rows of the scale, in order; `None` for all rows.
    ids: Option<Vec<u32>>,
    pub(crate) width: usize,
    /// `[rows × width]`, naming rows as scale 0 does.
    pub(crate) keys: Vec<u64>,
}

impl Near {
    /// What a row met, nearest first; nothing for a row that is not on the scale.
    pub(crate) fn of(&self, row: u32) -> &[u64] {
        let place = match &self.ids {
            None => row as usize,
            Some(ids) => match ids.binary_search(&row) {
                Ok(place) => place,
                Err(_) => return &[],
            },
        };
        met(&self.keys[place * self.width..][..self.width])
    }
}

/// The part of a reservoir that is filled.
pub(crate) fn met(keys: &[u64]) -> &[u64] {
    &keys[..keys.partition_point(|&key| key != NOTHING)]
}

/// All scales, the one of all rows first. Incomplete when cancelled.
pub(crate) fn scales(codes: &Codes, stage: Stage<'_>) -> Vec<Near> {
    let params = stage.params;
    let mut scales =
        vec![Near { ids: None, width: params.reservoir, keys: near_rows(codes, params.reservoir, stage) }];
    let mut ids: Vec<u32> = (0..codes.len() as u32).collect();
    for scale in 1..=params.scales as u64 {
        ids.retain(|&id| mix(params.seed ^ mix(u64::from(id)) ^ scale).is_multiple_of(THINNING));
        if ids.len() < 2 {
            break;
        }
        let width = params.reservoir / 2;
        let mut keys = near_rows(&codes.subset(&ids), width, stage);
        for key in keys.iter_mut().filter(|key| **key != NOTHING) {
            *key = *key >> 32 << 32 | u64::from(ids[id_of(*key) as usize]);
        }
        scales.push(Near { ids: Some(ids.clone()), width, keys });
    }
    scales
}

/// The reservoirs of all rows of `codes`, `[rows × width]`.
fn near_rows(codes: &Codes, width: usize, stage: Stage<'_>) -> Vec<u64> {
    let top = top_balls(codes, stage);
    let mut keys = vec![NOTHING; codes.len() * width];
    if width > 0 {
        compare_leaves(codes, &top, &mut keys, width, stage);
        for _ in 0..stage.params.joins {
            if !top.order.is_empty() {
                join_groups(codes, &top.order, &mut keys, width, stage);
            }
        }
    }
    keys
}

fn compare_leaves(codes: &Codes, top: &Top, keys: &mut [u64], width: usize, stage: Stage<'_>) {
    let Stage { kernel, params, executor, control } = stage;
    let reservoirs = Reservoirs::over(keys, width);
    let balls = &top.balls;
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
            descend(codes, kernel, members, (top.memberships, name), params, assign, &mut leaf);
            meter.add(members.len());
        });
    });
}

fn join_groups(codes: &Codes, order: &[u32], keys: &mut [u64], width: usize, stage: Stage<'_>) {
    let Stage { kernel, params, executor, control } = stage;
    let breadth = params.breadth.clamp(1, width);
    let mut known = vec![u32::MAX; codes.len() * breadth];
    for_each_chunk_mut(executor, &mut known, CHUNK * breadth, |chunk, known| {
        for (at, known) in known.chunks_exact_mut(breadth).enumerate() {
            let near = met(&keys[(chunk * CHUNK + at) * width..][..width]);
            known.iter_mut().zip(near).for_each(|(known, &key)| *known = id_of(key));
        }
    });
    let meter = control(Phase::Joining, codes.len());
    let reservoirs = Reservoirs::over(keys, width);
    let spares = Spares::<JoinScratch>::new();
    executor.run(order.len().div_ceil(CHUNK), &|chunk| {
        if meter.goes_on() {
            let rows = &order[chunk * CHUNK..order.len().min((chunk + 1) * CHUNK)];
            spares.with(|scratch| {
                for group in rows.chunks(join::GROUP) {
                    join::join(codes, kernel, group, (&known, breadth), &reservoirs, scratch);
                }
            });
            meter.add(rows.len());
        }
    });
}

/// The first cut.
struct Top {
    balls: Balls,
    /// Leaves that a member of a ball may still be in.
    memberships: usize,
    /// All rows, near ones near each other; empty when one leaf holds all.
    order: Vec<u32>,
}

fn top_balls(codes: &Codes, stage: Stage<'_>) -> Top {
    let Stage { kernel, params, executor, control } = stage;
    let members: Vec<u32> = (0..codes.len() as u32).collect();
    let meter = control(Phase::Partition, members.len());
    if members.len() <= params.leaf {
        let alone = vec![0; members.len()];
        return Top { balls: Balls::collect(&members, &alone, 1, 1), memberships: 1, order: Vec::new() };
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
    let balls = Balls::collect(&members, &joined_by, joined, leaders.count());
    let mut order = members;
    order.sort_by_cached_key(|&row| {
        let joined_by = &joined_by[row as usize * joined..][..joined];
        (joined_by[0], joined_by.get(1).copied(), joined_by.get(2).copied(), row)
    });
    Top { balls, memberships: cut.rest(params.memberships), order }
}
