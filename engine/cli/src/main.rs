//! The `orthant` command: vector search from the command line.
//!
//! | module | what it holds |
//! |---|---|
//! | [`args`] | the command line |
//! | [`commands`], [`demo`] | one module per command |
//! | [`text`] | from folders to passages to vectors |
//! | [`vectors`], [`truth`], [`generated`] | from files and seeds to vectors |
//! | [`indexing`], [`measure`] | calls into the engine |
//! | [`output`], [`progress`], [`failure`] | talking to people and programs |
//! | [`machine`], [`parallel`] | cores, memory, threads |
#![doc = include_str!("../README.md")]

mod args;
mod bulk;
mod commands;
mod demo;
mod failure;
mod generated;
mod indexing;
mod machine;
mod measure;
mod output;
mod parallel;
mod progress;
mod text;
mod truth;
mod vectors;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

use crate::args::{Command, CommandLine};

fn main() -> ExitCode {
    let line = CommandLine::parse();
    // A panic is a fault of ours: it says where, and exits with 1 like every other one (F1).
    let outcome = std::panic::catch_unwind(|| match &line.command {
        Command::Demo(args) => demo::run(args),
        Command::Build(args) => commands::build::run(args),
        Command::Tune(args) => commands::tune::run(args),
        Command::Search(args) => commands::search::run(args),
        Command::Info(args) => commands::info::run(args),
        Command::Exact(args) => commands::exact::run(args),
        Command::Bench(args) => commands::bench::run(args),
        Command::Convert(args) => commands::convert::run(args),
        Command::Db(args) => commands::db::run(args),
    });
    match outcome {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(error)) => {
            let code = failure::exit_code(&error);
            if code != 0 {
                // A closed standard error leaves nobody to tell.
                let _ = writeln!(std::io::stderr(), "{}", failure::describe(&error));
            }
            ExitCode::from(code)
        }
        Err(_) => ExitCode::from(1),
    }
}
