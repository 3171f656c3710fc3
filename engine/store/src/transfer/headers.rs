//! A look at the headers of a Parquet file before its reader trusts them.
//!
//! Headers are Thrift structs (compact protocol). A list says how many elements it has before they come, and the reader goes through
//! as many, whether or not there are bytes for them: a file of a kilobyte can keep it busy for minutes. Each element that is written
//! takes a byte at least; a list that claims more is refused here.

use parquet::file::reader::{ChunkReader, FileReader, SerializedFileReader};

/// Structs inside structs that are followed: Parquet has half a dozen.
const MAX_DEPTH: usize = 32;

/// The bytes behind the metadata: their length, and a magic word.
const TAIL: u64 = 8;

/// Whether the metadata at the end of a file claims no more than there is. A file that has none is left to the reader.
pub(super) fn is_footer_honest<R: ChunkReader>(file: &R) -> bool {
    let Some(end) = file.len().checked_sub(TAIL) else { return true };
    let Ok(tail) = file.get_bytes(end, TAIL as usize) else { return true };
    let length = u32::from_le_bytes([tail[0], tail[1], tail[2], tail[3]]);
    let Some(start) = end.checked_sub(u64::from(length)) else { return true };
    let Ok(metadata) = file.get_bytes(start, length as usize) else { return true };
    Walk { bytes: &metadata }.fields(0, &mut |_, _| ()).is_some()
}

/// Whether the headers of all pages claim no more than there is, and the pages lie one behind the other.
pub(super) fn are_pages_honest<R: ChunkReader + 'static>(reader: &SerializedFileReader<R>, file: &R) -> bool {
    reader.metadata().row_groups().iter().flat_map(|group| group.columns()).all(|column| {
        let (start, length) = column.byte_range();
        let Ok(bytes) = file.get_bytes(start, usize::try_from(length).unwrap_or(usize::MAX)) else {
            return false;
        };
        let mut walk = Walk { bytes: &bytes };
        while !walk.bytes.is_empty() {
            let mut size = None;
            let mut note = |field, value| {
                if field == COMPRESSED_SIZE {
                    size = usize::try_from(value).ok();
                }
            };
            if walk.fields(0, &mut note).is_none() || size.and_then(|size| walk.skip(size)).is_none() {
                return false;
            }
        }
        true
    })
}

/// The field of a page's header with the bytes that follow it.
const COMPRESSED_SIZE: i64 = 3;

/// What is left to walk through.
struct Walk<'a> {
    bytes: &'a [u8],
}

impl Walk<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (&byte, rest) = self.bytes.split_first()?;
        self.bytes = rest;
        Some(byte)
    }

    fn skip(&mut self, count: usize) -> Option<()> {
        self.bytes = self.bytes.get(count..)?;
        Some(())
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for place in 0..10 {
            let byte = self.byte()?;
            value |= u64::from(byte & 127) << (7 * place);
            if byte < 128 {
                return Some(value);
            }
        }
        None
    }

    fn number(&mut self) -> Option<i64> {
        self.varint().map(|value| (value >> 1) as i64 ^ -((value & 1) as i64))
    }

    /// Passes a struct; `note(field, value)` is called for its own numbers.
    fn fields(&mut self, depth: usize, note: &mut dyn FnMut(i64, i64)) -> Option<()> {
        let mut field = 0i64;
        loop {
            let header = self.byte()?;
            if header == 0 {
                return Some(());
            }
            field = match header >> 4 {
                0 => self.number()?,
                step => field.wrapping_add(i64::from(step)),
            };
            match header & 15 {
                // Flags are in the header.
                1 | 2 => {}
                4..=6 => note(field, self.number()?),
                kind => self.value(kind, depth)?,
            }
        }
    }

    /// Passes a value that stands by itself.
    fn value(&mut self, kind: u8, depth: usize) -> Option<()> {
        if depth > MAX_DEPTH {
            return None;
        }
        match kind {
            1..=3 => self.skip(1),
            4..=6 => self.varint().map(drop),
            7 => self.skip(8),
            8 => {
                let length = self.varint()?;
                self.skip(usize::try_from(length).ok()?)
            }
            9 | 10 => {
                let header = self.byte()?;
                let count = match header >> 4 {
                    15 => self.varint()?,
                    count => u64::from(count),
                };
                self.values(count, &[header & 15], depth)
            }
            11 => match self.varint()? {
                0 => Some(()),
                count => {
                    let kinds = self.byte()?;
                    self.values(count, &[kinds >> 4, kinds & 15], depth)
                }
            },
            12 => self.fields(depth + 1, &mut |_, _| ()),
            _ => None,
        }
    }

    fn values(&mut self, count: u64, kinds: &[u8], depth: usize) -> Option<()> {
        if count > self.bytes.len() as u64 {
            return None;
        }
        for _ in 0..count {
            for &kind in kinds {
                self.value(kind, depth + 1)?;
            }
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(metadata: &[u8]) -> bytes::Bytes {
        let mut file = b"PAR1".to_vec();
        file.extend_from_slice(metadata);
        file.extend_from_slice(&(metadata.len() as u32).to_le_bytes());
        file.extend_from_slice(b"PAR1");
        file.into()
    }

    #[test]
    fn lists_that_claim_more_than_there_is_are_refused() {
        // A number; a list of two numbers; a text; the end.
        assert!(is_footer_honest(&file(&[0x15, 2, 0x19, 0x25, 2, 4, 0x18, 1, b'x', 0])));
        // A list of two billion flags, alone and in a list.
        assert!(!is_footer_honest(&file(&[0x19, 0xf1, 0xff, 0xff, 0xff, 0xff, 7, 0])));
        assert!(!is_footer_honest(&file(&[0x19, 0x19, 0xf1, 0xff, 0xff, 0xff, 0xff, 7, 0])));
        // A map of them.
        assert!(!is_footer_honest(&file(&[0x1b, 0xff, 0xff, 0xff, 0xff, 7, 0x11, 0])));
        // Structs without an end.
        assert!(!is_footer_honest(&file(&[0x1c; 100])));
        // No file of this kind: the reader says so.
        assert!(is_footer_honest(&bytes::Bytes::from_static(b"short")));
    }
}
