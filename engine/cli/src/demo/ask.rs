//! Questions to an indexed corpus: the built-in ones, the user's, or some made from the corpus.

use std::io::{BufRead, Write};

use orthant_engine::{Index, SearchParams, Searcher};
use serde::Serialize;

use super::answer::{Answer, CANDIDATES, Question};
use crate::output::Output;
use crate::text::corpus::Corpus;
use crate::text::embed::{Embedder, LexicalEmbedder};
use crate::text::words::{Words, mix};

/// Beam width for questions: four times the candidates, because nobody notices the extra millisecond.
const EF: usize = 4 * CANDIDATES;
/// Passages drawn to make questions of: enough that some of them are prose, in sources as well.
const DRAWN: u64 = 200;

/// A corpus that can be asked.
pub(super) struct Library<'a> {
    corpus: &'a Corpus,
    /// Passage of each node.
    nodes: &'a [usize],
    embedder: &'a LexicalEmbedder,
    searcher: Searcher<'a>,
    show: usize,
    output: Output,
}

/// A question with what was found.
#[derive(Debug, Serialize)]
pub(super) struct Asked {
    question: String,
    seconds: f64,
    answers: Vec<Answer>,
}

impl<'a> Library<'a> {
    pub(super) fn new(
        corpus: &'a Corpus,
        nodes: &'a [usize],
        embedder: &'a LexicalEmbedder,
        index: &'a Index,
        show: usize,
        output: Output,
    ) -> Self {
        Self { corpus, nodes, embedder, searcher: index.searcher(), show, output }
    }

    /// Answers one question and prints it.
    pub(super) fn ask(&mut self, text: &str) -> anyhow::Result<Asked> {
        let started = std::time::Instant::now();
        let mut query = vec![0.0; self.embedder.dim()];
        self.embedder.embed(&[text], &mut query);
        let is_empty = query.iter().all(|&x| x == 0.0);
        let question = Question::new(text, self.embedder);
        let answers = if is_empty {
            Vec::new()
        } else {
            let hits = self.searcher.search(&query, SearchParams::new(CANDIDATES, EF))?;
            let places = self.corpus.places();
            let place = |hit: &orthant_engine::Hit| (places[self.nodes[hit.node as usize]], hit.distance);
            // A text that quotes the question (these docs, this source) does not answer it.
            let is_answer = |(place, _): &(_, f32)| !self.corpus.text(place).contains(text);
            let proposed = hits.iter().map(place).filter(is_answer);
            question.rank(self.corpus, proposed, self.show)
        };
        let seconds = started.elapsed().as_secs_f64();
        self.output.line(format_args!("\n{}", self.output.bold(&format!("Q: {text}"))))?;
        if is_empty {
            self.output.line(format_args!("  There is no word in this question to look for."))?;
        }
        for (rank, answer) in (1..).zip(&answers) {
            answer.print(rank, self.output)?;
        }
        Ok(Asked { question: text.to_owned(), seconds, answers })
    }

    /// Reads questions from the terminal until an empty line or the end.
    pub(super) fn prompt(&mut self) -> anyhow::Result<()> {
        self.output.line(format_args!("\nAsk something (an empty line ends):"))?;
        let mut line = String::new();
        loop {
            // A prompt that cannot be shown is no reason to stop answering.
            let _ = write!(std::io::stderr(), "\n? ");
            line.clear();
            if std::io::stdin().lock().read_line(&mut line)? == 0 || line.trim().is_empty() {
                return Ok(());
            }
            self.ask(line.trim())?;
        }
    }

    /// Three questions for a corpus nobody wrote questions for: telling words of three passages. They
    /// show what an answer looks like, and that a passage is found by a few of its words.
    pub(super) fn own_questions(&self) -> Vec<String> {
        let places = self.corpus.places();
        let mut drawn: Vec<(f32, usize)> = (0..DRAWN)
            .map(|draw| (mix(draw) % places.len() as u64) as usize)
            .map(|at| (self.prose(at), at))
            .collect();
        drawn.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        drawn.dedup_by_key(|&mut (_, at)| self.corpus.file(&places[at]));
        let mut words = Words::default();
        let mut questions: Vec<String> = Vec::new();
        for (_, at) in drawn {
            let question = self.telling_words(self.corpus.text(&places[at]), &mut words);
            questions.extend(question.filter(|question| !questions.contains(question)));
            if questions.len() == 3 {
                break;
            }
        }
        questions
    }

    /// Four words of `text`, in its order: not the rarest, which are names and typing errors, but those
    /// that come next. Nothing when it has too few different words to choose from.
    fn telling_words(&self, text: &str, words: &mut Words) -> Option<String> {
        words.split(text);
        let mut telling: Vec<(f32, usize, &[u8])> = Vec::new();
        for (at, word) in words.words().iter().enumerate() {
            let lower = words.lower(word);
            let is_plain = !word.is_compound && lower.iter().all(u8::is_ascii_lowercase);
            if is_plain
                && (4..=12).contains(&lower.len())
                && telling.iter().all(|&(_, _, other)| other != lower)
            {
                telling.push((self.embedder.idf(word), at, lower));
            }
        }
        if telling.len() < 12 {
            return None;
        }
        telling.sort_by(|a, b| b.0.total_cmp(&a.0));
        let mut chosen = telling[telling.len() / 8..][..4].to_vec();
        chosen.sort_by_key(|&(_, at, _)| at);
        let chosen: Vec<_> = chosen.iter().map(|(_, _, word)| String::from_utf8_lossy(word)).collect();
        Some(chosen.join(" "))
    }

    /// How much a passage reads like prose: the share of letters and spaces in it.
    fn prose(&self, passage: usize) -> f32 {
        let text = self.corpus.text(&self.corpus.places()[passage]);
        let is_prose = |byte: &u8| byte.is_ascii_alphabetic() || *byte == b' ';
        text.bytes().filter(|byte| is_prose(byte)).count() as f32 / text.len().max(1) as f32
    }
}
