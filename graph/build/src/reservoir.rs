//! [`Reservoirs`]: the nearest rows met so far, for every row, in bounded memory.
//!
//! * **R1** A reservoir is sorted, holds no row twice, and ends in [`NOTHING`] while it is not full.
//! * **R2** What it holds in the end is the nearest of all that was offered, in whatever order and in however many
//!   parts: keys order by (distance, id) and are never equal for two rows.
//!
//! Cost: `8 · width + 24` bytes per row; an offer costs a scan of the distances and, where some are near enough, one
//! merge.

use std::sync::{Mutex, PoisonError};

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

/// Distances looked at together before any is taken: one comparison decides for all of them.
const GLANCE: usize = 16;

/// One reservoir per row.
pub(crate) struct Reservoirs<'a> {
    places: Vec<Mutex<&'a mut [u64]>>,
}

/// What offers reuse.
#[derive(Default)]
pub(crate) struct OfferScratch {
    near: Vec<u64>,
    merged: Vec<u64>,
}

impl<'a> Reservoirs<'a> {
    /// Over `keys: [rows × width]`, which are [`NOTHING`] at first.
    pub(crate) fn over(keys: &'a mut [u64], width: usize) -> Self {
        Self { places: keys.chunks_exact_mut(width.max(1)).map(Mutex::new).collect() }
    }

    /// Offers the reservoir `row` the rows `ids`, which lie at `distances`. `except` is passed over.
    pub(crate) fn offer(
        &self,
        row: u32,
        except: Option<u32>,
        ids: &[u32],
        distances: &[i32],
        scratch: &mut OfferScratch,
    ) {
        // No invariant lasts across a panic here but R1, which holds at every step.
        let mut place = self.places[row as usize].lock().unwrap_or_else(PoisonError::into_inner);
        let place: &mut [u64] = &mut place;
        let Some(&last) = place.last() else { return };
        let worst = if last == NOTHING { i32::MAX } else { distance_of(last) };
        let OfferScratch { near, merged } = scratch;
        near.clear();
        for (ids, distances) in ids.chunks(GLANCE).zip(distances.chunks(GLANCE)) {
            if !distances.iter().fold(false, |some, &distance| some | (distance <= worst)) {
                continue;
            }
            for (&id, &distance) in ids.iter().zip(distances) {
                if distance <= worst && except != Some(id) {
                    near.push(key(distance, id));
                }
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
