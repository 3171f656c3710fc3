//! Properties of scalar quantization over random rows and queries.

use orthant_kernels::{CodeKernel, Metric, reference};
use orthant_quant::{CodecError, Sq8, Sq8Query};
use proptest::prelude::*;

/// Rows of one dimension (row-major), some of whose dimensions are constant, and a query.
fn rows_and_query() -> impl Strategy<Value = (usize, Vec<f32>, Vec<f32>)> {
    (1usize..80, 1usize..20, prop_oneof![Just(1e-12f32), Just(1.0), Just(1e5)]).prop_flat_map(
        |(dim, count, scale)| {
            let rows = prop::collection::vec(-1f32..1.0, dim * count);
            let constant = prop::collection::vec(prop::bool::weighted(0.1), dim);
            let query = prop::collection::vec(-1.5f32..1.5, dim);
            (rows, constant, query).prop_map(move |(mut rows, constant, query)| {
                for (at, value) in rows.iter_mut().enumerate() {
                    *value = if constant[at % dim] { 0.75 } else { *value } * scale;
                }
                (dim, rows, query.iter().map(|q| q * scale).collect())
            })
        },
    )
}

proptest! {
    #[test]
    fn decoding_is_within_half_a_step((dim, rows, _) in rows_and_query()) {
        let quantizer = Sq8::train(&rows, dim, rows.len() / dim, dim).unwrap();
        let (mut code, mut decoded) = (vec![0; dim], vec![0.0; dim]);
        for row in rows.chunks(dim) {
            quantizer.encode(row, &mut code);
            quantizer.decode(&code, &mut decoded);
            for ((&value, &decoded), &step) in row.iter().zip(&decoded).zip(quantizer.steps()) {
                // Half a step, and the rounding of the arithmetic round it.
                let bound = 0.5 * step + 4.0 * f32::EPSILON * (value.abs() + 256.0 * step);
                prop_assert!((value - decoded).abs() <= bound, "{value} became {decoded}, step {step}");
            }
        }
    }

    #[test]
    fn distances_are_those_to_the_decoded_row((dim, rows, question) in rows_and_query()) {
        let quantizer = Sq8::train(&rows, dim, rows.len() / dim, dim).unwrap();
        let kernel = CodeKernel::new(dim).unwrap();
        let (mut code, mut decoded) = (vec![0; dim], vec![0.0; dim]);
        let mut query = Sq8Query::default();
        for metric in [Metric::L2, Metric::InnerProduct] {
            quantizer.prepare(metric, &question, &mut query);
            for row in rows.chunks(dim) {
                let bias = quantizer.encode(row, &mut code);
                quantizer.decode(&code, &mut decoded);
                let found = f64::from(query.distance(kernel.pair(query.weights(), &code), bias));
                let expected = reference::distance(metric, &question, &decoded);
                // Each weight is off by half a unit and counts at most 128 times; and three numbers of f32,
                // none larger than all the squares together, are added in f32.
                let rounding = f64::from(query.scale().abs()) * 0.5 * 128.0 * dim as f64;
                let squares = |v: &[f32]| reference::dot(v, v);
                let size = 4.0 * (squares(&question) + squares(&decoded) + f64::from(bias))
                    + 2.0 * quantizer.steps().iter().map(|&s| (256.0 * f64::from(s)).powi(2)).sum::<f64>();
                let bound = rounding + 8.0 * f64::from(f32::EPSILON) * size;
                prop_assert!((found - expected).abs() <= bound, "{metric}: {found} is not {expected} ± {bound}");
            }
        }
    }

    #[test]
    fn bytes_are_read_back((dim, rows, _) in rows_and_query()) {
        let quantizer = Sq8::train(&rows, dim, rows.len() / dim, dim).unwrap();
        prop_assert_eq!(Sq8::from_bytes(&quantizer.to_bytes()), Ok(quantizer));
    }

    #[test]
    fn every_changed_byte_is_found((dim, rows, _) in rows_and_query(), at in any::<prop::sample::Index>(), flip in 1u8..) {
        let mut bytes = Sq8::train(&rows, dim, rows.len() / dim, dim).unwrap().to_bytes();
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        prop_assert!(Sq8::from_bytes(&bytes).is_err());
    }

    #[test]
    fn every_other_length_is_found((dim, rows, _) in rows_and_query(), cut in any::<prop::sample::Index>()) {
        let mut bytes = Sq8::train(&rows, dim, rows.len() / dim, dim).unwrap().to_bytes();
        prop_assert!(Sq8::from_bytes(&bytes[..cut.index(bytes.len())]).is_err());
        bytes.push(0);
        let is_found = matches!(Sq8::from_bytes(&bytes), Err(CodecError::WrongLength { .. }));
        prop_assert!(is_found);
    }

    #[test]
    fn noise_is_no_quantizer(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(Sq8::from_bytes(&bytes).is_err());
    }
}
