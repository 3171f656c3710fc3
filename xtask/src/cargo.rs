//! Running cargo, and counting the tests it runs.

use std::{
    env,
    ffi::OsStr,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

/// The folder of the workspace.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the workspace")
}

/// Where cargo puts what it builds.
pub(crate) fn target_dir() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// A cargo command in the workspace's folder, without what the outer cargo set for this process.
pub(crate) fn cargo(args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(args).current_dir(root());
    for (name, _) in env::vars_os() {
        // The outer cargo describes xtask's own package to xtask; build scripts of others must not see it.
        if name.to_str().is_some_and(|name| name.starts_with("CARGO_PKG_") || name == "CARGO_MANIFEST_DIR") {
            command.env_remove(name);
        }
    }
    command
}

/// Runs `command`; true when it succeeds.
pub(crate) fn succeeds(command: &mut Command) -> Result<bool> {
    let status = command.status().with_context(|| format!("cannot start {command:?}"))?;
    Ok(status.success())
}

/// Runs `command` and hands each line it prints to `see`; true when it succeeds.
pub(crate) fn succeeds_with_lines(command: &mut Command, mut see: impl FnMut(&str)) -> Result<bool> {
    let mut child =
        command.stdout(Stdio::piped()).spawn().with_context(|| format!("cannot start {command:?}"))?;
    let lines = child.stdout.take().context("the child's output is piped")?;
    for line in BufReader::new(lines).split(b'\n') {
        see(String::from_utf8_lossy(&line?).trim_end());
    }
    Ok(child.wait()?.success())
}

/// Runs `command` and returns what it prints.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output =
        command.stderr(Stdio::inherit()).output().with_context(|| format!("cannot start {command:?}"))?;
    ensure!(output.status.success(), "{command:?} failed");
    Ok(String::from_utf8(output.stdout)?)
}

/// What cargo says of something that it has built; of its many messages, the ones that are looked at.
#[derive(Debug, Deserialize)]
struct Built {
    manifest_path: PathBuf,
    profile: Profile,
    executable: Option<PathBuf>,
}

#[derive(Debug, Deserialize)]
struct Profile {
    test: bool,
}

/// The test programs of the crate in `folder`, as the tests of the whole workspace build them: testing a package by
/// itself would build what it depends on once more, with other features.
pub(crate) fn test_programs(folder: &str) -> Result<Vec<PathBuf>> {
    let build = ["test", "--workspace", "--no-run", "--quiet", "--message-format", "json"];
    let manifest = root().join(folder).join("Cargo.toml");
    let programs: Vec<_> = output(&mut cargo(build))?
        .lines()
        .filter_map(|line| serde_json::from_str::<Built>(line).ok())
        .filter(|built| built.profile.test && built.manifest_path == manifest)
        .filter_map(|built| built.executable)
        .collect();
    ensure!(!programs.is_empty(), "cargo built no tests of {}", manifest.display());
    Ok(programs)
}

/// Tests that ran.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Count {
    pub(crate) passed: usize,
    pub(crate) failed: usize,
}

impl Count {
    /// Adds what a line of a test program's output says, if it is a line of results.
    fn add_line(&mut self, line: &str) {
        let Some(results) = line.trim().strip_prefix("test result: ") else { return };
        let number = |what: &str| {
            results
                .split(['.', ';'])
                .find_map(|part| part.trim().strip_suffix(what)?.trim().parse::<usize>().ok())
                .unwrap_or(0)
        };
        self.passed += number("passed");
        self.failed += number("failed");
    }
}

/// Runs a `cargo test` command, shows its output and counts its tests. A command that fails without a
/// failed test (it did not compile, or a test program died) counts as one failure.
pub(crate) fn count_tests(command: &mut Command) -> Result<Count> {
    let mut count = Count::default();
    let is_success = succeeds_with_lines(command, |line| {
        println!("{line}");
        count.add_line(line);
    })?;
    if !is_success && count.failed == 0 {
        count.failed = 1;
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_counted() {
        let mut count = Count::default();
        for line in [
            "running 3 tests",
            "test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.1s",
            "test tests::a_test ... ok",
            "test result: FAILED. 3 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.1s",
        ] {
            count.add_line(line);
        }
        assert_eq!(count, Count { passed: 15, failed: 2 });
    }

    #[test]
    fn a_command_that_dies_is_a_failure() {
        assert_eq!(count_tests(&mut Command::new("false")).unwrap(), Count { passed: 0, failed: 1 });
    }
}
