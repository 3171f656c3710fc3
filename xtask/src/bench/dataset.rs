//! A data set on disk: base and query vectors, the exact neighbors, the metric.
//!
//! `*.fbin` is u32 rows, u32 dim, then f32 values row by row. `gt.ibin` is u32 queries, u32 k, then u32 ids row
//! by row, then (perhaps) f32 distances row by row. All little-endian.

use std::{
    fs::{self, File},
    io::Read,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail, ensure};

/// Bytes of the two numbers before the values.
const HEADER: u64 = 8;

/// A folder of vectors with known answers.
pub(crate) struct DataSet {
    pub(crate) folder: PathBuf,
    pub(crate) metric: Metric,
    pub(crate) base: Vectors,
    pub(crate) queries: Vectors,
    pub(crate) truth: GroundTruth,
}

/// How near two vectors are; smaller is nearer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Metric {
    L2,
    InnerProduct,
    Cosine,
}

impl DataSet {
    pub(crate) fn open(folder: &Path) -> Result<Self> {
        let metric = folder.join("metric");
        let set = Self {
            folder: folder.to_owned(),
            // The file is optional in the format; squared L2 is what nearly all files of this kind hold.
            metric: if metric.exists() { fs::read_to_string(metric)?.trim().parse()? } else { Metric::L2 },
            base: Vectors::open(&folder.join("base.fbin"))?,
            queries: Vectors::open(&folder.join("query.fbin"))?,
            truth: GroundTruth::read(&folder.join("gt.ibin"))?,
        };
        ensure!(set.base.dim == set.queries.dim, "base and queries differ in dimension");
        ensure!(set.truth.queries <= set.queries.rows, "more answers than queries");
        Ok(set)
    }

    /// The folder's name.
    pub(crate) fn name(&self) -> String {
        self.folder.file_name().map_or_else(|| "data".into(), |name| name.to_string_lossy().into_owned())
    }
}

impl Metric {
    /// The name that `orthant bench` knows.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::L2 => "l2",
            Self::InnerProduct => "ip",
            Self::Cosine => "cosine",
        }
    }

    pub(crate) fn distance(self, a: &[f32], b: &[f32]) -> f64 {
        let dot = |a: &[f32], b: &[f32]| -> f64 {
            a.iter().zip(b).map(|(&x, &y)| f64::from(x) * f64::from(y)).sum()
        };
        match self {
            Self::L2 => a.iter().zip(b).map(|(&x, &y)| (f64::from(x) - f64::from(y)).powi(2)).sum(),
            Self::InnerProduct => -dot(a, b),
            Self::Cosine => {
                let norms = (dot(a, a) * dot(b, b)).sqrt();
                if norms > 0.0 { 1.0 - dot(a, b) / norms } else { 1.0 }
            }
        }
    }
}

impl std::str::FromStr for Metric {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> Result<Self> {
        Ok(match name {
            "l2" => Self::L2,
            "ip" => Self::InnerProduct,
            "cosine" => Self::Cosine,
            _ => bail!("the metric is {name:?}, not l2, ip or cosine"),
        })
    }
}

/// A file of f32 vectors, read row by row.
pub(crate) struct Vectors {
    file: File,
    pub(crate) rows: usize,
    pub(crate) dim: usize,
}

impl Vectors {
    fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).with_context(|| path.display().to_string())?;
        let mut header = [0; HEADER as usize];
        file.read_exact_at(&mut header, 0).with_context(|| format!("{}: no header", path.display()))?;
        let [rows, dim] = numbers(&header);
        let (expected, found) = (HEADER + 4 * u64::from(rows) * u64::from(dim), file.metadata()?.len());
        let path = path.display();
        ensure!(expected == found, "{path}: {rows} rows of {dim} are {expected} bytes, the file has {found}");
        Ok(Self { file, rows: rows as usize, dim: dim as usize })
    }

    /// The vector of row `row`.
    pub(crate) fn row(&self, row: usize) -> Result<Vec<f32>> {
        ensure!(row < self.rows, "row {row} of {}", self.rows);
        let mut bytes = vec![0; 4 * self.dim];
        let start = HEADER + (row * bytes.len()) as u64;
        self.file.read_exact_at(&mut bytes, start)?;
        Ok(bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect())
    }
}

/// The exact neighbors of each query.
#[derive(Debug, PartialEq)]
pub(crate) struct GroundTruth {
    pub(crate) queries: usize,
    pub(crate) k: usize,
    pub(crate) ids: Vec<u32>,
}

impl GroundTruth {
    fn read(path: &Path) -> Result<Self> {
        let (queries, k, ids) = read_ids(path)?;
        Ok(Self { queries, k, ids })
    }

    pub(crate) fn row(&self, query: usize) -> &[u32] {
        &self.ids[query * self.k..(query + 1) * self.k]
    }
}

/// Reads u32 rows, u32 k and the ids; what follows them is left.
pub(crate) fn read_ids(path: &Path) -> Result<(usize, usize, Vec<u32>)> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|mut file| file.read_to_end(&mut bytes))
        .with_context(|| path.display().to_string())?;
    let header = bytes
        .first_chunk::<{ HEADER as usize }>()
        .with_context(|| format!("{}: no header", path.display()))?;
    let [rows, k] = numbers(header).map(|n| n as usize);
    let ids: Vec<u32> = bytes[HEADER as usize..]
        .chunks_exact(4)
        .take(rows * k)
        .map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]))
        .collect();
    ensure!(ids.len() == rows * k, "{}: {rows} x {k} ids are not all there", path.display());
    Ok((rows, k, ids))
}

/// Writes rows of f32 after the two numbers.
pub(crate) fn write_vectors(path: &Path, dim: usize, values: &[f32]) -> Result<()> {
    let mut bytes = header(values.len() / dim, dim)?;
    bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    fs::write(path, bytes).with_context(|| path.display().to_string())
}

/// Writes ids after the two numbers.
pub(crate) fn write_ids(path: &Path, k: usize, ids: &[u32]) -> Result<()> {
    let mut bytes = header(ids.len() / k, k)?;
    bytes.extend(ids.iter().flat_map(|id| id.to_le_bytes()));
    fs::write(path, bytes).with_context(|| path.display().to_string())
}

fn header(rows: usize, columns: usize) -> Result<Vec<u8>> {
    let mut bytes = u32::try_from(rows)?.to_le_bytes().to_vec();
    bytes.extend(u32::try_from(columns)?.to_le_bytes());
    Ok(bytes)
}

fn numbers(header: &[u8; HEADER as usize]) -> [u32; 2] {
    let [a, b, c, d, e, f, g, h] = *header;
    [u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h])]
}
