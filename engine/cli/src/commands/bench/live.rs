//! Which rows are in, which go next and which come: the same for the same seed.

use std::collections::VecDeque;

use anyhow::Context;
use orthant_engine::{FlatRows, Metric, exact};

use crate::args::Pattern;
use crate::text::words::mix;

/// Clusters of the clustered pattern: a round then replaces about 1 % of the live rows, as in the others.
const CLUSTERS: usize = 100;

/// Draws numbers that follow from a seed.
pub(super) struct Draw(u64);

impl Draw {
    pub(super) fn new(seed: u64) -> Self {
        Self(mix(seed))
    }

    /// A number below `bound`, each as likely to within `bound` / 2^64.
    pub(super) fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        ((u128::from(mix(self.0)) * bound as u128) >> 64) as usize
    }
}

/// The rows `0..rows`, the first half of them live to begin with.
pub(super) struct LiveRows {
    pattern: Pattern,
    /// In the order they came, for the sliding pattern.
    live: VecDeque<u32>,
    /// Those that are not live, but for the sliding pattern, which goes by the file.
    others: Vec<u32>,
    /// Sliding: the row that comes next; the file is a ring of `rows`.
    next: u32,
    rows: u32,
    /// Clustered: the cluster of each row.
    clusters: Vec<u32>,
    draw: Draw,
}

impl LiveRows {
    /// `values: [rows × dim]`.
    pub(super) fn new(
        pattern: Pattern,
        metric: Metric,
        values: &[f32],
        dim: usize,
        seed: u64,
    ) -> anyhow::Result<Self> {
        let rows = u32::try_from(values.len() / dim).context("more rows than a u32 counts")?;
        let mut draw = Draw::new(seed);
        let clusters = match pattern {
            Pattern::Clustered => clusters(metric, values, dim, &mut draw)?,
            Pattern::Random | Pattern::Sliding => Vec::new(),
        };
        let half = rows / 2;
        let (live, others) = ((0..half).collect(), (half..rows).collect());
        Ok(Self { pattern, live, others, next: half, rows, clusters, draw })
    }

    /// The live rows, sorted.
    pub(super) fn live(&self) -> Vec<u32> {
        let mut live: Vec<u32> = self.live.iter().copied().collect();
        live.sort_unstable();
        live
    }

    /// The rows of one round that go, then those that come; about `size` of each.
    pub(super) fn round(&mut self, size: usize) -> (Vec<u32>, Vec<u32>) {
        let gone = match self.pattern {
            Pattern::Random => (0..size).filter_map(|_| self.any_live()).collect(),
            Pattern::Sliding => (0..size).filter_map(|_| self.live.pop_front()).collect(),
            Pattern::Clustered => self.one_cluster(),
        };
        let come: Vec<u32> = match self.pattern {
            Pattern::Sliding => (0..gone.len()).map(|_| self.next_of_file()).collect(),
            Pattern::Random | Pattern::Clustered => {
                (0..gone.len()).filter_map(|_| self.any_other()).collect()
            }
        };
        self.live.extend(&come);
        if !matches!(self.pattern, Pattern::Sliding) {
            self.others.extend(&gone);
        }
        (gone, come)
    }

    fn any_live(&mut self) -> Option<u32> {
        let place = self.draw.below(self.live.len().max(1));
        self.live.swap_remove_back(place)
    }

    fn any_other(&mut self) -> Option<u32> {
        let place = self.draw.below(self.others.len().max(1));
        (place < self.others.len()).then(|| self.others.swap_remove(place))
    }

    fn next_of_file(&mut self) -> u32 {
        let next = self.next;
        self.next = (next + 1) % self.rows;
        next
    }

    /// All live rows of a cluster that has some.
    fn one_cluster(&mut self) -> Vec<u32> {
        let Some(sample) = self.any_live() else { return Vec::new() };
        self.live.push_back(sample);
        let cluster = self.clusters[sample as usize];
        let clusters = &self.clusters;
        let mut gone = Vec::new();
        self.live.retain(|&row| {
            let is_kept = clusters[row as usize] != cluster;
            if !is_kept {
                gone.push(row);
            }
            is_kept
        });
        gone
    }
}

/// The cluster of each row: which of 100 rows drawn at random is nearest.
fn clusters(metric: Metric, values: &[f32], dim: usize, draw: &mut Draw) -> anyhow::Result<Vec<u32>> {
    let rows = values.len() / dim;
    let centers: Vec<f32> = (0..CLUSTERS.min(rows))
        .flat_map(|_| {
            let row = draw.below(rows);
            values[row * dim..(row + 1) * dim].iter().copied()
        })
        .collect();
    Ok(exact(metric, FlatRows { data: &centers, dim, stride: dim }, values, 1, None, &|_| ())?.nodes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rounds(pattern: Pattern) -> LiveRows {
        let values: Vec<f32> = (0..2000).map(|row| (row as f32 * 0.37).sin()).collect();
        let mut rows = LiveRows::new(pattern, Metric::L2, &values, 1, 7).unwrap();
        let mut is_live: Vec<bool> = (0..2000).map(|row| row < 1000).collect();
        let mut replaced = 0;
        for _ in 0..300 {
            let (gone, come) = rows.round(10);
            assert!(!gone.is_empty() && gone.len() == come.len());
            replaced += gone.len();
            for row in gone {
                assert!(std::mem::replace(&mut is_live[row as usize], false), "{pattern:?}: {row} was in");
            }
            for row in come {
                assert!(
                    !std::mem::replace(&mut is_live[row as usize], true),
                    "{pattern:?}: {row} was not in"
                );
            }
        }
        assert!(replaced >= 3000);
        let expected: Vec<u32> = (0..2000).filter(|&row| is_live[row as usize]).collect();
        assert_eq!(rows.live(), expected);
        assert_eq!(expected.len(), 1000);
        rows
    }

    #[test]
    fn rows_go_and_come_back() {
        rounds(Pattern::Random);
        rounds(Pattern::Clustered);
        // 3,000 rows further on in a file of 2,000.
        assert_eq!(rounds(Pattern::Sliding).live(), (1000..2000).collect::<Vec<_>>());
    }
}
