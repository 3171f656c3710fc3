//! Micro-benchmarks: criterion runs them, its estimates are collected from the files it leaves.

use std::{
    fs,
    path::{Path, PathBuf},
    time::SystemTime,
};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use super::record::Micro;
use crate::{
    cargo::{cargo, succeeds, target_dir},
    flags::BenchFlags,
};

/// Runs the micro-benchmarks and returns what they measured, by name.
pub(crate) fn run(flags: &BenchFlags) -> Result<Vec<Micro>> {
    let begun = SystemTime::now();
    let mut command = cargo(["bench", "--package", "orthant-benches", "--"]);
    if flags.quick {
        command.arg("--quick");
    }
    command.args(&flags.filter);
    // A folder of our own, wherever criterion would look by itself.
    let home = target_dir().join("criterion");
    command.env("CRITERION_HOME", &home);
    ensure!(succeeds(&mut command)?, "a micro-benchmark failed");
    let mut measured = Vec::new();
    collect(&home, begun, &mut measured)?;
    measured.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(measured)
}

/// Collects the estimates that are newer than `begun` in `folder` and below.
fn collect(folder: &Path, begun: SystemTime, measured: &mut Vec<Micro>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.file_name().is_some_and(|name| name == "new") {
            let estimates = path.join("estimates.json");
            if fs::metadata(&estimates).and_then(|meta| meta.modified()).is_ok_and(|time| time >= begun) {
                measured.push(read(&path.join("benchmark.json"), &estimates)?);
            }
        } else if path.is_dir() {
            collect(&path, begun, measured)?;
        }
    }
    Ok(())
}

fn read(benchmark: &PathBuf, estimates: &PathBuf) -> Result<Micro> {
    #[derive(Deserialize)]
    struct Benchmark {
        full_id: String,
    }
    #[derive(Deserialize)]
    struct Estimates {
        median: Estimate,
        std_dev: Estimate,
    }
    #[derive(Deserialize)]
    struct Estimate {
        point_estimate: f64,
    }
    let benchmark: Benchmark = serde_json::from_str(&fs::read_to_string(benchmark)?)?;
    let estimates: Estimates = serde_json::from_str(&fs::read_to_string(estimates)?)?;
    Ok(Micro {
        name: benchmark.full_id,
        median_ns: estimates.median.point_estimate,
        deviation_ns: estimates.std_dev.point_estimate,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn estimates_are_collected_when_they_are_new() {
        let home = std::env::temp_dir().join(format!("orthant-micro-{}", std::process::id()));
        let new = home.join("group/one/new");
        fs::create_dir_all(&new).unwrap();
        fs::write(new.join("benchmark.json"), r#"{"full_id": "group/one"}"#).unwrap();
        let estimates = r#"{"median": {"point_estimate": 12.5}, "std_dev": {"point_estimate": 0.5}}"#;
        fs::write(new.join("estimates.json"), estimates).unwrap();
        let collected = |begun| {
            let mut measured = Vec::new();
            collect(&home, begun, &mut measured).unwrap();
            measured
        };
        let found = collected(SystemTime::UNIX_EPOCH);
        assert_eq!((found.len(), found[0].name.as_str(), found[0].median_ns), (1, "group/one", 12.5));
        assert!(
            collected(SystemTime::now() + std::time::Duration::from_secs(60)).is_empty(),
            "old ones are left"
        );
        fs::remove_dir_all(&home).unwrap();
    }
}
