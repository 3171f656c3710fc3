//! How far the rows have moved away from those that something was decided on.

use std::sync::atomic::{AtomicU64, Ordering};

/// Inserts since a decision, and the rows it was made on.
#[derive(Debug, Default)]
pub(crate) struct Drift {
    rows: u64,
    inserted: AtomicU64,
}

impl Drift {
    /// A decision made on so many rows, so many inserts ago.
    pub(crate) fn new(rows: u64, inserted: u64) -> Self {
        Self { rows, inserted: AtomicU64::new(inserted) }
    }

    pub(crate) fn rows(&self) -> u64 {
        self.rows
    }

    pub(crate) fn inserted(&self) -> u64 {
        self.inserted.load(Ordering::Relaxed)
    }

    /// Counts one insert.
    pub(crate) fn count(&self) {
        // Relaxed: a count that nothing else is told by.
        self.inserted.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether it is time to decide again: when half as many rows came as there were. By then a third of the rows, or
    /// more, are none that were looked at.
    pub(crate) fn is_due(&self) -> bool {
        2 * self.inserted() >= self.rows.max(2)
    }

    /// `[rows u64][inserted u64]`, little-endian.
    pub(crate) fn to_bytes(&self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.rows.to_le_bytes());
        bytes[8..].copy_from_slice(&self.inserted().to_le_bytes());
        bytes
    }

    /// What [`to_bytes`](Self::to_bytes) wrote.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (rows, inserted) = bytes.split_first_chunk::<8>()?;
        Some(Self::new(u64::from_le_bytes(*rows), u64::from_le_bytes(inserted.try_into().ok()?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_as_many_rows_are_a_reason_to_ask_again() {
        let drift = Drift::new(7, 0);
        (0..3).for_each(|_| drift.count());
        assert!(!drift.is_due());
        drift.count();
        assert!(drift.is_due());
        let saved = Drift::from_bytes(&drift.to_bytes()).unwrap();
        assert_eq!((saved.rows(), saved.inserted()), (7, 4));
        assert!(Drift::from_bytes(&[0; 15]).is_none() && Drift::from_bytes(&[0; 17]).is_none());
    }
}
