//! `cargo xtask bench`: micro-benchmarks of all crates, then recall against speed on whole data sets.
//!
//! Speeds are measured by criterion and by `orthant bench`, each in its own process. Recall is computed here,
//! from the ids that `orthant bench` returned, so that the measured program does not mark its own work.

mod dataset;
mod generate;
mod machine;
mod micro;
mod plot;
mod recall;
mod record;
mod sweep;

use std::{env, fs, path::PathBuf};

use anyhow::{Context, Result};

use crate::{
    bench::{dataset::DataSet, record::Record},
    cargo::{root, target_dir},
    flags::BenchFlags,
};

/// A list of further data folders, separated as in PATH.
const DATA: &str = "ORTHANT_DATA";

/// Measures and records. True when everything could be measured.
pub(crate) fn run(flags: &BenchFlags) -> Result<bool> {
    let mut record = Record::begin(flags.quick)?;
    if !flags.no_micro {
        record.micro = micro::run(flags)?;
    }
    if !flags.no_sweep {
        let program = sweep::build_program()?;
        for folder in data_folders(flags)? {
            let set = DataSet::open(&folder).with_context(|| folder.display().to_string())?;
            let sweep = sweep::run(&program, &set, flags)?;
            sweep.print();
            record.sweeps.push(sweep);
        }
    }
    // Quick figures are not for keeping.
    let records =
        if flags.quick { target_dir().join("bench-data/record") } else { root().join("benches/record") };
    let folder = records.join(&record.cpu_folder);
    fs::create_dir_all(&folder)?;
    let json = folder.join(format!("{}.json", record.date));
    fs::write(&json, serde_json::to_string_pretty(&record)? + "\n")?;
    println!("\n{}", json.display());
    if !record.sweeps.is_empty() {
        let svg = json.with_extension("svg");
        plot::draw(&record, &svg)?;
        println!("{}", svg.display());
    }
    Ok(true)
}

/// The generated set and then every folder that was named.
fn data_folders(flags: &BenchFlags) -> Result<Vec<PathBuf>> {
    let mut folders = vec![generate::folder(&target_dir().join("bench-data"), flags.quick)?];
    folders.extend(flags.data.iter().cloned());
    if let Some(list) = env::var_os(DATA) {
        folders.extend(env::split_paths(&list).filter(|path| !path.as_os_str().is_empty()));
    }
    Ok(folders)
}
