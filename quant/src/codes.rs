//! [`CodeMatrix`]: the codes of many rows, one after the other, and their biases.

use crate::sq::{Sq8, check_rows};

/// Codes of rows, `[rows × stride]` bytes, and one bias per row.
///
/// The stride is the dimension rounded up to whole blocks of 32 bytes, the step of the widest kernel, so no
/// row shares more cache lines with its neighbors than it has to.
///
/// # Examples
/// ```
/// use orthant_quant::{CodeMatrix, Sq8};
///
/// let rows = [0.0, 1.0, 2.0, 3.5];
/// let quantizer = Sq8::train(&rows, 1, 4, 1)?;
/// let mut codes = CodeMatrix::new(1);
/// codes.extend(&quantizer, &rows, 1, 4);
/// assert_eq!((codes.len(), codes.code(3)), (4, &[255][..]));
/// # Ok::<(), orthant_quant::TrainError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct CodeMatrix {
    dim: usize,
    stride: usize,
    bytes: Vec<u8>,
    biases: Vec<f32>,
}

impl CodeMatrix {
    /// No rows, of `dim` bytes each.
    pub fn new(dim: usize) -> Self {
        Self { dim, stride: dim.next_multiple_of(32), bytes: Vec::new(), biases: Vec::new() }
    }

    /// Codes `count` rows and appends them.
    ///
    /// # Shapes
    /// `rows: [count × stride]` (elements, row-major; the last row needs no padding).
    /// # Panics
    /// If the quantizer has another dimension, if `stride < dim`, or if `rows` is too short.
    pub fn extend(&mut self, quantizer: &Sq8, rows: &[f32], stride: usize, count: usize) {
        assert_eq!(quantizer.dim(), self.dim, "the quantizer must have the matrix's dimension");
        check_rows(rows.len(), stride, count, self.dim);
        let start = self.bytes.len();
        self.bytes.resize(start + count * self.stride, 0);
        let codes = self.bytes[start..].chunks_exact_mut(self.stride);
        for (code, row) in codes.zip(rows.chunks(stride)) {
            self.biases.push(quantizer.encode(&row[..self.dim], &mut code[..self.dim]));
        }
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.biases.len()
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.biases.is_empty()
    }

    /// Bytes per code, padding not counted.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// Bytes from row to row.
    pub fn stride(&self) -> usize {
        self.stride
    }

    /// All codes, `[rows × stride]`, for the kernels.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// All biases, `[rows]`.
    pub fn biases(&self) -> &[f32] {
        &self.biases
    }

    /// The code of a row.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn code(&self, row: usize) -> &[u8] {
        &self.bytes[row * self.stride..][..self.dim]
    }

    /// The bias of a row.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn bias(&self, row: usize) -> f32 {
        self.biases[row]
    }
}
