use orthant_kernels::{available_isas, reference};

use super::*;

/// Values between -1 and 1.
fn vector(dim: usize, seed: u64) -> Vec<f32> {
    let mut random = Random::new(seed);
    (0..dim).map(|_| (random.bits() >> 40) as f32 / (1 << 23) as f32 - 1.0).collect()
}

/// The same arithmetic in f64, from the definition of a Hadamard matrix: H[i][j] = (-1)^popcount(i & j).
fn expected(values: &[f32], rotation: &Rotation) -> Vec<f64> {
    let Kind::Hadamard { flips, .. } = &rotation.kind else { panic!("a Hadamard rotation") };
    let dim = rotation.out_dim;
    let mut values: Vec<f64> = values.iter().map(|&value| f64::from(value)).collect();
    values.resize(dim, 0.0);
    let span = 1 << dim.ilog2();
    for (round, flips) in flips.chunks_exact(dim).enumerate() {
        for (value, &flip) in values.iter_mut().zip(flips) {
            *value *= if flip == 0 { 1.0 } else { -1.0 };
        }
        let start = if round % 2 == 0 { 0 } else { dim - span };
        let part = values[start..start + span].to_vec();
        for (i, value) in values[start..start + span].iter_mut().enumerate() {
            let sign = |j: usize| if (i & j).count_ones().is_multiple_of(2) { 1.0 } else { -1.0 };
            let sum: f64 = part.iter().enumerate().map(|(j, value)| sign(j) * value).sum();
            *value = sum / (span as f64).sqrt();
        }
        if span < dim {
            for at in 0..dim / 2 {
                let (low, high) = (values[at], values[at + dim / 2]);
                values[at] = (low + high) / 2f64.sqrt();
                values[at + dim / 2] = (low - high) / 2f64.sqrt();
            }
        }
    }
    values
}

#[test]
fn every_path_agrees_with_the_matrix_and_with_the_others_to_the_bit() {
    for out_dim in (16..=320).step_by(16).chain([384, 512, 768, 784, 960, 1024, 1536, 2048]) {
        let dim = out_dim - out_dim % 7;
        let values = vector(dim, out_dim as u64);
        let mut first: Option<Vec<f32>> = None;
        for isa in available_isas() {
            let rotation = Rotation::hadamard_with_isa(dim, out_dim, 5, isa).unwrap();
            let mut rotated = vec![f32::NAN; out_dim];
            rotation.rotate(&values, &mut rotated);
            match &first {
                Some(first) => assert!(*first == rotated, "{isa} differs at {out_dim}"),
                None => {
                    let norm = reference::dot(&values, &values).sqrt();
                    for (&found, expected) in rotated.iter().zip(expected(&values, &rotation)) {
                        assert!(
                            (f64::from(found) - expected).abs() < 50.0 * f64::from(f32::EPSILON) * norm,
                            "{found} is not {expected} at {out_dim}"
                        );
                    }
                    first = Some(rotated);
                }
            }
        }
    }
}

#[test]
fn a_spike_is_spread_evenly() {
    // The fourth moment of a spread unit vector is that of a normal one: 3 / dim².
    for dim in [128, 100, 384, 784] {
        let rotation = Rotation::hadamard(dim, 3).unwrap();
        let n = rotation.out_dim();
        let mut total = 0.0;
        for at in 0..dim {
            let mut spike = vec![0.0; dim];
            spike[at] = 1.0;
            let mut rotated = vec![0.0; n];
            rotation.rotate(&spike, &mut rotated);
            total += rotated.iter().map(|v| f64::from(*v).powi(4)).sum::<f64>();
        }
        let kurtosis = total / dim as f64 * n as f64;
        // Where the transforms cover parts only, some dimensions are spread over fewer.
        let slack = if n.is_power_of_two() { 0.3 } else { 1.5 };
        assert!((kurtosis - 3.0).abs() < slack, "{kurtosis} at {dim}");
    }
}

#[test]
fn the_mean_is_taken_off() {
    let (dim, seed) = (48, 1);
    let mean = vector(dim, 9);
    let rotation = Rotation::hadamard(dim, seed).unwrap().with_mean(&mean);
    let mut out = vec![1.0; 48];
    rotation.rotate(&mean, &mut out);
    assert_eq!(out, [0.0; 48]);
    let matrix: Vec<f32> = (0..48 * 48).map(|at| if at % 49 == 0 { 1.0 } else { 0.0 }).collect();
    let rotation = Rotation::from_matrix(matrix, 48, active_isa().unwrap()).unwrap().with_mean(&mean);
    let x = vector(48, 2);
    rotation.rotate(&x, &mut out);
    for at in 0..48 {
        assert!((out[at] - (x[at] - mean[at])).abs() < 1e-6);
    }
    let copy = Rotation::from_bytes(&rotation.to_bytes()).unwrap();
    let mut again = vec![0.0; 48];
    copy.rotate(&x, &mut again);
    assert_eq!(out, again);
}

#[test]
fn bytes_are_read_back_and_every_changed_one_is_found() {
    for rotation in [
        Rotation::hadamard(40, 77).unwrap(),
        Rotation::hadamard_to(5, 64, 77).unwrap().with_mean(&[1.0, 2.0, 3.0, 4.0, 5.0]),
        Rotation::from_matrix(vector(48 * 10, 1), 10, active_isa().unwrap()).unwrap(),
    ] {
        let bytes = rotation.to_bytes();
        let read = Rotation::from_bytes(&bytes).unwrap();
        assert_eq!(read, rotation);
        let x = vector(rotation.dim(), 4);
        let (mut a, mut b) = (vec![0.0; rotation.out_dim()], vec![0.0; rotation.out_dim()]);
        rotation.rotate(&x, &mut a);
        read.rotate(&x, &mut b);
        assert_eq!(a, b);
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1 << (at % 8);
            assert!(Rotation::from_bytes(&changed).is_err(), "byte {at}");
            assert!(Rotation::from_bytes(&bytes[..at]).is_err(), "length {at}");
        }
    }
}

#[test]
fn made_up_sizes_are_errors() {
    for (dim, out_dim, tag, rounds) in [
        (0, 16, 0, 3),
        (16, 8, 0, 3),
        (16, 24, 0, 3),
        (16, 16, 2, 3),
        (16, 16, 0, 0),
        (17, 16, 0, 3),
        (1 << 20, 1 << 20, 1, 0),
    ] {
        let mut body = Vec::new();
        for word in [dim, out_dim, tag, rounds, 0, 0, 0u32] {
            body.extend(word.to_le_bytes());
        }
        let bytes = frame::wrap(MAGIC, VERSION, &body);
        assert_eq!(Rotation::from_bytes(&bytes), Err(CodecError::Invalid), "{dim} {out_dim} {tag} {rounds}");
    }
}

#[test]
fn turning_back_undoes_it() {
    for (dim, out_dim) in [(16, 16), (100, 112), (128, 128), (5, 64), (384, 384)] {
        let x = vector(dim, 8);
        let rotation = Rotation::hadamard_to(dim, out_dim, 2).unwrap().with_mean(&vector(dim, 5));
        let (mut rotated, mut back) = (vec![0.0; out_dim], vec![0.0; dim]);
        rotation.rotate(&x, &mut rotated);
        rotation.invert(&rotated, &mut back);
        for (x, back) in x.iter().zip(&back) {
            assert!((x - back).abs() < 1e-5, "{back} is not {x}");
        }
    }
}
