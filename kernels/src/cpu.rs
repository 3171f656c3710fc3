//! [`cpu_report`]: what the CPU has and what is in use, for people.

use core::fmt;

use crate::isa::{ISA_VARIABLE, Isa, IsaError, active_isa};

/// What [`cpu_report`] found. Its [`Display`](fmt::Display) is a few lines for a terminal.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CpuReport {
    /// The path in use, or why there is none.
    pub active: Result<Isa, IsaError>,
    /// Whether the environment forces the path.
    pub is_forced: bool,
    /// Every path and whether this CPU has it, from plain to wide.
    pub paths: Vec<(Isa, bool)>,
    /// The features that the paths look at, and whether this CPU has them.
    pub features: Vec<(&'static str, bool)>,
}

/// Asks the CPU what it has. Takes some microseconds.
///
/// # Examples
/// ```
/// let report = orthant_kernels::cpu_report();
/// assert!(report.paths.contains(&(orthant_kernels::Isa::Scalar, true)));
/// println!("{report}");
/// ```
pub fn cpu_report() -> CpuReport {
    CpuReport {
        active: active_isa(),
        is_forced: std::env::var_os(ISA_VARIABLE).is_some_and(|value| !value.is_empty()),
        paths: Isa::ALL.into_iter().map(|isa| (isa, isa.is_available())).collect(),
        features: features(),
    }
}

#[cfg(target_arch = "x86_64")]
fn features() -> Vec<(&'static str, bool)> {
    use std::arch::is_x86_feature_detected as has;
    vec![
        ("avx2", has!("avx2")),
        ("fma", has!("fma")),
        ("f16c", has!("f16c")),
        ("avx512f", has!("avx512f")),
        ("avx512bw", has!("avx512bw")),
        ("avx512cd", has!("avx512cd")),
        ("avx512dq", has!("avx512dq")),
        ("avx512vl", has!("avx512vl")),
        ("avx512vnni", has!("avx512vnni")),
    ]
}

#[cfg(target_arch = "aarch64")]
fn features() -> Vec<(&'static str, bool)> {
    use std::arch::is_aarch64_feature_detected as has;
    vec![("neon", has!("neon")), ("dotprod", has!("dotprod"))]
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn features() -> Vec<(&'static str, bool)> {
    Vec::new()
}

impl fmt::Display for CpuReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let how = if self.is_forced { "forced by the environment" } else { "detected" };
        match self.active {
            Ok(isa) => writeln!(f, "path in use: {isa} ({how})")?,
            Err(error) => writeln!(f, "path in use: none ({how}): {error}")?,
        }
        let list = |f: &mut fmt::Formatter<'_>, names: Vec<(&str, bool)>| {
            for (name, is_there) in names {
                write!(f, " {}{name}", if is_there { '+' } else { '-' })?;
            }
            Ok(())
        };
        write!(f, "paths:")?;
        list(f, self.paths.iter().map(|&(isa, is_there)| (isa.name(), is_there)).collect())?;
        write!(f, "\nfeatures:")?;
        list(f, self.features.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_names_what_is_there() {
        let report = cpu_report();
        assert_eq!(report.active, active_isa());
        let text = report.to_string();
        for (isa, is_there) in report.paths {
            assert_eq!(is_there, isa.is_available());
            assert!(text.contains(&format!("{}{isa}", if is_there { '+' } else { '-' })), "{text}");
        }
    }
}
