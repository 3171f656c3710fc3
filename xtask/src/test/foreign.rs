//! `cargo xtask test --target aarch64`: the NEON paths, run by an emulator on another machine.

use std::process::Command;

use anyhow::{Result, bail};

use crate::{
    cargo::{cargo, count_tests, output},
    steps,
};

/// The packages whose code differs from processor to processor.
const PACKAGES: [&str; 2] = ["orthant-kernels", "orthant-quant"];

const TARGET: &str = "aarch64-unknown-linux-gnu";
const LINKER: &str = "aarch64-linux-gnu-gcc";
const EMULATOR: &str = "qemu-aarch64-static";
/// Where Debian puts the C library of the other processor.
const LIBRARIES: &str = "/usr/aarch64-linux-gnu";

/// Runs the tests for `arch`. True when all passed; an error that says what is missing when it is.
pub(crate) fn run(arch: &str) -> Result<bool> {
    if arch != "aarch64" {
        bail!("no tests for {arch}: the processors that can be emulated are: aarch64");
    }
    if cfg!(target_arch = "aarch64") {
        bail!("this machine is an aarch64 already: run `cargo xtask test`");
    }
    let missing = missing();
    if !missing.is_empty() {
        bail!("the tests for {arch} need what is not here:\n  {}", missing.join("\n  "));
    }
    let runner = format!("{EMULATOR} -L {LIBRARIES}");
    let mut command = cargo(["test", "--no-fail-fast", "--target", TARGET]);
    PACKAGES.iter().for_each(|package| {
        command.args(["--package", package]);
    });
    let count = count_tests(
        command
            .env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER", LINKER)
            .env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER", &runner)
            // One test starts itself again, and has to do so under the emulator.
            .env("ORTHANT_TEST_RUNNER", &runner),
    )?;
    println!();
    steps::print_summary(count.passed, count.failed);
    Ok(count.failed == 0)
}

/// What is not installed, each with the way to get it.
fn missing() -> Vec<String> {
    let mut missing = Vec::new();
    let has = |program: &str| Command::new(program).arg("--version").output().is_ok();
    if !has(LINKER) {
        missing.push(format!("{LINKER}: apt-get install gcc-aarch64-linux-gnu libc6-dev-arm64-cross"));
    }
    if !has(EMULATOR) {
        missing.push(format!("{EMULATOR}: apt-get install qemu-user-static"));
    }
    if !has_target() {
        missing.push(format!("the standard library for {TARGET}: rustup target add {TARGET}"));
    }
    missing
}

/// Whether rustc has the target's standard library.
fn has_target() -> bool {
    let libraries = output(Command::new("rustc").args(["--print", "target-libdir", "--target", TARGET]));
    libraries.is_ok_and(|folder| std::path::Path::new(folder.trim()).is_dir())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_processor_is_an_error_that_names_the_known_ones() {
        let error = run("z80").unwrap_err().to_string();
        assert!(error.contains("z80") && error.contains("aarch64"), "{error}");
    }
}
