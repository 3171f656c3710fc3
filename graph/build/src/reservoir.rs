//! [`Reservoirs`]: the nearest rows met so far, for every row, in bounded memory.
//!
//! * **R1** A reservoir is sorted, holds no row twice, and ends in [`NOTHING`] while it is not full.
//! * **R2** What it holds in the end is the nearest of all that was offered, in whatever order and in however many
//!   parts: keys order by (distance, id) and are never equal for two rows.
//!
//! Cost: `8 · width + 3` bytes per row; an offer costs a scan of the distances and, where some are near enough, one
//! merge.

use std::sync::{Mutex, PoisonError};

use orthant_kernels::TileKernel;

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
    width: usize,
    groups: Vec<Mutex<&'a mut [u64]>>,
}

/// What offers reuse.
#[derive(Default)]
pub(crate) struct OfferScratch {
    places: Vec<u32>,
    near: Vec<u64>,
    merged: Vec<u64>,
}

impl<'a> Reservoirs<'a> {
    /// Over `keys: [rows × width]`, which are [`NOTHING`] at first.
    pub(crate) fn over(keys: &'a mut [u64], width: usize) -> Self {
        Self { width, groups: keys.chunks_mut(width.max(1) * PER_LOCK).map(Mutex::new).collect() }
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
        let place = &mut group[at * self.width..][..self.width];
        let Some(&last) = place.last() else { return };
        let mut bound = if last == NOTHING { i32::MAX } else { distance_of(last) };
        let OfferScratch { places, near, merged } = scratch;
        places.resize(GLANCE, 0);
        near.clear();
        for (ids, distances) in ids.chunks(GLANCE).zip(distances.chunks(GLANCE)) {
            let found = kernel.at_most(distances, bound, places);
            for &at in &places[..found] {
                let (id, distance) = (ids[at as usize], distances[at as usize]);
                if except != Some(id) {
                    near.push(key(distance, id));
                }
            }
            if near.len() > 2 * place.len() {
                near.select_nth_unstable(place.len() - 1);
                near.truncate(place.len());
                bound = bound.min(distance_of(near[place.len() - 1]));
            }
        }
        if near.is_empty() {
            return;
        }
        if near.len() > place.len() {
            near.select_nth_unstable(place.len() - 1);
            near.truncate(place.len());
        }
        near.sort_unstable();
        merge(place, near, merged);
    }
}

/// Merges `near` (sorted) into `place`; what is in both counts once.
fn merge(place: &mut [u64], near: &[u64], merged: &mut Vec<u64>) {
    merged.clear();
    let (mut old, mut new) = (0, 0);
    while merged.len() < place.len() {
        let (a, b) = (place[old], near.get(new).copied().unwrap_or(NOTHING));
        merged.push(a.min(b));
        old += usize::from(a <= b);
        new += usize::from(b <= a);
    }
    place.copy_from_slice(merged);
}
