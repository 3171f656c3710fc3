//! The shapes of a batch, written once for every metric, element type and instruction set.
//!
//! `DIM` is the dimension when it is known at compile time and 0 when it comes in `dim`. With a known
//! dimension every loop below has a constant count and the tail is gone or of constant length.
//!
//! * **H1** Rows are taken `TILE` at a time: one load of the query serves them all, and their sums are
//!   independent, so the latency of an addition is hidden without a long chain per row. Four rows times
//!   two chains are eight sums in flight: an FMA takes four cycles and two start per cycle, and eight
//!   sums plus operands still fit the 16 registers of AVX2. The scalar path takes one row at a time.
//! * **H2** Gathered rows are taken one by one, since it is memory that they wait for: while a row is summed
//!   the next one is on its way. Contiguous rows are what the hardware prefetcher is good at.

#![allow(
    clippy::needless_range_loop,
    reason = "constant ranges over several arrays at once unroll; iterators hide that"
)]

use crate::prefetch;
use crate::sum::Sum;

pub(crate) mod block;
pub(crate) mod matrix;
pub(crate) mod within;

/// Small rows of a gathered batch that are asked for before anything is summed: as many as a graph node has
/// neighbors. The first touch of a row is also the one that waits for the address translation. 16 ahead are up to 9 %
/// slower in batches of 32, 8 up to 15 % (rows of 96 to 192 f32 and 128 to 768 bytes from memory).
const ROWS_AHEAD: usize = 32;

/// Long rows whose first lines are asked for that early: 5 to 8 % faster than 32 of them, in batches of 32 rows of 384
/// to 1024 f32.
const LONG_ROWS_AHEAD: usize = 8;

/// Lines of a long row asked for that early: they start the hardware's own prefetcher on the rest. One is 2 to 4 %
/// slower, three and four are the same.
const LEAD_LINES: usize = 2;

/// Rows of at most this many lines are small: asked for whole, at once. 4 to 5 % faster at 12 lines (192 f32, 768 bytes)
/// than one row ahead, and 5 % slower at 16. All of it on a Sapphire Rapids, 2 MB pages, 16 and 32 rows at random.
const SMALL_ROW_LINES: usize = 12;

/// Sums `R` rows against one query, `C` chains each.
#[inline(always)]
pub(crate) unsafe fn tile<A: Sum, const DIM: usize, const R: usize, const C: usize>(
    query: *const A::Query,
    rows: [*const A::Row; R],
    dim: usize,
) -> [A::Partial; R] {
    let dim = if DIM == 0 { dim } else { DIM };
    // SAFETY: (whole function) every pointer below is `at < dim` elements into a vector of `dim`
    // elements, and each call reads at most to its end (S2); the CPU has the instructions by the
    // promise of the caller.
    unsafe {
        let mut sums = [[A::zero(); C]; R];
        let mut at = 0;
        while at + C * A::WIDTH <= dim {
            for c in 0..C {
                let offset = at + c * A::WIDTH;
                let register = A::load(query.add(offset));
                for r in 0..R {
                    sums[r][c] = A::step(sums[r][c], register, rows[r].add(offset));
                }
            }
            at += C * A::WIDTH;
        }
        for c in 0..C {
            if at + A::WIDTH <= dim {
                let register = A::load(query.add(at));
                for r in 0..R {
                    sums[r][c] = A::step(sums[r][c], register, rows[r].add(at));
                }
                at += A::WIDTH;
            }
        }
        if at < dim {
            let count = dim - at;
            let register = A::load_head(query.add(at), count);
            for r in 0..R {
                sums[r][C - 1] = A::step_head(sums[r][C - 1], register, rows[r].add(at), count);
            }
        }
        let mut whole = [A::zero(); R];
        for r in 0..R {
            whole[r] = sums[r][0];
            for c in 1..C {
                whole[r] = A::merge(whole[r], sums[r][c]);
            }
        }
        whole
    }
}

/// One pair.
///
/// # Safety
/// `query` and `row` are valid for reads of `dim` elements; `DIM` is 0 or `dim`; the CPU has the
/// instruction set of `A`.
#[inline(always)]
pub(crate) unsafe fn pair<A: Sum, const DIM: usize>(
    query: *const A::Query,
    row: *const A::Row,
    dim: usize,
) -> A::Out {
    // SAFETY: the caller's promise is passed on unchanged.
    unsafe {
        let context = A::Pair::context(query, dim);
        let partial = if DIM <= A::Pair::MAX_CONST_DIM {
            alone::<A::Pair, DIM>(query, row, dim)
        } else {
            alone::<A::Pair, 0>(query, row, dim)
        };
        A::Pair::finish(partial, context, query, row, dim)
    }
}

/// Sums one row by itself.
///
/// # Safety
/// As [`pair`].
#[inline(always)]
pub(crate) unsafe fn alone<A: Sum, const DIM: usize>(
    query: *const A::Query,
    row: *const A::Row,
    dim: usize,
) -> A::Partial {
    // The branch is decided when the body is compiled.
    // SAFETY: the caller's promise is passed on unchanged.
    unsafe {
        match A::CHAINS {
            1 => tile::<A, DIM, 1, 1>(query, [row], dim)[0],
            2 => tile::<A, DIM, 1, 2>(query, [row], dim)[0],
            _ => tile::<A, DIM, 1, 4>(query, [row], dim)[0],
        }
    }
}

/// One query against `count` rows, the first at `base` and each `stride` elements after the one before.
///
/// # Safety
/// As [`pair`], for each of the rows; `out` is valid for writes of `count` elements.
#[inline(always)]
pub(crate) unsafe fn rows<A: Sum, const DIM: usize, const TILE: usize>(
    query: *const A::Query,
    base: *const A::Row,
    stride: usize,
    dim: usize,
    out: *mut A::Out,
    count: usize,
) {
    let dim = if DIM == 0 { dim } else { DIM };
    let row = |at: usize| base.wrapping_add(at * stride);
    // SAFETY: (whole block) `at < count` wherever a row is named or a distance is written; the rest
    // is the caller's promise.
    unsafe {
        let context = A::context(query, dim);
        let mut at = 0;
        while at < count {
            // The last tile repeats its last row instead of having a body of its own: what that costs is a
            // few steps over a row that is in the first-level cache by then.
            let mut some = [base; TILE];
            for r in 0..TILE {
                some[r] = row((at + r).min(count - 1));
            }
            // Decided when the body is compiled.
            let partials = match A::TILE_CHAINS {
                1 => tile::<A, DIM, TILE, 1>(query, some, dim),
                _ => tile::<A, DIM, TILE, 2>(query, some, dim),
            };
            // All of the tile, needed or not: left to the branch below, sums would be moved behind it and steps be
            // kept in memory until then.
            let distances = A::finish_many(partials, context, query, some, dim);
            for r in 0..TILE.min(count - at) {
                out.add(at + r).write(distances[r]);
            }
            at += TILE;
        }
    }
}

/// One query against the rows of `base` named by `ids`.
///
/// # Safety
/// As [`pair`], for the row of each id; `ids` is valid for reads and `out` for writes of `count`
/// elements.
#[inline(always)]
pub(crate) unsafe fn gather<A: Sum, const DIM: usize>(
    query: *const A::Query,
    base: *const A::Row,
    stride: usize,
    dim: usize,
    ids: *const u32,
    out: *mut A::Out,
    count: usize,
) {
    let dim = if DIM == 0 { dim } else { DIM };
    // SAFETY: `at < count` wherever an id is read.
    let id = |at: usize| unsafe { ids.add(at).read() } as usize;
    // Wrapping, so that empty rows (`dim = 0`) have an address without there being a row.
    let row = |at: usize| base.wrapping_add(id(at) * stride);
    let is_small = dim * size_of::<A::Row>() <= SMALL_ROW_LINES * prefetch::LINE;
    let (ahead, lead_lines) = if is_small { (ROWS_AHEAD, usize::MAX) } else { (LONG_ROWS_AHEAD, LEAD_LINES) };
    for at in 0..count.min(ahead) {
        prefetch::some_lines(row(at), dim, 0, lead_lines);
    }
    // SAFETY: (whole block) `at < count` wherever a row is named or a distance is written; the rest is the
    // caller's promise.
    unsafe {
        let context = A::context(query, dim);
        for at in 0..count {
            if at + ahead < count {
                prefetch::some_lines(row(at + ahead), dim, 0, lead_lines);
            }
            if !is_small && at + 1 < count {
                prefetch::some_lines(row(at + 1), dim, LEAD_LINES, usize::MAX);
            }
            let one = row(at);
            let partial = alone::<A, DIM>(query, one, dim);
            out.add(at).write(A::finish(partial, context, query, one, dim));
        }
    }
}
