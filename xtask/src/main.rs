#![doc = include_str!("../README.md")]

mod bench;
mod cargo;
mod ci;
mod flags;
mod loom;
mod sanitize;
mod steps;
mod test;
mod tidy;

use std::process::ExitCode;

use clap::Parser;
use flags::{Command, Flags};

fn main() -> ExitCode {
    let outcome = match Flags::parse().command {
        Command::Test(flags) => test::run(&flags),
        Command::Ci => ci::run(),
        Command::Tidy => tidy::run(),
        Command::Loom(flags) => loom::run(&flags),
        Command::Sanitize(flags) => sanitize::run(&flags),
        Command::Bench(flags) => bench::run(&flags),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
