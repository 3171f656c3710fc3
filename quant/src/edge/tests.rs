use orthant_kernels::{available_isas, reference};

use super::*;
use crate::Rotation;
use crate::random::Random;

fn normal(random: &mut Random) -> f32 {
    (0..12).map(|_| (random.bits() >> 40) as f32 / (1 << 24) as f32).sum::<f32>() - 6.0
}

fn normals(count: usize, scale: f32, random: &mut Random) -> Vec<f32> {
    (0..count).map(|_| scale * normal(random)).collect()
}

fn sum(a: &[f32], b: &[f32]) -> Vec<f32> {
    a.iter().zip(b).map(|(a, b)| a + b).collect()
}

fn configs(dim: usize) -> Vec<EdgeConfig> {
    let mut all = Vec::new();
    for metric in [Metric::L2, Metric::InnerProduct] {
        for bits in [1, 2, 4] {
            for factors in [EdgeFactors::F32, EdgeFactors::F16] {
                all.push(EdgeConfig { metric, dim, bits, factors, unit: 8.0 });
            }
        }
    }
    all
}

/// A query, a node and `count` neighbors of it.
fn scene(dim: usize, count: usize, seed: u64) -> (Vec<f32>, Vec<f32>, Vec<Vec<f32>>) {
    let mut random = Random::new(seed);
    let node = normals(dim, 1.0, &mut random);
    let query = sum(&node, &normals(dim, 0.6, &mut random));
    let neighbors = (0..count).map(|_| sum(&node, &normals(dim, 0.4, &mut random))).collect();
    (query, node, neighbors)
}

/// The definition, in f64, of the code and of what is estimated from it.
fn expected(codes: &EdgeCodes, query: &[f32], node: &[f32], neighbor: &[f32]) -> f64 {
    let EdgeConfig { metric, dim, bits, .. } = codes.config;
    let r: Vec<f64> = node.iter().zip(neighbor).map(|(&x, &y)| f64::from(y - x)).collect();
    let squared: f64 = r.iter().map(|r| r * r).sum();
    let levels = f64::from(1u32 << (bits - 1));
    let step = (squared / dim as f64).sqrt() * [1e9, 1e9, 0.9957, 0.5860, 0.3352][bits];
    let v: Vec<f64> = r
        .iter()
        .map(|r| {
            ((r.abs() / step).floor().min(levels - 1.0) + 0.5) * 2.0 / levels
                * if *r >= 0.0 { 1.0 } else { -1.0 }
        })
        .collect();
    let shrink = squared / r.iter().zip(&v).map(|(r, v)| r * v).sum::<f64>();
    let product: f64 =
        query.iter().zip(node).zip(&v).map(|((&q, &x), v)| (f64::from(q) - f64::from(x)) * v).sum();
    let base = reference::distance(metric, query, node);
    match metric {
        Metric::L2 => base + squared - 2.0 * shrink * product,
        _ => base - node.iter().zip(&r).map(|(&x, r)| f64::from(x) * r).sum::<f64>() - shrink * product,
    }
}

#[test]
fn every_path_estimates_what_the_definition_says() {
    for dim in [16, 32, 48, 112, 128, 384, 1536] {
        let (query, node, neighbors) = scene(dim, 27, dim as u64);
        for config in configs(dim) {
            let mut first: Option<Vec<u8>> = None;
            for isa in available_isas() {
                let codes = EdgeCodes::with_isa(config, isa).unwrap();
                let mut payload = vec![0xa5; codes.payload_bytes()];
                codes.encode(&node, &neighbors, &mut payload);
                let first = first.get_or_insert_with(|| payload.clone());
                assert!(*first == payload, "{isa} codes otherwise, {config:?}");

                let mut prepared = EdgeQuery::default();
                codes.prepare(&query, &mut prepared);
                let base = reference::distance(config.metric, &query, &node) as f32;
                let (mut out, mut errors) = ([0.0; EDGE_LANES], [0.0; EDGE_LANES]);
                let near = codes.estimate(&prepared, base, &payload, f32::INFINITY, &mut out);
                assert_eq!(near, (1 << 27) - 1, "{isa}");
                codes.errors(&prepared, 0.0, &payload, &mut errors);
                for (lane, neighbor) in neighbors.iter().enumerate() {
                    let expected = expected(&codes, &query, &node, neighbor);
                    let (add, rescale) = codes.factors_at(&payload, lane);
                    // With no spread the errors are those of the query alone; then the rounding of `add`, and that of
                    // `rescale`, which counts only in part (E4).
                    let rounding = if config.factors == EdgeFactors::F16 { 1.0 / 2048.0 } else { 1e-6 };
                    let bound =
                        6.0 * errors[lane] + rounding * (add.abs() + 4.0 * rescale.abs() * dim as f32) + 1e-4;
                    assert!(
                        (f64::from(out[lane]) - expected).abs() < f64::from(bound),
                        "{isa} {config:?} lane {lane}: {} is not {expected} ± {bound}",
                        out[lane]
                    );
                }
                assert!(out[27..].iter().all(|&d| d == f32::INFINITY));
                // The bound splits the lanes exactly.
                let bound = out[5];
                let mut again = [0.0; EDGE_LANES];
                let near = codes.estimate(&prepared, base, &payload, bound, &mut again);
                assert_eq!(out, again);
                let below =
                    (0..EDGE_LANES).filter(|&lane| out[lane] < bound).fold(0, |bits, lane| bits | 1 << lane);
                assert_eq!(near, below, "{isa}");
            }
        }
    }
}

#[test]
fn lanes_are_independent() {
    let dim = 64;
    let (_, node, neighbors) = scene(dim, 32, 3);
    for config in configs(dim) {
        let codes = EdgeCodes::new(config).unwrap();
        let bytes = codes.payload_bytes();
        let (mut whole, mut edited, mut moved) = (vec![0; bytes], vec![0; bytes], vec![0; bytes]);
        codes.encode(&node, &neighbors, &mut whole);
        // The same lanes in another order, over others that go again.
        codes.encode(&node, &neighbors[7..], &mut edited);
        for lane in (0..EDGE_LANES).rev() {
            codes.clear_edge(lane, &mut edited);
            assert!(!codes.has_edge(&edited, lane));
            codes.encode_edge(&node, &neighbors[lane], lane, &mut edited);
            assert!(codes.has_edge(&edited, lane));
        }
        assert_eq!(whole, edited, "{config:?}");
        // Moved to other lanes and back.
        codes.clear(&mut moved);
        for lane in 0..EDGE_LANES {
            codes.copy_edge(&whole, lane, &mut moved, (lane + 13) % EDGE_LANES);
        }
        assert_ne!(whole, moved);
        let mut back = vec![0xff; bytes];
        for lane in 0..EDGE_LANES {
            codes.copy_edge(&moved, (lane + 13) % EDGE_LANES, &mut back, lane);
        }
        assert_eq!(whole, back, "{config:?}");
        for lane in 0..EDGE_LANES {
            codes.clear_edge(lane, &mut back);
        }
        codes.clear(&mut moved);
        assert_eq!(moved, back, "{config:?}");
    }
}

/// Mean and standard deviation of `(estimate − exact) / (‖q − x‖ · ‖y − x‖ / √dim)` over rotations, and the mean square
/// of `(estimate − exact) / error`.
fn errors(config: EdgeConfig, query: &[f32], node: &[f32], neighbors: &[Vec<f32>]) -> (f64, f64, f64) {
    let codes = EdgeCodes::new(config).unwrap();
    let dim = config.dim;
    let (mut count, mut mean, mut square, mut stated) = (0.0, 0.0, 0.0, 0.0);
    for seed in 0..60 {
        let rotation = Rotation::hadamard_to(query.len(), dim, seed).unwrap();
        let turned = |row: &[f32]| {
            let mut out = vec![0.0; dim];
            rotation.rotate(row, &mut out);
            out
        };
        let rows: Vec<Vec<f32>> = neighbors.iter().map(|row| turned(row)).collect();
        let mut payload = vec![0; codes.payload_bytes()];
        codes.encode(&turned(node), &rows, &mut payload);
        let mut prepared = EdgeQuery::default();
        codes.prepare(&turned(query), &mut prepared);
        let (mut out, mut errors) = ([0.0; EDGE_LANES], [0.0; EDGE_LANES]);
        let base = reference::distance(config.metric, query, node) as f32;
        codes.estimate(&prepared, base, &payload, 0.0, &mut out);
        let spread = reference::distance(Metric::L2, query, node).sqrt();
        codes.errors(&prepared, spread as f32, &payload, &mut errors);
        for (lane, neighbor) in neighbors.iter().enumerate() {
            let off = f64::from(out[lane]) - reference::distance(config.metric, query, neighbor);
            let length = reference::distance(Metric::L2, node, neighbor).sqrt();
            let relative = off * (dim as f64).sqrt() / (spread * length);
            count += 1.0;
            mean += relative;
            square += relative * relative;
            stated += (off / f64::from(errors[lane])).powi(2);
        }
    }
    mean /= count;
    (mean, (square / count - mean * mean).sqrt(), stated / count)
}

#[test]
fn estimates_are_right_on_average_and_as_far_off_as_stated() {
    for dim in [64, 100, 128, 384] {
        let (query, node, neighbors) = scene(dim, 32, 11);
        for (bits, per_bit) in [(1, 1.51), (2, 0.73), (4, 0.22)] {
            for metric in [Metric::L2, Metric::InnerProduct] {
                let config = EdgeConfig { bits, ..EdgeConfig::new(metric, dim.next_multiple_of(LANES)) };
                let (mean, deviation, stated) = errors(config, &query, &node, &neighbors);
                // The inner product is half of what is in the square.
                let per_bit = if metric == Metric::L2 { per_bit } else { per_bit / 2.0 };
                println!("dim {dim} bits {bits} {metric}: {mean:.3} ± {deviation:.3}, stated {stated:.3}");
                assert!(mean.abs() < 0.2 * per_bit, "{mean} at {config:?}");
                assert!((deviation / per_bit - 1.0).abs() < 0.25, "{deviation} at {config:?}");
                assert!((stated - 1.0).abs() < 0.4, "{stated} at {config:?}");
            }
        }
    }
}

#[test]
fn the_error_factor_is_that_of_normal_values() {
    let mut random = Random::new(17);
    let dim = 1 << 14;
    let node = vec![0.0; dim];
    for bits in [1, 2, 4] {
        let codes = EdgeCodes::new(EdgeConfig {
            bits,
            factors: EdgeFactors::F32,
            ..EdgeConfig::new(Metric::L2, dim)
        })
        .unwrap();
        let neighbor = normals(dim, 1.0, &mut random);
        let mut payload = vec![0; codes.payload_bytes()];
        codes.encode(&node, &[&neighbor], &mut payload);
        // ‖v‖² from the code itself: the bits of lane 0.
        let plane = codes.plane_bytes();
        let bit = |p: usize, at: usize| payload[p * plane + at / 4 * 16] >> (at % 4) & 1 == 1;
        let v = |at: usize| {
            (0..bits).map(|p| if bit(p, at) { 1.0 } else { -1.0 } / f64::from(1 << p)).sum::<f64>()
        };
        let length: f64 = (0..dim).map(|at| v(at) * v(at)).sum::<f64>();
        let product: f64 = (0..dim).map(|at| v(at) * f64::from(neighbor[at])).sum();
        let cosine = product / (length * reference::dot(&neighbor, &neighbor)).sqrt();
        let expected = (length / (dim - 1) as f64 * (1.0 - cosine * cosine)).sqrt();
        let stated = f64::from(codes.error_factor());
        assert!((stated / expected - 1.0).abs() < 0.05, "{bits} bits: {stated} is stated, {expected} found");
    }
}

#[test]
fn a_neighbor_in_the_same_place_has_the_same_distance() {
    let (query, node, _) = scene(64, 0, 4);
    for config in configs(64) {
        let codes = EdgeCodes::new(config).unwrap();
        let mut payload = vec![0; codes.payload_bytes()];
        codes.encode(&node, &[&node], &mut payload);
        let mut prepared = EdgeQuery::default();
        codes.prepare(&query, &mut prepared);
        let mut out = [0.0; EDGE_LANES];
        codes.estimate(&prepared, 3.25, &payload, f32::INFINITY, &mut out);
        match config.metric {
            Metric::L2 => assert_eq!(out[0], 3.25),
            // −⟨x, r⟩ = 0 as well.
            _ => assert_eq!(out[0], 3.25),
        }
    }
}

#[test]
fn extremes_are_no_surprise() {
    let dim = 32;
    for factors in [EdgeFactors::F32, EdgeFactors::F16] {
        let codes = EdgeCodes::new(EdgeConfig { factors, ..EdgeConfig::new(Metric::L2, dim) }).unwrap();
        let mut payload = vec![0; codes.payload_bytes()];
        let rows = [vec![f32::NAN; dim], vec![1e5; dim], vec![1e-30; dim], vec![0.0; dim]];
        codes.encode(&vec![0.0; dim], &rows, &mut payload);
        let mut prepared = EdgeQuery::default();
        codes.prepare(&vec![1.0; dim], &mut prepared);
        let mut out = [0.0; EDGE_LANES];
        let near = codes.estimate(&prepared, 32.0, &payload, f32::INFINITY, &mut out);
        assert!(out[0].is_nan() && near & 1 == 0);
        match factors {
            EdgeFactors::F32 => assert!((out[1] / 3.2e11 - 1.0).abs() < 0.01),
            // Cut to the range, and not lost.
            EdgeFactors::F16 => assert!(out[1].is_finite() && near & 2 == 2),
        }
        assert!((out[2] - 32.0).abs() < 0.1 && out[3] == 32.0, "{out:?}");
        for bad in [f32::NAN, f32::INFINITY] {
            let mut query = vec![1.0; dim];
            query[7] = bad;
            codes.prepare(&query, &mut prepared);
            let near = codes.estimate(&prepared, 32.0, &payload, f32::INFINITY, &mut out);
            assert!(!out[2].is_finite() && near & 4 == 0, "{bad}: {}", out[2]);
        }
    }
}

#[test]
fn wrong_configurations_are_errors() {
    let right = EdgeConfig::new(Metric::L2, 32);
    let error = |config| EdgeCodes::new(config).unwrap_err();
    assert_eq!(error(EdgeConfig { dim: 40, ..right }), EdgeError::Dimension { dim: 40 });
    assert_eq!(error(EdgeConfig { dim: 0, ..right }), EdgeError::Dimension { dim: 0 });
    assert_eq!(error(EdgeConfig { bits: 3, ..right }), EdgeError::Bits { bits: 3 });
    assert_eq!(error(EdgeConfig { metric: Metric::L1, ..right }), EdgeError::Metric { metric: Metric::L1 });
    assert_eq!(error(EdgeConfig { unit: 0.0, ..right }), EdgeError::Unit { unit: 0.0 });
    assert!(EdgeCodes::new(right).is_ok());
}

#[test]
fn payloads_are_whole_cache_lines() {
    for dim in [16, 48, 128, 400] {
        for config in configs(dim) {
            let codes = EdgeCodes::new(config).unwrap();
            assert!(codes.payload_bytes().is_multiple_of(64), "{config:?}");
        }
    }
    assert_eq!(EdgeCodes::new(EdgeConfig::new(Metric::L2, 128)).unwrap().payload_bytes(), 640);
    assert_eq!(EdgeCodes::new(EdgeConfig::new(Metric::L2, 384)).unwrap().payload_bytes(), 1664);
}

#[test]
fn sixteen_bits_are_enough_for_factors() {
    for dim in [128, 384] {
        let (query, node, neighbors) = scene(dim, 32, 21);
        for bits in [1, 2, 4] {
            let deviation = |factors| {
                let config = EdgeConfig { bits, factors, ..EdgeConfig::new(Metric::L2, dim) };
                errors(config, &query, &node, &neighbors).1
            };
            let ratio = deviation(EdgeFactors::F16) / deviation(EdgeFactors::F32);
            println!("dim {dim} bits {bits}: {ratio:.4}");
            assert!((ratio - 1.0).abs() < 0.01, "{ratio} at {dim}, {bits} bits");
        }
    }
}
