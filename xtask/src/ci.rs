//! `cargo xtask ci`: everything a change has to pass, from the cheapest check to the longest.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::{
    cargo::{cargo, output, root, succeeds, target_dir},
    flags::{LoomFlags, TestFlags},
    loom,
    steps::{self, Step},
    test, tidy,
};

/// The recall that the generated set must reach at the widest beam. A graph that is linked as it should be
/// reaches 0.99 and more there; one that lost its links or its entry point falls far below.
const RECALL_FLOOR: f64 = 0.95;

/// Runs all checks. True when all passed; the last line printed counts them.
pub(crate) fn run() -> Result<bool> {
    Ok(steps::run(&[
        Step::new("format", || succeeds(&mut cargo(["fmt", "--all", "--check"]))),
        Step::new("tidy", tidy::run),
        Step::new("clippy", || {
            succeeds(&mut cargo(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))
        }),
        Step::new("documentation", || {
            succeeds(cargo(["doc", "--workspace", "--no-deps"]).env("RUSTDOCFLAGS", "-D warnings"))
        }),
        Step::new("tests", || test::run(&TestFlags { one_isa: false, target: None })),
        Step::new("storage with hwloc", hwloc),
        Step::new("loom", || loom::run(&LoomFlags { all: false, only: None })),
        Step::new("answers of the benchmarks", || {
            // Without `--bench`, Criterion runs each body once: answers are checked, times are not. All packages,
            // so that their dependencies are the ones that the tests have built.
            succeeds(&mut cargo(["test", "--workspace", "--bench", "*"]))
        }),
        Step::new("recall floor", recall_floor),
        // A third of a minute; ten minutes, for a change to the graph's protocols, by the same command.
        Step::new("stress", || succeeds(orthant()?.args(["bench", "stress", "--minutes", "0.33"]))),
        // A minute; ten times as many by the same command.
        Step::new("crashes", || succeeds(orthant()?.args(["bench", "crash", "--kills", "200"]))),
    ]))
}

/// The tests of storage with the feature that needs C libraries, where those are installed.
fn hwloc() -> Result<bool> {
    let has = |library: &str| Command::new("pkg-config").args(["--exists", library]).status();
    if !["hwloc", "libudev"].into_iter().all(|library| has(library).is_ok_and(|status| status.success())) {
        println!("left out: libhwloc-dev, libudev-dev or pkg-config is not installed");
        return Ok(true);
    }
    succeeds(&mut cargo(["test", "--package", "orthant-storage", "--features", "hwloc", "--lib"]))
}

/// The part of the demo's last line that is looked at.
#[derive(Debug, Deserialize)]
struct Demo {
    validate: String,
    points: Vec<Point>,
}

#[derive(Debug, Deserialize)]
struct Point {
    ef: usize,
    recall_at_10: f64,
}

/// The `orthant` command as the tests have built it: with debug assertions, and with no other build to wait for.
fn orthant() -> Result<Command> {
    ensure!(succeeds(&mut cargo(["test", "--workspace", "--no-run", "--quiet"]))?, "the tests do not build");
    let mut command = Command::new(target_dir().join("debug").join("orthant"));
    command.current_dir(root());
    Ok(command)
}

fn recall_floor() -> Result<bool> {
    let printed = output(orthant()?.args(["demo", "--generated", "5000", "64", "--json"]))?;
    let line = printed.trim_end().lines().last().context("the demo printed nothing")?;
    println!("{line}");
    check_demo(line)?;
    Ok(true)
}

/// Whether the demo's last line says what it should.
fn check_demo(line: &str) -> Result<()> {
    let demo: Demo = serde_json::from_str(line).context("the demo's last line is not its JSON")?;
    ensure!(demo.validate == "ok", "the index does not validate: {}", demo.validate);
    let widest = demo.points.iter().max_by_key(|point| point.ef).context("the demo measured nothing")?;
    let (recall, ef) = (widest.recall_at_10, widest.ef);
    ensure!(recall >= RECALL_FLOOR, "recall@10 is {recall} at ef {ef}, below {RECALL_FLOOR}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(validate: &str, recall: f64) -> String {
        format!(
            r#"{{"n":5000,"d":64,"metric":"l2","build_vps":1.0,"validate":"{validate}","points":[{{"ef":256,"recall_at_10":{recall},"qps":1.0}},{{"ef":16,"recall_at_10":0.5,"qps":2.0}}]}}"#
        )
    }

    #[test]
    fn the_widest_beam_is_judged() {
        check_demo(&line("ok", 0.97)).unwrap();
        assert!(check_demo(&line("ok", 0.94)).unwrap_err().to_string().contains("below 0.95"));
    }

    #[test]
    fn an_invalid_index_fails() {
        assert!(check_demo(&line("node 3 is unreachable", 1.0)).is_err());
        assert!(check_demo("done").is_err());
        assert!(check_demo(r#"{"validate":"ok","points":[]}"#).is_err());
    }
}
