//! `.npy`, NumPy's file for one array (NEP 1; `numpy.lib.format`), versions 1.0, 2.0 and 3.0.
//!
//! `\x93NUMPY`, two bytes of version, the header's length (`u16` in version 1, `u32` later), and the
//! header: a Python dictionary with `descr`, `fortran_order` and `shape`, padded with spaces so that
//! the array behind it starts on 64 bytes. Read here is the subset that arrays of numbers have: C
//! order, two axes, little endian.

use crate::error::TypeText;
use crate::format::{Place, packed};
use crate::{Element, FormatError};
use std::path::Path;

const MAGIC: &[u8; 6] = b"\x93NUMPY";
/// NumPy aligns the array to this, so that it can be mapped.
const ALIGN: usize = 64;

pub(crate) fn place(path: &Path, file: &[u8]) -> Result<Place, FormatError> {
    let truncated = |needed: usize| FormatError::TruncatedHeader {
        path: path.to_path_buf(),
        found: file.len() as u64,
        needed: needed as u64,
    };
    for (offset, (&found, &expected)) in file.iter().zip(MAGIC).enumerate() {
        if found != expected {
            let offset = offset as u64;
            return Err(FormatError::NotNpy { path: path.to_path_buf(), offset, found, expected });
        }
    }
    let &[major, minor] = file.get(6..8).and_then(|bytes| bytes.first_chunk()).ok_or(truncated(10))?;
    let length_bytes = match (major, minor) {
        (1, 0) => 2,
        (2 | 3, 0) => 4,
        _ => return Err(FormatError::NpyVersion { path: path.to_path_buf(), major, minor }),
    };
    let start = 8 + length_bytes;
    let length = file.get(8..start).ok_or(truncated(start))?;
    let length = length.iter().rev().fold(0usize, |sum, &byte| sum << 8 | usize::from(byte));
    let end = start.saturating_add(length);
    let text = file.get(start..end).ok_or(truncated(end))?;

    let header = Parser { text, at: 0 }.header().map_err(|(at, expected)| FormatError::NpyHeader {
        path: path.to_path_buf(),
        offset: (start + at) as u64,
        expected,
    })?;
    let element = element_of(path, header.descr)?;
    if header.is_fortran {
        return Err(FormatError::FortranOrder { path: path.to_path_buf() });
    }
    let &[rows, dim] = header.shape.as_slice() else {
        return Err(FormatError::NotTwoAxes { path: path.to_path_buf(), axes: header.shape.len() });
    };
    if dim == 0 {
        return Err(FormatError::BadDimension { path: path.to_path_buf(), offset: end as u64, found: 0 });
    }
    packed(path, file, element, rows, dim, end)
}

fn element_of(path: &Path, descr: &[u8]) -> Result<Element, FormatError> {
    let found = TypeText::new(descr);
    let unsupported = || FormatError::UnsupportedType { path: path.to_path_buf(), found };
    let (&order, kind) = descr.split_first().ok_or_else(unsupported)?;
    let element = match kind {
        b"f2" => Element::F16,
        b"f4" => Element::F32,
        b"f8" => Element::F64,
        b"u1" => Element::U8,
        b"i1" => Element::I8,
        b"i4" => Element::I32,
        _ => return Err(unsupported()),
    };
    match order {
        b'<' => Ok(element),
        // A byte has no order, and any sign for it will do.
        b'|' | b'=' | b'>' if element.bytes() == 1 => Ok(element),
        b'>' => Err(FormatError::BigEndian { path: path.to_path_buf(), found }),
        _ => Err(unsupported()),
    }
}

/// The fields of a header.
#[derive(Debug)]
struct Header<'a> {
    descr: &'a [u8],
    is_fortran: bool,
    shape: Vec<u64>,
}

/// Reads the one dictionary literal NumPy writes. Errors are a place and what should be there.
struct Parser<'a> {
    text: &'a [u8],
    at: usize,
}

type Parsed<T> = Result<T, (usize, &'static str)>;

impl<'a> Parser<'a> {
    fn header(mut self) -> Parsed<Header<'a>> {
        let (mut descr, mut is_fortran, mut shape) = (None, None, None);
        self.expect(b'{', "'{'")?;
        while !self.skip(b'}') {
            let key_at = self.at;
            match self.string()? {
                b"descr" => {
                    self.expect(b':', "':'")?;
                    descr = Some(self.descr()?);
                }
                b"fortran_order" => {
                    self.expect(b':', "':'")?;
                    is_fortran = Some(self.boolean()?);
                }
                b"shape" => {
                    self.expect(b':', "':'")?;
                    shape = Some(self.tuple()?);
                }
                _ => return Err((key_at, "'descr', 'fortran_order' or 'shape'")),
            }
            if !self.skip(b',') {
                self.expect(b'}', "',' or '}'")?;
                break;
            }
        }
        self.skip_space();
        if self.at < self.text.len() {
            return Err((self.at, "nothing but spaces"));
        }
        let end = self.text.len();
        Ok(Header {
            descr: descr.ok_or((end, "the key 'descr'"))?,
            is_fortran: is_fortran.ok_or((end, "the key 'fortran_order'"))?,
            shape: shape.ok_or((end, "the key 'shape'"))?,
        })
    }

    fn skip_space(&mut self) {
        while self.text.get(self.at).is_some_and(u8::is_ascii_whitespace) {
            self.at += 1;
        }
    }

    /// Whether `byte` comes next; it is taken if so.
    fn skip(&mut self, byte: u8) -> bool {
        self.skip_space();
        let is_next = self.text.get(self.at) == Some(&byte);
        self.at += usize::from(is_next);
        is_next
    }

    fn expect(&mut self, byte: u8, name: &'static str) -> Parsed<()> {
        if self.skip(byte) { Ok(()) } else { Err((self.at, name)) }
    }

    /// A quoted string without escapes.
    fn string(&mut self) -> Parsed<&'a [u8]> {
        self.skip_space();
        let start = self.at + 1;
        let quote = match self.text.get(self.at) {
            Some(&quote @ (b'\'' | b'"')) => quote,
            _ => return Err((self.at, "a quoted string")),
        };
        let rest = &self.text[start..];
        let length = rest.iter().position(|&byte| byte == quote || byte == b'\\');
        match length {
            Some(length) if rest[length] == quote => {
                self.at = start + length + 1;
                Ok(&rest[..length])
            }
            _ => Err((start, "a closing quote")),
        }
    }

    /// The type: a string, or the list of a structured type, which is passed on as it stands to be
    /// refused by name.
    fn descr(&mut self) -> Parsed<&'a [u8]> {
        self.skip_space();
        if self.text.get(self.at) != Some(&b'[') {
            return self.string();
        }
        let rest = &self.text[self.at..];
        let length = rest.iter().position(|&byte| byte == b']').ok_or((self.at, "a closing ']'"))?;
        self.at += length + 1;
        Ok(&rest[..=length])
    }

    fn boolean(&mut self) -> Parsed<bool> {
        self.skip_space();
        let rest = &self.text[self.at..];
        for (word, value) in [(&b"True"[..], true), (b"False", false)] {
            if rest.starts_with(word) {
                self.at += word.len();
                return Ok(value);
            }
        }
        Err((self.at, "True or False"))
    }

    /// A tuple of counts; Python 2 wrote an `L` behind large ones.
    fn tuple(&mut self) -> Parsed<Vec<u64>> {
        self.expect(b'(', "'('")?;
        let mut numbers = Vec::new();
        while !self.skip(b')') {
            let start = self.at;
            let mut number = 0u64;
            while let Some(digit) = self.text.get(self.at).filter(|byte| byte.is_ascii_digit()) {
                number = number
                    .checked_mul(10)
                    .and_then(|number| number.checked_add(u64::from(digit - b'0')))
                    .ok_or((start, "a count below 2^64"))?;
                self.at += 1;
            }
            if self.at == start {
                return Err((start, "a count"));
            }
            self.skip(b'L');
            numbers.push(number);
            // NumPy allows 64 axes; a hostile header may name as many as fit it.
            if numbers.len() > 64 {
                return Err((start, "at most 64 axes"));
            }
            if !self.skip(b',') {
                self.expect(b')', "',' or ')'")?;
                break;
            }
        }
        Ok(numbers)
    }
}

/// The header NumPy would write, version 1.0.
pub(crate) fn header(element: Element, rows: usize, dim: usize) -> Vec<u8> {
    let descr = match element {
        Element::F16 => "<f2",
        Element::F32 => "<f4",
        Element::F64 => "<f8",
        Element::U8 => "|u1",
        Element::I8 => "|i1",
        Element::I32 => "<i4",
    };
    let text = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({rows}, {dim}), }}");
    // Spaces and a line end, so that the array starts on 64 bytes.
    let total = (MAGIC.len() + 4 + text.len() + 1).next_multiple_of(ALIGN);
    let length = total - MAGIC.len() - 4;
    let mut bytes = Vec::with_capacity(total);
    bytes.extend(MAGIC);
    bytes.extend([1, 0]);
    // Two counts and a type: far below 65 536 bytes.
    bytes.extend((length as u16).to_le_bytes());
    bytes.extend(text.as_bytes());
    bytes.resize(total - 1, b' ');
    bytes.push(b'\n');
    bytes
}

#[cfg(test)]
mod tests;
