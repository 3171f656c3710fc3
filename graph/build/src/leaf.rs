//! All pairs inside a leaf, offered to the reservoirs of its rows.
//!
//! Cost: `rows² · dim` products of bytes and one look at each distance; the strip of distances that is looked at stays
//! in the second-level cache.

use orthant_kernels::TileKernel;

use crate::grid::Codes;
use crate::reservoir::{OfferScratch, Reservoirs};

/// Left rows per strip: 48 rows by 1024 distances are 192 KiB, and 48 are whole tiles of 6.
const STRIP: usize = 48;

/// What leaves reuse.
#[derive(Default)]
pub(crate) struct LeafScratch {
    rows: Vec<u8>,
    norms: Vec<i32>,
    packed: Vec<u8>,
    distances: Vec<i32>,
    offer: OfferScratch,
}

/// Compares all of `members` with each other.
pub(crate) fn compare(
    codes: &Codes,
    kernel: &TileKernel,
    members: &[u32],
    reservoirs: &Reservoirs<'_>,
    scratch: &mut LeafScratch,
) {
    let LeafScratch { rows, norms, packed, distances, offer } = scratch;
    let (count, stride) = (members.len(), codes.stride());
    rows.resize(count * stride, 0);
    norms.resize(count, 0);
    packed.resize(kernel.packed_bytes(count), 0);
    // Whole cache lines, so that no store goes into two of them more often than it must.
    let width = count.next_multiple_of(16);
    distances.resize(STRIP * width, 0);
    codes.gather(members, rows, norms);
    kernel.pack(rows, stride, count, packed);
    for first in (0..count).step_by(STRIP) {
        let strip = STRIP.min(count - first);
        let (left, left_norms) =
            (&rows[first * stride..(first + strip) * stride], &norms[first..first + strip]);
        let distances = &mut distances[..strip * width];
        kernel.squared_distances(left, stride, left_norms, packed, norms, distances, width);
        for (&row, distances) in members[first..].iter().zip(distances.chunks_exact(width)) {
            reservoirs.offer(kernel, row, Some(row), members, &distances[..count], offer);
        }
    }
}
