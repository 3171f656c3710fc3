//! Words as the embedder counts them: lower case, identifiers split at case changes and underscores.
//!
//! `readFrameHeader` gives `read`, `frame`, `header` and the whole, `readframeheader`; `HTTPServer`
//! gives `http`, `server` and `httpserver`; `ef_construction` likewise. A word keeps its digits
//! (`f32`, `sq8`). Words of one byte are dropped, longer ones end after [`MAX_BYTES`].
//!
//! Cost: one pass over the bytes, no allocation once the buffer has grown.

use std::ops::Range;

/// Bytes kept of a word: longer runs are hashes, base64 and the like, which their start identifies.
pub(crate) const MAX_BYTES: usize = 32;

/// One word of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Word {
    /// Hash of the lower-case bytes, the same in every run and on every machine.
    pub(crate) hash: u64,
    /// Where the lower-case bytes lie in [`Words::bytes`].
    pub(crate) lower: Range<u32>,
    /// Where the word lies in the text, in bytes.
    pub(crate) source: Range<u32>,
    /// Whether this is an identifier whose parts were given before it.
    pub(crate) is_compound: bool,
}

/// The words of one text; reused from text to text.
#[derive(Debug, Default)]
pub(crate) struct Words {
    bytes: Vec<u8>,
    words: Vec<Word>,
}

impl Words {
    /// Replaces the contents by the words of `text`, in order.
    pub(crate) fn split(&mut self, text: &str) {
        self.bytes.clear();
        self.words.clear();
        let source = text.as_bytes();
        let mut at = 0;
        while at < source.len() {
            if is_word_byte(source[at]) {
                let start = at;
                while at < source.len() && (is_word_byte(source[at]) || source[at] == b'_') {
                    at += 1;
                }
                self.add_identifier(text, start..at);
            } else {
                at += 1;
            }
        }
    }

    /// The words of the last text.
    pub(crate) fn words(&self) -> &[Word] {
        &self.words
    }

    /// The lower-case bytes of `word`.
    pub(crate) fn lower(&self, word: &Word) -> &[u8] {
        &self.bytes[word.lower.start as usize..word.lower.end as usize]
    }

    fn add_identifier(&mut self, text: &str, range: Range<usize>) {
        let source = text.as_bytes();
        let first_word = self.words.len();
        let first_byte = self.bytes.len();
        let mut start = range.start;
        for at in range.start + 1..=range.end {
            if at == range.end || is_border(source, at, range.end) {
                self.add_part(text, start..at);
                start = at;
            }
        }
        if self.words.len() > first_word + 1 {
            // The parts' bytes lie one behind the other: together they are the whole.
            let end = self.bytes.len().min(first_byte + MAX_BYTES);
            self.push(first_byte..end, range, true);
        }
    }

    fn add_part(&mut self, text: &str, mut range: Range<usize>) {
        let source = text.as_bytes();
        while range.start < range.end && source[range.start] == b'_' {
            range.start += 1;
        }
        while range.start < range.end && source[range.end - 1] == b'_' {
            range.end -= 1;
        }
        if range.len() < 2 {
            return;
        }
        let first = self.bytes.len();
        if source[range.clone()].is_ascii() {
            let kept = range.len().min(MAX_BYTES);
            self.bytes.extend(source[range.start..range.start + kept].iter().map(u8::to_ascii_lowercase));
        } else {
            for lower in text[range.clone()].chars().flat_map(char::to_lowercase) {
                let mut utf8 = [0; 4];
                self.bytes.extend_from_slice(lower.encode_utf8(&mut utf8).as_bytes());
            }
            self.bytes.truncate(first + MAX_BYTES);
        }
        self.push(first..self.bytes.len(), range, false);
    }

    fn push(&mut self, lower: Range<usize>, source: Range<usize>, is_compound: bool) {
        let hash = hash(&self.bytes[lower.clone()]);
        // Passages are a few thousand bytes at most, questions shorter.
        let narrow = |range: Range<usize>| range.start as u32..range.end as u32;
        self.words.push(Word { hash, lower: narrow(lower), source: narrow(source), is_compound });
    }
}

/// Letters and digits of ASCII, and every byte of a longer UTF-8 sequence.
fn is_word_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte >= 0x80
}

/// Whether a new part of an identifier starts at `at`.
fn is_border(source: &[u8], at: usize, end: usize) -> bool {
    let (before, here) = (source[at - 1], source[at]);
    if before == b'_' || here == b'_' {
        return before != here;
    }
    let is_lower = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    here.is_ascii_uppercase()
        && (is_lower(before)
            || before.is_ascii_uppercase() && at + 1 < end && source[at + 1].is_ascii_lowercase())
}

/// A 64-bit hash of a few bytes, eight at a time; stable across runs and machines.
pub(crate) fn hash(bytes: &[u8]) -> u64 {
    let mut state = 0x9e37_79b9_7f4a_7c15 ^ bytes.len() as u64;
    for chunk in bytes.chunks(8) {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        state = mix(state ^ u64::from_le_bytes(word));
    }
    state
}

/// A bijection of 64 bits that leaves no bit where it was (the finaliser of SplitMix64; Steele, Lea
/// and Flood 2014).
pub(crate) fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words_of(text: &str) -> Vec<String> {
        let mut words = Words::default();
        words.split(text);
        let lower = |word| String::from_utf8_lossy(words.lower(word)).into_owned();
        words.words().iter().map(lower).collect()
    }

    #[test]
    fn identifiers_are_split_and_kept() {
        assert_eq!(words_of("readFrame"), ["read", "frame", "readframe"]);
        assert_eq!(words_of("HTTPServer2"), ["http", "server2", "httpserver2"]);
        assert_eq!(words_of("__ef_construction__"), ["ef", "construction", "efconstruction"]);
        assert_eq!(words_of("SQ8 f32 MAX_LEN"), ["sq8", "f32", "max", "len", "maxlen"]);
    }

    #[test]
    fn prose_is_lower_case_without_single_letters() {
        assert_eq!(words_of("The cat's — a B-tree, äÖ!"), ["the", "cat", "—", "tree", "äö"]);
        assert_eq!(words_of(""), Vec::<String>::new());
    }

    #[test]
    fn source_ranges_point_at_the_word() {
        let text = "say readFrame now";
        let mut words = Words::default();
        words.split(text);
        let at = |i: usize| {
            let word = &words.words()[i];
            &text[word.source.start as usize..word.source.end as usize]
        };
        assert_eq!([at(0), at(1), at(2), at(3), at(4)], ["say", "read", "Frame", "readFrame", "now"]);
        assert!(words.words()[3].is_compound);
    }

    #[test]
    fn long_runs_are_cut() {
        let long = "q".repeat(500) + &"É".repeat(100);
        assert!(words_of(&long).iter().all(|word| word.len() <= MAX_BYTES + 3));
    }

    #[test]
    fn hashes_differ() {
        let texts: [&[u8]; 6] = [b"", b"a", b"a\0", b"abcdefgh", b"abcdefgha", b"abcdefghb"];
        for (at, a) in texts.iter().enumerate() {
            assert!(texts[..at].iter().all(|b| hash(a) != hash(b)));
        }
    }
}
