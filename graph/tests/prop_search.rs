//! Searches of random small graphs against the flat scan.
#![cfg(not(loom))]

use orthant_graph::Scratch;
use proptest::prelude::*;

mod support;
use support::{Rows, build};

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// With a beam as wide as the graph, a search returns every node in exact order: all are reachable.
    #[test]
    fn a_wide_beam_is_a_flat_scan(
        count in 1usize..300,
        dim in 1usize..6,
        m in 2usize..9,
        threads in 1usize..3,
        equal in 0usize..5,
        seed in 0u64..1000,
    ) {
        let mut rows = Rows::random(count, dim, seed);
        for id in 0..count * equal / 5 {
            rows.data[id * dim..(id + 1) * dim].fill(0.25);
        }
        let graph = build(&rows, m, 16, threads);
        let report = graph.validate();
        prop_assert!(report.is_ok(), "{}", report);
        let query = vec![0.3; dim];
        let mut scratch = Scratch::new();
        let found: Vec<_> = graph
            .search(&rows.from(&query), count, &mut scratch)
            .iter()
            .map(|hit| (hit.distance, hit.node))
            .collect();
        prop_assert_eq!(found, rows.exact(&query));
    }
}
