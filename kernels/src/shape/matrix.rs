//! Many queries against many rows.
//!
//! * **X1** A tile of queries times a tile of rows is summed at once: each loaded row register serves
//!   several queries and each query register several rows, so loads no longer bound the speed.
//! * **X2** What a query or a row gives alone (norms) is found once per block, not once per pair.
//! * **X3** Queries are taken [`QUERY_BLOCK`] at a time and rows by [`ROW_BLOCK_BYTES`]: the queries stay in the
//!   first-level cache while the rows of a block stay in the second, so memory is read once.

use core::mem::MaybeUninit;

use crate::sum::Sum;

/// Queries per pass over a block of rows. 16 queries of 384 f32 are 24 KiB: half of a small first-level cache.
const QUERY_BLOCK: usize = 16;

/// Bytes of rows per block: a quarter of the smallest second-level cache of the CPUs with a wide path.
const ROW_BLOCK_BYTES: usize = 256 * 1024;

/// Sums `Q` queries against `R` rows, one chain per pair.
#[inline(always)]
unsafe fn cross_tile<A: Sum, const Q: usize, const R: usize>(
    queries: [*const A::Query; Q],
    rows: [*const A::Row; R],
    dim: usize,
) -> [[A::Partial; R]; Q] {
    // SAFETY: (whole function) every pointer below is `at < dim` elements into a vector of `dim`
    // elements, and each call reads at most to its end (S2); the CPU has the instructions by the
    // promise of the caller.
    unsafe {
        let mut sums = [[A::zero(); R]; Q];
        let mut at = 0;
        while at + A::WIDTH <= dim {
            for q in 0..Q {
                let register = A::load(queries[q].add(at));
                for r in 0..R {
                    sums[q][r] = A::step(sums[q][r], register, rows[r].add(at));
                }
            }
            at += A::WIDTH;
        }
        if at < dim {
            for q in 0..Q {
                let register = A::load_head(queries[q].add(at), dim - at);
                for r in 0..R {
                    sums[q][r] = A::step_head(sums[q][r], register, rows[r].add(at), dim - at);
                }
            }
        }
        sums
    }
}

/// Where the two sides and the distances lie: pointers, strides in elements, counts.
#[derive(Clone, Copy)]
pub(crate) struct Sides<Q, R, O> {
    pub(crate) queries: *const Q,
    pub(crate) query_stride: usize,
    pub(crate) query_count: usize,
    pub(crate) base: *const R,
    pub(crate) stride: usize,
    pub(crate) row_count: usize,
    pub(crate) out: *mut O,
    pub(crate) out_stride: usize,
}

/// Distances of every query to every row: `out[q · out_stride + r]`.
///
/// # Safety
/// Every query and row that `sides` names is valid for reads of `dim` elements, every place of `out` for
/// writes; the CPU has the instruction set of `A`.
#[inline(always)]
pub(crate) unsafe fn matrix<A: Sum, const Q: usize, const TILE: usize>(
    sides: Sides<A::Query, A::Row, A::Out>,
    dim: usize,
) {
    let block_rows = (ROW_BLOCK_BYTES / (dim * size_of::<A::Row>()).max(1)).max(TILE).next_multiple_of(TILE);
    let mut first_row = 0;
    while first_row < sides.row_count {
        let end_row = (first_row + block_rows).min(sides.row_count);
        let mut first_query = 0;
        while first_query < sides.query_count {
            let end_query = (first_query + QUERY_BLOCK).min(sides.query_count);
            // SAFETY: the block lies inside what the caller promised, and has at most `QUERY_BLOCK` queries.
            unsafe { block::<A, Q, TILE>(&sides, dim, first_query, end_query, first_row, end_row) };
            first_query = end_query;
        }
        first_row = end_row;
    }
}

/// One block of queries against one block of rows.
#[inline(always)]
unsafe fn block<A: Sum, const Q: usize, const TILE: usize>(
    sides: &Sides<A::Query, A::Row, A::Out>,
    dim: usize,
    first_query: usize,
    end_query: usize,
    first_row: usize,
    end_row: usize,
) {
    let query = |at: usize| sides.queries.wrapping_add(at * sides.query_stride);
    let mut contexts = [MaybeUninit::<A::Context>::uninit(); QUERY_BLOCK];
    for at in first_query..end_query {
        // SAFETY: `at` is a query by the promise of the caller.
        contexts[at - first_query].write(unsafe { A::context(query(at), dim) });
    }
    let mut row = first_row;
    while row < end_row {
        // The last tile of rows, and that of queries, repeats its last one instead of having a body of its own.
        let mut rows = [sides.base; TILE];
        for r in 0..TILE {
            rows[r] = sides.base.wrapping_add((row + r).min(end_row - 1) * sides.stride);
        }
        // SAFETY: the rows exist by the promise of the caller.
        let mut row_contexts = [unsafe { A::row_context(rows[0], dim) }; TILE];
        for r in 1..TILE {
            // SAFETY: the same.
            row_contexts[r] = unsafe { A::row_context(rows[r], dim) };
        }
        let mut first = first_query;
        while first < end_query {
            let mut queries = [sides.queries; Q];
            for q in 0..Q {
                queries[q] = query((first + q).min(end_query - 1));
            }
            // SAFETY: queries and rows are valid by the promise of the caller.
            let sums = unsafe { cross_tile::<A::Cross, Q, TILE>(queries, rows, dim) };
            // All of the tile, needed or not: with a variable count the sums would go through memory.
            let mut distances = [[MaybeUninit::<A::Out>::uninit(); TILE]; Q];
            for q in 0..Q {
                // SAFETY: the contexts of the block's queries were written above.
                let context = unsafe { contexts[(first + q).min(end_query - 1) - first_query].assume_init() };
                // SAFETY: queries and rows are valid by the promise of the caller.
                let some =
                    unsafe { A::finish_cross_many(sums[q], context, row_contexts, queries[q], rows, dim) };
                for r in 0..TILE {
                    distances[q][r].write(some[r]);
                }
            }
            for q in 0..Q.min(end_query - first) {
                for r in 0..TILE.min(end_row - row) {
                    // SAFETY: written above, every one.
                    let distance = unsafe { distances[q][r].assume_init() };
                    // SAFETY: the caller promises a place for every pair.
                    unsafe { sides.out.add((first + q) * sides.out_stride + row + r).write(distance) };
                }
            }
            first += Q;
        }
        row += TILE;
    }
}
