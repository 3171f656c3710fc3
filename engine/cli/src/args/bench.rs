//! `orthant bench` and the kinds of measurement below it.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::{AgentsArgs, CrashArgs, FilterArgs, GraphArgs, IngestArgs, MetricName, TenantsArgs, from_to};

/// `orthant bench`
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = "Examples:
  orthant bench --data data/sift-128 --metric l2
  orthant bench --data data/text-384 --metric cosine --ef 16,64,256 --reps 5 --json
  orthant bench churn --data data/sift-128 --metric l2 --turnover 10 --pattern random
  orthant bench mixed --data data/sift-128 --metric l2 --seconds 20
  orthant bench stress --minutes 10
  bench.py --external 'orthant=target/release/orthant bench' --dataset data/sift-128

DIR holds base.* and query.* (any readable format) and optionally gt.ibin and a file `metric`.
With --out-dir it prints one JSON line per measurement and writes the ids found, for a harness
that computes recall itself; without, a table."
)]
pub(crate) struct BenchArgs {
    /// What to measure instead.
    #[command(subcommand)]
    pub(crate) kind: Option<BenchKind>,
    /// Recall against speed.
    #[command(flatten)]
    pub(crate) sweep: SweepArgs,
}

/// What can be measured beside recall against speed.
#[derive(Debug, Subcommand)]
pub(crate) enum BenchKind {
    /// What is left of recall, memory and speed after all rows were replaced several times
    Churn(ChurnArgs),
    /// How long searches take while another thread inserts
    Mixed(MixedArgs),
    /// Insert, remove, exchange and search from five threads at once, then check everything
    Stress(StressArgs),
    /// Kill a process that writes a durable collection, again and again, and look for what it was promised
    Crash(CrashArgs),
    /// Recall and speed of filtered searches of a collection
    Filter(FilterArgs),
    /// How fast rows are written durably
    Ingest(IngestArgs),
    /// Many agents that search and write a collection at once, and what that does to answers, times and memory
    Agents(AgentsArgs),
    /// How fast a collection of many tenants opens, and what an idle tenant costs
    Tenants(TenantsArgs),
}

/// `orthant bench` without a kind: recall against speed.
#[derive(Debug, Args)]
pub(crate) struct SweepArgs {
    /// Folder with base.*, query.* and optionally gt.ibin
    #[arg(long, value_name = "DIR", required = true)]
    pub(crate) data: Option<PathBuf>,
    /// How near two vectors are [default: what DIR/metric says, else l2]
    #[arg(long, value_enum)]
    pub(crate) metric: Option<MetricName>,
    /// Neighbors per query
    #[arg(short, long, default_value_t = 10)]
    pub(crate) k: usize,
    /// Beam widths to measure
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_values_t = [16, 32, 64, 128, 256])]
    pub(crate) ef: Vec<usize>,
    /// Graph flags.
    #[command(flatten)]
    pub(crate) graph: GraphArgs,
    /// Measure this saved index of the rows instead of building one; flags that shape a graph are without effect
    #[arg(long, value_name = "FILE")]
    pub(crate) index: Option<PathBuf>,
    /// Threads that build
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) build_threads: usize,
    /// Threads of the multi-threaded batch measurement; 0 leaves it out
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) batch_threads: usize,
    /// Repetitions per beam width; best and median are reported
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = from_to(1, 1000))]
    pub(crate) reps: usize,
    /// Core of the one-thread measurements [default: the first of --cores]
    #[arg(long, value_name = "CORE")]
    pub(crate) core: Option<usize>,
    /// Cores of the build and of the multi-threaded batch [default: all this process may use]
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub(crate) cores: Vec<usize>,
    /// Where to write the ids found, one file per beam width
    #[arg(long, value_name = "DIR")]
    pub(crate) out_dir: Option<PathBuf>,
    /// Use the first N queries; 0 = all
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) max_queries: usize,
    /// Candidates whose exact distance is computed at the end; 0 = the engine's choice
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) rerank: usize,
    /// Read every row whole, instead of giving up those that are too far when a third is read; graphs of whole rows
    #[arg(long)]
    pub(crate) no_screening: bool,
    /// Print one JSON line per measurement and one object over all of them on the last line
    #[arg(long)]
    pub(crate) json: bool,
}

/// Which rows are removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Pattern {
    /// Any row, each as likely
    Random,
    /// The row that has been in longest; rows come in the order of the file, round and round
    Sliding,
    /// All rows of one cluster at a time; any rows come
    Clustered,
}

/// `orthant bench churn`
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  orthant bench churn --data data/sift-128 --metric l2 --turnover 10 --pattern random --json
  orthant bench churn --data data/text-384 --metric cosine --pattern clustered --quantization sq8
  orthant bench churn --data data/sift-128 --metric l2 --limit 20000      a quick look

What is done, in this order:
  1. Of the N rows of DIR/base.* (or the first --limit), the first half is inserted under the row
     numbers as keys, one by one, and the quantizer, if any, trained on it. L = N / 2 rows are live.
  2. TURNOVER x L times, in rounds of L / 100: so many live rows are removed (timed), then so many
     rows that are not live are inserted (timed).
       random     any live row goes, any other row comes
       sliding    the row that was inserted first goes, the next row of the file comes
       clustered  the rows are dealt to 100 clusters (the nearest of 100 rows drawn at random); a
                  round empties a random cluster of its live rows and any as many others come
  3. Memory is read: anonymous bytes that the process has gained since before step 1. No compact().
  4. The index is checked (validate); DIR/query.* is searched at --ef, and recall@k computed against
     an exact scan of the rows that are live now; each live row is searched for by its own vector at
     ef 64. A row is found when it is among the 10 nearest, or 10 others are equal to it.
  5. A second process builds a fresh index of the rows that are live now, in the order of the file,
     and measures the same.

recall_after - recall_fresh, self_found, rss_ratio (after / fresh) and delete_to_insert_cost (time per
removal / time per insert in step 2) are what to look at. With --threads above 1 the two sides of a
round run in parallel, and times per row are wall-clock.")]
pub(crate) struct ChurnArgs {
    /// Folder with base.* and query.*
    #[arg(long, value_name = "DIR")]
    pub(crate) data: PathBuf,
    /// How near two vectors are [default: what DIR/metric says, else l2]
    #[arg(long, value_enum)]
    pub(crate) metric: Option<MetricName>,
    /// How many times all live rows are replaced
    #[arg(long, value_name = "TIMES", default_value_t = 10.0)]
    pub(crate) turnover: f64,
    /// Which rows are removed
    #[arg(long, value_enum, default_value = "random")]
    pub(crate) pattern: Pattern,
    /// Beam width of the recall measurement
    #[arg(long, value_name = "N", default_value_t = 64)]
    pub(crate) ef: usize,
    /// Neighbors per query
    #[arg(short, long, default_value_t = 10)]
    pub(crate) k: usize,
    /// Use the first N rows of the file; 0 = all
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) limit: usize,
    /// Use the first N queries; 0 = all
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) max_queries: usize,
    /// Threads that insert and remove
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = from_to(1, 4096))]
    pub(crate) threads: usize,
    /// Graph flags; the seed is also that of the draws.
    #[command(flatten)]
    pub(crate) graph: GraphArgs,
    /// Step 5 alone, for the rows named in this file (u32, little-endian).
    #[arg(long, value_name = "FILE", hide = true)]
    pub(crate) fresh_of: Option<PathBuf>,
    /// Print one JSON object on the last line instead of text
    #[arg(long)]
    pub(crate) json: bool,
}

/// `orthant bench mixed`
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  orthant bench mixed --data data/sift-128 --metric l2 --seconds 20 --json

The first half of the rows is inserted. Then one thread searches, on a core of its own, for half of the
time while nothing else happens, and for the other half while a second thread, on another core, inserts
the other rows as fast as it can. When those run out before the time does, the measurement ends early.")]
pub(crate) struct MixedArgs {
    /// Folder with base.* and query.*
    #[arg(long, value_name = "DIR")]
    pub(crate) data: PathBuf,
    /// How near two vectors are [default: what DIR/metric says, else l2]
    #[arg(long, value_enum)]
    pub(crate) metric: Option<MetricName>,
    /// How long to measure
    #[arg(long, value_name = "S", default_value_t = 20.0)]
    pub(crate) seconds: f64,
    /// Beam width
    #[arg(long, value_name = "N", default_value_t = 64)]
    pub(crate) ef: usize,
    /// Neighbors per query
    #[arg(short, long, default_value_t = 10)]
    pub(crate) k: usize,
    /// Use the first N rows of the file; 0 = all
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) limit: usize,
    /// Threads that build the first half
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = from_to(0, 4096))]
    pub(crate) threads: usize,
    /// Two cores: that of the searches, that of the inserts [default: the first two this process may use]
    #[arg(long, value_name = "LIST", value_delimiter = ',', num_args = 1)]
    pub(crate) cores: Vec<usize>,
    /// Graph flags.
    #[command(flatten)]
    pub(crate) graph: GraphArgs,
    /// Print one JSON object on the last line instead of text
    #[arg(long)]
    pub(crate) json: bool,
}

/// `orthant bench stress`
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  orthant bench stress --minutes 10
  orthant bench stress --minutes 0.33 --rows 4000 --dim 16 --json
  orthant bench stress --data data/sift-128 --metric l2 --limit 20000 --minutes 2

Two threads insert rows (and now and then exchange a live one), one removes, two search, over rows of which
about half are in at any time. A search must return k results, ordered, none twice, and none that was
removed before it began. In the end the index must validate, and recall@10 at ef 64 must be within 0.2
points of that of an index built from the rows that are left by one thread. Anything else exits with 1.")]
pub(crate) struct StressArgs {
    /// How long
    #[arg(long, value_name = "N", default_value_t = 1.0)]
    pub(crate) minutes: f64,
    /// Folder with base.* and query.* [default: generated clustered vectors]
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// How near two vectors are [default: what DIR/metric says, else l2]
    #[arg(long, value_enum)]
    pub(crate) metric: Option<MetricName>,
    /// Use the first N rows of the file; 0 = all
    #[arg(long, value_name = "N", default_value_t = 0, requires = "data")]
    pub(crate) limit: usize,
    /// Generated rows
    #[arg(long, value_name = "N", default_value_t = 20_000, conflicts_with = "data", value_parser = from_to(100, 100_000_000))]
    pub(crate) rows: usize,
    /// Elements of a generated row
    #[arg(long, value_name = "N", default_value_t = 32, conflicts_with = "data", value_parser = from_to(1, 65_536))]
    pub(crate) dim: usize,
    /// Graph flags; the seed is also that of the draws.
    #[command(flatten)]
    pub(crate) graph: GraphArgs,
    /// Print one JSON object on the last line instead of text
    #[arg(long)]
    pub(crate) json: bool,
}
