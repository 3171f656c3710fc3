//! The bit metrics over a register of bits and a way to count those that are set.

use core::marker::PhantomData;

use crate::sum::Sum;

/// One register of bits on one instruction set.
///
/// # Safety
/// Implementors are inlined throughout and read exactly `WIDTH` bytes in `load` and `count` in `load_head`;
/// callers promise the instruction set.
pub(crate) unsafe trait Counts: Copy + 'static {
    /// The register.
    type Register: Copy;
    /// Running counts.
    type Total: Copy;
    /// Bytes per register.
    const WIDTH: usize;

    /// Loads `WIDTH` bytes.
    unsafe fn load(at: *const u8) -> Self::Register;
    /// Loads `count < WIDTH` bytes, zeros behind them.
    unsafe fn load_head(at: *const u8, count: usize) -> Self::Register;
    /// Counts of nothing.
    unsafe fn zero() -> Self::Total;
    /// Adds the number of bits set in one of two registers but not in both.
    unsafe fn add_xor(total: Self::Total, a: Self::Register, b: Self::Register) -> Self::Total;
    /// Adds the number of bits set in both.
    unsafe fn add_and(total: Self::Total, a: Self::Register, b: Self::Register) -> Self::Total;
    /// Both counts together.
    unsafe fn merge(a: Self::Total, b: Self::Total) -> Self::Total;
    /// Two counts as one: `low + 2³² · high`, so that they are added up across the register at once.
    unsafe fn pack(low: Self::Total, high: Self::Total) -> Self::Total;
    /// The count.
    unsafe fn reduce(total: Self::Total) -> u64;
}

/// Bits that differ.
#[derive(Clone, Copy)]
pub(crate) struct Hamming<C>(PhantomData<C>);
/// One minus intersection over union.
#[derive(Clone, Copy)]
pub(crate) struct Jaccard<C>(PhantomData<C>);

/// Writes [`Sum`] for a bit metric.
macro_rules! bit_sum {
    ($metric:ident, $partial:ty, $zero:expr, |$total:ident, $query:ident, $row:ident| $add:expr,
     |$a:ident, $b:ident| $merge:expr, |$sum:ident| $finish:expr) => {
        // SAFETY: inlined throughout, and `Counts` reads exactly what S2 allows.
        unsafe impl<C: Counts> Sum for $metric<C> {
            type Query = u8;
            type Row = u8;
            type Out = f32;
            type Register = C::Register;
            type Partial = $partial;
            type Context = ();
            type RowContext = ();
            type Pair = Self;
            type Cross = Self;

            const WIDTH: usize = C::WIDTH;
            const CHAINS: usize = 1;

            #[inline(always)]
            unsafe fn zero() -> $partial {
                // SAFETY: the caller promises the instruction set.
                unsafe { $zero }
            }

            #[inline(always)]
            unsafe fn load(query: *const u8) -> C::Register {
                // SAFETY: the caller's promise is passed on.
                unsafe { C::load(query) }
            }

            #[inline(always)]
            unsafe fn load_head(query: *const u8, count: usize) -> C::Register {
                // SAFETY: the caller's promise is passed on.
                unsafe { C::load_head(query, count) }
            }

            #[inline(always)]
            unsafe fn step($total: $partial, $query: C::Register, row: *const u8) -> $partial {
                // SAFETY: the caller's promise is passed on.
                unsafe {
                    let $row = C::load(row);
                    $add
                }
            }

            #[inline(always)]
            unsafe fn step_head(
                $total: $partial,
                $query: C::Register,
                row: *const u8,
                count: usize,
            ) -> $partial {
                // SAFETY: the caller's promise is passed on. Behind the head no bit is set on either side.
                unsafe {
                    let $row = C::load_head(row, count);
                    $add
                }
            }

            #[inline(always)]
            unsafe fn merge($a: $partial, $b: $partial) -> $partial {
                // SAFETY: the caller promises the instruction set.
                unsafe { $merge }
            }

            #[inline(always)]
            unsafe fn context(_query: *const u8, _dim: usize) {}

            #[inline(always)]
            unsafe fn row_context(_row: *const u8, _dim: usize) {}

            #[inline(always)]
            unsafe fn finish($sum: $partial, (): (), _query: *const u8, _row: *const u8, _dim: usize) -> f32 {
                // SAFETY: the caller promises the instruction set.
                unsafe { $finish }
            }

            #[inline(always)]
            unsafe fn finish_cross(
                partial: $partial,
                (): (),
                (): (),
                query: *const u8,
                row: *const u8,
                dim: usize,
            ) -> f32 {
                // SAFETY: the caller's promise is passed on.
                unsafe { Self::finish(partial, (), query, row, dim) }
            }
        }
    };
}

bit_sum!(
    Hamming,
    C::Total,
    C::zero(),
    |total, query, row| C::add_xor(total, query, row),
    |a, b| C::merge(a, b),
    // Through `i64`, which the CPU converts in one instruction.
    |sum| C::reduce(sum) as i64 as f32
);
// The union is what differs and what is common.
bit_sum!(
    Jaccard,
    (C::Total, C::Total),
    (C::zero(), C::zero()),
    |total, query, row| (C::add_xor(total.0, query, row), C::add_and(total.1, query, row)),
    |a, b| (C::merge(a.0, b.0), C::merge(a.1, b.1)),
    |sum| {
        let both = C::reduce(C::pack(sum.0, sum.1));
        let (different, common) = ((both & 0xffff_ffff) as i64, (both >> 32) as i64);
        // 0 of 0: two vectors without a set bit are the same.
        different as f32 / (different + common).max(1) as f32
    }
);

/// Eight bytes in a plain register.
#[derive(Clone, Copy)]
pub(crate) struct Scalar;

// SAFETY: one read of eight bytes; the head is a copy of `count`.
unsafe impl Counts for Scalar {
    type Register = u64;
    type Total = u64;
    const WIDTH: usize = 8;

    #[inline(always)]
    unsafe fn load(at: *const u8) -> u64 {
        // SAFETY: the caller promises eight bytes.
        unsafe { at.cast::<u64>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn load_head(at: *const u8, count: usize) -> u64 {
        // Two or three reads that may overlap: what both read is the same. A copy of a variable length would be a
        // call, and take longer than all the rest.
        // SAFETY: the caller promises `at < count < 8` bytes wherever one is read.
        let byte = |at_byte: usize| u64::from(unsafe { at.add(at_byte).read() }) << (8 * at_byte);
        // SAFETY: four bytes from `at_byte` on end at or before `count`.
        let four = |at_byte: usize| unsafe { at.add(at_byte).cast::<u32>().read_unaligned() };
        match count {
            0 => 0,
            1..4 => byte(0) | byte(count / 2) | byte(count - 1),
            _ => u64::from(four(0).to_le()) | u64::from(four(count - 4).to_le()) << (8 * (count - 4)),
        }
    }

    #[inline(always)]
    unsafe fn zero() -> u64 {
        0
    }

    #[inline(always)]
    unsafe fn add_xor(total: u64, a: u64, b: u64) -> u64 {
        total + u64::from((a ^ b).count_ones())
    }

    #[inline(always)]
    unsafe fn add_and(total: u64, a: u64, b: u64) -> u64 {
        total + u64::from((a & b).count_ones())
    }

    #[inline(always)]
    unsafe fn merge(a: u64, b: u64) -> u64 {
        a + b
    }

    #[inline(always)]
    unsafe fn pack(low: u64, high: u64) -> u64 {
        low + (high << 32)
    }

    #[inline(always)]
    unsafe fn reduce(total: u64) -> u64 {
        total
    }
}
