//! Ways to rows that searches do not find: the pass that is asked for (a bulk build has one of its own).
//!
//! * **J2** A row that was found is found still, by a beam as wide, but for what an edge led to that made room: one of several that do.
//!
//! Cost: a search per row and pass, on all threads of the index.

use std::sync::atomic::Ordering;

use orthant_graph::{Mended, NodeId};

use crate::index::{Index, InsertError};
use crate::space::RowSpace;
use crate::speed::runner;

/// Rows per turn of a thread.
const CHUNK: usize = 32;

/// Passes at most: what the first put in may have displaced something, or not be enough for rows that are lost together.
const PASSES: usize = 4;

impl Index {
    /// Searches each row by its own vector with a beam of `ef`, over whole rows, and puts edges to those that are not found where their searches
    /// ended, until all are found or four passes are done. Returns how many the last pass did not find, before
    /// it gave them edges: 0 where every row finds itself.
    ///
    /// For an index that grew row by row, or that most rows of were replaced: in text of 384 dimensions one row in 5,000 to 10,000 does not find itself
    /// at ef 64. A bulk build mends what it lacks by itself, from a sample. Nobody else uses the index meanwhile; it is the same on any
    /// number of threads.
    ///
    /// # Errors
    /// [`InsertError::Graph`] or [`InsertError::Pool`] when there is no memory, or no thread, for it.
    ///
    /// # Examples
    /// ```
    /// use orthant_engine::{Index, Metric};
    ///
    /// let rows: Vec<f32> = (0..2000).map(|i| (i as f32 * 0.7).sin()).collect();
    /// let mut index = Index::builder(4, Metric::L2).build()?;
    /// index.insert_batch(&rows, None)?;
    /// assert_eq!(index.mend(64)?, 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn mend(&mut self, ef: usize) -> Result<usize, InsertError> {
        drop(self.writes.begin());
        self.settle_graph()?;
        self.start_threads()?;
        let all: Vec<NodeId> = (0..self.graph.node_bound() as NodeId).collect();
        let mut lost = 0;
        for _ in 0..PASSES {
            lost = self.mend_some(&all, ef).lost;
            if lost == 0 {
                break;
            }
        }
        Ok(lost)
    }

    /// One pass over some rows. The threads are started.
    pub(crate) fn mend_some(&mut self, nodes: &[NodeId], ef: usize) -> Mended {
        let run = runner(&self.pool, &self.workers, CHUNK);
        let has_zero_row = self.has_zero_row.load(Ordering::Acquire);
        let (kernels, rows, blocks) = (&self.kernels, &self.rows, self.blocks.as_ref());
        let space = RowSpace { kernels, rows, has_zero_row, blocks };
        self.graph.mend(nodes, ef.max(1), &space, &run)
    }
}
