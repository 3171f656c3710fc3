use super::*;

#[test]
fn nothing_to_learn_from_is_an_error() {
    assert_eq!(Sq8::train(&[], 4, 0, 4), Err(TrainError::NoRows));
    assert_eq!(Sq8::train(&[], 0, 3, 0), Err(TrainError::NoDimensions));
}

#[test]
fn a_value_that_is_not_finite_is_named() {
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut rows = [0.0; 12];
        rows[9] = bad; // with a stride of 4: row 2, dimension 1
        assert_eq!(Sq8::train(&rows, 4, 3, 3), Err(TrainError::NotFinite { row: 2, dimension: 1 }));
        rows[9] = 0.0;
        rows[3] = bad; // padding is not looked at
        assert!(Sq8::train(&rows, 4, 3, 3).is_ok());
    }
}

#[test]
fn constant_dimensions_come_back_whole() {
    let rows = [7.25, 1.0, 7.25, 2.5, 7.25, 9.0];
    let quantizer = Sq8::train(&rows, 2, 3, 2).unwrap();
    let (mut code, mut row) = ([0; 2], [0.0; 2]);
    for value in [7.25, -1e30, 1e30] {
        quantizer.encode(&[value, 2.0], &mut code);
        quantizer.decode(&code, &mut row);
        assert_eq!(row[0], 7.25);
    }
    let mut query = Sq8Query::default();
    let all_constant = Sq8::train(&[0.5; 6], 3, 2, 3).unwrap();
    let mut code = [0; 3];
    let bias = all_constant.encode(&[0.5; 3], &mut code);
    all_constant.prepare(Metric::L2, &[1.5; 3], &mut query);
    assert_eq!(query.distance(0, bias), 3.0);
    all_constant.prepare(Metric::InnerProduct, &[2.0; 3], &mut query);
    assert_eq!(query.distance(0, bias), -3.0);
}

#[test]
fn values_outside_the_range_are_clamped() {
    let quantizer = Sq8::train(&[-1.0, 1.5], 1, 2, 1).unwrap();
    let (mut code, mut row) = ([0], [0.0]);
    for (value, expected) in [(-5.0, -1.0), (7.0, 1.5), (f32::NEG_INFINITY, -1.0), (f32::INFINITY, 1.5)] {
        let bias = quantizer.encode(&[value], &mut code);
        quantizer.decode(&code, &mut row);
        assert!((row[0] - expected).abs() < 1e-6, "{value} became {}", row[0]);
        assert!(bias.is_finite());
    }
    quantizer.encode(&[f32::NAN], &mut code);
    assert_eq!(code, [0]);
}

#[test]
fn rows_of_bytes_are_lossless() {
    let rows: Vec<f32> = (0..512).map(|i| (i * 37 % 256) as f32).collect();
    let quantizer = Sq8::train(&rows, 16, 32, 16).unwrap();
    assert!(quantizer.is_lossless());
    let (mut code, mut decoded) = ([0; 16], [0.0; 16]);
    let mut query = Sq8Query::default();
    let kernel = CodeKernel::new(16).unwrap();
    let question: Vec<f32> = (0..16).map(|i| (i * 91 % 256) as f32).collect();
    for row in rows.chunks(16) {
        let bias = quantizer.encode(row, &mut code);
        quantizer.decode(&code, &mut decoded);
        assert_eq!(row, decoded);
        quantizer.prepare(Metric::L2, &question, &mut query);
        let exact: f32 = row.iter().zip(&question).map(|(a, b)| (a - b) * (a - b)).sum();
        assert_eq!(query.distance(kernel.pair(query.weights(), &code), bias), exact);
    }
}

#[test]
fn integers_are_lossless_at_any_small_range() {
    // Two values only, as binary features have: the steps between them stay fine for what comes later.
    let quantizer = Sq8::train(&[-1.0, 1.0], 1, 2, 1).unwrap();
    let (mut code, mut row) = ([0], [0.0]);
    for (value, expected) in [(-1.0, -1.0), (0.0, 0.0), (1.0, 1.0), (0.3, 0.296875)] {
        quantizer.encode(&[value], &mut code);
        quantizer.decode(&code, &mut row);
        assert_eq!(row[0], expected);
    }
}

#[test]
fn the_widest_range_is_no_infinity() {
    let rows = [f32::MIN, 0.25, f32::MAX, 0.5];
    let quantizer = Sq8::train(&rows, 2, 2, 2).unwrap();
    let (mut code, mut row) = ([0; 2], [0.0; 2]);
    for value in [f32::MIN, f32::MAX] {
        assert!(quantizer.encode(&[value, 0.25], &mut code).is_finite());
        quantizer.decode(&code, &mut row);
        assert!((row[0] / value - 1.0).abs() < 0.01, "{value} became {}", row[0]);
    }
}

#[test]
fn a_query_that_is_not_finite_gives_no_number() {
    let quantizer = Sq8::train(&[-1.0, 1.5], 1, 2, 1).unwrap();
    let mut query = Sq8Query::default();
    for bad in [f32::NAN, f32::INFINITY] {
        quantizer.prepare(Metric::L2, &[bad], &mut query);
        assert!(!query.distance(100, 1.0).is_finite());
    }
}

#[test]
fn preparing_again_allocates_nothing() {
    let quantizer = Sq8::train(&[0.0, 1.0, 3.0, 0.5, 2.0, 8.0], 3, 2, 3).unwrap();
    let mut query = Sq8Query::default();
    quantizer.prepare(Metric::L2, &[0.0; 3], &mut query);
    let before = (query.weights.as_ptr(), query.factors.as_ptr());
    quantizer.prepare(Metric::InnerProduct, &[1.0; 3], &mut query);
    assert_eq!(before, (query.weights.as_ptr(), query.factors.as_ptr()));
}

#[test]
fn the_report_counts_bytes_and_error() {
    let rows: Vec<f32> = (0..400).map(|i| (i * 7919 % 1009) as f32 / 1009.0).collect();
    let quantizer = Sq8::train(&rows, 4, 100, 4).unwrap();
    let report = quantizer.report(&rows, 4, 100);
    assert_eq!(report.rows, 100);
    assert_eq!(report.bytes_per_vector, 8);
    assert_eq!(report.compression(), 2.0);
    // Uniform rounding: step² / 12 per dimension.
    let expected: f64 = quantizer.steps().iter().map(|&step| f64::from(step).powi(2) / 12.0).sum();
    assert!((report.distortion / expected - 1.0).abs() < 0.3, "{} against {expected}", report.distortion);
    assert!(report.relative_error() < 1e-3 && report.relative_error() > 0.0);
}

#[test]
fn another_machine_reads_the_same_bytes() {
    // Written once and kept: a change of the format without a change of the version fails here.
    let quantizer = Sq8::train(&[0.5, -1.0, 1.5, 3.0], 2, 2, 2).unwrap();
    let bytes = quantizer.to_bytes();
    assert_eq!(&bytes[..8], b"ORTHSQ8\0");
    assert_eq!(bytes[8..12], [1, 0, 0, 0], "version");
    assert_eq!(bytes[20..28], [2, 0, 0, 0, 0, 0, 0, 0], "dimension and flag");
    assert_eq!(bytes[28..32], 0.5f32.to_le_bytes(), "first minimum");
}
