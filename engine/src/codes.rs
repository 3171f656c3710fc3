//! The codes of an index: one byte per dimension beside the full-precision rows.
//!
//! * **C1** When an index has codes, every published row has one: training encodes all rows under an
//!   exclusive borrow, and every later insert encodes its row before publishing it.

use orthant_graph::{NodeId, Scorer};
use orthant_kernels::{CodeKernel, IsaError, prefetch};
use orthant_quant::{Sq8, Sq8Query};
use orthant_storage::{Column, MemoryOptions, RegionError};

/// Bytes from code to code: whole cache lines for all but the smallest dimensions, so that no code touches
/// a line more than it must.
pub(crate) fn code_stride(dim: usize) -> usize {
    if dim <= 32 { dim.next_multiple_of(16) } else { dim.next_multiple_of(64) }
}

/// Why codes could not be set up.
#[derive(Debug)]
pub(crate) enum CodesError {
    Memory(RegionError),
    Isa(IsaError),
}

/// A trained quantizer and the codes it made.
pub(crate) struct Codes {
    pub(crate) quantizer: Sq8,
    pub(crate) codes: Column<u8>,
    pub(crate) biases: Column<f32>,
    kernel: CodeKernel,
}

impl Codes {
    pub(crate) fn new(quantizer: Sq8, options: &MemoryOptions) -> Result<Self, CodesError> {
        let stride = code_stride(quantizer.dim());
        let codes = Column::new(stride, options).map_err(CodesError::Memory)?;
        let options = MemoryOptions { expected_bytes: None, ..options.clone() };
        let biases = Column::new(1, &options).map_err(CodesError::Memory)?;
        Self::from_parts(quantizer, codes, biases)
    }

    pub(crate) fn from_parts(
        quantizer: Sq8,
        codes: Column<u8>,
        biases: Column<f32>,
    ) -> Result<Self, CodesError> {
        let kernel = CodeKernel::new(quantizer.dim()).map_err(CodesError::Isa)?;
        Ok(Self { quantizer, codes, biases, kernel })
    }

    /// Encodes row `node`.
    ///
    /// # Safety
    /// The row belongs to the caller alone: it is not published yet, or the index is borrowed mutably.
    pub(crate) unsafe fn encode(
        &self,
        node: NodeId,
        row: &[f32],
        buffer: &mut Vec<u8>,
    ) -> Result<(), RegionError> {
        self.codes.ensure(node as usize + 1)?;
        self.biases.ensure(node as usize + 1)?;
        buffer.clear();
        buffer.resize(self.codes.width(), 0);
        let bias = self.quantizer.encode(row, &mut buffer[..row.len()]);
        // SAFETY: grown above; the caller alone has the row.
        unsafe { self.codes.put(node, buffer) };
        // SAFETY: as above.
        unsafe { self.biases.put(node, &[bias]) };
        Ok(())
    }

    /// Gives the memory of codes back.
    ///
    /// # Safety
    /// The places belong to the caller alone, and are written before they are read.
    pub(crate) unsafe fn discard(&self, places: std::ops::Range<usize>) {
        let stride = self.codes.width();
        // SAFETY: the caller's promise.
        unsafe { self.codes.region().discard(places.start * stride..places.end * stride) };
    }

    /// Distances from a prepared query.
    pub(crate) fn from<'a>(&'a self, query: &'a Sq8Query) -> CodeScorer<'a> {
        assert_eq!(query.weights().len(), self.quantizer.dim(), "a query has the dimension of the index");
        CodeScorer { codes: self, query }
    }
}

/// Distances from one query to codes.
pub(crate) struct CodeScorer<'a> {
    codes: &'a Codes,
    query: &'a Sq8Query,
}

/// Dots computed at once: more than a neighbor list holds.
const DOTS: usize = 128;

impl Scorer for CodeScorer<'_> {
    #[inline(always)]
    fn score_batch(&self, ids: &[NodeId], out: &mut [f32]) {
        let mut dots = [0i32; DOTS];
        for (ids, out) in ids.chunks(DOTS).zip(out.chunks_mut(DOTS)) {
            let dots = &mut dots[..ids.len()];
            let (weights, codes) = (self.query.weights().as_ptr(), self.codes.codes.as_ptr());
            // SAFETY: weights have the kernel's dimension (checked in `Codes::from`); the graph only
            // passes published nodes, whose codes were written before (C1).
            unsafe { self.codes.kernel.gather_raw(weights, codes, self.codes.codes.width(), ids, dots) };
            for ((out, &dot), &id) in out.iter_mut().zip(dots.iter()).zip(ids) {
                // SAFETY: as above.
                let bias = unsafe { self.codes.biases.at(id) }[0];
                *out = self.query.distance(dot, bias);
            }
        }
    }

    #[inline(always)]
    fn prefetch(&self, id: NodeId) {
        prefetch::line(self.codes.biases.as_ptr().wrapping_add(id as usize));
    }
}
