//! [`Reservoirs`]: the nearest rows met so far, for every row, in bounded memory.
//!
//! * **R1** A reservoir is sorted, holds no row twice, and ends in [`NOTHING`] while it is not full.
//! * **R2** What it holds in the end is the nearest of all that was offered, in whatever order and in however many
//!   parts: keys order by (distance, id), distances rounded as their table rounds them, and are never equal for two rows.
//!
//! Cost: `6 · width + 5` bytes per row; an offer costs a scan of the distances and, where some are near enough, one
//! merge.

use std::sync::{Mutex, PoisonError};

use orthant_kernels::TileKernel;

use crate::keys::{KeyPart, KeyTable};

/// A place without a row. Greater than every key.
pub(crate) const NOTHING: u64 = u64::MAX;

/// A row and how far it is, as one number that orders by (distance, id).
#[inline(always)]
pub(crate) fn key(distance: i32, id: u32) -> u64 {
    (distance as u32 as u64) << 32 | u64::from(id)
}

/// The row that a key names.
#[inline(always)]
pub(crate) fn id_of(key: u64) -> u32 {
    key as u32
}

/// How far that row is.
#[inline(always)]
pub(crate) fn distance_of(key: u64) -> i32 {
    (key >> 32) as i32
}

/// Distances looked at before the bound is drawn tighter: of the first ball all are near enough, and few of them stay.
const GLANCE: usize = 256;

/// Reservoirs under one lock: few enough that two threads seldom want the same, enough that locks weigh little.
const PER_LOCK: usize = 8;

/// One reservoir per row.
pub(crate) struct Reservoirs<'a> {
    groups: Vec<Mutex<KeyPart<'a>>>,
}

/// What offers reuse.
#[derive(Default)]
pub(crate) struct OfferScratch {
    places: Vec<u32>,
    near: Vec<u64>,
    known: Vec<u64>,
    merged: Vec<u64>,
}

impl<'a> Reservoirs<'a> {
    /// Over the rows of a table.
    pub(crate) fn over(keys: &'a mut KeyTable) -> Self {
        Self { groups: keys.parts_mut(PER_LOCK).into_iter().map(Mutex::new).collect() }
    }

    /// Offers the reservoir `row` the rows `ids`, which lie at `distances`. `except` is passed over.
    pub(crate) fn offer(
        &self,
        kernel: &TileKernel,
        row: u32,
        except: Option<u32>,
        ids: &[u32],
        distances: &[i32],
        scratch: &mut OfferScratch,
    ) {
        // No invariant lasts across a panic here but R1, which holds at every step.
        let (group, at) = (row as usize / PER_LOCK, row as usize % PER_LOCK);
        let mut group = self.groups[group].lock().unwrap_or_else(PoisonError::into_inner);
        let (width, packing) = (group.width(), group.packing());
        let last = group.last(at);
        let mut bound = if last == NOTHING { i32::MAX } else { packing.last_of(distance_of(last)) };
        let OfferScratch { places, near, known, merged } = scratch;
        places.resize(GLANCE, 0);
        near.clear();
        for (ids, distances) in ids.chunks(GLANCE).zip(distances.chunks(GLANCE)) {
            let found = kernel.at_most(distances, bound, places);
            for &at in &places[..found] {
                let (id, distance) = (ids[at as usize], distances[at as usize]);
                if except != Some(id) {
                    near.push(key(packing.round(distance), id));
                }
            }
            if near.len() > 2 * width {
                near.select_nth_unstable(width - 1);
                near.truncate(width);
                bound = bound.min(packing.last_of(distance_of(near[width - 1])));
            }
        }
        if near.is_empty() {
            return;
        }
        if near.len() > width {
            near.select_nth_unstable(width - 1);
            near.truncate(width);
        }
        near.sort_unstable();
        group.read_all(at, known);
        merge(known, near, merged);
        group.write_all(at, merged);
    }
}

/// As many as `known` has places, the least of it and `near`, both sorted; what is in both counts once.
fn merge(known: &[u64], near: &[u64], merged: &mut Vec<u64>) {
    merged.clear();
    let (mut old, mut new) = (0, 0);
    while merged.len() < known.len() {
        let (a, b) = (known[old], near.get(new).copied().unwrap_or(NOTHING));
        merged.push(a.min(b));
        old += usize::from(a <= b);
        new += usize::from(b <= a);
    }
}
