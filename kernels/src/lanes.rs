//! One register of `f32` on each instruction set, and how elements of other types become one.
//!
//! pulp gives the arithmetic; what is added here is what it lacks: loads from a pointer, loads of the
//! first few elements (a masked load, where pulp jumps through a table), a multiply-add that stays an
//! instruction on CPUs without FMA, and the half-width types.
//!
//! Widening is exact for every element type: a sum over `f16` rows is the sum over the same rows in `f32`.

use pulp::Simd;

#[cfg(target_arch = "aarch64")]
mod neon;
mod scalar;
#[cfg(target_arch = "x86_64")]
mod x86;

/// A pulp instruction set.
///
/// # Safety
/// Implementors are tokens without content, so that one may be made wherever the CPU has the instructions.
pub(crate) unsafe trait Lanes: Simd {
    /// Elements per register.
    const LANES: usize = Self::F32_LANES;

    /// The token. Asks that the CPU has the instruction set (I3).
    unsafe fn token() -> Self;

    /// `a * b + c`, in one rounding where the CPU has FMA.
    #[inline(always)]
    fn multiply_add(self, a: Self::f32s, b: Self::f32s, c: Self::f32s) -> Self::f32s {
        self.mul_add_e_f32s(a, b, c)
    }
}

/// An element type that a register of `f32` can be loaded from.
///
/// # Safety
/// Implementors read exactly `LANES` elements in `load` and `count` in `load_head`.
pub(crate) unsafe trait LoadAs<S: Lanes>: Copy + 'static {
    /// Loads `LANES` elements; no alignment asked beyond that of the element.
    unsafe fn load(simd: S, at: *const Self) -> S::f32s;

    /// Loads `count < LANES` elements, zeros behind them.
    unsafe fn load_head(simd: S, at: *const Self, count: usize) -> S::f32s;
}

// SAFETY: one read of the size of `LANES` elements; the head is a masked load of `count`.
unsafe impl<S: LoadHead> LoadAs<S> for f32 {
    #[inline(always)]
    unsafe fn load(_simd: S, at: *const f32) -> S::f32s {
        // SAFETY: the caller promises `LANES` elements, which is the size of `f32s`, a plain type.
        unsafe { at.cast::<S::f32s>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn load_head(simd: S, at: *const f32, count: usize) -> S::f32s {
        // SAFETY: the caller's promise is passed on.
        unsafe { simd.load_f32_head(at, count) }
    }
}

/// The masked load of `f32`.
///
/// # Safety
/// Implementors read exactly `count` elements.
pub(crate) unsafe trait LoadHead: Lanes {
    /// Loads `count < LANES` elements, zeros behind them.
    unsafe fn load_f32_head(self, at: *const f32, count: usize) -> Self::f32s;
}

/// Copies the first `count` elements into an array of zeros: the masked load of types that have none.
///
/// # Safety
/// `at` is valid for reads of `count <= N` elements.
#[inline(always)]
unsafe fn copy_head<T: bytemuck::Zeroable + Copy, const N: usize>(at: *const T, count: usize) -> [T; N] {
    debug_assert!(count <= N);
    let mut head = [T::zeroed(); N];
    for (i, slot) in head.iter_mut().enumerate().take(count) {
        // SAFETY: `i < count` elements were promised by the caller.
        *slot = unsafe { at.add(i).read() };
    }
    head
}
