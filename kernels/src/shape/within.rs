//! One query against many rows that only matter below a threshold.
//!
//! * **W1** A row is given up once the part of its distance that has been summed exceeds the threshold. That
//!   is sound where no element can make the distance smaller again (L2 and L1): [`Sum::IS_MONOTONE`].
//! * **W2** The test is made every [`CHUNK`] elements. A test costs about what 32 elements cost, so testing
//!   more often would lose what giving up earlier wins.

use super::{LEAD_LINES, ROWS_AHEAD};
use crate::prefetch;
use crate::sum::Sum;

/// Elements between two tests.
const CHUNK: usize = 64;

/// One query against `count` rows; `row` names them. Returns how many were given up; their distance is
/// infinite.
///
/// # Safety
/// `query` and the first `count` rows are valid for reads of `dim` elements, `out` for writes of `count`; the
/// CPU has the instruction set of `A`.
#[inline(always)]
pub(crate) unsafe fn within<A: Sum<Out = f32>>(
    query: *const A::Query,
    row: impl Fn(usize) -> *const A::Row,
    dim: usize,
    threshold: f32,
    out: *mut f32,
    count: usize,
) -> usize {
    let mut abandoned = 0;
    // SAFETY: the caller's promise is passed on.
    let context = unsafe { A::context(query, dim) };
    for at in 0..count.min(ROWS_AHEAD) {
        prefetch::some_lines(row(at), dim, 0, LEAD_LINES);
    }
    for at in 0..count {
        if at + ROWS_AHEAD < count {
            prefetch::some_lines(row(at + ROWS_AHEAD), dim, 0, LEAD_LINES);
        }
        if at + 1 < count {
            // The first chunk only: the rest may never be needed.
            prefetch::lines(row(at + 1), dim.min(CHUNK));
        }
        // SAFETY: row `at < count` was promised by the caller.
        let distance = unsafe { one::<A>(query, row(at), dim, context, threshold) };
        abandoned += usize::from(distance.is_none());
        // SAFETY: `at < count` places were promised by the caller.
        unsafe { out.add(at).write(distance.unwrap_or(f32::INFINITY)) };
    }
    abandoned
}

/// The distance of one row, or `None` once it is known to exceed the threshold.
#[inline(always)]
unsafe fn one<A: Sum<Out = f32>>(
    query: *const A::Query,
    row: *const A::Row,
    dim: usize,
    context: A::Context,
    threshold: f32,
) -> Option<f32> {
    let chunk = if A::IS_MONOTONE { CHUNK } else { dim };
    // SAFETY: (whole function) a part ends at or before `dim`: inside what the caller promised.
    unsafe {
        let mut sum = A::zero();
        let mut at = 0;
        loop {
            let part = chunk.min(dim - at);
            let partial = super::alone::<A, 0>(query.add(at), row.add(at), part);
            sum = A::merge(sum, partial);
            at += part;
            let distance = A::finish(sum, context, query, row, dim);
            if at == dim {
                return Some(distance);
            }
            if distance > threshold {
                return None;
            }
        }
    }
}
