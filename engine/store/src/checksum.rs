//! The checksum of everything here: CRC-64/NVME, as in the engine's files.

use crc_fast::{CrcAlgorithm, Digest};

/// A checksum over parts.
pub(crate) struct Checksum;

impl Checksum {
    /// The checksum of the parts, one after the other.
    pub(crate) fn of(parts: &[&[u8]]) -> u64 {
        if let [part] = parts {
            return crc_fast::checksum(CrcAlgorithm::Crc64Nvme, part);
        }
        let mut digest = Digest::new(CrcAlgorithm::Crc64Nvme);
        parts.iter().for_each(|part| digest.update(part));
        digest.finalize()
    }
}
