//! The seam between *what* is summed and *in which shape*.
//!
//! A [`Sum`] is one metric over one pair of element types on one instruction set: how to take a step
//! of a few elements and how to turn the running sums into a distance. The shapes in `shape.rs` (one
//! pair, many rows, gathered rows, a matrix of both) are written once over this trait and become machine
//! code in `entry.rs`, where the instruction set is switched on.
//!
//! * **S1** Every method is `#[inline(always)]`: a body exists only inside an entry function that has
//!   the target features of the instruction set. Without that the intrinsics would be real calls.
//! * **S2** A method reads exactly the elements it names: `WIDTH` for a step, `count` for a head.
//!   Nothing past the end of a row is touched, so the last row of a mapping is safe.

/// Running sums of one metric on one instruction set.
///
/// # Safety
/// Implementors promise S1 and S2. Callers of the methods promise that the CPU has the instruction
/// set and that the pointers are valid for the elements S2 names.
pub(crate) unsafe trait Sum: Copy + 'static {
    /// Element of the query.
    type Query: Copy + 'static;
    /// Element of a row.
    type Row: Copy + 'static;
    /// What a pair comes to.
    type Out: Copy + 'static;
    /// One step of the query, loaded once and used for several rows.
    type Register: Copy;
    /// The running sums.
    type Partial: Copy;
    /// What the query alone gives (the norm, for the cosine), found once per batch.
    type Context: Copy;
    /// What a row alone gives, found once per row of a matrix.
    type RowContext: Copy;
    /// The sum to use for one pair alone, where nothing can be found once for many.
    type Pair: Sum<Query = Self::Query, Row = Self::Row, Out = Self::Out>;
    /// The sum to use inside a matrix, where both sides' own parts are found once.
    type Cross: Sum<Query = Self::Query, Row = Self::Row>;

    /// Elements per step.
    const WIDTH: usize;

    /// Chains of sums where one pair is summed alone. Every step needs two loads and two loads start per cycle, so
    /// one step per cycle at best: four chains cover the four cycles of an FMA. Fewer where a step is long
    /// and vectors are a few steps only, since every chain is one more register to add up at the end.
    const CHAINS: usize = 4;

    /// Chains per row in a tile of rows.
    const TILE_CHAINS: usize = 2;

    /// The largest dimension with a body of its own for one pair. Laid out in a row, the steps of several sums
    /// at once run the compiler out of registers.
    const MAX_CONST_DIM: usize = usize::MAX;

    /// Whether the distance of a part of two vectors is never above that of the whole (and has no need of
    /// the context).
    const IS_MONOTONE: bool = false;

    /// Sums of nothing.
    unsafe fn zero() -> Self::Partial;
    /// Loads `WIDTH` elements of the query.
    unsafe fn load(query: *const Self::Query) -> Self::Register;
    /// Loads the first `count < WIDTH` elements; the others read as zero.
    unsafe fn load_head(query: *const Self::Query, count: usize) -> Self::Register;
    /// Takes `WIDTH` elements of a row into the sums.
    unsafe fn step(partial: Self::Partial, query: Self::Register, row: *const Self::Row) -> Self::Partial;
    /// Takes the first `count < WIDTH` elements into the sums; the others add nothing.
    unsafe fn step_head(
        partial: Self::Partial,
        query: Self::Register,
        row: *const Self::Row,
        count: usize,
    ) -> Self::Partial;
    /// Both sums together.
    unsafe fn merge(a: Self::Partial, b: Self::Partial) -> Self::Partial;
    /// What the query alone gives.
    unsafe fn context(query: *const Self::Query, dim: usize) -> Self::Context;
    /// What the row alone gives.
    unsafe fn row_context(row: *const Self::Row, dim: usize) -> Self::RowContext;
    /// The distance. `query` and `row` are the whole vectors, for the rare pair whose sums left the
    /// range of their type.
    unsafe fn finish(
        partial: Self::Partial,
        context: Self::Context,
        query: *const Self::Query,
        row: *const Self::Row,
        dim: usize,
    ) -> Self::Out;
    /// The distances of several rows.
    #[inline(always)]
    unsafe fn finish_many<const R: usize>(
        partials: [Self::Partial; R],
        context: Self::Context,
        query: *const Self::Query,
        rows: [*const Self::Row; R],
        dim: usize,
    ) -> [Self::Out; R] {
        // SAFETY: the caller's promise is passed on. Not a closure: it would not have the target features.
        let mut out = [unsafe { Self::finish(partials[0], context, query, rows[0], dim) }; R];
        for r in 1..R {
            // SAFETY: the same.
            out[r] = unsafe { Self::finish(partials[r], context, query, rows[r], dim) };
        }
        out
    }
    /// The distance from a sum of [`Cross`](Self::Cross) and what both sides gave alone.
    unsafe fn finish_cross(
        partial: <Self::Cross as Sum>::Partial,
        context: Self::Context,
        row_context: Self::RowContext,
        query: *const Self::Query,
        row: *const Self::Row,
        dim: usize,
    ) -> Self::Out;
    /// The distances of several rows from sums of [`Cross`](Self::Cross).
    #[inline(always)]
    unsafe fn finish_cross_many<const R: usize>(
        partials: [<Self::Cross as Sum>::Partial; R],
        context: Self::Context,
        row_contexts: [Self::RowContext; R],
        query: *const Self::Query,
        rows: [*const Self::Row; R],
        dim: usize,
    ) -> [Self::Out; R] {
        // SAFETY: the caller's promise is passed on.
        let first = unsafe { Self::finish_cross(partials[0], context, row_contexts[0], query, rows[0], dim) };
        let mut out = [first; R];
        for r in 1..R {
            // SAFETY: the same.
            out[r] =
                unsafe { Self::finish_cross(partials[r], context, row_contexts[r], query, rows[r], dim) };
        }
        out
    }
}

/// A [`Sum`] whose lanes can be rows instead of dimensions: the sums of `WIDTH` rows in one register.
///
/// # Safety
/// As [`Sum`].
pub(crate) unsafe trait LaneSum: Sum {
    /// One element of the query in every lane.
    unsafe fn splat(query: Self::Query) -> Self::Register;
    /// Writes the distances of the `WIDTH` rows whose sums the lanes are. `false` if a sum left the range
    /// of its type; the distances are then to be found another way.
    unsafe fn finish_lanes(partial: Self::Partial, context: Self::Context, out: *mut Self::Out) -> bool;
}
