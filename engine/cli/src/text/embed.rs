//! Turning text into vectors. [`Embedder`] is the border: a sentence model can stand behind it.
//!
//! [`LexicalEmbedder`] knows no language. A passage is the sum of its words' directions, each times
//! `(1 + ln tf) · idf`, made unit length; so the cosine of two passages is, but for the noise of the
//! projection, that of their TF-IDF vectors (Salton and Buckley 1988). A word's direction is
//! fixed by its spelling: a few signed coordinates drawn by its hash, plus, at a lower weight, those of
//! its character n-grams of 3 to 5 bytes, so that `freed` and `frees` are not strangers. Signed hashing
//! straight into 384 dimensions is a sparse random projection (Weinberger et al. 2009; Achlioptas
//! 2003): inner products keep their value with a standard deviation of about `1/sqrt(384)` = 0.05.
//!
//! What follows from that: passages are found by shared words and word stems, not by meaning, and a
//! question should hold a rare word of its answer.
//!
//! Cost: two passes over the text, no table but the document frequencies (4 MiB).

use std::sync::atomic::{AtomicU32, Ordering};

use super::words::{Word, Words, hash, mix};
use crate::parallel;

/// Text to vectors of unit length.
pub(crate) trait Embedder: Sync {
    /// Elements of a vector.
    fn dim(&self) -> usize;

    /// Embeds each of `texts`.
    ///
    /// # Shapes
    /// `out: [texts.len() × dim]`, row-major. A text without words gives a row of zeros.
    ///
    /// # Panics
    /// If `out.len() != texts.len() * dim`.
    fn embed(&self, texts: &[&str], out: &mut [f32]);
}

/// Dimensions: room for the words of a passage at a noise of 0.05, and the size sentence models use.
pub(crate) const DIM: usize = 384;
/// Buckets of document frequencies. A registry's sources hold a few hundred thousand different words;
/// a collision only makes a word look a little more common.
const BUCKETS: usize = 1 << 20;
/// Coordinates a word's own hash picks.
const WORD_COORDINATES: usize = 8;
/// Coordinates each n-gram picks.
const GRAM_COORDINATES: usize = 2;
/// Length of the sum of a word's n-grams, where the word itself has 1. At 0.7 an inflected form keeps
/// about a quarter of the likeness of the same word.
const GRAM_WEIGHT: f32 = 0.7;
/// Of a whole identifier, beside its parts that are already counted.
const COMPOUND_WEIGHT: f32 = 0.5;
/// Words that ask or join but say nothing of the subject; they count like words found everywhere.
const FUNCTION_WORDS: &str = "the of and to in is it that for on as with are be this by or an at from \
    not if its was has have does do did how what when where which who why can could should would will \
    happens happen there their they them then than these those any all some no into about but so we you \
    your our my me he she his her were been being also such only other one two per each while still";

/// The built-in embedder; see the module for what it can and cannot do.
pub(crate) struct LexicalEmbedder {
    /// idf by bucket of the word's hash.
    idf: Vec<f32>,
}

impl LexicalEmbedder {
    /// Counts in how many of `texts` each word occurs.
    pub(crate) fn fit(texts: &[&str], threads: usize, done: &(impl Fn(usize) + Sync)) -> Self {
        let frequency: Vec<AtomicU32> = (0..BUCKETS).map(|_| AtomicU32::new(0)).collect();
        let mut texts = texts.to_vec();
        parallel::for_each_chunk(threads, &mut texts, 256, |_, texts| {
            let (mut words, mut distinct) = (Words::default(), Vec::new());
            for text in texts.iter() {
                words.split(text);
                distinct.clear();
                distinct.extend(words.words().iter().map(|word| bucket(word.hash)));
                distinct.sort_unstable();
                distinct.dedup();
                for &bucket in &distinct {
                    frequency[bucket].fetch_add(1, Ordering::Relaxed);
                }
            }
            done(texts.len());
        });
        let n = texts.len() as f32;
        let most = ((n + 1.0) / 1.5).ln().max(1.0);
        let mut idf: Vec<f32> = frequency
            .iter()
            .map(|count| match count.load(Ordering::Relaxed) {
                // A word nobody wrote cannot find its passage by itself, only by its n-grams: half weight
                // keeps it from drowning the words that can.
                0 => 0.5 * most,
                count => ((n + 1.0) / (count as f32 + 0.5)).ln().max(0.05),
            })
            .collect();
        for word in FUNCTION_WORDS.split_whitespace() {
            let idf = &mut idf[bucket(hash(word.as_bytes()))];
            *idf = idf.min(0.05 * most);
        }
        Self { idf }
    }

    /// How telling a word is: from near 0 for one found everywhere to about `ln n` for one found once.
    pub(crate) fn idf(&self, word: &Word) -> f32 {
        self.idf[bucket(word.hash)]
    }

    fn embed_one(&self, text: &str, words: &mut Words, order: &mut Vec<u32>, row: &mut [f32]) {
        row.fill(0.0);
        words.split(text);
        let all = words.words();
        order.clear();
        order.extend(0..all.len() as u32);
        order.sort_unstable_by_key(|&at| all[at as usize].hash);
        for equal in order.chunk_by(|&a, &b| all[a as usize].hash == all[b as usize].hash) {
            let word = &all[equal[0] as usize];
            let kind = if word.is_compound { COMPOUND_WEIGHT } else { 1.0 };
            let weight = kind * (1.0 + (equal.len() as f32).ln()) * self.idf(word);
            add_direction(row, word.hash, words.lower(word), word.is_compound, weight);
        }
        let norm = row.iter().map(|x| x * x).sum::<f32>().sqrt();
        if norm > 0.0 {
            row.iter_mut().for_each(|x| *x /= norm);
        }
    }
}

impl Embedder for LexicalEmbedder {
    fn dim(&self) -> usize {
        DIM
    }

    fn embed(&self, texts: &[&str], out: &mut [f32]) {
        assert_eq!(out.len(), texts.len() * DIM, "out must hold one row per text");
        let (mut words, mut order) = (Words::default(), Vec::new());
        for (text, row) in texts.iter().zip(out.chunks_exact_mut(DIM)) {
            self.embed_one(text, &mut words, &mut order, row);
        }
    }
}

fn bucket(hash: u64) -> usize {
    hash as usize % BUCKETS
}

/// Adds `weight` times the direction of a word to `row`.
fn add_direction(row: &mut [f32], hash: u64, lower: &[u8], is_compound: bool, weight: f32) {
    let share = weight / (WORD_COORDINATES as f32).sqrt();
    for pair in 0..WORD_COORDINATES as u64 / 2 {
        scatter(row, mix(hash ^ pair), share);
    }
    if is_compound {
        return;
    }
    // `^freed$` with marks for its ends, so that a stem differs from the same letters elsewhere.
    let mut marked = [0_u8; super::words::MAX_BYTES + 10];
    let length = lower.len() + 2;
    marked[0] = b'^';
    marked[1..=lower.len()].copy_from_slice(lower);
    marked[length - 1] = b'$';
    let grams = (3..=5_usize).map(|size| (length + 1).saturating_sub(size)).sum::<usize>();
    if grams == 0 {
        return;
    }
    let share = weight * GRAM_WEIGHT / ((grams * GRAM_COORDINATES) as f32).sqrt();
    for start in 0..length - 2 {
        let mut eight = [0; 8];
        eight.copy_from_slice(&marked[start..start + 8]);
        let eight = u64::from_le_bytes(eight);
        for size in 3..=5.min(length - start) {
            let gram = eight & (u64::MAX >> (64 - 8 * size)) | (size as u64) << 56;
            scatter(row, mix(gram), share);
        }
    }
}

/// Adds `±share` to two coordinates picked by `hash`.
fn scatter(row: &mut [f32], hash: u64, share: f32) {
    for half in [hash as u32, (hash >> 32) as u32] {
        // The low bit is the sign; the others, scaled to the dimensions, are the coordinate.
        let at = (u64::from(half >> 1) * DIM as u64) >> 31;
        row[at as usize] += if half & 1 == 0 { share } else { -share };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXTS: [&str; 4] = [
        "A worn brake cable is unhooked and thrown away once the new one has been threaded through.",
        "The whole garden gets a thick layer of straw, so that one frosty night harms no strawberry.",
        "Rye bread is the sour loaf of the northern bakers that the wheat eaters never ordered.",
        "Tents are pitched on dry ground and the stakes are hammered in with one mallet.",
    ];

    fn embed(embedder: &LexicalEmbedder, text: &str) -> Vec<f32> {
        let mut row = vec![0.0; DIM];
        embedder.embed(&[text], &mut row);
        row
    }

    fn cosine(a: &[f32], b: &[f32]) -> f32 {
        a.iter().zip(b).map(|(a, b)| a * b).sum()
    }

    #[test]
    fn rows_have_unit_length_or_none() {
        let embedder = LexicalEmbedder::fit(&TEXTS, 1, &|_| ());
        for text in TEXTS {
            let row = embed(&embedder, text);
            assert!((cosine(&row, &row) - 1.0).abs() < 1e-5);
        }
        assert!(embed(&embedder, "+ - ?").iter().all(|&x| x == 0.0));
    }

    #[test]
    fn questions_are_nearest_to_their_answers() {
        let embedder = LexicalEmbedder::fit(&TEXTS, 1, &|_| ());
        let questions =
            ["how are cables threaded", "what harms a strawberries", "what is rye", "stake in grounds"];
        for (at, question) in questions.iter().enumerate() {
            let query = embed(&embedder, question);
            let best = (0..4).max_by(|&a, &b| {
                cosine(&query, &embed(&embedder, TEXTS[a]))
                    .total_cmp(&cosine(&query, &embed(&embedder, TEXTS[b])))
            });
            assert_eq!(best, Some(at), "{question}");
        }
    }

    #[test]
    fn inflected_forms_are_alike_and_others_are_not() {
        let embedder = LexicalEmbedder::fit(&TEXTS, 1, &|_| ());
        let [a, b, c] = ["hammer", "hammers", "thread"].map(|word| embed(&embedder, word));
        assert!(cosine(&a, &b) > 0.2, "{}", cosine(&a, &b));
        assert!(cosine(&a, &c).abs() < 0.2, "{}", cosine(&a, &c));
    }

    #[test]
    fn the_result_does_not_depend_on_threads_or_batches() {
        let texts: Vec<String> = (0..1000).map(|i| format!("{} number{i} {}", TEXTS[i % 4], i * 7)).collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let (one, two) = (LexicalEmbedder::fit(&texts, 1, &|_| ()), LexicalEmbedder::fit(&texts, 3, &|_| ()));
        assert_eq!(one.idf, two.idf);
        let mut all = vec![0.0; texts.len() * DIM];
        one.embed(&texts, &mut all);
        assert_eq!(all[999 * DIM..], embed(&two, texts[999])[..]);
    }
}
