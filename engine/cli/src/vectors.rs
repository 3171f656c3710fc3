//! A file of vectors as one contiguous f32 array, read once and checked while it is read.
//!
//! A file that holds f32 rows back to back is used where it is mapped; any other is converted row by
//! row into memory. Either way each value is seen once, by several threads, and the first one that is
//! not finite is an error that names file, row and column.

use std::ops::Range;
use std::path::Path;
use std::sync::Mutex;

use anyhow::bail;
use orthant_formats::VectorFile;

use crate::parallel;
use crate::progress::Progress;

/// Rows converted or checked per step: some hundred kilobytes.
const STEP: usize = 512;

/// Opens a file of vectors that holds at least one, without reading its values.
///
/// # Errors
/// When the file cannot be read, is not what its extension says, or holds no rows.
pub(crate) fn open(path: &Path) -> anyhow::Result<VectorFile> {
    let file = VectorFile::open(path)?;
    if file.rows() == 0 {
        bail!("{}: holds no rows", path.display());
    }
    Ok(file)
}

/// An open file of vectors with its values as f32.
pub(crate) struct Vectors {
    file: VectorFile,
    rows: usize,
    converted: Option<Vec<f32>>,
}

impl Vectors {
    /// Opens `path` and checks every value.
    ///
    /// # Errors
    /// When the file cannot be read, is not what its extension says, holds no rows, or holds a NaN or
    /// an infinity.
    pub(crate) fn open(path: &Path, threads: usize) -> anyhow::Result<Self> {
        Self::open_first(path, usize::MAX, threads)
    }

    /// Opens `path` and reads no more than its first `most` rows.
    pub(crate) fn open_first(path: &Path, most: usize, threads: usize) -> anyhow::Result<Self> {
        let file = open(path)?;
        let (rows, dim) = (file.rows().min(most), file.dim());
        let progress = Progress::start("reading", rows);
        let first_fault = Mutex::new(None);
        let report = |range: Range<usize>, error| {
            // The lock is only ever held here, where nothing panics.
            if let Ok(mut first) = first_fault.lock()
                && first.as_ref().is_none_or(|(row, _)| *row > range.start)
            {
                *first = Some((range.start, error));
            }
        };
        let converted = if file.as_f32().is_some() {
            let mut steps: Vec<usize> = (0..rows.div_ceil(STEP)).collect();
            parallel::for_each_chunk(threads, &mut steps, 1, |_, steps| {
                let range = steps[0] * STEP..rows.min((steps[0] + 1) * STEP);
                let values = file.as_f32().map_or(&[][..], |all| &all[range.start * dim..range.end * dim]);
                if let Some(at) = values.iter().position(|value| !value.is_finite()) {
                    report(range.clone(), not_finite(path, range.start + at / dim, at % dim, values[at]));
                }
                progress.add(range.len());
            });
            None
        } else {
            let mut values = vec![0.0; rows * dim];
            parallel::for_each_chunk(threads, &mut values, STEP * dim, |offset, out| {
                let range = offset / dim..offset / dim + out.len() / dim;
                progress.add(range.len());
                if let Err(error) = file.read_rows(range.clone(), out) {
                    report(range, error.into());
                }
            });
            Some(values)
        };
        progress.finish();
        match first_fault.into_inner() {
            Ok(Some((_, error))) => Err(error),
            _ => Ok(Self { file, rows, converted }),
        }
    }

    /// The values, row-major.
    pub(crate) fn values(&self) -> &[f32] {
        let all = self.converted.as_deref().or_else(|| self.file.as_f32()).unwrap_or(&[]);
        &all[..self.rows * self.dim()]
    }

    /// Elements of a row.
    pub(crate) fn dim(&self) -> usize {
        self.file.dim()
    }

    /// Rows that were read.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// The file they come from.
    pub(crate) fn path(&self) -> &Path {
        self.file.path()
    }

    /// Refuses rows that cannot be compared with those of `other`.
    pub(crate) fn expect_dim(&self, dim: usize, other: &Path) -> anyhow::Result<()> {
        if self.dim() != dim {
            bail!(
                "{}: rows of {} dimensions cannot be compared with those of {}, which have {dim}",
                self.file.path().display(),
                self.dim(),
                other.display()
            );
        }
        Ok(())
    }
}

fn not_finite(path: &Path, row: usize, column: usize, value: f32) -> anyhow::Error {
    anyhow::anyhow!("{}: row {row}, column {column}: {value} is not a finite number", path.display())
}
