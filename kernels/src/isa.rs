//! Which instruction sets this CPU has, and which one is in use.
//!
//! * **I1** The choice is made once per process: [`active_isa`] detects and remembers.
//! * **I2** A path that was forced and is missing is an error, never a silent fallback. A test run
//!   under `ORTHANT_ISA=avx512` on a machine without AVX-512 fails; it does not pass by being skipped.
//! * **I3** A value of the crate-private tokens below exists only after detection said yes.

use core::fmt;
use core::str::FromStr;
use std::sync::OnceLock;

/// The environment variable that forces a path: `scalar`, `neon`, `avx2` or `avx512`.
pub const ISA_VARIABLE: &str = "ORTHANT_ISA";

/// The environment variable that names features of the CPU not to be used, by commas: `avx512vnni` and `dotprod`.
/// To test and to measure what runs where they are missing.
pub const WITHOUT_VARIABLE: &str = "ORTHANT_WITHOUT";

/// A family of instructions that the kernels have bodies for, from plain to wide.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Isa {
    /// Plain Rust, on every CPU. The slowest and the yardstick.
    Scalar,
    /// 128-bit registers of aarch64; with the dot product instructions where the CPU has them.
    Neon,
    /// AVX2, FMA and F16C: 256-bit registers.
    Avx2,
    /// AVX-512 F, BW, CD, DQ and VL: 512-bit registers; with VNNI where the CPU has it.
    Avx512,
}

impl Isa {
    /// Every path, from plain to wide.
    pub const ALL: [Self; 4] = [Self::Scalar, Self::Neon, Self::Avx2, Self::Avx512];

    /// The name that `ORTHANT_ISA` takes.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::Neon => "neon",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
        }
    }

    /// Whether this CPU, under this operating system, can run the path.
    pub fn is_available(self) -> bool {
        match self {
            Self::Scalar => true,
            #[cfg(target_arch = "aarch64")]
            Self::Neon => pulp::aarch64::Neon::is_available(),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => pulp::x86::V3::is_available() && std::arch::is_x86_feature_detected!("f16c"),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => pulp::x86::V4::is_available() && Self::Avx2.is_available(),
            #[allow(unreachable_patterns)] // which arms remain depends on the target
            _ => false,
        }
    }

    /// `Ok(self)` if the CPU has the path.
    ///
    /// # Errors
    /// [`IsaError::Missing`] if it has not.
    pub fn require(self) -> Result<Self, IsaError> {
        if self.is_available() { Ok(self) } else { Err(IsaError::Missing { isa: self }) }
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Isa {
    type Err = IsaError;

    fn from_str(text: &str) -> Result<Self, IsaError> {
        Self::ALL.into_iter().find(|isa| isa.name() == text).ok_or(IsaError::Unknown)
    }
}

/// Why no path could be chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IsaError {
    /// The path was asked for and this CPU does not have it.
    #[error("this CPU has no {isa}: ask for another path or leave the choice to detection")]
    Missing {
        /// The path that was asked for.
        isa: Isa,
    },
    /// The text names no path.
    #[error("unknown instruction set: the names are scalar, neon, avx2 and avx512")]
    Unknown,
}

/// Every path this CPU has, from plain to wide. Never empty: `Scalar` is always there.
pub fn available_isas() -> Vec<Isa> {
    Isa::ALL.into_iter().filter(|isa| isa.is_available()).collect()
}

/// The path in use: the widest one, or the one that `ORTHANT_ISA` forces. Decided at the first call.
///
/// # Errors
/// [`IsaError::Unknown`] or [`IsaError::Missing`] if the variable names no path or one that this CPU
/// has not. The answer is remembered, the error too.
pub fn active_isa() -> Result<Isa, IsaError> {
    static ACTIVE: OnceLock<Result<Isa, IsaError>> = OnceLock::new();
    *ACTIVE.get_or_init(|| choose(std::env::var_os(ISA_VARIABLE).as_deref()))
}

/// Whether the CPU has the dot products of bytes that come on top of a path (AVX-512 VNNI, dotprod of aarch64), and
/// the environment does not rule them out. Decided at the first call.
pub(crate) fn has_dot_products() -> bool {
    static HAS: OnceLock<bool> = OnceLock::new();
    #[cfg(target_arch = "x86_64")]
    let (name, is_there) = ("avx512vnni", std::arch::is_x86_feature_detected!("avx512vnni"));
    #[cfg(target_arch = "aarch64")]
    let (name, is_there) = ("dotprod", std::arch::is_aarch64_feature_detected!("dotprod"));
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let (name, is_there) = ("", false);
    *HAS.get_or_init(|| {
        let without = std::env::var(WITHOUT_VARIABLE).unwrap_or_default();
        is_there && !without.split(',').any(|word| word.trim() == name)
    })
}

/// The rule behind [`active_isa`], apart from the process environment so that it can be tested.
/// An empty value counts as not set.
fn choose(forced: Option<&std::ffi::OsStr>) -> Result<Isa, IsaError> {
    match forced {
        Some(name) if !name.is_empty() => name.to_str().ok_or(IsaError::Unknown)?.parse::<Isa>()?.require(),
        _ => Ok(available_isas().into_iter().max().unwrap_or(Isa::Scalar)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsStr;

    #[test]
    fn the_widest_path_wins_unless_forced() {
        assert_eq!(choose(None), Ok(*available_isas().last().unwrap()));
        assert_eq!(choose(Some(OsStr::new(""))), choose(None));
        for isa in available_isas() {
            assert_eq!(choose(Some(OsStr::new(isa.name()))), Ok(isa));
        }
    }

    #[test]
    fn a_missing_path_is_an_error() {
        let missing = Isa::ALL.into_iter().find(|isa| !isa.is_available());
        let missing = missing.expect("no CPU has both NEON and AVX2");
        assert_eq!(choose(Some(OsStr::new(missing.name()))), Err(IsaError::Missing { isa: missing }));
    }

    #[test]
    fn a_wrong_name_is_an_error() {
        for name in ["sse9", "AVX2", "avx512 ", "auto"] {
            assert_eq!(choose(Some(OsStr::new(name))), Err(IsaError::Unknown), "{name:?}");
        }
    }
}
