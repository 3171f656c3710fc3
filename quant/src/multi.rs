//! [`Path`] and [`multiversion!`]: plain functions compiled once per instruction set.
//!
//! The bodies are ordinary safe Rust that the compiler vectorizes. It neither fuses nor reorders floating-point
//! arithmetic, so all versions give the same bits.

use orthant_kernels::{Isa, IsaError, active_isa};

/// An instruction set that this CPU has: there is no other way to one than to ask [`Isa::require`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Path(Isa);

impl Path {
    pub(crate) fn new(isa: Isa) -> Result<Self, IsaError> {
        Ok(Self(isa.require()?))
    }

    /// The path of [`active_isa`]; where the environment forces one that is missing, what every CPU has, since all give the
    /// same bits.
    pub(crate) fn active() -> Self {
        active_isa().and_then(Self::new).unwrap_or(Self(Isa::Scalar))
    }

    #[inline(always)]
    pub(crate) fn isa(self) -> Isa {
        self.0
    }
}

/// Makes `fn name(path, …)` of `fn name(…)`: the body compiled for AVX-512, for AVX2 and for what the target always has.
macro_rules! multiversion {
    ($(#[$attribute:meta])* fn $name:ident($($arg:ident: $type:ty),* $(,)?) -> $out:ty $body:block) => {
        $(#[$attribute])*
        #[inline]
        fn $name(path: $crate::multi::Path, $($arg: $type),*) -> $out {
            #[inline(always)]
            #[allow(clippy::needless_range_loop)]
            fn body($($arg: $type),*) -> $out $body

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma,bmi1,bmi2,popcnt,lzcnt")]
            fn wide_256($($arg: $type),*) -> $out {
                body($($arg),*)
            }

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma,bmi1,bmi2,popcnt,lzcnt,avx512f,avx512bw,avx512cd,avx512dq,avx512vl")]
            fn wide_512($($arg: $type),*) -> $out {
                body($($arg),*)
            }

            match path.isa() {
                #[cfg(target_arch = "x86_64")]
                // SAFETY: a `Path` is an instruction set that the CPU has.
                orthant_kernels::Isa::Avx512 => unsafe { wide_512($($arg),*) },
                #[cfg(target_arch = "x86_64")]
                // SAFETY: the same.
                orthant_kernels::Isa::Avx2 => unsafe { wide_256($($arg),*) },
                _ => body($($arg),*),
            }
        }
    };
}

pub(crate) use multiversion;
