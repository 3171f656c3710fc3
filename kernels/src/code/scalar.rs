//! The code sum in plain Rust.

use super::integer_sum;
use crate::sum::Sum;

/// One element per step.
#[derive(Clone, Copy)]
pub(super) struct Scalar;

// SAFETY: inlined throughout; a step reads one element and a head, of no element, none.
unsafe impl Sum for Scalar {
    integer_sum!(i16, u8);
    type Register = i16;
    type Partial = i32;

    const WIDTH: usize = 1;

    #[inline(always)]
    unsafe fn zero() -> i32 {
        0
    }

    #[inline(always)]
    unsafe fn load(weights: *const i16) -> i16 {
        // SAFETY: the caller promises one element.
        unsafe { weights.read() }
    }

    #[inline(always)]
    unsafe fn load_head(_weights: *const i16, _count: usize) -> i16 {
        0
    }

    #[inline(always)]
    unsafe fn step(partial: i32, weight: i16, code: *const u8) -> i32 {
        // SAFETY: the caller promises one element.
        let code = unsafe { code.read() };
        partial.wrapping_add(i32::from(weight) * i32::from(code))
    }

    #[inline(always)]
    unsafe fn step_head(partial: i32, _weight: i16, _code: *const u8, _count: usize) -> i32 {
        partial
    }

    #[inline(always)]
    unsafe fn merge(a: i32, b: i32) -> i32 {
        a.wrapping_add(b)
    }

    #[inline(always)]
    unsafe fn finish(partial: i32, _context: (), _weights: *const i16, _code: *const u8, _dim: usize) -> i32 {
        partial
    }
}
