//! Rows as the catalog and the journal hold them.
//!
//! # Layout (little endian but for the keys, which order as bytes)
//! ```text
//! key      collection u32 BE, tenant u32 BE, then 0 and the number as u64 BE, or 1 and the text
//! value    checksum u64 over key and the rest; row u32; vectors u8, each: number u16, start u32, count u32; payload JSON
//! ```
//! 255 vectors stand for the most common case, one vector, number 0, at the row's own position.

use orthant_engine::Key;

use crate::checksum::Checksum;
use crate::values::Payload;

/// Most bytes of a text key: what the engine's keys may have.
pub const MAX_KEY_BYTES: usize = u16::MAX as usize;

const SUM: usize = 8;
const ONLY_VECTOR: u8 = 255;

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

/// The catalog's key of a row.
pub(crate) fn encode_key(collection: u32, tenant: u32, key: &Key) -> Vec<u8> {
    let mut bytes = tenant_prefix(collection, tenant).to_vec();
    append_key(&mut bytes, key);
    bytes
}

/// A caller's key, so that it orders: numbers first, then texts.
pub(crate) fn append_key(bytes: &mut Vec<u8>, key: &Key) {
    match key {
        Key::Int(number) => {
            bytes.push(0);
            bytes.extend_from_slice(&number.to_be_bytes());
        }
        Key::Str(text) => {
            bytes.push(1);
            bytes.extend_from_slice(text.as_bytes());
        }
    }
}

/// The caller's key in these bytes.
pub(crate) fn decode_key(bytes: &[u8]) -> Option<Key> {
    match bytes.split_first()? {
        (0, rest) => Some(Key::Int(u64::from_be_bytes(rest.try_into().ok()?))),
        (1, rest) => Some(Key::Str(std::str::from_utf8(rest).ok()?.into())),
        _ => None,
    }
}

/// What all keys of a tenant start with.
pub(crate) fn tenant_prefix(collection: u32, tenant: u32) -> [u8; 8] {
    let mut bytes = [0; 8];
    bytes[..4].copy_from_slice(&collection.to_be_bytes());
    bytes[4..].copy_from_slice(&tenant.to_be_bytes());
    bytes
}

/// The first key behind all that start with `prefix`.
pub(crate) fn prefix_end(prefix: &[u8]) -> Option<Vec<u8>> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < 255 {
            end.push(last + 1);
            return Some(end);
        }
    }
    None
}

impl Record {
    /// The bytes under `key` in the catalog.
    pub(crate) fn encode(&self, key: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; SUM];
        bytes.extend_from_slice(&self.row.to_le_bytes());
        match &self.vectors[..] {
            [Placed { vector: 0, start, count: 1 }] if *start == self.row => bytes.push(ONLY_VECTOR),
            vectors => {
                // A schema has at most 1024 vectors, a record those that are there: `Upsert` refuses more than 254.
                bytes.push(vectors.len() as u8);
                for placed in vectors {
                    bytes.extend_from_slice(&placed.vector.to_le_bytes());
                    bytes.extend_from_slice(&placed.start.to_le_bytes());
                    bytes.extend_from_slice(&placed.count.to_le_bytes());
                }
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
        let row = u32::from_le_bytes(rest.get(..4)?.try_into().ok()?);
        let (&count, mut rest) = rest.get(4..)?.split_first()?;
        let mut vectors = Vec::new();
        if count == ONLY_VECTOR {
            vectors.push(Placed { vector: 0, start: row, count: 1 });
        } else {
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

    #[test]
    fn records_are_read_as_written_and_every_flip_is_found() {
        let key = encode_key(1, 2, &"k".into());
        let one = |start, count| Placed { vector: 0, start, count };
        for vectors in [
            vec![],
            vec![one(7, 1)],
            vec![one(8, 1)],
            vec![one(7, 2), Placed { vector: 3, start: 9, count: 1 }],
        ] {
            let record = Record { row: 7, vectors, payload: (*br#"{"a":1}"#).into() };
            let bytes = record.encode(&key);
            assert_eq!(Record::decode(&key, &bytes).as_ref(), Some(&record));
            assert_eq!(Record::decode(&encode_key(1, 3, &"k".into()), &bytes), None);
            for place in 0..bytes.len() * 8 {
                let mut bad = bytes.clone();
                bad[place / 8] ^= 1 << (place % 8);
                assert_eq!(Record::decode(&key, &bad), None);
            }
        }
    }

    #[test]
    fn keys_order_and_come_back() {
        let keys: Vec<Key> =
            vec![0.into(), 1.into(), 256.into(), u64::MAX.into(), "".into(), "a".into(), "b".into()];
        let bytes: Vec<Vec<u8>> = keys.iter().map(|key| encode_key(1, 2, key)).collect();
        assert!(bytes.is_sorted());
        for (key, bytes) in keys.iter().zip(&bytes) {
            assert_eq!(decode_key(&bytes[8..]).as_ref(), Some(key));
        }
        assert_eq!(prefix_end(&[1, 255, 255]), Some(vec![2]));
        assert_eq!(prefix_end(&[255]), None);
    }
}
