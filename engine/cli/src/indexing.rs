//! From the command line's words to the engine's, and the two steps every command shares: build and check.

use std::convert::Infallible;
use std::path::Path;

use anyhow::{Context, bail};
use orthant_engine::storage::persist::OpenError as FileError;
use orthant_engine::{Index, IndexBuilder, Metric, Mode, OpenError, OpenOptions, Quantization};

use crate::args::{GraphArgs, MethodName, MetricName, ModeName, QuantizationName};
use crate::failure::{Internal, WithHint};
use crate::progress::Progress;

impl From<MetricName> for Metric {
    fn from(name: MetricName) -> Self {
        match name {
            MetricName::L2 => Self::L2,
            MetricName::Ip => Self::InnerProduct,
            MetricName::Cosine => Self::Cosine,
            MetricName::L1 => Self::L1,
        }
    }
}

impl From<QuantizationName> for Quantization {
    fn from(name: QuantizationName) -> Self {
        match name {
            QuantizationName::None => Self::None,
            QuantizationName::Sq8 => Self::Sq8,
            QuantizationName::Blocks => Self::Blocks,
        }
    }
}

impl From<ModeName> for Mode {
    fn from(name: ModeName) -> Self {
        match name {
            ModeName::Speed => Self::Speed,
            ModeName::Balanced => Self::Balanced,
            ModeName::Memory => Self::Memory,
        }
    }
}

/// Builds an index over `count` rows that `read` fills in one by one, with a progress bar. Row `i`
/// becomes node `i` under key `i`. `output` is where the index will be saved. Returns the seconds it took as well.
pub(crate) fn build<E: std::error::Error + Send + Sync + 'static>(
    (count, dim, metric): (usize, usize, Metric),
    read: impl FnMut(usize, &mut [f32]) -> Result<(), E>,
    graph: &GraphArgs,
    (threads, cores): (usize, Option<Vec<usize>>),
    output: Option<&Path>,
) -> anyhow::Result<(Index, f64)> {
    let mut builder = IndexBuilder::new(dim, metric)
        .m(graph.m)
        .ef_construction(graph.ef_construction)
        .seed(graph.seed)
        .threads(threads)
        .cores(cores)
        .quantization(graph.quantization.into())
        .block_bits(graph.block_bits)
        .target_recall(graph.target_recall);
    if let Some(mode) = graph.mode {
        builder = builder.mode(mode.into());
    }
    if let Some(are_half) = graph.half_rows {
        builder = builder.half_rows(are_half);
    }
    if graph.method == MethodName::Bulk {
        return crate::bulk::build(builder, count, read, graph, output);
    }
    if graph.max_memory.is_some() {
        bail!("--max-memory is for --method bulk: what inserting takes is not told before");
    }
    let progress = Progress::start("building", count);
    let index = builder.build_from(count, read, &|done| progress.set(done))?;
    Ok((index, progress.finish()))
}

/// A source of rows that lie in memory, for [`build`].
pub(crate) fn from_slice(rows: &[f32]) -> impl FnMut(usize, &mut [f32]) -> Result<(), Infallible> {
    |row, out| {
        out.copy_from_slice(&rows[row * out.len()..][..out.len()]);
        Ok(())
    }
}

/// Refuses a path that nothing can be written to, before hours are spent on what should go there.
pub(crate) fn expect_writable(path: &Path) -> anyhow::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let place = || format!("cannot write {}", path.display());
    if !std::fs::metadata(folder).with_context(place)?.is_dir() {
        bail!("cannot write {}: {} is not a folder", path.display(), folder.display());
    }
    if path.is_dir() {
        bail!("cannot write {}: it is a folder", path.display());
    }
    Ok(())
}

/// Opens a saved index and checks every byte of it. With `load` it is copied onto huge pages, which
/// pays off for many queries; without, it is mapped.
pub(crate) fn open(path: &Path, load: bool) -> anyhow::Result<Index> {
    let options = OpenOptions { load, ..OpenOptions::default() };
    Index::open(path, &options).or_else(|error| {
        let hint = match &error {
            OpenError::File(FileError::Io { .. }) => return Err(error.into()),
            OpenError::File(FileError::NotOurs { .. } | FileError::WrongKind { .. }) => {
                "an index is what `orthant build` writes"
            }
            OpenError::File(FileError::TooNew { .. }) => "a newer orthant wrote it: update this one",
            _ => "build it again from its vectors with `orthant build`",
        };
        Err(error).hint(hint)
    })
}

/// Checks every invariant of an index that was built just now: a fault found here is ours.
pub(crate) fn check_own(index: &Index) -> anyhow::Result<()> {
    let report = index.validate();
    if report.is_ok() {
        Ok(())
    } else {
        Err(anyhow::anyhow!("{report}")).context(Internal("the index fails its own check"))
    }
}
