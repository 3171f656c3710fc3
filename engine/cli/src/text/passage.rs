//! Cutting a text into passages of about a hundred words, each with the line it starts on.
//!
//! * **C1** A passage is a run of whole lines, except that a line of more than [`MOST_WORDS`] words
//!   (a paragraph without line breaks) is cut between words.
//! * **C2** Passages do not overlap and come in order; what is left out is blank, or holds fewer
//!   than [`FEWEST_WORDS`] words, or is not language (mostly digits and punctuation).

use std::ops::Range;

/// A blank line ends a passage that has this many words: enough to say something.
pub(crate) const ENOUGH_WORDS: usize = 60;
/// A line end ends a passage that has this many words: more would blur what it is about.
pub(crate) const MOST_WORDS: usize = 120;
/// A shorter passage (a lone brace, a title) is not worth an entry.
pub(crate) const FEWEST_WORDS: usize = 6;

/// One passage of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Passage {
    /// Where it lies in the text, in bytes.
    pub(crate) range: Range<usize>,
    /// The line it starts on, counted from 1.
    pub(crate) line: u32,
}

/// The passages of `text`, in order.
pub(crate) fn cut(text: &str) -> Vec<Passage> {
    let mut cutter = Cutter { text, passages: Vec::new(), open: None, words: 0 };
    let mut at = 0;
    for (line, full) in (1..).zip(text.split_inclusive('\n')) {
        cutter.line(line, at..at + full.len());
        at += full.len();
    }
    cutter.close();
    cutter.passages
}

struct Cutter<'a> {
    text: &'a str,
    passages: Vec<Passage>,
    open: Option<Passage>,
    words: usize,
}

impl Cutter<'_> {
    fn line(&mut self, line: u32, range: Range<usize>) {
        let words = count_words(&self.text[range.clone()]);
        if words == 0 {
            if self.words >= ENOUGH_WORDS {
                self.close();
            }
            return;
        }
        let is_heading = self.text[range.clone()].starts_with('#') && self.words >= ENOUGH_WORDS / 3;
        if is_heading || self.words > 0 && self.words + words > MOST_WORDS {
            self.close();
        }
        if words > MOST_WORDS {
            self.long_line(line, range);
            return;
        }
        let open = self.open.get_or_insert(Passage { range: range.clone(), line });
        open.range.end = range.end;
        self.words += words;
    }

    /// Cuts a line that is longer than a passage may be, between words.
    fn long_line(&mut self, line: u32, range: Range<usize>) {
        let mut start = range.start;
        for (nth, (offset, _)) in word_starts(&self.text[range.clone()]).enumerate() {
            if nth > 0 && nth % ENOUGH_WORDS == 0 {
                self.keep(Passage { range: start..range.start + offset, line });
                start = range.start + offset;
            }
        }
        self.keep(Passage { range: start..range.end, line });
    }

    fn close(&mut self) {
        if let Some(open) = self.open.take() {
            self.keep(open);
        }
        self.words = 0;
    }

    fn keep(&mut self, mut passage: Passage) {
        let text = &self.text[passage.range.clone()];
        passage.range.end = passage.range.start + text.trim_end().len();
        if count_words(text) >= FEWEST_WORDS && is_language(text) {
            self.passages.push(passage);
        }
    }
}

/// Words as a person counts them: runs without white space that hold a letter or a digit.
fn count_words(text: &str) -> usize {
    word_starts(text).count()
}

fn word_starts(text: &str) -> impl Iterator<Item = (usize, u8)> {
    let mut is_inside = false;
    text.bytes().enumerate().filter(move |&(_, byte)| {
        let is_start = !is_inside && (byte.is_ascii_alphanumeric() || byte >= 0x80);
        is_inside = !byte.is_ascii_whitespace() && (is_inside || is_start);
        is_start
    })
}

/// At least four tenths of the visible bytes are letters: tables of numbers and encoded data are not.
fn is_language(text: &str) -> bool {
    let (mut letters, mut visible) = (0, 0);
    for byte in text.bytes() {
        visible += usize::from(!byte.is_ascii_whitespace());
        letters += usize::from(byte.is_ascii_alphabetic() || byte >= 0x80);
    }
    letters * 10 >= visible * 4
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sentence(words: usize) -> String {
        vec!["word"; words].join(" ") + "\n"
    }

    #[test]
    fn cuts_at_a_blank_line_once_there_is_enough() {
        let text = sentence(40) + "\n" + &sentence(30) + "\n" + &sentence(20);
        let lines: Vec<u32> = cut(&text).iter().map(|passage| passage.line).collect();
        assert_eq!(lines, [1, 5]);
    }

    #[test]
    fn cuts_at_a_line_end_before_there_is_too_much() {
        let text = sentence(50).repeat(5);
        let passages = cut(&text);
        let lines: Vec<u32> = passages.iter().map(|passage| passage.line).collect();
        assert_eq!(lines, [1, 3, 5]);
        assert_eq!(passages[0].range, 0..sentence(50).len() * 2 - 1);
    }

    #[test]
    fn cuts_a_line_without_end_between_words() {
        let text = sentence(300);
        let passages = cut(&text);
        assert_eq!(passages.len(), 5);
        assert!(passages.iter().all(|p| p.line == 1 && count_words(&text[p.range.clone()]) == 60));
    }

    #[test]
    fn leaves_out_what_says_nothing() {
        assert!(cut("").is_empty());
        assert!(cut("\n\n  \n}\n").is_empty());
        assert!(cut("title of three\n").is_empty());
        assert!(cut(&"0.125, 17, 0x9f,\n".repeat(40)).is_empty());
    }

    #[test]
    fn headings_start_passages() {
        let text = sentence(30) + "# A heading\n" + &sentence(30);
        let lines: Vec<u32> = cut(&text).iter().map(|passage| passage.line).collect();
        assert_eq!(lines, [1, 2]);
    }

    #[test]
    fn passages_do_not_overlap_in_any_script() {
        let text = "ünï cödé 漢字 テスト слово λόγος \r\n".repeat(70);
        let passages = cut(&text);
        assert!(passages.len() > 2);
        assert!(passages.windows(2).all(|pair| pair[0].range.end <= pair[1].range.start));
    }
}
