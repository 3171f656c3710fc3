//! Edges seen from where they lead to.
//!
//! * **V1** Edges to a row come in the order of the rows that they leave.
//!
//! Cost: 8 bytes per edge; each task reads all edges and keeps those that lead into its range.

use orthant_quant::Executor;

use crate::parallel::map_chunks;
use crate::reservoir::{distance_of, id_of, key};

/// Ranges of targets: more than there are threads, few enough that reading all edges for each costs little.
const PARTS: usize = 8;

/// For some range of rows, the edges that lead to each.
struct Part {
    starts: Vec<u32>,
    sources: Vec<u64>,
}

/// For every row, the edges that lead to it.
pub(crate) struct Reverse {
    rows_per_part: usize,
    parts: Vec<Part>,
}

impl Reverse {
    /// Of the edges that `edges(row)` names by keys, for each of `rows`.
    pub(crate) fn of<'a>(
        rows: usize,
        edges: impl Fn(usize) -> &'a [u64] + Sync,
        executor: &dyn Executor,
    ) -> Self {
        let rows_per_part = rows.div_ceil(PARTS).max(1);
        let parts = map_chunks(executor, rows, rows_per_part, |range| {
            let mut starts = vec![0; range.len() + 1];
            let inside = |id: u32| range.contains(&(id as usize)).then(|| id as usize - range.start);
            for row in 0..rows {
                for place in edges(row).iter().filter_map(|&edge| inside(id_of(edge))) {
                    starts[place + 1] += 1;
                }
            }
            for place in 0..range.len() {
                starts[place + 1] += starts[place];
            }
            let mut next = starts.clone();
            let mut sources = vec![0; starts[range.len()] as usize];
            for row in 0..rows {
                for &edge in edges(row) {
                    if let Some(place) = inside(id_of(edge)) {
                        sources[next[place] as usize] = key(distance_of(edge), row as u32);
                        next[place] += 1;
                    }
                }
            }
            Part { starts, sources }
        });
        Self { rows_per_part, parts }
    }

    /// Keys of the rows whose edges lead to `row`.
    pub(crate) fn to(&self, row: usize) -> &[u64] {
        let (part, place) = (&self.parts[row / self.rows_per_part], row % self.rows_per_part);
        &part.sources[part.starts[place] as usize..part.starts[place + 1] as usize]
    }
}
