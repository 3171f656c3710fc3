//! What the command line may say: one struct per command, every flag with its range and default.
//!
//! Nothing here opens a file or knows the engine; values are checked where they are used, so that
//! an error can name the file they do not fit.

mod bench;
mod db;

use std::path::PathBuf;

use clap::builder::RangedU64ValueParser;
use clap::{Args, Parser, Subcommand, ValueEnum};

pub(crate) use bench::{BenchArgs, BenchKind, ChurnArgs, MixedArgs, Pattern, StressArgs, SweepArgs};
pub(crate) use db::{
    AgentsArgs, CollectionArgs, CrashArgs, CreateArgs, DbArgs, DbCommand, DeleteArgs, ExportArgs, FilterArgs,
    FindArgs, FlushName, ImportArgs, IngestArgs, PlaceArgs, RowsArgs, ScrollArgs, SnapshotAction,
    SnapshotArgs, TenantsArgs, UpsertArgs,
};

/// The whole command line.
#[derive(Debug, Parser)]
#[command(
    name = "orthant",
    version,
    about = "Orthant: vector search that says how exact it is",
    long_about = "Orthant: vector search that says how exact it is.\n\nStart with `orthant demo`: it indexes text you already have, measures itself and answers questions.",
    arg_required_else_help = true,
    after_help = "Examples:
  orthant demo                                  index this checkout's docs and sources, and ask it
  orthant demo ~/notes --ask \"rotate the keys\"   your own folder
  orthant build --data base.fbin --metric cosine -o base.orthant
  orthant search base.orthant query.fbin -k 10 --ef 64 --gt gt.ibin
  orthant info base.orthant --validate

Exit codes: 0 done, 1 a fault inside orthant, 2 bad input or arguments."
)]
pub(crate) struct CommandLine {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// One of orthant's commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Index text (or generated vectors), measure recall and speed, answer questions
    Demo(DemoArgs),
    /// Build an index from a file of vectors
    Build(BuildArgs),
    /// Build a sample of a file of vectors in several ways and say what each costs and brings
    Tune(TuneArgs),
    /// Find the nearest neighbors of queries in an index
    Search(SearchArgs),
    /// Describe an index, check it, or describe this machine
    Info(InfoArgs),
    /// Compute exact neighbors (ground truth) by scanning every row
    Exact(ExactArgs),
    /// Measure build, recall and speed, or what removing and inserting do to them
    Bench(Box<BenchArgs>),
    /// Convert a file of vectors to another format
    Convert(ConvertArgs),
    /// Durable collections: write, filter, search, versions, upkeep
    Db(Box<DbArgs>),
}

/// How near two vectors are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum MetricName {
    /// Euclidean distance
    #[value(alias = "euclidean")]
    L2,
    /// Negated inner product
    #[value(alias = "dot", alias = "inner-product")]
    Ip,
    /// 1 - cosine
    #[value(alias = "angular")]
    Cosine,
    /// Sum of absolute differences
    #[value(alias = "manhattan")]
    L1,
}

/// Which codes the search reads before it looks at full vectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum QuantizationName {
    /// Full f32 rows only
    #[default]
    None,
    /// One byte per dimension, exact distances for the best candidates
    Sq8,
    /// Neighbor lists that carry codes: fastest, most memory
    Blocks,
}

/// What an index is to be good at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ModeName {
    /// Fastest, most memory: --quantization blocks
    Speed,
    /// Rows and codes in memory: --quantization sq8
    Balanced,
    /// Codes in memory, rows in the file
    Memory,
}

/// How rows become a graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum MethodName {
    /// One by one, each searched for and linked
    Insert,
    /// All at once: several times as fast, for L2 and cosine; the same index on any number of threads
    Bulk,
}

/// Flags that shape the graph, shared by every command that builds one.
#[derive(Debug, Clone, Args)]
pub(crate) struct GraphArgs {
    /// Neighbors per node on the upper levels; level 0 has twice as many
    #[arg(long, value_name = "M", default_value_t = 16)]
    pub(crate) m: usize,
    /// Beam width while inserting: larger is slower to build and finds more
    #[arg(long, alias = "efc", value_name = "N", default_value_t = 200, value_parser = from_to(1, 100_000))]
    pub(crate) ef_construction: usize,
    /// Seed of the level draw
    #[arg(long, value_name = "N", default_value_t = 42)]
    pub(crate) seed: u64,
    /// How rows become a graph
    #[arg(long, value_enum, value_name = "METHOD", default_value = "insert")]
    pub(crate) method: MethodName,
    /// Bulk: the least recall@10 at ef 64 of a sample; below it rows are inserted one by one instead
    #[arg(long, value_name = "RECALL", default_value_t = 0.95)]
    pub(crate) floor: f64,
    /// Bulk: bytes that the build itself may set aside at its peak, such as 800M or 2G; rows that do not fit stay in a file
    /// beside the index meanwhile, and what does not fit then either is refused before it starts. Pages of files that the
    /// system keeps in memory, which it takes back at need, come on top: it is no limit for a container
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub(crate) max_memory: Option<usize>,
    /// Bulk, to a file: keep no finished steps beside it, and look for none. Otherwise steps that took at least 50 times as
    /// long as writing them lie in INDEX.building until the index is saved, up to about 600 bytes per vector, and a build that was
    /// killed goes on from there when it is started again with the same vectors and flags; steps that are damaged or of another
    /// build are passed over
    #[arg(long)]
    pub(crate) no_resume: bool,
    /// Say where the time of a bulk build went, on standard error
    #[arg(long)]
    pub(crate) profile: bool,
    /// Codes read during the search
    #[arg(long, value_enum, value_name = "CODES", default_value = "none")]
    pub(crate) quantization: QuantizationName,
    /// A name for several choices: what the index is to be good at
    #[arg(long, value_enum, value_name = "MODE", conflicts_with = "quantization")]
    pub(crate) mode: Option<ModeName>,
    /// With --quantization blocks: bits per dimension of a neighbor's code (1, 2 or 4); 0 tries them and takes the smallest
    /// that reaches --target-recall (a larger one where it is faster by far), or whole rows where none does
    #[arg(long, value_name = "BITS", default_value_t = 0)]
    pub(crate) block_bits: usize,
    /// With codes in the lists: keep the rows that are compared last at half precision, too; whole rows then stay in the file [default: with --mode
    /// speed, where they find as much]
    #[arg(long, value_name = "BOOL")]
    pub(crate) half_rows: Option<bool>,
    /// The recall@10 that is decided for
    #[arg(long, value_name = "SHARE", default_value_t = 0.95)]
    pub(crate) target_recall: f32,
}

/// `orthant demo`
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  orthant demo                                   this checkout (or the built-in docs)
  orthant demo ~/.cargo/registry/src             the sources of every crate you have built with
  orthant demo ~/notes --ask \"how to rotate keys\"
  orthant demo --generated 100000 128 --json     seeded clustered vectors, one JSON object

The embedder is lexical: hashed words and character n-grams weighted by TF-IDF. It finds passages
that share words with the question; it does not know that a car is an automobile.")]
pub(crate) struct DemoArgs {
    /// Folder or file to index [default: this checkout, else the docs compiled into the binary]
    pub(crate) path: Option<PathBuf>,
    /// Ask this instead of the built-in questions (may be repeated)
    #[arg(long, value_name = "WORDS", conflicts_with = "generated")]
    pub(crate) ask: Vec<String>,
    /// Run on N seeded clustered vectors of dimension D instead of text
    #[arg(long, num_args = 2, value_names = ["N", "D"], conflicts_with = "path")]
    pub(crate) generated: Option<Vec<usize>>,
    /// Metric for --generated (text is always compared by cosine)
    #[arg(long, value_enum, requires = "generated", default_value = "l2")]
    pub(crate) metric: MetricName,
    /// Beam widths to measure
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_values_t = [16, 64, 256])]
    pub(crate) ef: Vec<usize>,
    /// Passages shown per question
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub(crate) show: usize,
    /// Do not open a prompt, even on a terminal
    #[arg(long)]
    pub(crate) no_prompt: bool,
    /// Worker threads; 0 = one per available core
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = from_to(0, 4096))]
    pub(crate) threads: usize,
    /// Graph flags.
    #[command(flatten)]
    pub(crate) graph: GraphArgs,
    /// Print one JSON object on the last line instead of tables
    #[arg(long)]
    pub(crate) json: bool,
}

/// `orthant build`
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  orthant build --data base.fbin --metric cosine -o base.orthant
  orthant build --data base.npy --metric l2 --m 32 --ef-construction 400 -o base.orthant
  orthant build --data base.fvecs --metric ip --quantization sq8 --json -o base.orthant

The index is written beside its final place and renamed once it is whole; on any failure a file
that was already there stays as it was. A bulk build that is killed goes on where it was when it is
started again (see --no-resume); the index is the same.")]
pub(crate) struct BuildArgs {
    /// Vectors: .npy .fbin .u8bin .i8bin .ibin .fvecs .bvecs .ivecs
    #[arg(long, short, value_name = "FILE")]
    pub(crate) data: PathBuf,
    /// How near two vectors are
    #[arg(long, value_enum)]
    pub(crate) metric: MetricName,
    /// Where to write the index
    #[arg(long, short, value_name = "INDEX")]
    pub(crate) output: PathBuf,
    /// Graph flags.
    #[command(flatten)]
    pub(crate) graph: GraphArgs,
    /// Worker threads; 0 = one per available core
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = from_to(0, 4096))]
    pub(crate) threads: usize,
    /// Print one JSON object on the last line instead of text
    #[arg(long)]
    pub(crate) json: bool,
}

/// `orthant tune`
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  orthant tune --data base.fbin --metric cosine
  orthant tune --data base.fbin --queries query.fbin --metric l2 --sample 100000 --target 0.99

Rows are drawn evenly from the file; without --queries some of them are set aside to be searched for, which flatters
recall a little less than real queries would. QPS is that of one thread. The line marked with a star is the build that
takes least time among those whose QPS at the target recall is within 3 % of the best.")]
pub(crate) struct TuneArgs {
    /// Vectors: .npy .fbin .u8bin .i8bin .ibin .fvecs .bvecs .ivecs
    #[arg(long, short, value_name = "FILE")]
    pub(crate) data: PathBuf,
    /// How near two vectors are
    #[arg(long, value_enum)]
    pub(crate) metric: MetricName,
    /// File of queries [default: 500 rows set aside]
    #[arg(long, value_name = "FILE")]
    pub(crate) queries: Option<PathBuf>,
    /// Rows that are built
    #[arg(long, value_name = "N", default_value_t = 20_000, value_parser = from_to(100, 1 << 31))]
    pub(crate) sample: usize,
    /// Neighbors per query
    #[arg(short, default_value_t = 10, value_parser = from_to(1, 100))]
    pub(crate) k: usize,
    /// Values of --ef-construction to try
    #[arg(long, alias = "efc", value_name = "LIST", value_delimiter = ',', default_values_t = [50, 100, 150, 200])]
    pub(crate) ef_construction: Vec<usize>,
    /// Beam width at which builds are compared
    #[arg(long, value_name = "N", default_value_t = 64)]
    pub(crate) ef: usize,
    /// Recall at which speeds are compared
    #[arg(long, value_name = "SHARE", default_value_t = 0.95)]
    pub(crate) target: f64,
    /// Neighbors per node on the upper levels; level 0 has twice as many
    #[arg(long, value_name = "M", default_value_t = 16)]
    pub(crate) m: usize,
    /// Seed of the level draw
    #[arg(long, value_name = "N", default_value_t = 42)]
    pub(crate) seed: u64,
    /// Threads that build; 0 = one per available core
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = from_to(0, 4096))]
    pub(crate) threads: usize,
    /// Print one JSON object on the last line instead of a table
    #[arg(long)]
    pub(crate) json: bool,
}

/// `orthant search`
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  orthant search base.orthant query.fbin -k 10 --ef 64
  orthant search base.orthant query.fbin --gt gt.ibin        prints recall@k
  orthant search base.orthant query.fbin -k 100 --out ids.ibin --json
  orthant search base.orthant --row 0.1,0.25,-0.3,0.9        one query, written out")]
pub(crate) struct SearchArgs {
    /// Index to search
    pub(crate) index: PathBuf,
    /// File of queries
    #[arg(required_unless_present = "row", conflicts_with = "row")]
    pub(crate) queries: Option<PathBuf>,
    /// One query as numbers with commas between them
    #[arg(
        long,
        value_name = "NUMBERS",
        value_delimiter = ',',
        num_args = 1..,
        allow_hyphen_values = true
    )]
    pub(crate) row: Option<Vec<f32>>,
    /// Neighbors per query; more than the index holds returns all of it
    #[arg(short, default_value_t = 10)]
    pub(crate) k: usize,
    /// Beam width: larger is slower and finds more; raised to k when smaller
    #[arg(long, default_value_t = 64)]
    pub(crate) ef: usize,
    /// Worker threads; 0 = one per available core
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = from_to(0, 4096))]
    pub(crate) threads: usize,
    /// Write ids and distances here (.ibin: u32 queries, u32 k, ids, f32 distances)
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// Ground truth (.ibin) to compute recall@k against
    #[arg(long, value_name = "FILE")]
    pub(crate) gt: Option<PathBuf>,
    /// Queries whose neighbors are printed
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub(crate) show: usize,
    /// Print one JSON object on the last line instead of tables
    #[arg(long)]
    pub(crate) json: bool,
}

/// `orthant info`
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  orthant info base.orthant
  orthant info base.orthant --validate   walk the whole graph and check its invariants
  orthant info --cpu                     instruction sets and huge pages of this machine")]
pub(crate) struct InfoArgs {
    /// Index to describe
    #[arg(required_unless_present = "cpu")]
    pub(crate) index: Option<PathBuf>,
    /// Check every invariant of the graph
    #[arg(long, requires = "index")]
    pub(crate) validate: bool,
    /// Describe this machine
    #[arg(long)]
    pub(crate) cpu: bool,
    /// Print one JSON object on the last line instead of tables
    #[arg(long)]
    pub(crate) json: bool,
}

/// `orthant exact`
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  orthant exact --data base.fbin --queries query.fbin --metric l2 -k 100 -o gt.ibin")]
pub(crate) struct ExactArgs {
    /// Base vectors
    #[arg(long, short, value_name = "FILE")]
    pub(crate) data: PathBuf,
    /// Query vectors
    #[arg(long, short, value_name = "FILE")]
    pub(crate) queries: PathBuf,
    /// How near two vectors are
    #[arg(long, value_enum)]
    pub(crate) metric: MetricName,
    /// Neighbors per query; more than there are rows returns all of them
    #[arg(short, default_value_t = 100)]
    pub(crate) k: usize,
    /// Where to write (.ibin: u32 queries, u32 k, ids, f32 distances)
    #[arg(long, short, value_name = "FILE")]
    pub(crate) output: PathBuf,
    /// Worker threads; 0 = one per available core
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = from_to(0, 4096))]
    pub(crate) threads: usize,
    /// Print one JSON object on the last line instead of text
    #[arg(long)]
    pub(crate) json: bool,
}

/// `orthant convert`
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  orthant convert base.npy base.fbin
  orthant convert sift.bvecs sift.u8bin
  orthant convert base.fbin half.npy --element f16

The extension names the format: .npy .fbin .u8bin .i8bin .ibin .fvecs .bvecs .ivecs")]
pub(crate) struct ConvertArgs {
    /// File to read
    pub(crate) input: PathBuf,
    /// File to write
    pub(crate) output: PathBuf,
    /// Element type of a .npy output [default: that of the input]
    #[arg(long, value_enum)]
    pub(crate) element: Option<ElementName>,
    /// Print one JSON object on the last line instead of text
    #[arg(long)]
    pub(crate) json: bool,
}

/// Element type of a file of vectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ElementName {
    /// IEEE half precision
    F16,
    /// IEEE single precision
    F32,
    /// IEEE double precision
    F64,
    /// Unsigned bytes
    U8,
    /// Signed bytes
    I8,
    /// Signed 32-bit integers
    I32,
}

/// A number whose bounds are those of memory and patience: refused before anything is read.
fn from_to(least: u64, most: u64) -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(least..=most)
}

/// A number of bytes, with K, M, G or T for powers of 1024.
fn size(text: &str) -> Result<usize, String> {
    let text = text.trim();
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let power = match text[digits.len()..].to_ascii_uppercase().trim_end_matches("IB").trim_end_matches('B') {
        "" => 0,
        "K" => 1,
        "M" => 2,
        "G" => 3,
        "T" => 4,
        _ => return Err("a number of bytes, such as 800M or 2G".to_owned()),
    };
    let number: usize = digits.parse().map_err(|_| "a number of bytes, such as 800M or 2G".to_owned())?;
    number.checked_mul(1 << (10 * power)).ok_or_else(|| "more bytes than there are".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read() {
        assert_eq!(
            ["7", "2K", "800M", "2g", "1GiB"].map(size),
            [7, 2048, 800 << 20, 2 << 30, 1 << 30].map(Ok)
        );
        for bad in ["", "G", "-1", "1.5G", "3 apples", "99999999999G"] {
            assert!(size(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn definitions_are_consistent() {
        use clap::CommandFactory;
        CommandLine::command().debug_assert();
    }

    #[test]
    fn bench_takes_the_contracts_flags() {
        let line = "orthant bench --quantization sq8 --data d --metric ip --k 10 --ef 16,32 --m 16 --efc 200 \
                    --build-threads 2 --batch-threads 2 --reps 3 --core 0 --cores 0,1 --out-dir t --max-queries 0";
        let Command::Bench(args) = CommandLine::parse_from(line.split_whitespace()).command else { panic!() };
        let args = args.sweep;
        assert_eq!((args.ef, args.cores, args.graph.ef_construction), (vec![16, 32], vec![0, 1], 200));
        assert_eq!(args.graph.quantization, QuantizationName::Sq8);
        assert!(CommandLine::try_parse_from(["orthant", "bench"]).is_err(), "--data is needed");
    }

    #[test]
    fn a_row_may_start_with_a_minus() {
        let args = ["orthant", "search", "i", "--row", "-1,2.5,-3e-2"];
        let Command::Search(args) = CommandLine::parse_from(args).command else { panic!() };
        assert_eq!(args.row.unwrap(), [-1.0, 2.5, -0.03]);
    }
}
