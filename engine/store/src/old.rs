//! Rows that ended and that a snapshot needs: entries of the catalog's table `old`.

use crate::checksum::Checksum;
use crate::entry_keys::is_short;

/// What the places of a tenant's old rows start with.
pub(crate) fn old_prefix(collection: u32, tenant: u32) -> [u8; 8] {
    let mut bytes = [0; 8];
    bytes[..4].copy_from_slice(&collection.to_be_bytes());
    bytes[4..].copy_from_slice(&tenant.to_be_bytes());
    bytes
}

/// The place and entry in `old` of a row that ends with commit `sequence` and had `key` and `value` in `rows`.
pub(crate) fn encode_old(
    (collection, tenant, row): (u32, u32, u32),
    sequence: u64,
    key: &[u8],
    value: &[u8],
) -> (Vec<u8>, Vec<u8>) {
    let mut place = old_prefix(collection, tenant).to_vec();
    place.extend_from_slice(&row.to_be_bytes());
    // A wide key starts as the place does; what follows starts with 0 or 1, as no short key does.
    let kept = if is_short(key) { key } else { key.get(8..).unwrap_or_default() };
    let mut bytes = vec![0; 8];
    bytes.extend_from_slice(&sequence.to_le_bytes());
    bytes.extend_from_slice(&(kept.len() as u32).to_le_bytes());
    bytes.extend_from_slice(kept);
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
    let (kept, value) = rest.get(12..)?.split_at_checked(length)?;
    let start = if is_short(kept) { &[][..] } else { place.get(..8)? };
    let key = [start, kept].concat();
    let row = u32::from_be_bytes(place.get(8..)?.try_into().ok()?);
    Some(OldRow { ended, row, key, value: value.to_vec() })
}
