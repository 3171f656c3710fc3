//! [`Report`]: what codes cost and how far they are off.

/// Size and error of the codes of a set of rows.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Report {
    /// Rows measured.
    pub rows: usize,
    /// Bytes per vector: the code and what is stored beside it, padding not counted.
    pub bytes_per_vector: usize,
    /// Bytes per vector of the `f32` rows.
    pub full_bytes_per_vector: usize,
    /// Mean squared distance between a row and its decoded code. 0 if there are no rows.
    pub distortion: f64,
    /// Mean squared distance between a row and the mean of all rows. 0 if there are no rows.
    pub variance: f64,
}

impl Report {
    /// How many times smaller than `f32` rows the codes are.
    pub fn compression(&self) -> f64 {
        self.full_bytes_per_vector as f64 / self.bytes_per_vector as f64
    }

    /// Distortion as a part of the variance: 0 is lossless, 1 is as good as the mean alone. 0 if both are
    /// 0, and infinite if identical rows do not come back.
    pub fn relative_error(&self) -> f64 {
        if self.distortion == 0.0 { 0.0 } else { self.distortion / self.variance }
    }
}

/// Collects a [`Report`] row by row.
pub(crate) struct Distortion {
    rows: usize,
    error: f64,
    sum: Vec<f64>,
    squares: f64,
}

impl Distortion {
    pub(crate) fn new(dim: usize) -> Self {
        Self { rows: 0, error: 0.0, sum: vec![0.0; dim], squares: 0.0 }
    }

    pub(crate) fn add(&mut self, row: &[f32], decoded: &[f32]) {
        self.rows += 1;
        for ((sum, &value), &decoded) in self.sum.iter_mut().zip(row).zip(decoded) {
            let (value, decoded) = (f64::from(value), f64::from(decoded));
            *sum += value;
            self.squares += value * value;
            self.error += (value - decoded) * (value - decoded);
        }
    }

    pub(crate) fn report(&self, bytes_per_vector: usize) -> Report {
        let rows = self.rows.max(1) as f64;
        let mean_squared: f64 = self.sum.iter().map(|sum| (sum / rows) * (sum / rows)).sum();
        Report {
            rows: self.rows,
            bytes_per_vector,
            full_bytes_per_vector: self.sum.len() * size_of::<f32>(),
            distortion: self.error / rows,
            // Rounding may take the difference of two nearly equal numbers below zero.
            variance: (self.squares / rows - mean_squared).max(0.0),
        }
    }
}
