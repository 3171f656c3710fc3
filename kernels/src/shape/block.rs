//! One query against a block of vectors stored dimension by dimension.
//!
//! All first elements lie together, then all second ones: a register holds the same dimension of many vectors,
//! and no sum is ever added up across a register. There is no tail either, whatever the dimension.

use crate::sum::LaneSum;

/// Distances of `query` to the `REGISTERS · WIDTH` vectors of one block. `false` if a sum left the range of
/// its type; the distances are then to be found another way.
///
/// # Safety
/// `query` is valid for reads of `dim` elements, `block` of `dim · REGISTERS · WIDTH`, `out` for writes of
/// `REGISTERS · WIDTH`; the CPU has the instruction set of `A`.
#[inline(always)]
pub(crate) unsafe fn block<A: LaneSum, const REGISTERS: usize>(
    query: *const A::Query,
    block: *const A::Row,
    dim: usize,
    out: *mut A::Out,
) -> bool {
    let vectors = REGISTERS * A::WIDTH;
    // SAFETY: (whole function) `at < dim`, and register `r` of a dimension ends at or before its last vector.
    unsafe {
        let context = A::context(query, dim);
        // Two chains per register: with one register alone an addition would wait for the one before.
        let mut even = [A::zero(); REGISTERS];
        let mut odd = [A::zero(); REGISTERS];
        let mut at = 0;
        while at + 2 <= dim {
            let first = A::splat(query.add(at).read());
            let second = A::splat(query.add(at + 1).read());
            for r in 0..REGISTERS {
                let row = block.add(at * vectors + r * A::WIDTH);
                even[r] = A::step(even[r], first, row);
                odd[r] = A::step(odd[r], second, row.add(vectors));
            }
            at += 2;
        }
        if at < dim {
            let last = A::splat(query.add(at).read());
            for r in 0..REGISTERS {
                even[r] = A::step(even[r], last, block.add(at * vectors + r * A::WIDTH));
            }
        }
        let mut is_sound = true;
        for r in 0..REGISTERS {
            is_sound &= A::finish_lanes(A::merge(even[r], odd[r]), context, out.add(r * A::WIDTH));
        }
        is_sound
    }
}
