//! What the command line may say.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// The project's own commands.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version, about)]
pub(crate) struct Flags {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// One of the commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run all tests, doc tests included, and the kernels' tests once per instruction set
    Test(TestFlags),
    /// Run everything a change has to pass
    Ci,
    /// Check what no compiler checks: arrows between crates, layout, unsafe code, paths
    Tidy,
    /// Run the concurrency models under loom
    Loom(LoomFlags),
    /// Run the tests of graph, pool and storage under a sanitizer (needs a nightly compiler)
    Sanitize(SanitizeFlags),
    /// Measure: micro-benchmarks of all crates, then recall against speed on whole data sets
    Bench(BenchFlags),
}

/// `cargo xtask test`
#[derive(Debug, Args)]
pub(crate) struct TestFlags {
    /// Leave out the runs of the kernels' tests on the other instruction sets
    #[arg(long)]
    pub(crate) one_isa: bool,
    /// Run the kernels' and quantizers' tests for another processor under an emulator (aarch64)
    #[arg(long, value_name = "ARCH")]
    pub(crate) target: Option<String>,
}

/// `cargo xtask loom`
#[derive(Debug, Args)]
pub(crate) struct LoomFlags {
    /// Explore three preemptions instead of two: much longer, for changes to a protocol
    #[arg(long)]
    pub(crate) all: bool,
    /// Only this crate's models (storage, pool or graph)
    #[arg(long = "crate", value_name = "NAME")]
    pub(crate) only: Option<String>,
}

/// `cargo xtask sanitize`
#[derive(Debug, Args)]
pub(crate) struct SanitizeFlags {
    /// Which one
    #[arg(value_enum, default_value_t = Sanitizer::Address)]
    pub(crate) sanitizer: Sanitizer,
    /// Only this crate's tests (graph, pool or storage)
    #[arg(long = "crate", value_name = "NAME")]
    pub(crate) only: Option<String>,
}

/// A sanitizer of the compiler.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Sanitizer {
    /// Memory that is gone, or was never ours
    Address,
    /// Races; builds the standard library too
    Thread,
}

impl Sanitizer {
    /// What the compiler calls it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::Thread => "thread",
        }
    }
}

/// `cargo xtask bench`
#[derive(Debug, Args)]
pub(crate) struct BenchFlags {
    /// Short criterion runs and a small generated set: to see that it works, not to quote
    #[arg(long)]
    pub(crate) quick: bool,
    /// Folders with base.fbin, query.fbin, gt.ibin and metric; the path list in ORTHANT_DATA is added
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Vec<PathBuf>,
    /// Leave out the micro-benchmarks
    #[arg(long)]
    pub(crate) no_micro: bool,
    /// Leave out recall against speed
    #[arg(long)]
    pub(crate) no_sweep: bool,
    /// Beam widths of the sweep
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_values_t = [16, 32, 64, 128, 256])]
    pub(crate) ef: Vec<usize>,
    /// Queries of each set used at most; 0 = all
    #[arg(long, value_name = "N", default_value_t = 1000)]
    pub(crate) max_queries: usize,
    /// Only the micro-benchmarks whose name contains this
    #[arg(long, value_name = "WORD")]
    pub(crate) filter: Option<String>,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        super::Flags::command().debug_assert();
    }
}
