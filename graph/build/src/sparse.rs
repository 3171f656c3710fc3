//! Scales: what rows choose among ever fewer rows.
//!
//! A graph of nearest neighbors alone is hard to cross: each step is as short as the rows are dense. So every fourth row
//! is also compared with the other fourth rows, every fourth of those again, and so on: the *scales*. What a row finds on
//! a sparse scale is what an insert would have found while the graph was small.
//!
//! Rows in clusters are why a row keeps many on a scale: with 24, those of its own cluster were all that it met on every scale
//! where the cluster has more, and one row in 64 had an edge out of a cluster of 500 rows. Inserts see `ef_construction`
//! of them.
//!
//! * **A1** Scale 0 has all rows; a row is on scale s + 1 by its own draw, if it is on scale s.
//!
//! Cost: a third more than scale 0 alone; six bytes per choice and 16 per row on a scale are kept.

use crate::build::Phase;
use crate::grid::Codes;
use crate::keep::{self, Kept, Step};
use crate::keys::{KeyLists, KeyTable, Packing};
use crate::near::{CHUNK, Stage, near_rows, places_of};
use crate::parallel::{Spares, for_each_chunk_mut};
use crate::prune::{PruneScratch, choose};
use crate::random::mix;
use crate::reservoir::id_of;

/// One in so many rows is on the next scale: the sum over all scales is then a third of the first.
const THINNING: u64 = 4;

/// Of what a row may keep, one part in so many is looked at whole, the nearest; of the rest, which is to show other
/// directions, every so many-th.
const NEAR_PART: usize = 4;

/// What the rows of one scale chose.
pub(crate) struct Sparse {
    /// The rows of the scale, in order.
    ids: Vec<u32>,
    /// Where each of them stands.
    places: Option<Vec<u32>>,
    /// By place, naming rows.
    keys: KeyLists,
}

impl Sparse {
    /// The choices of a scale, as they were kept.
    fn of_parts(ids: &[u32], packing: Packing, rows: usize, parts: &[&[u8]]) -> Option<Self> {
        let &[places, starts, low, high] = parts else { return None };
        let places = keep::order(places, ids.len())?;
        let keys = KeyLists::of_parts(packing, (ids.len(), rows), [starts, low, high])?;
        Some(Self { ids: ids.to_vec(), places: Some(places), keys })
    }

    /// What a row chose, nearest first; nothing for a row that is not on the scale.
    pub(crate) fn of(&self, row: u32) -> impl Iterator<Item = u64> {
        let at = self.ids.binary_search(&row).ok();
        let place = at.map(|at| self.places.as_ref().map_or(at, |places| places[at] as usize));
        place.into_iter().flat_map(|place| self.keys.of(place))
    }
}

/// The choices of all scales but 0. Incomplete when cancelled.
pub(crate) fn sparse_scales(codes: &Codes, slack: u64, stage: Stage<'_>, kept: Kept<'_>) -> Vec<Sparse> {
    let params = stage.params;
    let mut scales = Vec::new();
    let mut ids: Vec<u32> = (0..codes.len() as u32).collect();
    for scale in 1..=params.scales as u64 {
        ids.retain(|&id| mix(params.seed ^ mix(u64::from(id)) ^ scale).is_multiple_of(THINNING));
        if ids.len() < 2 {
            break;
        }
        let packing = Packing::of_codes(codes.len(), codes.dim());
        let step = Step::Scale(scale as u32);
        let found = kept.find(step, |parts| Sparse::of_parts(&ids, packing, codes.len(), parts));
        scales.push(found.unwrap_or_else(|| {
            let made = chosen(codes.subset(&ids), ids.clone(), packing, slack, stage);
            if let (false, Some(places)) = (stage.is_cancelled(), &made.places) {
                let [starts, low, high] = made.keys.parts();
                kept.offer(step, &[bytemuck::cast_slice(places), starts, low, high]);
            }
            made
        }));
    }
    scales
}

/// What rows of a scale choose; `packing` is that of all rows.
fn chosen(mut codes: Codes, ids: Vec<u32>, packing: Packing, slack: u64, stage: Stage<'_>) -> Sparse {
    let Stage { kernel, params, executor, control, .. } = stage;
    let (width, own) = (params.reservoir, params.own);
    let near = near_rows(&mut codes, width, stage, Kept(None));
    let mut keys = KeyTable::new(packing, ids.len(), own);
    let meter = control(Phase::Selection, ids.len());
    let spares = Spares::<(PruneScratch, Vec<u64>, Vec<u64>)>::new();
    for_each_chunk_mut(executor, &mut keys.parts_mut(CHUNK), 1, |chunk, parts| {
        if !meter.goes_on() {
            return;
        }
        let [part] = parts else { return };
        spares.with(|(scratch, all, candidates)| {
            for at in 0..part.rows() {
                near.keys.read(chunk * CHUNK + at, all);
                candidates.clear();
                let (nearest, rest) = all.split_at(all.len().min(width.div_ceil(NEAR_PART)));
                candidates.extend_from_slice(nearest);
                candidates.extend(rest.iter().skip(NEAR_PART - 1).step_by(NEAR_PART));
                let taken = choose(&codes, kernel, candidates, own, slack, scratch);
                candidates.truncate(taken);
                candidates.iter_mut().for_each(|key| {
                    *key = *key >> 32 << 32 | u64::from(ids[near.row_at(id_of(*key)) as usize]);
                });
                part.write(at, candidates);
            }
        });
        meter.add(part.rows());
    });
    Sparse { places: near.order.as_deref().map(places_of), ids, keys: keys.compact() }
}
