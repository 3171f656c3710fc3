//! Rows that ended and that a snapshot needs: entries of the catalog's table `old`.

use orthant_engine::Key;

use crate::checksum::Checksum;
use crate::record::{append_key, tenant_prefix};

/// The entry of `old` for a row that ends with commit `sequence`.
pub(crate) fn encode_old(
    collection: u32,
    tenant: u32,
    row: u32,
    sequence: u64,
    key: &Key,
    value: &[u8],
) -> (Vec<u8>, Vec<u8>) {
    let mut place = tenant_prefix(collection, tenant).to_vec();
    place.extend_from_slice(&row.to_be_bytes());
    let mut caller_key = Vec::new();
    append_key(&mut caller_key, key);
    let mut bytes = vec![0; 8];
    bytes.extend_from_slice(&sequence.to_le_bytes());
    bytes.extend_from_slice(&(caller_key.len() as u32).to_le_bytes());
    bytes.extend_from_slice(&caller_key);
    bytes.extend_from_slice(value);
    let sum = Checksum::of(&[&place, &bytes[8..]]);
    bytes[..8].copy_from_slice(&sum.to_le_bytes());
    (place, bytes)
}

/// An entry of `old`: when the row ended, its catalog key and value.
#[derive(Debug)]
pub(crate) struct OldRow {
    pub(crate) ended: u64,
    pub(crate) row: u32,
    pub(crate) key: Vec<u8>,
    pub(crate) value: Vec<u8>,
}

/// Reads what [`encode_old`] wrote.
pub(crate) fn decode_old(place: &[u8], bytes: &[u8]) -> Option<OldRow> {
    let (sum, rest) = bytes.split_at_checked(8)?;
    if Checksum::of(&[place, rest]).to_le_bytes() != sum {
        return None;
    }
    let ended = u64::from_le_bytes(rest.get(..8)?.try_into().ok()?);
    let length = u32::from_le_bytes(rest.get(8..12)?.try_into().ok()?) as usize;
    let (caller_key, value) = rest.get(12..)?.split_at_checked(length)?;
    let mut key = place.get(..8)?.to_vec();
    key.extend_from_slice(caller_key);
    let row = u32::from_be_bytes(place.get(8..)?.try_into().ok()?);
    Some(OldRow { ended, row, key, value: value.to_vec() })
}
