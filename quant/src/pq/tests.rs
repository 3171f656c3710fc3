use orthant_kernels::reference;

use super::*;
use crate::executor::Serial;
use crate::random::Random;

/// Rows of which dimensions hang together in pairs and have different sizes.
fn rows(count: usize, dim: usize) -> Vec<f32> {
    let mut random = Random::new(9);
    (0..count)
        .flat_map(|_| {
            let common: Vec<f32> = (0..dim).map(|_| random.unit() as f32 - 0.5).collect();
            (0..dim)
                .map(|at| (common[at / 2] + 0.2 * common[at]) / (1.0 + at as f32 / 8.0))
                .collect::<Vec<f32>>()
        })
        .collect()
}

fn trained(rows: &[f32], dim: usize, config: &PqConfig) -> Pq {
    Pq::train(rows, dim, rows.len() / dim, dim, config, &Serial, &|| false).unwrap()
}

#[test]
fn distances_are_those_to_the_decoded_row() {
    for (dim, subspaces) in [(32, 8), (20, 6), (17, 17), (33, 5)] {
        let rows = rows(300, dim);
        for bits in [4, 8] {
            for rotation in [PqRotation::None, PqRotation::Random, PqRotation::Opq] {
                let config = PqConfig { rotation, passes: 3, ..PqConfig::new(subspaces, bits, 1) };
                let quantizer = trained(&rows, dim, &config);
                assert_eq!(Pq::from_bytes(&quantizer.to_bytes()).as_ref(), Ok(&quantizer));
                let codes = quantizer.encode_rows(&rows, dim, 300);
                let (mut query, mut decoded, mut out) = (PqQuery::default(), vec![0.0; dim], [0.0; 300]);
                for metric in [Metric::L2, Metric::InnerProduct] {
                    quantizer.prepare(metric, &rows[..dim], &mut query);
                    quantizer.distances(&query, &codes, &mut out);
                    for (&found, code) in out.iter().zip(codes.chunks(quantizer.code_bytes())) {
                        quantizer.decode(code, &mut decoded);
                        let expected = reference::distance(metric, &rows[..dim], &decoded);
                        // Padding that a random rotation spreads over is lost in decoding, but not in the table.
                        let bound = if rotation == PqRotation::Random { 0.2 } else { 1e-4 };
                        let off = (f64::from(found) - expected).abs();
                        assert!(
                            off < bound * (1.0 + expected.abs()),
                            "{dim} {config:?} {metric}: {found} {expected}"
                        );
                    }
                    if bits == 4 {
                        let blocks = PqBlocks::new(&quantizer, &rows, dim, 300);
                        let (mut tables, mut scanned) = (PqBlockQuery::default(), [0.0; 300]);
                        blocks.prepare(&query, &mut tables);
                        blocks.distances(&tables, &mut scanned);
                        for (a, b) in out.iter().zip(&scanned) {
                            let bound = 0.5 * tables.scale() * subspaces as f32 + 1e-5;
                            assert!((a - b).abs() <= bound, "{b} is not {a} ± {bound}");
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn more_bits_and_better_rotations_lose_less() {
    let rows = rows(2000, 32);
    let error = |rotation, bits| {
        let config = PqConfig { rotation, passes: 8, ..PqConfig::new(4, bits, 1) };
        trained(&rows, 32, &config).report(&rows, 32, 2000).relative_error()
    };
    let (plain, opq) = (error(PqRotation::None, 4), error(PqRotation::Opq, 4));
    assert!(error(PqRotation::None, 8) < 0.7 * plain);
    assert!(opq < plain, "{opq} with OPQ, {plain} without");
}

#[test]
fn every_changed_byte_is_found() {
    let bytes = trained(&rows(40, 4), 4, &PqConfig { passes: 1, ..PqConfig::new(2, 4, 1) }).to_bytes();
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 0x08;
        assert!(Pq::from_bytes(&changed).is_err() && Pq::from_bytes(&bytes[..at]).is_err());
    }
}

#[test]
fn wrong_configurations_are_errors() {
    let rows = rows(40, 4);
    let train = |config| Pq::train(&rows, 4, 40, 4, &config, &Serial, &|| false).err();
    let right = PqConfig::new(2, 4, 1);
    assert_eq!(train(right), None);
    let bits = TrainError::Configuration { what: "bits", value: 5 };
    assert_eq!(train(PqConfig { bits: 5, ..right }), Some(bits));
    let subspaces = TrainError::Configuration { what: "subspaces", value: 9 };
    assert_eq!(train(PqConfig { subspaces: 9, ..right }), Some(subspaces));
    assert_eq!(
        train(PqConfig { bits: 8, ..right }),
        Some(TrainError::TooFewRows { rows: 40, centroids: 256 })
    );
    assert_eq!(Pq::train(&rows, 4, 40, 4, &right, &Serial, &|| true).err(), Some(TrainError::Cancelled));
}
