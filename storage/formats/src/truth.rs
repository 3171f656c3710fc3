//! Ground truth: for every query the ids of its nearest rows, nearest first.

use crate::replace::Replacement;
use crate::{Element, Format, FormatError, VectorFile, WriteError, bin, file, vecs};
use std::path::Path;

/// The exact answers to a set of queries.
///
/// # Examples
/// ```
/// use orthant_formats::GroundTruth;
///
/// # let directory = tempfile::tempdir()?;
/// let path = directory.path().join("truth.ibin");
/// let truth = GroundTruth {
///     queries: 2,
///     k: 3,
///     ids: vec![5, 1, 4, 0, 2, 3],
///     distances: Some(vec![0.0, 1.0, 1.5, 0.5, 0.5, 2.0]),
/// };
/// truth.write(&path)?;
/// assert_eq!(GroundTruth::read(&path)?, truth);
/// assert_eq!(truth.neighbors(1), [0, 2, 3]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct GroundTruth {
    /// Number of queries.
    pub queries: usize,
    /// Neighbors per query.
    pub k: usize,
    /// `[queries × k]`, nearest first.
    pub ids: Vec<u32>,
    /// `[queries × k]`, the distances of those neighbors, if the file has them.
    pub distances: Option<Vec<f32>>,
}

impl GroundTruth {
    /// The neighbors of a query, `[k]`, nearest first.
    ///
    /// # Panics
    /// If `query >= queries`.
    pub fn neighbors(&self, query: usize) -> &[u32] {
        &self.ids[query * self.k..(query + 1) * self.k]
    }

    /// Reads ground truth: `.ibin` with or without distances behind the ids, or `.ivecs` or `.npy`
    /// (`int32`) with ids alone.
    ///
    /// # Errors
    /// As [`VectorFile::open`], and [`FormatError::NotAnId`] for a negative id, and
    /// [`FormatError::NotFinite`] for such a distance.
    pub fn read(path: impl AsRef<Path>) -> Result<GroundTruth, FormatError> {
        let path = path.as_ref();
        if Format::of_path(path) == Some(Format::Ibin) {
            return read_ibin(path);
        }
        let file = VectorFile::open(path)?;
        if file.element() != Element::I32 {
            return Err(FormatError::NotAnId { path: path.to_path_buf(), row: 0, column: 0 });
        }
        let (queries, k) = (file.rows(), file.dim());
        let mut ids = Vec::with_capacity(queries * k);
        for row in 0..queries {
            read_ids(path, file.row_bytes(row), k, row, &mut ids)?;
        }
        Ok(GroundTruth { queries, k, ids, distances: None })
    }

    /// Writes `.ibin` (with the distances, if there are any) or `.ivecs` (ids alone).
    ///
    /// # Errors
    /// [`WriteError::UnknownExtension`] for any other extension, [`WriteError::TooLarge`],
    /// [`WriteError::Io`].
    /// # Panics
    /// If `ids` or `distances` are not `[queries × k]`, if `k` is 0, or if an id is 2^31 or more,
    /// which these formats cannot hold.
    pub fn write(&self, path: impl AsRef<Path>) -> Result<(), WriteError> {
        let path = path.as_ref();
        assert!(self.k > 0, "ground truth needs at least one neighbor per query");
        assert_eq!(self.ids.len(), self.queries * self.k, "ids must be [queries x k]");
        assert!(self.ids.iter().all(|&id| id < 1 << 31), "ids must be below 2^31");
        if let Some(distances) = &self.distances {
            assert_eq!(distances.len(), self.ids.len(), "distances must be [queries x k]");
        }
        let too_large = || WriteError::TooLarge { path: path.to_path_buf(), rows: self.queries, dim: self.k };
        let rows = self.ids.chunks_exact(self.k);
        let mut file;
        match Format::of_path(path) {
            Some(Format::Ibin) => {
                let header = bin::header(self.queries, self.k).ok_or_else(too_large)?;
                file = Replacement::create(path)?;
                file.write(&header)?;
                for ids in rows {
                    file.write(&ids.iter().flat_map(|id| id.to_le_bytes()).collect::<Vec<u8>>())?;
                }
                for distances in self.distances.iter().flat_map(|all| all.chunks_exact(self.k)) {
                    file.write(&distances.iter().flat_map(|one| one.to_le_bytes()).collect::<Vec<u8>>())?;
                }
            }
            Some(Format::Ivecs) => {
                let header = vecs::row_header(self.k).ok_or_else(too_large)?;
                file = Replacement::create(path)?;
                for ids in rows {
                    file.write(&header)?;
                    file.write(&ids.iter().flat_map(|id| id.to_le_bytes()).collect::<Vec<u8>>())?;
                }
            }
            _ => return Err(WriteError::UnknownExtension { path: path.to_path_buf() }),
        }
        file.finish()
    }
}

/// Ids, and distances if the file is long enough for both.
fn read_ibin(path: &Path) -> Result<GroundTruth, FormatError> {
    let map = file::map(path)?;
    let (queries, k) = bin::counts(path, &map)?;
    let entries = u64::from(queries) * u64::from(k);
    let found = map.len() as u64;
    let ids_end = entries.saturating_mul(4).saturating_add(bin::HEADER as u64);
    let both_end = entries.saturating_mul(8).saturating_add(bin::HEADER as u64);
    if found != ids_end && found != both_end {
        return Err(FormatError::WrongLength {
            path: path.to_path_buf(),
            rows: queries.into(),
            dim: k.into(),
            element: Element::I32,
            expected: ids_end,
            found,
        });
    }
    let (queries, k) = (queries as usize, k as usize);
    let (id_bytes, distance_bytes) = map[bin::HEADER..].split_at(queries * k * 4);
    let mut ids = Vec::with_capacity(queries * k);
    for (row, bytes) in id_bytes.chunks_exact(k * 4).enumerate() {
        read_ids(path, bytes, k, row, &mut ids)?;
    }
    let has_distances = found == both_end && entries > 0;
    let distances = has_distances.then(|| {
        let mut distances = vec![0.0; queries * k];
        Element::F32.decode(distance_bytes, &mut distances);
        distances
    });
    if let Some(at) = distances.iter().flatten().position(|distance| !distance.is_finite()) {
        return Err(FormatError::NotFinite { path: path.to_path_buf(), row: at / k, column: at % k });
    }
    Ok(GroundTruth { queries, k, ids, distances })
}

fn read_ids(path: &Path, bytes: &[u8], k: usize, row: usize, ids: &mut Vec<u32>) -> Result<(), FormatError> {
    let (elements, _) = bytes.as_chunks::<4>();
    for (column, element) in elements.iter().take(k).enumerate() {
        let id = u32::try_from(i32::from_le_bytes(*element)).map_err(|_| FormatError::NotAnId {
            path: path.to_path_buf(),
            row,
            column,
        })?;
        ids.push(id);
    }
    Ok(())
}
