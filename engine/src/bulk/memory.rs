//! What a bulk build takes, told before it starts.
//!
//! The figures count what grows with the rows, and the scratch of a few threads. `benches/record` has them beside what
//! builds took.

use std::path::Path;

use orthant_build::Params;

use super::{BulkError, BulkOptions};
use crate::builder::{BuildError, IndexBuilder, Quantization};
use crate::index::Index;

/// Bytes per row of a graph beside its lists: the tables of words per node, and lists of upper levels.
const TABLES: usize = 64;

/// Bytes for scratch of threads and for what does not grow.
const SCRATCH: usize = 16 << 20;

/// Bytes that a bulk build takes at its peak, beside what the process holds before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct BulkMemory {
    /// With rows in memory.
    pub in_memory: usize,
    /// With rows in a file.
    pub on_disk: usize,
}

impl IndexBuilder {
    /// What a bulk build of `rows` rows takes.
    ///
    /// # Errors
    /// There is no such index.
    pub fn bulk_memory(&self, rows: usize) -> Result<BulkMemory, BuildError> {
        Ok(self.clone().build()?.bulk_memory(rows))
    }
}

impl Index {
    fn bulk_memory(&self, rows: usize) -> BulkMemory {
        let config = self.graph.config();
        let params = Params::new(config.m0());
        let graph = rows * (config.m0().next_multiple_of(16) * 4 + TABLES);
        let lists = params.peak_bytes(rows, self.dim).max(graph + rows * (self.dim + 4 + config.m0() * 4));
        let codes = match self.quantization {
            Quantization::None => 0,
            Quantization::Sq8 => rows * (self.dim + 4),
            // Two graphs beside the first one, with codes of two bits at most on most data; see `gate`.
            Quantization::Blocks => 2 * (graph + rows * (config.m0() * self.dim / 4 + self.dim + 256)),
        };
        let on_disk = lists.max(graph + codes) + SCRATCH;
        BulkMemory { in_memory: on_disk + rows * self.rows.layout().stride() * 4, on_disk }
    }

    /// Where rows are to lie: in memory, or in the file that the options name.
    pub(super) fn place_for_rows<'a, E>(
        &self,
        rows: usize,
        options: &'a BulkOptions,
    ) -> Result<Option<&'a Path>, BulkError<E>> {
        let Some(max) = options.max_memory else { return Ok(None) };
        let BulkMemory { in_memory, on_disk } = self.bulk_memory(rows);
        match &options.rows_file {
            _ if in_memory <= max => Ok(None),
            Some(path) if on_disk <= max => Ok(Some(path)),
            _ => Err(BulkError::Memory { needed: in_memory, least: on_disk, max }),
        }
    }
}
