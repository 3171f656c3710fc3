//! One register of `f32` on each instruction set.
//!
//! pulp gives the arithmetic; what is added here is what it lacks: loads from a pointer, loads of the
//! first few elements (a masked load, where pulp jumps through a table), and a multiply-add that stays
//! an instruction on CPUs without FMA.

use pulp::{Scalar, Simd};

/// A pulp instruction set with raw loads of `f32`.
///
/// # Safety
/// Implementors read exactly `LANES` elements in `load` and `count` in `load_head`.
pub(crate) unsafe trait Lanes: Simd {
    /// Elements per register.
    const LANES: usize = Self::F32_LANES;

    /// The token. Asks that the CPU has the instruction set (I3).
    unsafe fn token() -> Self;

    /// Loads `LANES` elements; no alignment asked beyond that of `f32`.
    #[inline(always)]
    unsafe fn load(self, at: *const f32) -> Self::f32s {
        // SAFETY: the caller promises `LANES` elements, which is the size of `f32s`, a plain type.
        unsafe { at.cast::<Self::f32s>().read_unaligned() }
    }

    /// Loads `count < LANES` elements, zeros behind them.
    unsafe fn load_head(self, at: *const f32, count: usize) -> Self::f32s;

    /// `a * b + c`, in one rounding where the CPU has FMA.
    #[inline(always)]
    fn multiply_add(self, a: Self::f32s, b: Self::f32s, c: Self::f32s) -> Self::f32s {
        self.mul_add_e_f32s(a, b, c)
    }
}

// SAFETY: `load` reads one f32 and `LANES` is 1, so `load_head` is asked for 0 elements and reads none.
unsafe impl Lanes for Scalar {
    #[inline(always)]
    unsafe fn token() -> Self {
        Self
    }

    #[inline(always)]
    unsafe fn load_head(self, _at: *const f32, _count: usize) -> f32 {
        0.0
    }

    #[inline(always)]
    fn multiply_add(self, a: f32, b: f32, c: f32) -> f32 {
        // pulp would call fmaf(), a library function a hundred times slower than the two instructions.
        a * b + c
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::Lanes;
    use core::arch::x86_64::{_mm256_loadu_si256, _mm256_maskload_ps, _mm512_maskz_loadu_ps};
    use pulp::x86::{V3, V4};

    /// Eight ones, then eight zeros: the eight words at `8 - count` are the mask of `count` elements.
    static MASKS: [i32; 16] = [-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0];

    // SAFETY: the mask has `count` elements set, and masked elements are not accessed.
    unsafe impl Lanes for V3 {
        #[inline(always)]
        unsafe fn token() -> Self {
            // SAFETY: the caller promises the instruction set.
            unsafe { Self::new_unchecked() }
        }

        #[inline(always)]
        unsafe fn load_head(self, at: *const f32, count: usize) -> Self::f32s {
            debug_assert!(count < 8);
            // SAFETY: `count < 8`, so the eight words that start at `8 - count` lie inside the table.
            let mask = unsafe { _mm256_loadu_si256(MASKS.as_ptr().add(8 - count).cast()) };
            // SAFETY: reads the `count` elements the caller promised.
            pulp::cast(unsafe { _mm256_maskload_ps(at, mask) })
        }
    }

    // SAFETY: the mask has `count` bits set, and masked elements are not accessed.
    unsafe impl Lanes for V4 {
        #[inline(always)]
        unsafe fn token() -> Self {
            // SAFETY: the caller promises the instruction set.
            unsafe { Self::new_unchecked() }
        }

        #[inline(always)]
        unsafe fn load_head(self, at: *const f32, count: usize) -> Self::f32s {
            debug_assert!(count < 16);
            // SAFETY: reads the `count` elements the caller promised.
            pulp::cast(unsafe { _mm512_maskz_loadu_ps((1u16 << count) - 1, at) })
        }
    }
}

#[cfg(target_arch = "aarch64")]
mod aarch64 {
    use super::Lanes;
    use pulp::aarch64::Neon;

    // SAFETY: the loop reads `count` elements.
    unsafe impl Lanes for Neon {
        #[inline(always)]
        unsafe fn token() -> Self {
            // SAFETY: the caller promises the instruction set.
            unsafe { Self::new_unchecked() }
        }

        #[inline(always)]
        unsafe fn load_head(self, at: *const f32, count: usize) -> Self::f32s {
            debug_assert!(count < 4);
            let mut head = [0.0f32; 4];
            for (i, slot) in head.iter_mut().enumerate().take(count) {
                // SAFETY: `i < count` elements were promised by the caller.
                *slot = unsafe { at.add(i).read() };
            }
            pulp::cast(head)
        }
    }
}
