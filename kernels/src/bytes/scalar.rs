//! Words in plain Rust.

use super::{LoadWords, Words};

/// One word per register.
#[derive(Clone, Copy)]
pub(crate) struct Scalar;

// SAFETY: plain arithmetic.
unsafe impl Words for Scalar {
    type Word = i16;
    type Total = i32;
    const WIDTH: usize = 1;

    #[inline(always)]
    unsafe fn zero() -> i32 {
        0
    }

    #[inline(always)]
    unsafe fn multiply_add(total: i32, a: i16, b: i16) -> i32 {
        total + i32::from(a) * i32::from(b)
    }

    #[inline(always)]
    unsafe fn add_squares(total: i32, a: i16, b: i16) -> i32 {
        total + i32::from(a - b) * i32::from(a - b)
    }

    #[inline(always)]
    unsafe fn add_distances(total: i32, a: i16, b: i16) -> i32 {
        total + i32::from((a - b).abs())
    }

    #[inline(always)]
    unsafe fn merge(a: i32, b: i32) -> i32 {
        a + b
    }

    #[inline(always)]
    unsafe fn reduce(total: i32) -> i32 {
        total
    }
}

macro_rules! load {
    ($element:ty) => {
        // SAFETY: one read of one element; a head has no element.
        unsafe impl LoadWords<Scalar> for $element {
            #[inline(always)]
            unsafe fn load(at: *const Self) -> i16 {
                // SAFETY: the caller promises one element.
                i16::from(unsafe { at.read() })
            }

            #[inline(always)]
            unsafe fn load_head(_at: *const Self, _count: usize) -> i16 {
                0
            }
        }
    };
}

load!(u8);
load!(i8);
