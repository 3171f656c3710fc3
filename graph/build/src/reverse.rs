//! Edges seen from where they lead to, a range of rows at a time.
//!
//! * **V1** Edges to a row come in the order of the rows that they leave.
//!
//! Cost: 8 bytes per edge into the range; all edges are read once for each range.

use std::ops::Range;

use crate::reservoir::{distance_of, id_of, key};

/// For each row of a range, the edges that lead to it.
pub(crate) struct Reverse {
    first: usize,
    starts: Vec<u32>,
    sources: Vec<u64>,
}

impl Reverse {
    /// Of the edges that `edges(row)` names by keys, for each of `rows`, into `range`.
    pub(crate) fn of<E: Iterator<Item = u64>>(
        range: Range<usize>,
        rows: usize,
        edges: impl Fn(usize) -> E,
    ) -> Self {
        let mut starts = vec![0; range.len() + 1];
        let inside = |id: u32| range.contains(&(id as usize)).then(|| id as usize - range.start);
        for row in 0..rows {
            for place in edges(row).filter_map(|edge| inside(id_of(edge))) {
                starts[place + 1] += 1;
            }
        }
        for place in 0..range.len() {
            starts[place + 1] += starts[place];
        }
        let mut next = starts.clone();
        let mut sources = vec![0; starts[range.len()] as usize];
        for row in 0..rows {
            for edge in edges(row) {
                if let Some(place) = inside(id_of(edge)) {
                    sources[next[place] as usize] = key(distance_of(edge), row as u32);
                    next[place] += 1;
                }
            }
        }
        Self { first: range.start, starts, sources }
    }

    /// Keys of the rows whose edges lead to `row`, which is in the range.
    pub(crate) fn to(&self, row: usize) -> &[u64] {
        let place = row - self.first;
        &self.sources[self.starts[place] as usize..self.starts[place + 1] as usize]
    }
}
