//! `cargo xtask sanitize`: the crates with unsafe memory and threads, under a sanitizer of the nightly compiler.
//!
//! AddressSanitizer finds uses of memory that is gone or was never ours; ThreadSanitizer finds races, and needs a
//! standard library that it has compiled itself. Neither belongs to the run that every change has to pass: both
//! need a compiler that changes from day to day.

use std::process::Command;

use anyhow::{Result, bail};

use crate::{
    cargo::{count_tests, output, root, target_dir},
    flags::{SanitizeFlags, Sanitizer},
    steps,
};

/// The packages that hold memory of their own or share it between threads.
const PACKAGES: [&str; 3] = ["orthant-graph", "orthant-pool", "orthant-storage"];

/// Runs the tests. True when all passed; an error that says what is missing when it is.
pub(crate) fn run(flags: &SanitizeFlags) -> Result<bool> {
    let is_chosen = |package: &&str| {
        flags.only.as_deref().is_none_or(|only| package.strip_prefix("orthant-") == Some(only))
    };
    let packages: Vec<&str> = PACKAGES.into_iter().filter(is_chosen).collect();
    if packages.is_empty() {
        bail!("no such crate there; those that are looked at are {}", PACKAGES.join(", "));
    }
    let Some(target) = target() else {
        bail!("the sanitizers are for Linux on x86-64 and aarch64");
    };
    let missing = missing(flags.sanitizer);
    if !missing.is_empty() {
        bail!("the {} sanitizer needs what is not here:\n  {}", flags.sanitizer.name(), missing.join("\n  "));
    }
    // Not the cargo that runs this: `+nightly` is for rustup's.
    let mut command = Command::new("rustup");
    command
        .args(["run", "nightly", "cargo", "test", "--no-fail-fast", "--lib", "--tests", "--target", target])
        .current_dir(root())
        // Set by the cargo that runs this, for its own compiler.
        .env_remove("RUSTUP_TOOLCHAIN")
        .env_remove("CARGO")
        .env("RUSTFLAGS", format!("-Zsanitizer={}", flags.sanitizer.name()))
        // Other flags, other artifacts: a folder of its own keeps the usual builds as they are.
        .env("CARGO_TARGET_DIR", target_dir().join("sanitize").join(flags.sanitizer.name()));
    for package in packages {
        command.args(["--package", package]);
    }
    if flags.sanitizer == Sanitizer::Thread {
        // The standard library's own synchronisation has to be seen too.
        command.arg("-Zbuild-std");
    }
    let count = count_tests(&mut command)?;
    println!();
    steps::print_summary(count.passed, count.failed);
    Ok(count.failed == 0)
}

/// The target of this machine, if the sanitizers know it.
fn target() -> Option<&'static str> {
    if cfg!(all(target_os = "linux", target_env = "gnu", target_arch = "x86_64")) {
        Some("x86_64-unknown-linux-gnu")
    } else if cfg!(all(target_os = "linux", target_env = "gnu", target_arch = "aarch64")) {
        Some("aarch64-unknown-linux-gnu")
    } else {
        None
    }
}

/// What is not installed, each with the way to get it.
fn missing(sanitizer: Sanitizer) -> Vec<String> {
    let sysroot = output(Command::new("rustup").args(["run", "nightly", "rustc", "--print", "sysroot"]));
    let Ok(sysroot) = sysroot else {
        return vec!["a nightly compiler: rustup toolchain install nightly --profile minimal".into()];
    };
    let library = std::path::Path::new(sysroot.trim()).join("lib/rustlib/src/rust/library");
    if sanitizer == Sanitizer::Thread && !library.is_dir() {
        return vec!["the standard library's source: rustup +nightly component add rust-src".into()];
    }
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_crate_is_an_error_that_names_the_known_ones() {
        let flags = SanitizeFlags { sanitizer: Sanitizer::Address, only: Some("moon".into()) };
        let error = run(&flags).unwrap_err().to_string();
        assert!(error.contains("orthant-graph"), "{error}");
    }
}
