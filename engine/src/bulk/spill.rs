//! Rows that memory has no room for: written to a file in the layout of the arena, then mapped.
//!
//! * **W1** The name of the file is removed once it is mapped, so nothing is left of it when the process ends; killed
//!   before, the process leaves a file beside which no index stands.
//!
//! Cost: rows are written once and read twice in order; the pages of the file are the system's to keep or to drop.

use std::io;
use std::path::Path;
use std::sync::atomic::Ordering;

use orthant_graph::NodeId;
use orthant_kernels::Metric;
use orthant_storage::RowArena;
use orthant_storage::persist::{FileWriter, MappedFile, Verify};

use super::BulkError;
use crate::ids::KeyRef;
use crate::index::{Index, InsertError, key_error};
use crate::vector::normalize;

/// The kind of file that rows lie in.
const KIND: [u8; 8] = *b"orrows\0\0";

const ROWS: [u8; 8] = *b"rows\0\0\0\0";

impl Index {
    /// The rows that `next` gives, in a file; their keys are their numbers.
    pub(super) fn spill<E>(
        &self,
        count: usize,
        mut next: impl FnMut(usize, &mut [f32]) -> Result<(), BulkError<E>>,
        path: &Path,
    ) -> Result<RowArena<f32>, BulkError<E>> {
        let layout = self.rows.layout();
        let mut failed = None;
        let mut row_bytes = vec![0.0; layout.stride()];
        let mut writer = FileWriter::create(path, KIND, 1).map_err(BulkError::WriteRows)?;
        let written = writer.section(ROWS, |out| {
            for row in 0..count {
                let values = &mut row_bytes[..self.dim];
                if let Err(error) = next(row, values) {
                    failed = Some(error);
                    return Err(io::ErrorKind::Other.into());
                }
                if self.metric == Metric::Cosine && !normalize(values) {
                    self.has_zero_row.store(true, Ordering::Release);
                }
                out.write_all(bytemuck::cast_slice(&row_bytes))?;
            }
            Ok(())
        });
        match (failed, written.and_then(|()| writer.finish())) {
            (Some(error), _) => return Err(error),
            (None, written) => written.map_err(BulkError::WriteRows)?,
        }
        let file = MappedFile::open(path, KIND, 1, Verify::HeaderOnly).map_err(BulkError::OpenRows)?;
        let region = file.region(ROWS, &self.memory).map_err(BulkError::OpenRows)?;
        // Where an open file cannot be removed it stays: it is in nobody's way.
        let _ = std::fs::remove_file(path);
        for row in 0..count as NodeId {
            // SAFETY: nobody else knows the index yet.
            let kind = unsafe { self.keys.write(row, KeyRef::Int(self.keys.take_number())) };
            self.keys.show(row, kind.map_err(key_error)?);
        }
        Ok(RowArena::from_region(layout, region, count as u32).map_err(InsertError::from)?)
    }
}
