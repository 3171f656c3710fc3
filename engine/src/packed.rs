//! Tables of words in few bits, for files whose tables are read into memory rather than mapped.
//!
//! Words go in groups. Of a group only as many bits per word are kept as its largest needs, after a change that makes
//! words small: ids of lists keep their order, places without one take nothing. Every sequence of words comes back as it was.
//!
//! * **K1** Packing is a function of the words alone: equal tables give equal bytes.
//! * **K2** Any bytes unpack to exactly the words asked for, or to nothing: no length in them is believed.
//!
//! Cost: of a list of 20 among 100,000 ids 47 bytes, where it has a block of 128 in memory.

use std::io::{self, Write};

/// What the words of a table are like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Coding {
    /// Lists of so many places each: ids, their highest bit a mark, packed from the front, then empty places (all ones).
    Lists(usize),
    /// Many zeros, or numbers of about one size.
    Sparse,
    /// Each near the one before.
    Steps,
}

/// Words of a group that is no list: as many as a mask has bits.
const GROUP: usize = 64;

impl Coding {
    /// Words of a group.
    pub(crate) fn group(self) -> usize {
        match self {
            Self::Lists(places) => places,
            Self::Sparse | Self::Steps => GROUP,
        }
    }

    /// A word as it is packed: small where it can be. `before` is the word before it.
    fn small(self, word: u32, before: u32) -> u32 {
        match self {
            // All ones is 0; the mark is in the lowest bit.
            Self::Lists(_) => word.rotate_left(1).wrapping_add(1),
            Self::Sparse => word,
            Self::Steps => {
                let step = word.wrapping_sub(before) as i32;
                (step << 1 ^ step >> 31) as u32
            }
        }
    }

    /// The inverse of [`small`](Self::small).
    fn whole(self, small: u32, before: u32) -> u32 {
        match self {
            Self::Lists(_) => small.wrapping_sub(1).rotate_right(1),
            Self::Sparse => small,
            Self::Steps => before.wrapping_add(small >> 1 ^ (small & 1).wrapping_neg()),
        }
    }
}

/// Packs the little-endian words that are written to it.
pub(crate) struct Packer<'w> {
    out: &'w mut dyn Write,
    coding: Coding,
    /// Bytes of a group that is not whole yet.
    pending: Vec<u8>,
    packed: Vec<u8>,
    before: u32,
}

impl<'w> Packer<'w> {
    pub(crate) fn new(out: &'w mut dyn Write, coding: Coding) -> Self {
        Self { out, coding, pending: Vec::new(), packed: Vec::new(), before: 0 }
    }

    /// Packs one group.
    fn pack(&mut self, bytes: &[u8]) -> io::Result<()> {
        let words = bytes.chunks_exact(4).map(|word| u32::from_le_bytes(word.try_into().unwrap_or_default()));
        let mut small = Vec::with_capacity(self.coding.group());
        for word in words {
            small.push(self.coding.small(word, self.before));
            self.before = word;
        }
        let width = small.iter().map(|word| 32 - word.leading_zeros()).max().unwrap_or(0);
        self.packed.clear();
        self.packed.push(width as u8);
        if width > 0 {
            let mut bits = BitWriter::new(&mut self.packed);
            if let Coding::Lists(_) = self.coding {
                let count = small.iter().rposition(|&word| word != 0).map_or(0, |last| last + 1);
                bits.put(count as u32, 16);
                small.truncate(count);
                small.iter().for_each(|&word| bits.put(word, width));
            } else {
                let mask = |words: &[u32]| {
                    words.iter().enumerate().fold(0, |mask, (at, &word)| mask | u32::from(word != 0) << at)
                };
                let (low, high) = small.split_at(small.len().min(32));
                bits.put(mask(low), 32);
                bits.put(mask(high), 32);
                small.iter().filter(|&&word| word != 0).for_each(|&word| bits.put(word, width));
            }
            bits.finish();
        }
        self.out.write_all(&self.packed)
    }

    /// Packs what is left.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        let rest = std::mem::take(&mut self.pending);
        if rest.is_empty() { Ok(()) } else { self.pack(&rest) }
    }
}

impl Write for Packer<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.pending.extend_from_slice(bytes);
        let all = std::mem::take(&mut self.pending);
        let groups = all.chunks_exact(4 * self.coding.group());
        let rest = groups.remainder().to_vec();
        for group in groups {
            self.pack(group)?;
        }
        self.pending = rest;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Appends bits to bytes, lowest first.
pub(crate) struct BitWriter<'a> {
    out: &'a mut Vec<u8>,
    word: u64,
    held: u32,
}

impl<'a> BitWriter<'a> {
    pub(crate) fn new(out: &'a mut Vec<u8>) -> Self {
        Self { out, word: 0, held: 0 }
    }

    pub(crate) fn put(&mut self, value: u32, width: u32) {
        self.word |= u64::from(value) << self.held;
        self.held += width;
        while self.held >= 8 {
            self.out.push(self.word as u8);
            self.word >>= 8;
            self.held -= 8;
        }
    }

    pub(crate) fn finish(self) {
        if self.held > 0 {
            self.out.push(self.word as u8);
        }
    }
}

/// Reads what a [`BitWriter`] wrote.
pub(crate) struct BitReader<'a> {
    bytes: &'a [u8],
    word: u64,
    held: u32,
}

impl<'a> BitReader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, word: 0, held: 0 }
    }

    /// Whether nothing is left but zeros that fill up a byte.
    pub(crate) fn is_over(&self) -> bool {
        self.bytes.is_empty() && self.held < 8 && self.word == 0
    }

    pub(crate) fn take(&mut self, width: u32) -> Option<u32> {
        while self.held < width {
            let (&byte, rest) = self.bytes.split_first()?;
            self.bytes = rest;
            self.word |= u64::from(byte) << self.held;
            self.held += 8;
        }
        let value = (self.word & ((1 << width) - 1)) as u32;
        self.word >>= width;
        self.held -= width;
        Some(value)
    }
}

/// Hands the `count` words that `bytes` hold, and nothing else, to `take`, in order; `None` if they hold another number (K2).
pub(crate) fn unpack(
    mut bytes: &[u8],
    coding: Coding,
    count: usize,
    mut take: impl FnMut(u32),
) -> Option<()> {
    let mut before = 0;
    let mut left = count;
    while left > 0 {
        let words = left.min(coding.group());
        left -= words;
        let (&width, rest) = bytes.split_first()?;
        let width = u32::from(width);
        let mut bits = BitReader::new(rest);
        let mut give = |small| {
            before = coding.whole(small, before);
            take(before);
        };
        if width > 32 {
            return None;
        } else if width == 0 {
            (0..words).for_each(|_| give(0));
        } else if let Coding::Lists(_) = coding {
            let filled = bits.take(16)? as usize;
            if filled > words {
                return None;
            }
            for _ in 0..filled {
                give(bits.take(width)?);
            }
            (filled..words).for_each(|_| give(0));
        } else {
            let mask = u64::from(bits.take(32)?) | u64::from(bits.take(32)?) << 32;
            if words < GROUP && mask >> words != 0 {
                return None;
            }
            for place in 0..words {
                give(if mask >> place & 1 == 1 { bits.take(width)? } else { 0 });
            }
        }
        // The rest of a byte that was begun is padding.
        bytes = bits.bytes;
    }
    bytes.is_empty().then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed(words: &[u32], coding: Coding, piece: usize) -> Vec<u8> {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let mut out = Vec::new();
        let mut packer = Packer::new(&mut out, coding);
        bytes.chunks(piece).for_each(|piece| packer.write_all(piece).unwrap());
        packer.finish().unwrap();
        out
    }

    fn unpacked(bytes: &[u8], coding: Coding, count: usize) -> Option<Vec<u32>> {
        let mut words = Vec::new();
        unpack(bytes, coding, count, |word| words.push(word)).map(|()| words)
    }

    const CODINGS: [Coding; 4] = [Coding::Lists(16), Coding::Lists(5), Coding::Sparse, Coding::Steps];

    #[test]
    fn any_words_come_back() {
        let mut state = 1u32;
        let mut random = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state >> (state >> 27)
        };
        for coding in CODINGS {
            for count in [0, 1, 5, 16, 63, 64, 65, 200, 640] {
                let sets: [Vec<u32>; 4] = [
                    (0..count).map(|_| random()).collect(),
                    vec![u32::MAX; count],
                    vec![0; count],
                    (0..count as u32).map(|n| if n % 7 < 3 { u32::MAX } else { n | (n & 1) << 31 }).collect(),
                ];
                for words in sets {
                    let bytes = packed(&words, coding, 1000);
                    assert_eq!(bytes, packed(&words, coding, 7), "the same in pieces (K1)");
                    assert_eq!(unpacked(&bytes, coding, count), Some(words));
                    if count > 0 {
                        assert_eq!(
                            unpacked(&bytes[..bytes.len() - 1], coding, count),
                            None,
                            "{coding:?} {count}"
                        );
                    }
                    let longer = [&bytes[..], &[0]].concat();
                    assert_eq!(unpacked(&longer, coding, count), None);
                }
            }
        }
    }

    #[test]
    fn made_up_bytes_are_words_or_nothing() {
        let mut state = 7u64;
        for round in 0..20_000 {
            let bytes: Vec<u8> = (0..round % 40)
                .map(|_| {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    (state >> 56) as u8 >> (state >> 60 & 7)
                })
                .collect();
            for coding in CODINGS {
                if let Some(words) = unpacked(&bytes, coding, round % 130) {
                    assert_eq!(words.len(), round % 130);
                }
            }
        }
    }

    #[test]
    fn lists_and_ascending_numbers_take_little() {
        let lists: Vec<u32> = (0..3200u32)
            .map(|n| if n % 32 < 20 { (n * 7919 % 100_000) | ((n % 3 / 2) << 31) } else { u32::MAX })
            .collect();
        assert!(packed(&lists, Coding::Lists(32), 4096).len() <= 100 * (3 + 45));
        let numbers: Vec<u32> = (0..6400).map(|n| n + n / 100).collect();
        assert!(packed(&numbers, Coding::Steps, 4096).len() <= 100 * (1 + 8 + 24));
    }
}
