//! Properties of edge codes over random rows and histories.

use orthant_kernels::{Metric, available_isas, reference};
use orthant_quant::{EDGE_LANES, EdgeCodes, EdgeConfig, EdgeFactors, EdgeQuery, Rotation};
use proptest::prelude::*;

/// What may happen to a payload.
#[derive(Debug, Clone)]
enum Change {
    Write { lane: usize, row: usize },
    Clear { lane: usize },
    Move { from: usize, to: usize },
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let change = prop_oneof![
        4 => (0..EDGE_LANES, 0usize..20).prop_map(|(lane, row)| Change::Write { lane, row }),
        1 => (0..EDGE_LANES).prop_map(|lane| Change::Clear { lane }),
        1 => (0..EDGE_LANES, 0..EDGE_LANES).prop_map(|(from, to)| Change::Move { from, to }),
    ];
    prop::collection::vec(change, 0..120)
}

fn config() -> impl Strategy<Value = EdgeConfig> {
    let bits = prop_oneof![Just(1usize), Just(2), Just(4)];
    let factors = prop_oneof![Just(EdgeFactors::F32), Just(EdgeFactors::F16)];
    let metric = prop_oneof![Just(Metric::L2), Just(Metric::InnerProduct)];
    (bits, factors, metric, 1usize..6).prop_map(|(bits, factors, metric, sixteens)| EdgeConfig {
        metric,
        dim: 16 * sixteens,
        bits,
        factors,
        unit: 4.0,
    })
}

fn rows(dim: usize, seed: u64) -> Vec<Vec<f32>> {
    let rotation = Rotation::hadamard(dim, seed).unwrap();
    let row =
        |at: usize| (0..dim).map(|d| ((at * 31 + d * 17 + at * d) % 23) as f32 / 23.0).collect::<Vec<f32>>();
    let turned = |at| {
        let mut out = vec![0.0; dim];
        rotation.rotate(&row(at), &mut out);
        out
    };
    (0..22).map(turned).collect()
}

proptest! {
    #[test]
    fn any_history_gives_what_a_fresh_payload_has(config in config(), changes in changes(), seed in any::<u64>()) {
        let rows = rows(config.dim, seed);
        let (node, query) = (&rows[20], &rows[21]);
        let codes = EdgeCodes::new(config).unwrap();
        let mut payload = vec![0x5a; codes.payload_bytes()];
        codes.clear(&mut payload);
        let mut lanes = [None; EDGE_LANES];
        for change in changes {
            match change {
                Change::Write { lane, row } => {
                    codes.encode_edge(node, &rows[row], lane, &mut payload);
                    lanes[lane] = Some(row);
                }
                Change::Clear { lane } => {
                    codes.clear_edge(lane, &mut payload);
                    lanes[lane] = None;
                }
                Change::Move { from, to } => {
                    let before = payload.clone();
                    codes.copy_edge(&before, from, &mut payload, to);
                    lanes[to] = lanes[from];
                }
            }
        }
        for isa in available_isas() {
            let fresh_codes = EdgeCodes::with_isa(config, isa).unwrap();
            let mut fresh = vec![0; codes.payload_bytes()];
            fresh_codes.clear(&mut fresh);
            for (lane, row) in lanes.iter().enumerate() {
                if let Some(row) = row {
                    fresh_codes.encode_edge(node, &rows[*row], lane, &mut fresh);
                }
            }
            prop_assert_eq!(&fresh, &payload, "{}", isa);
            let mut prepared = EdgeQuery::default();
            fresh_codes.prepare(query, &mut prepared);
            let base = reference::distance(config.metric, query, node) as f32;
            let (mut out, mut errors) = ([0.0; EDGE_LANES], [0.0; EDGE_LANES]);
            let filled = fresh_codes.estimate(&prepared, base, &fresh, f32::INFINITY, &mut out);
            let spread = reference::distance(Metric::L2, query, node).sqrt() as f32;
            fresh_codes.errors(&prepared, spread, &fresh, &mut errors);
            for (lane, row) in lanes.iter().enumerate() {
                prop_assert_eq!(filled >> lane & 1 == 1, row.is_some());
                prop_assert_eq!(out[lane] < f32::INFINITY, row.is_some());
                if let Some(row) = row {
                    let exact = reference::distance(config.metric, query, &rows[*row]);
                    let off = (f64::from(out[lane]) - exact).abs();
                    // Eight deviations, and the rounding of f16 factors of at most 16 units.
                    let bound = 8.0 * f64::from(errors[lane]) + 0.02;
                    prop_assert!(off < bound, "{} {}: off by {}, error {}", isa, lane, off, errors[lane]);
                }
            }
        }
    }

    #[test]
    fn rotations_keep_distances_and_turn_back(
        dim in 1usize..200,
        more in 0usize..3,
        seed in any::<u64>(),
        values in prop::collection::vec(-100f32..100.0, 400),
    ) {
        let out_dim = dim.next_multiple_of(16) + 16 * more;
        let rotation = Rotation::hadamard_to(dim, out_dim, seed).unwrap();
        prop_assert_eq!(&Rotation::from_bytes(&rotation.to_bytes()).unwrap(), &rotation);
        let (a, b) = (&values[..dim], &values[200..200 + dim]);
        let (mut x, mut y, mut back) = (vec![0.0; out_dim], vec![0.0; out_dim], vec![0.0; dim]);
        rotation.rotate(a, &mut x);
        rotation.rotate(b, &mut y);
        rotation.invert(&x, &mut back);
        let size = reference::dot(a, a).sqrt() + reference::dot(b, b).sqrt();
        for metric in [Metric::L2, Metric::InnerProduct] {
            let (before, after) = (reference::distance(metric, a, b), reference::distance(metric, &x, &y));
            prop_assert!((before - after).abs() < 1e-5 * size * size, "{} became {}", before, after);
        }
        for (a, back) in a.iter().zip(&back) {
            prop_assert!((f64::from(*a) - f64::from(*back)).abs() < 1e-5 * size);
        }
    }
}
