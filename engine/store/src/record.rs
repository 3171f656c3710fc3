//! Rows as the catalog and the journal hold them, under their entry's key (`entry_keys.rs`).
//!
//! # Layout (little endian)
//! ```text
//! short   checksum u64 over key and the rest; n, or 8 + n for only one vector; the row's number in n bytes; vectors; payload JSON
//! wide    checksum u64 over key and the rest; row u32; vectors; payload JSON
//! vectors how many u8, each: number u16, start u32, count u32
//! ```
//! The form is that of the key. One vector, number 0, at the row's own position, is by far the most common case: it takes no bytes in
//! the short form, and is 255 vectors in the wide one.

use crate::checksum::Checksum;
use crate::entry_keys;
use crate::values::Payload;

/// Most bytes of a text key: what the engine's keys may have.
pub const MAX_KEY_BYTES: usize = u16::MAX as usize;

const SUM: usize = 8;
const ONLY_VECTOR: u8 = 255;

/// In the first byte of a short record: one vector, as [`ONLY_VECTOR`] says.
const ONLY_BIT: u8 = 8;

/// Where the vectors of one name of a row lie in their row file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Placed {
    /// The vector's number in the schema.
    pub(crate) vector: u16,
    /// The first position; for a plain vector the row's number.
    pub(crate) start: u32,
    /// How many.
    pub(crate) count: u32,
}

/// A row without its vectors' elements.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Record {
    /// The number of this version of the row.
    pub(crate) row: u32,
    pub(crate) vectors: Vec<Placed>,
    /// The payload as JSON text.
    pub(crate) payload: Box<[u8]>,
}

impl Record {
    /// The bytes under `key` in the catalog.
    pub(crate) fn encode(&self, key: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; SUM];
        let is_only =
            matches!(&self.vectors[..], [Placed { vector: 0, start, count: 1 }] if *start == self.row);
        if entry_keys::is_short(key) {
            let digits = self.row.to_le_bytes();
            let length = digits.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
            bytes.push(length as u8 | if is_only { ONLY_BIT } else { 0 });
            bytes.extend_from_slice(&digits[..length]);
        } else {
            bytes.extend_from_slice(&self.row.to_le_bytes());
            bytes.extend(is_only.then_some(ONLY_VECTOR));
        }
        if !is_only {
            // A schema has at most 1024 vectors, a record those that are there: `Upsert` refuses more than 254.
            bytes.push(self.vectors.len() as u8);
            for placed in &self.vectors {
                bytes.extend_from_slice(&placed.vector.to_le_bytes());
                bytes.extend_from_slice(&placed.start.to_le_bytes());
                bytes.extend_from_slice(&placed.count.to_le_bytes());
            }
        }
        bytes.extend_from_slice(&self.payload);
        let sum = Checksum::of(&[key, &bytes[SUM..]]);
        bytes[..SUM].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    /// Reads what [`encode`](Self::encode) wrote; `None` if it does not match its checksum.
    pub(crate) fn decode(key: &[u8], bytes: &[u8]) -> Option<Self> {
        let (sum, rest) = bytes.split_at_checked(SUM)?;
        if Checksum::of(&[key, rest]).to_le_bytes() != sum {
            return None;
        }
        let (row, is_only, mut rest) = if entry_keys::is_short(key) {
            let (&first, rest) = rest.split_first()?;
            let (digits, rest) = rest.split_at_checked(usize::from(first & !ONLY_BIT))?;
            let row = digits
                .iter()
                .rev()
                .try_fold(0u32, |row, &byte| Some(row.checked_mul(256)? | u32::from(byte)))?;
            (row, first & ONLY_BIT != 0, rest)
        } else {
            let (digits, rest) = rest.split_at_checked(4)?;
            let is_only = rest.first() == Some(&ONLY_VECTOR);
            (u32::from_le_bytes(digits.try_into().ok()?), is_only, &rest[usize::from(is_only)..])
        };
        let mut vectors = Vec::new();
        if is_only {
            vectors.push(Placed { vector: 0, start: row, count: 1 });
        } else {
            let (&count, more) = rest.split_first()?;
            rest = more;
            for _ in 0..count {
                let (placed, more) = rest.split_at_checked(10)?;
                let word = |at: usize| placed.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes);
                let vector = u16::from_le_bytes(placed[..2].try_into().ok()?);
                vectors.push(Placed { vector, start: word(2)?, count: word(6)? });
                rest = more;
            }
        }
        Some(Self { row, vectors, payload: rest.into() })
    }

    /// The payload, parsed.
    pub(crate) fn payload(&self) -> Option<Payload> {
        if self.payload.is_empty() {
            return Some(Payload::new());
        }
        serde_json::from_slice(&self.payload).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry_keys::EntryKeys;

    #[test]
    fn records_are_read_as_written_and_every_flip_is_found() {
        let place = |tenant, is_short| EntryKeys::new(1, is_short).row(tenant, &"k".into());
        for (is_short, row) in [(false, 7), (true, 7), (true, 0), (true, 70_000), (true, u32::MAX)] {
            check(row, &place(2, is_short), &place(3, is_short));
        }
    }

    fn check(row: u32, key: &[u8], other: &[u8]) {
        let one = |start, count| Placed { vector: 0, start, count };
        for vectors in [
            vec![],
            vec![one(row, 1)],
            vec![one(row ^ 1, 1)],
            vec![one(row, 2), Placed { vector: 3, start: 9, count: 1 }],
        ] {
            let record = Record { row, vectors, payload: (*br#"{"a":1}"#).into() };
            let bytes = record.encode(key);
            assert_eq!(Record::decode(key, &bytes).as_ref(), Some(&record));
            assert_eq!(Record::decode(other, &bytes), None);
            for place in 0..bytes.len() * 8 {
                let mut bad = bytes.clone();
                bad[place / 8] ^= 1 << (place % 8);
                assert_eq!(Record::decode(key, &bad), None);
            }
        }
    }

    #[test]
    fn a_row_with_one_vector_takes_few_bytes() {
        let record = |row| Record {
            row,
            vectors: vec![Placed { vector: 0, start: row, count: 1 }],
            payload: [].into(),
        };
        let length = |row, is_short| record(row).encode(&EntryKeys::new(0, is_short).row(0, &1.into())).len();
        assert_eq!([length(0, true), length(99_999, true), length(99_999, false)], [9, 12, 13]);
    }
}
