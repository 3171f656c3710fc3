//! How a trained quantizer is laid out as bytes: `[magic 8][version 4][body length 8][body][crc 4]`, little
//! endian. The checksum (CRC-32, ISO-HDLC) covers everything before it, so every flipped byte is found.

use crc_fast::{CrcAlgorithm, checksum};
use orthant_kernels::IsaError;

/// Bytes before the body.
const HEAD: usize = 20;
/// Bytes after the body.
const TAIL: usize = 4;

/// Why bytes could not be read as a quantizer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CodecError {
    /// The bytes begin with something else.
    #[error("these bytes are not a quantizer of this kind")]
    WrongKind,
    /// The bytes were written by a later version of this crate.
    #[error("written in version {found}, the newest known here is {supported}")]
    TooNew {
        /// The version in the bytes.
        found: u32,
        /// The newest version this crate reads.
        supported: u32,
    },
    /// There are fewer or more bytes than the header announces.
    #[error("{found} bytes where the header announces {expected}")]
    WrongLength {
        /// Bytes there should be.
        expected: u64,
        /// Bytes there are.
        found: u64,
    },
    /// The checksum does not match: the bytes were changed.
    #[error("checksum {found:#010x} where {expected:#010x} is recorded")]
    Damaged {
        /// The recorded checksum.
        expected: u32,
        /// The checksum of the bytes.
        found: u32,
    },
    /// The bytes are unchanged but mean nothing: sizes that disagree, or ranges that are not finite.
    #[error("the values are not those of a quantizer")]
    Invalid,
    /// The environment forces an instruction set that is unknown or missing.
    #[error(transparent)]
    Isa(#[from] IsaError),
}

/// Puts head and checksum round a body.
pub(crate) fn wrap(magic: [u8; 8], version: u32, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEAD + body.len() + TAIL);
    bytes.extend(magic);
    bytes.extend(version.to_le_bytes());
    bytes.extend((body.len() as u64).to_le_bytes());
    bytes.extend(body);
    let sum = crc(&bytes);
    bytes.extend(sum.to_le_bytes());
    bytes
}

/// The body inside, once everything round it is right.
pub(crate) fn unwrap(magic: [u8; 8], newest: u32, bytes: &[u8]) -> Result<&[u8], CodecError> {
    let found = bytes.len() as u64;
    let short = CodecError::WrongLength { expected: (HEAD + TAIL) as u64, found };
    let (kind, rest) = bytes.split_first_chunk::<8>().ok_or(short.clone())?;
    if *kind != magic {
        return Err(CodecError::WrongKind);
    }
    let (version, rest) = rest.split_first_chunk::<4>().ok_or(short.clone())?;
    let (length, rest) = rest.split_first_chunk::<8>().ok_or(short.clone())?;
    let (version, length) = (u32::from_le_bytes(*version), u64::from_le_bytes(*length));
    if version > newest || version == 0 {
        return Err(CodecError::TooNew { found: version, supported: newest });
    }
    let expected = length.saturating_add((HEAD + TAIL) as u64);
    let (body, sum) = rest.split_last_chunk::<4>().ok_or(short)?;
    if expected != found {
        return Err(CodecError::WrongLength { expected, found });
    }
    let (expected, found) = (u32::from_le_bytes(*sum), crc(&bytes[..bytes.len() - TAIL]));
    if expected != found {
        return Err(CodecError::Damaged { expected, found });
    }
    Ok(body)
}

fn crc(bytes: &[u8]) -> u32 {
    // A 32-bit checksum in a wider return type.
    checksum(CrcAlgorithm::Crc32IsoHdlc, bytes) as u32
}

/// Reads the numbers of a body one after the other.
pub(crate) struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    pub(crate) fn new(body: &'a [u8]) -> Self {
        Self(body)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], CodecError> {
        let (head, rest) = self.0.split_first_chunk::<N>().ok_or(CodecError::Invalid)?;
        self.0 = rest;
        Ok(*head)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, CodecError> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, CodecError> {
        self.array().map(u64::from_le_bytes)
    }

    /// A number of things, written as `u32`.
    pub(crate) fn size(&mut self) -> Result<usize, CodecError> {
        Ok(self.u32()? as usize)
    }

    /// `count` bytes.
    pub(crate) fn bytes(&mut self, count: usize) -> Result<&'a [u8], CodecError> {
        let (head, rest) = self.0.split_at_checked(count).ok_or(CodecError::Invalid)?;
        self.0 = rest;
        Ok(head)
    }

    /// `count` numbers, each of them finite. The bytes are there before anything is allocated for them.
    pub(crate) fn finite(&mut self, count: usize) -> Result<Vec<f32>, CodecError> {
        let bytes = count.checked_mul(4).ok_or(CodecError::Invalid)?;
        let (head, rest) = self.0.split_at_checked(bytes).ok_or(CodecError::Invalid)?;
        self.0 = rest;
        let values: Vec<f32> = head.as_chunks::<4>().0.iter().map(|four| f32::from_le_bytes(*four)).collect();
        if values.iter().all(|value| value.is_finite()) { Ok(values) } else { Err(CodecError::Invalid) }
    }

    /// Nothing may be left.
    pub(crate) fn end(self) -> Result<(), CodecError> {
        if self.0.is_empty() { Ok(()) } else { Err(CodecError::Invalid) }
    }
}
