use orthant_kernels::reference;

use super::*;
use crate::edge::{EdgeConfig, EdgeFactors};
use crate::random::Random;

fn rows(count: usize, dim: usize) -> Vec<f32> {
    let mut random = Random::new(dim as u64);
    let mut normal = || (0..12).map(|_| random.unit() as f32).sum::<f32>() - 6.0;
    (0..count * dim).map(|_| normal()).collect()
}

#[test]
fn errors_are_as_stated_and_fall_with_the_bits() {
    let (count, dim) = (200, 100);
    let rows = rows(count, dim);
    for metric in [Metric::L2, Metric::InnerProduct] {
        let mut before = f64::INFINITY;
        for bits in [1, 2, 4, 8] {
            let (mut stated, mut total) = (0.0, 0.0);
            for seed in 0..8 {
                let quantizer = Rabitq::new(Rotation::hadamard(dim, seed).unwrap(), bits).unwrap();
                let codes = quantizer.encode_rows(&rows, dim, count);
                let (mut query, mut out) = (RabitqQuery::default(), vec![(0.0, 0.0); count]);
                quantizer.prepare(metric, &rows[..dim], &mut query);
                quantizer.estimates(&query, &codes, &mut out);
                for (&(found, error), row) in out.iter().zip(rows.chunks(dim)).skip(1) {
                    let off = f64::from(found) - reference::distance(metric, &rows[..dim], row);
                    stated += (off / f64::from(error)).powi(2);
                    total += off * off;
                }
            }
            let stated = stated / (8 * (count - 1)) as f64;
            assert!((stated - 1.0).abs() < 0.25, "{metric} {bits}: {stated}");
            assert!(total < 0.3 * before, "{bits} bits: {total} after {before}");
            before = total;
        }
    }
}

#[test]
fn decoded_rows_are_as_near_as_their_bits_allow() {
    let rows = rows(100, 96);
    // The distortion of a uniform quantizer on normal values (Max 1960): 0.363, 0.119, 0.0115.
    for (bits, expected) in [(1, 0.363), (2, 0.119), (4, 0.0115), (8, 0.0001)] {
        let quantizer = Rabitq::new(Rotation::hadamard(96, 1).unwrap(), bits).unwrap();
        let report = quantizer.report(&rows, 96, 100);
        assert_eq!(report.bytes_per_vector, 96 * bits / 8 + 12);
        assert!(report.relative_error() < 1.1 * expected, "{bits}: {}", report.relative_error());
    }
}

#[test]
fn blocks_say_what_records_say() {
    let (count, dim) = (75, 100);
    let rows = rows(count, dim);
    for metric in [Metric::L2, Metric::InnerProduct] {
        let mut rotation = Rotation::hadamard(dim, 4).unwrap();
        if metric == Metric::L2 {
            rotation = rotation.with_mean(&rows[..dim]);
        }
        let quantizer = Rabitq::new(rotation.clone(), 1).unwrap();
        let config = EdgeConfig { factors: EdgeFactors::F32, ..EdgeConfig::new(metric, 0) };
        let mut blocks = RabitqBlocks::new(rotation, config).unwrap();
        rows.chunks(dim).for_each(|row| blocks.push(row));
        assert_eq!((blocks.len(), blocks.bytes()), (75, 3 * (112 * 4 + 256)));
        let codes = quantizer.encode_rows(&rows, dim, count);
        let (mut query, mut records) = (RabitqQuery::default(), vec![(0.0, 0.0); count]);
        quantizer.prepare(metric, &rows[dim..2 * dim], &mut query);
        quantizer.estimates(&query, &codes, &mut records);
        let (mut query, mut found, mut errors) = (BlockQuery::default(), vec![0.0; count], vec![0.0; count]);
        blocks.prepare(&rows[dim..2 * dim], &mut query);
        blocks.distances(&query, &mut found);
        blocks.errors(&query, &mut errors);
        for row in 1..count {
            let (distance, error) = records[row];
            // Tables round the query to 8 bits of four values, weights to 15 of each.
            assert!((found[row] - distance).abs() < 0.2 * error, "{} is not {distance}", found[row]);
            assert!((errors[row] / error - 1.0).abs() < 0.25, "{} is not {error}", errors[row]);
        }
        if metric == Metric::L2 {
            let mean = config;
            let centered = Rotation::hadamard(dim, 4).unwrap().with_mean(&rows[..dim]);
            assert!(
                RabitqBlocks::new(centered.clone(), EdgeConfig { metric: Metric::InnerProduct, ..mean })
                    .is_err()
            );
            assert!(!Rabitq::new(centered, 1).unwrap().supports(Metric::InnerProduct));
        }
    }
}
