//! One register of `f32` on each instruction set, and how elements of other types become one.
//!
//! pulp gives the arithmetic; what is added here is what it lacks: loads from a pointer, loads of the
//! first few elements (a masked load, where pulp jumps through a table), a multiply-add that stays an
//! instruction on CPUs without FMA, and the half-width types.
//!
//! Widening is exact for every element type: a sum over `f16` rows is the sum over the same rows in `f32`.

#[cfg(target_arch = "x86_64")]
pub(crate) use two::Two;

#[cfg(target_arch = "aarch64")]
mod neon;
mod scalar;
#[cfg(target_arch = "x86_64")]
mod two;
#[cfg(target_arch = "x86_64")]
pub(crate) mod x86;

/// An instruction set: its register of `f32`, and the arithmetic that the sums need.
///
/// # Safety
/// Implementors are tokens without content, so that one may be made wherever the CPU has the instructions.
pub(crate) unsafe trait Lanes: Copy + 'static {
    /// The register.
    type Register: Copy;
    /// Elements per register.
    const LANES: usize;
    /// Registers of the CPU that make up one: sums of several at once take fewer where this is more.
    const WORDS: usize = 1;

    /// The token. Asks that the CPU has the instruction set (I3).
    unsafe fn token() -> Self;
    /// `value` in every lane.
    fn splat(self, value: f32) -> Self::Register;
    /// `a + b`.
    fn add(self, a: Self::Register, b: Self::Register) -> Self::Register;
    /// `a - b`.
    fn sub(self, a: Self::Register, b: Self::Register) -> Self::Register;
    /// The absolute values.
    fn abs(self, a: Self::Register) -> Self::Register;
    /// `a * b + c`, in one rounding where the CPU has FMA.
    fn multiply_add(self, a: Self::Register, b: Self::Register, c: Self::Register) -> Self::Register;
    /// The lanes together.
    fn sum(self, a: Self::Register) -> f32;
    /// The lanes of each of four registers together. Side by side, four registers cost about what one and a half
    /// cost one by one.
    fn sum_four(self, registers: [Self::Register; 4]) -> [f32; 4];
}

/// Writes [`Lanes`] for a token of pulp; `$sum_four` adds up four registers.
macro_rules! pulp_lanes {
    ($token:ty, $make:expr, |$simd:ident, $a:ident, $b:ident, $c:ident| $multiply_add:expr, [$w:ident, $x:ident, $y:ident, $z:ident] $sum_four:expr) => {
        // SAFETY: the token has no content.
        unsafe impl Lanes for $token {
            type Register = <Self as Simd>::f32s;
            const LANES: usize = <Self as Simd>::F32_LANES;

            #[inline(always)]
            unsafe fn token() -> Self {
                $make
            }

            #[inline(always)]
            fn splat(self, value: f32) -> Self::Register {
                self.splat_f32s(value)
            }

            #[inline(always)]
            fn add(self, a: Self::Register, b: Self::Register) -> Self::Register {
                self.add_f32s(a, b)
            }

            #[inline(always)]
            fn sub(self, a: Self::Register, b: Self::Register) -> Self::Register {
                self.sub_f32s(a, b)
            }

            #[inline(always)]
            fn abs(self, a: Self::Register) -> Self::Register {
                self.abs_f32s(a)
            }

            #[inline(always)]
            fn multiply_add(
                self,
                $a: Self::Register,
                $b: Self::Register,
                $c: Self::Register,
            ) -> Self::Register {
                let $simd = self;
                $multiply_add
            }

            #[inline(always)]
            fn sum(self, a: Self::Register) -> f32 {
                self.reduce_sum_f32s(a)
            }

            #[inline(always)]
            fn sum_four(self, [$w, $x, $y, $z]: [Self::Register; 4]) -> [f32; 4] {
                $sum_four
            }
        }
    };
}
use pulp_lanes;

/// The lanes of each register together, four registers at a time.
#[inline(always)]
pub(crate) fn sum_each<S: Lanes, const R: usize>(simd: S, registers: [S::Register; R]) -> [f32; R] {
    let mut sums = [0.0; R];
    let mut at = 0;
    while at + 4 <= R {
        let four = simd.sum_four([registers[at], registers[at + 1], registers[at + 2], registers[at + 3]]);
        sums[at..at + 4].copy_from_slice(&four);
        at += 4;
    }
    while at < R {
        sums[at] = simd.sum(registers[at]);
        at += 1;
    }
    sums
}

/// An element type that a register of `f32` can be loaded from.
///
/// # Safety
/// Implementors read exactly `LANES` elements in `load` and `count` in `load_head`.
pub(crate) unsafe trait LoadAs<S: Lanes>: Copy + 'static {
    /// Chains of sums for one pair of vectors of this type. Where elements have to be turned into `f32` first, a step
    /// takes longer, fewer sums hide the latency of an addition, and fewer are left to add up at the end.
    const CHAINS: usize = 2;

    /// Loads `LANES` elements; no alignment asked beyond that of the element.
    unsafe fn load(simd: S, at: *const Self) -> S::Register;

    /// Loads `count < LANES` elements, zeros behind them.
    unsafe fn load_head(simd: S, at: *const Self, count: usize) -> S::Register;
}

// SAFETY: one read of the size of `LANES` elements; the head is a masked load of `count`.
unsafe impl<S: LoadHead> LoadAs<S> for f32 {
    const CHAINS: usize = 4;

    #[inline(always)]
    unsafe fn load(_simd: S, at: *const f32) -> S::Register {
        // SAFETY: the caller promises `LANES` elements, which is the size of the register, a plain type.
        unsafe { at.cast::<S::Register>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn load_head(simd: S, at: *const f32, count: usize) -> S::Register {
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
    unsafe fn load_f32_head(self, at: *const f32, count: usize) -> Self::Register;
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
