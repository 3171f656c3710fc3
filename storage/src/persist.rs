//! Files that are mapped, not parsed: named sections behind a header, every byte under a checksum.
//!
//! # Layout (version 1, little endian)
//! ```text
//! 0            header, 4096 bytes: magic, kind, version, lengths, checksum of the table, own checksum
//! 4096         sections, each starting on 4096 bytes, zeros between
//! table        per section: tag [8], offset u64, bytes u64; then one u64 checksum per chunk
//! ```
//! A chunk is 1 MiB of what lies between header and table, padding included, so header, chunks and
//! table together cover every byte; the header holds the file's length, so a byte too many or too few
//! is found as well. The checksum is CRC-64/NVME: it finds every error burst of up to 64 bits, so any
//! changed byte, and runs at the speed of memory where carry-less multiplication is at hand.
//!
//! * **F1** The same sections give the same bytes: no time, no host, no random number.
//! * **F2** Under its name a file is whole or the old one: it is written beside under another name,
//!   flushed, renamed, and the directory is flushed.
//! * **F3** A file is never changed once it has its name, so a mapping of it stays as it was checked.
//!
//! Cost: writing is one pass with one copy into a 1 MiB buffer. Opening with [`Verify::Full`] reads
//! every byte once, on two threads from 16 MiB on.
//!
//! # Examples
//! ```
//! use orthant_storage::{MemoryOptions, RowArena, RowLayout, persist};
//!
//! # let directory = tempfile::tempdir()?;
//! let path = directory.path().join("rows.orthant");
//! let layout = RowLayout::new::<f32>(16);
//! let arena = RowArena::<f32>::new(layout, &MemoryOptions::default())?;
//! arena.push(&[1.0; 16])?;
//!
//! let mut writer = persist::FileWriter::create(&path, *b"EXAMPLE\0", 1)?;
//! writer.write_section(*b"rows\0\0\0\0", bytemuck::cast_slice(arena.rows()))?;
//! writer.finish()?;
//!
//! let file = persist::MappedFile::open(&path, *b"EXAMPLE\0", 1, persist::Verify::Full)?;
//! let region = file.region(*b"rows\0\0\0\0", &MemoryOptions::default())?;
//! let arena = RowArena::<f32>::from_region(layout, region, 1)?;
//! arena.push(&[2.0; 16])?; // behind the mapped row, in memory only
//! assert_eq!(arena.row(0), Some(&[1.0; 16][..]));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod reader;
mod writer;

pub(crate) use writer::directory_of;

pub use reader::{MappedFile, OpenError, Section, Verify};
pub use writer::{FileWriter, SaveError};

/// Eight bytes that name a kind of file or a section, shown as text.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Tag(pub [u8; 8]);

impl std::fmt::Display for Tag {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let end = self.0.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
        write!(f, "{}", self.0[..end].escape_ascii())
    }
}

impl std::fmt::Debug for Tag {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "\"{self}\"")
    }
}

impl From<[u8; 8]> for Tag {
    fn from(bytes: [u8; 8]) -> Tag {
        Tag(bytes)
    }
}

/// First bytes of every file; the digit is the version of the layout above.
const MAGIC: [u8; 8] = *b"ORTHANT1";
/// Bytes of the header, and the alignment of sections: the page of the systems we map on.
const ALIGN: usize = 4096;
/// Bytes under one checksum: small enough that two threads share a small file evenly and that damage
/// is located, large enough that checksums are 1/131072 of the file.
const CHUNK: usize = 1 << 20;
/// Bytes of a section in the table.
const ENTRY: usize = 24;

/// The checksum of this file format.
pub(crate) fn checksum(bytes: &[u8]) -> u64 {
    crc_fast::checksum(crc_fast::CrcAlgorithm::Crc64Nvme, bytes)
}

/// The fields of the header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Header {
    kind: [u8; 8],
    version: u32,
    sections: u32,
    file_bytes: u64,
    table_offset: u64,
    table_checksum: u64,
}

impl Header {
    /// The header's bytes, with their checksum at the end.
    fn to_bytes(self) -> [u8; ALIGN] {
        let mut bytes = [0; ALIGN];
        bytes[0..8].copy_from_slice(&MAGIC);
        bytes[8..16].copy_from_slice(&self.kind);
        bytes[16..20].copy_from_slice(&self.version.to_le_bytes());
        bytes[20..24].copy_from_slice(&self.sections.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.file_bytes.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.table_offset.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.table_checksum.to_le_bytes());
        let own = checksum(&bytes[..ALIGN - 8]);
        bytes[ALIGN - 8..].copy_from_slice(&own.to_le_bytes());
        bytes
    }

    /// Reads the fields without judging them.
    fn from_bytes(bytes: &[u8; ALIGN]) -> Header {
        Header {
            kind: array(bytes, 8),
            version: u32::from_le_bytes(array(bytes, 16)),
            sections: u32::from_le_bytes(array(bytes, 20)),
            file_bytes: u64::from_le_bytes(array(bytes, 24)),
            table_offset: u64::from_le_bytes(array(bytes, 32)),
            table_checksum: u64::from_le_bytes(array(bytes, 40)),
        }
    }
}

/// The `N` bytes from `at`.
///
/// # Panics
/// If they are not there.
pub(crate) fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes[at..at + N].try_into().expect("a slice of N bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_read_as_written() {
        let header = Header {
            kind: *b"KIND\0\0\0\0",
            version: 7,
            sections: 3,
            file_bytes: 1 << 40,
            table_offset: 4096,
            table_checksum: 99,
        };
        assert_eq!(Header::from_bytes(&header.to_bytes()), header);
    }

    #[test]
    fn tags_are_shown_without_their_padding() {
        assert_eq!(Tag(*b"rows\0\0\0\0").to_string(), "rows");
        assert_eq!(Tag([0; 8]).to_string(), "");
        assert_eq!(Tag([0xff, 0, b'a', 0, 0, 0, 0, 0]).to_string(), "\\xff\\x00a");
    }

    #[test]
    fn the_checksum_is_crc_64_nvme() {
        // The check value of the CRC catalogue for "123456789".
        assert_eq!(checksum(b"123456789"), 0xae8b_1486_0a79_9888);
    }
}
