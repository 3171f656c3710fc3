//! From the nearest passages to what a person reads: order, excerpt, matched words.
//!
//! The index proposes the [`CANDIDATES`] nearest passages; they are ordered by cosine plus the share of
//! the question's (idf-weighted) words they hold. That undoes most of the noise of a projection to 384
//! dimensions, and is what one does with a first-stage retriever anyway.

use std::ops::Range;

use serde::Serialize;

use crate::output::Output;
use crate::text::corpus::{Corpus, Place};
use crate::text::embed::LexicalEmbedder;
use crate::text::words::{Word, Words};

/// Passages taken from the index per question.
pub(super) const CANDIDATES: usize = 64;
/// Lines of a passage that are shown.
const SHOWN_LINES: usize = 4;
/// Columns of a line that are shown.
const SHOWN_COLUMNS: usize = 118;
/// What a word with the same stem counts, where the same word counts 1.
const STEM_SHARE: f32 = 0.6;
/// Words that carry less than this share of the heaviest word's weight are not worth marking.
const TELLING: f32 = 0.25;

/// A passage that answers a question.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Answer {
    /// The file, as it is shown.
    pub(super) file: String,
    /// The line the excerpt starts on, counted from 1.
    pub(super) line: u32,
    /// 1 - cosine of question and passage.
    pub(super) distance: f32,
    /// Share of the question's words, by weight, that the passage holds.
    pub(super) words_shared: f32,
    /// The lines that hold most of the words.
    pub(super) excerpt: String,
    #[serde(skip)]
    marks: Vec<Range<usize>>,
}

/// The words of a question that tell something.
pub(super) struct Question {
    terms: Vec<Term>,
    total: f32,
}

struct Term {
    hash: u64,
    lower: Vec<u8>,
    weight: f32,
}

impl Question {
    /// Reads a question.
    pub(super) fn new(text: &str, embedder: &LexicalEmbedder) -> Self {
        let mut words = Words::default();
        words.split(text);
        let mut terms: Vec<Term> = Vec::new();
        for word in words.words().iter().filter(|word| !word.is_compound) {
            if terms.iter().all(|term| term.hash != word.hash) {
                let lower = words.lower(word).to_vec();
                terms.push(Term { hash: word.hash, lower, weight: embedder.idf(word) });
            }
        }
        let heaviest = terms.iter().map(|term| term.weight).fold(0.0, f32::max);
        terms.retain(|term| term.weight >= TELLING * heaviest);
        let total = terms.iter().map(|term| term.weight).sum::<f32>().max(f32::MIN_POSITIVE);
        Self { terms, total }
    }

    /// Which term `word` matches, and how well.
    fn match_of(&self, lower: &[u8], word: &Word) -> Option<(usize, f32)> {
        let same = self.terms.iter().position(|term| term.hash == word.hash).map(|at| (at, 1.0));
        same.or_else(|| {
            let at = self.terms.iter().position(|term| is_same_stem(&term.lower, lower))?;
            Some((at, STEM_SHARE))
        })
    }

    /// Turns a passage into an answer.
    fn read(&self, corpus: &Corpus, place: &Place, distance: f32, words: &mut Words) -> Answer {
        let text = corpus.text(place);
        words.split(text);
        let found: Vec<(Range<usize>, usize, f32)> = words
            .words()
            .iter()
            .filter_map(|word| {
                let (term, share) = self.match_of(words.lower(word), word)?;
                Some((word.source.start as usize..word.source.end as usize, term, share))
            })
            .collect();
        let lines = lines_of(text);
        let (mut best, mut best_weight) = (0, 0.0);
        for first in 0..=lines.len().saturating_sub(SHOWN_LINES) {
            let last = (first + SHOWN_LINES).min(lines.len()) - 1;
            let weight = self.weight_in(&found, lines[first].1.start..lines[last].1.end);
            // The last of equal windows starts with a match, or ends the passage.
            if weight >= best_weight {
                (best, best_weight) = (first, weight);
            }
        }
        let shown = &lines[best..(best + SHOWN_LINES).min(lines.len())];
        let (excerpt, marks) = excerpt(text, shown, &found);
        Answer {
            file: corpus.file(place).to_owned(),
            line: place.line + lines.get(best).map_or(0, |(number, _)| *number),
            distance,
            words_shared: self.weight_in(&found, 0..text.len()) / self.total,
            excerpt,
            marks,
        }
    }

    /// Weight of the distinct terms matched inside `range`.
    fn weight_in(&self, found: &[(Range<usize>, usize, f32)], range: Range<usize>) -> f32 {
        let mut shares = vec![0.0_f32; self.terms.len()];
        for (at, term, share) in found {
            if range.contains(&at.start) {
                shares[*term] = shares[*term].max(*share);
            }
        }
        shares.iter().zip(&self.terms).map(|(share, term)| share * term.weight).sum()
    }

    /// The best `show` of the passages the index proposed.
    pub(super) fn rank(
        &self,
        corpus: &Corpus,
        proposed: impl Iterator<Item = (Place, f32)>,
        show: usize,
    ) -> Vec<Answer> {
        let mut words = Words::default();
        let mut answers: Vec<Answer> =
            proposed.map(|(place, distance)| self.read(corpus, &place, distance, &mut words)).collect();
        answers.sort_by(|a, b| (a.distance - a.words_shared).total_cmp(&(b.distance - b.words_shared)));
        answers.truncate(show);
        answers
    }
}

impl Answer {
    /// Prints file, line, distance and the excerpt with its matched words marked.
    pub(super) fn print(&self, rank: usize, output: Output) -> anyhow::Result<()> {
        let place = output.bold(&format!("{}:{}", self.file, self.line));
        output.line(format_args!("  {rank}. {place}  distance {:.3}", self.distance))?;
        let mut start = 0;
        for line in self.excerpt.split('\n') {
            let end = start + line.len();
            let mut shown = String::with_capacity(line.len() + 16);
            let mut at = start;
            for mark in self.marks.iter().filter(|mark| mark.start >= start && mark.end <= end) {
                if mark.start >= at {
                    shown += &self.excerpt[at..mark.start];
                    shown += &output.mark(&self.excerpt[mark.clone()]);
                    at = mark.end;
                }
            }
            shown += &self.excerpt[at..end];
            output.line(format_args!("       {shown}"))?;
            start = end + 1;
        }
        Ok(())
    }
}

/// Two forms of one word, near enough: they share a start of at least four bytes that leaves at most
/// three of either.
fn is_same_stem(a: &[u8], b: &[u8]) -> bool {
    let shared = a.iter().zip(b).take_while(|(a, b)| a == b).count();
    shared >= 4 && a.len().max(b.len()) <= shared + 3
}

/// The lines of `text` that say something, without their ends, and the number of each, from 0.
fn lines_of(text: &str) -> Vec<(u32, Range<usize>)> {
    let mut at = 0;
    let mut lines = Vec::new();
    for (number, full) in (0..).zip(text.split_inclusive('\n')) {
        if full.contains(char::is_alphanumeric) {
            lines.push((number, at..at + full.trim_end().len()));
        }
        at += full.len();
    }
    lines
}

/// The shown lines, without common indentation and cropped, and where the matched words are in them.
fn excerpt(
    text: &str,
    lines: &[(u32, Range<usize>)],
    found: &[(Range<usize>, usize, f32)],
) -> (String, Vec<Range<usize>>) {
    let indent = |line: &Range<usize>| {
        let line = &text[line.clone()];
        line.len() - line.trim_start_matches([' ', '\t']).len()
    };
    let common = lines.iter().map(|(_, line)| indent(line)).min().unwrap_or(0);
    let (mut out, mut marks) = (String::new(), Vec::new());
    for (_, line) in lines {
        let mut shown = line.start + common.min(line.len())..line.end;
        if text[shown.clone()].chars().count() > SHOWN_COLUMNS {
            shown = crop(text, shown, found);
        }
        if shown.is_empty() {
            continue;
        }
        if !out.is_empty() {
            out.push('\n');
        }
        if shown.start > line.start + common {
            out += "… ";
        }
        let shift = |at: usize, out: &String| at - shown.start + out.len();
        for (at, _, _) in found.iter().filter(|(at, _, _)| at.start >= shown.start && at.end <= shown.end) {
            marks.push(shift(at.start, &out)..shift(at.end, &out));
        }
        let is_cropped = shown.end < line.end;
        // Control characters would let a file write to the terminal: each of their bytes is shown as a
        // space, so that marks stay where they are.
        for c in text[shown].chars() {
            if c.is_control() { out.extend(std::iter::repeat_n(' ', c.len_utf8())) } else { out.push(c) }
        }
        if is_cropped {
            out += " …";
        }
    }
    // A mark is not split by its neighbor: a compound covers its parts.
    marks.sort_by_key(|mark| (mark.start, std::cmp::Reverse(mark.end)));
    (out, marks)
}

/// The [`SHOWN_COLUMNS`] columns of a long line around its first matched word.
fn crop(text: &str, line: Range<usize>, found: &[(Range<usize>, usize, f32)]) -> Range<usize> {
    let first = found.iter().map(|(at, _, _)| at.start).find(|at| line.contains(at)).unwrap_or(line.start);
    let mut starts: Vec<usize> = text[line.clone()].char_indices().map(|(at, _)| line.start + at).collect();
    starts.push(line.end);
    let match_column = starts.partition_point(|&at| at < first);
    // A match that the start of the line would show anyway keeps the start.
    let is_early = match_column < SHOWN_COLUMNS * 3 / 4;
    let last = starts.len() - 1 - SHOWN_COLUMNS;
    let mut from = if is_early { 0 } else { match_column.saturating_sub(SHOWN_COLUMNS / 4).min(last) };
    let mut to = from + SHOWN_COLUMNS;
    // Back to the borders of words, if there are any near.
    let is_space = |column: &usize| text[starts[*column]..].starts_with(' ');
    if from > 0 {
        from = (from..match_column).find(is_space).map_or(from, |space| space + 1);
    }
    if to < starts.len() - 1 {
        to = (match_column + 1..to).rev().take(SHOWN_COLUMNS / 4).find(is_space).unwrap_or(to);
    }
    starts[from]..starts[to]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stems() {
        assert!(is_same_stem(b"threads", b"threaded"));
        assert!(is_same_stem(b"hammer", b"hammered"));
        assert!(!is_same_stem(b"list", b"lisp"));
        assert!(!is_same_stem(b"read", b"readability"));
    }

    #[test]
    fn an_answer_names_the_line_of_its_excerpt_and_marks_words() {
        let filler = "nothing of interest is written on this line of filler text\n";
        let text = filler.repeat(5) + "a worn brake cable is unhooked\n  and thrown away by the mechanic\n";
        let corpus = Corpus::from_texts(&[("a.md", &text)]);
        let embedder = LexicalEmbedder::fit(&[&text, "nothing", "other words", "more of them"], 1, &|_| ());
        let question = Question::new("How are worn cables thrown?", &embedder);
        let answers = question.rank(&corpus, [(corpus.places()[0], 0.5)].into_iter(), 3);
        let answer = &answers[0];
        assert_eq!((answer.file.as_str(), answer.line), ("a.md", 4));
        assert!(answer.excerpt.contains("a worn brake cable is unhooked\n  and thrown away"));
        let marked: Vec<&str> = answer.marks.iter().map(|mark| &answer.excerpt[mark.clone()]).collect();
        assert_eq!(marked, ["worn", "cable", "thrown"]);
        assert!(answer.words_shared > 0.8 && answer.words_shared < 1.0);
    }

    #[test]
    fn long_lines_are_cropped_around_the_match() {
        let text = "ünder ".repeat(100) + "needle " + &"ünder ".repeat(100);
        let line = 0..text.trim_end().len();
        let at = text.find("needle").unwrap();
        let (out, marks) = excerpt(&text, &[(0, line)], &[(at..at + 6, 0, 1.0)]);
        assert_eq!(&out[marks[0].clone()], "needle");
        assert!(out.starts_with("… ") && out.ends_with(" …"));
        assert!(out.chars().count() <= SHOWN_COLUMNS + 4);
    }
}
