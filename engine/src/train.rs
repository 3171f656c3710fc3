//! What searches compare: chosen, trained on the rows that are in, and decided about again.

use orthant_graph::NodeId;
use orthant_quant::Sq8;
use orthant_storage::MemoryOptions;

use crate::builder::Quantization;
use crate::codes::Codes;
use crate::gate::CODE_BITS;
use crate::index::{Index, InsertError};

impl Index {
    /// Trains the quantizer on the rows that are in and encodes them. Does nothing without
    /// quantization, without rows, or when it is trained already, except that [`Quantization::Blocks`] are decided about
    /// again once half as many rows came as there were: then the same codes are tried on rows of today, and where they
    /// do not reach the target any more, all is decided and written anew.
    ///
    /// # Errors
    /// [`InsertError::Train`], or [`InsertError::Memory`] when there is no room for the codes; searches
    /// go on at full precision.
    pub fn train(&mut self) -> Result<(), InsertError> {
        let is_coded = self.quantization == Quantization::Sq8 && self.codes.is_some();
        if self.quantization == Quantization::None || is_coded || self.is_empty() {
            return Ok(());
        }
        self.overwrite_dead_rows();
        if self.quantization == Quantization::Blocks {
            return match self.choice {
                None => self.make_blocks(),
                Some(_) if self.block_bits == 0 && self.drift.is_due() => self.decide_again(),
                Some(_) => Ok(()),
            };
        }
        self.codes = Some(self.make_codes()?);
        if self.mode.is_some() {
            self.price_codes();
        }
        Ok(())
    }

    /// Codes of all rows, one byte per dimension.
    pub(crate) fn make_codes(&self) -> Result<Codes, InsertError> {
        let count = self.rows.len();
        let layout = self.rows.layout();
        let quantizer = Sq8::train(self.rows.rows(), layout.stride(), count, self.dim)?;
        let stride = crate::codes::code_stride(self.dim);
        let options = MemoryOptions { expected_bytes: Some(count * stride), ..self.memory.clone() };
        let codes = Codes::new(quantizer, &options)?;
        let mut buffer = Vec::new();
        for node in 0..count as NodeId {
            if let Some(row) = self.rows.row(node) {
                // SAFETY: nobody else knows these codes.
                unsafe { codes.encode(node, row, &mut buffer) }?;
            }
        }
        Ok(codes)
    }

    /// Copies a live row over those that are in no result, so that training sees only values that are in use.
    pub(crate) fn overwrite_dead_rows(&mut self) {
        let nodes = 0..self.rows.len() as NodeId;
        let Some(live) = nodes.clone().find(|&node| self.graph.is_live(node)) else { return };
        for node in nodes.filter(|&node| !self.graph.is_live(node)) {
            // SAFETY: `self` is borrowed mutably, so nobody else has any row.
            let target = unsafe { self.rows.rewrite(node) };
            // SAFETY: a live row is whole, and another than `target`.
            target.copy_from_slice(unsafe { self.rows.row_unchecked(live) });
        }
    }

    /// Changes what the search compares. Codes are dropped, and made by the next [`train`](Self::train).
    pub fn set_quantization(&mut self, quantization: Quantization) {
        self.quantization = quantization;
        self.mode = self.mode.filter(|mode| mode.quantization() == quantization);
        self.codes = None;
        if quantization != Quantization::Blocks {
            self.halves = None;
        }
        self.choice = self.choice.take().filter(|choice| choice.bits != CODE_BITS);
    }

    /// Fixes what [`train`](Self::train) decides of the codes of edges, as
    /// [`IndexBuilder::block_bits`](crate::IndexBuilder::block_bits) does. Without effect once it did.
    ///
    /// # Panics
    /// Unless `bits` is 0, 1, 2 or 4.
    pub fn set_block_bits(&mut self, bits: usize) {
        assert!(matches!(bits, 0 | 1 | 2 | 4), "edges are coded in 1, 2 or 4 bits per dimension");
        self.block_bits = bits;
    }
}
