//! The texts to index: walking a folder the way git would, reading what is text, dropping repeats.
//!
//! * **T1** Files come in the order of their paths and passages in the order of the text, so the same
//!   folder gives the same corpus whatever the number of threads.
//! * **T2** A passage occurs once: of two that differ only in white space the first is kept.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use ignore::WalkBuilder;

use super::{passage, words};
use crate::failure::WithHint;
use crate::parallel;
use crate::progress::Progress;

/// Files above this size are data more often than text.
const LARGEST_FILE: u64 = 2 << 20;
/// A NUL among the first bytes marks a binary file, as git does it.
const SNIFFED_BYTES: usize = 8 << 10;
/// Written by programs for programs: no answer to anybody's question.
const GENERATED_EXTENSIONS: [&str; 11] =
    ["lock", "svg", "csv", "tsv", "map", "sum", "pem", "ipynb", "snap", "stderr", "jsonl"];

/// One passage: which file, where in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    file: u32,
    start: u32,
    end: u32,
    /// The line it starts on, counted from 1.
    pub(crate) line: u32,
}

/// A text and the name it is shown under.
#[derive(Debug)]
struct Source {
    name: String,
    text: String,
}

/// What was left out, and why.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Skipped {
    /// Files with a NUL in their first bytes.
    pub(crate) binary: usize,
    /// Files that are too large.
    pub(crate) large: usize,
    /// Files no person wrote (lock files, tables, images as text).
    pub(crate) generated: usize,
    /// Files that could not be read.
    pub(crate) unreadable: usize,
    /// Passages that were there already.
    pub(crate) repeated: usize,
}

/// Passages with the texts they come from.
#[derive(Debug, Default)]
pub(crate) struct Corpus {
    sources: Vec<Source>,
    places: Vec<Place>,
    /// What was left out.
    pub(crate) skipped: Skipped,
}

impl Corpus {
    /// Reads every text file under `path`, or `path` itself when it is a file.
    ///
    /// # Errors
    /// When `path` cannot be read or holds no text. A single unreadable file below it is counted, not
    /// an error.
    pub(crate) fn read(path: &Path, threads: usize) -> anyhow::Result<Self> {
        let (files, mut skipped) = list(path)?;
        let progress = Progress::start("reading", files.len());
        let mut slots: Vec<(PathBuf, Slot)> = files.into_iter().map(|file| (file, Slot::Unread)).collect();
        parallel::for_each_chunk(threads, &mut slots, 16, |_, slots| {
            for (file, slot) in slots.iter_mut() {
                *slot = Slot::read(file);
            }
            progress.add(slots.len());
        });
        progress.finish();
        let mut corpus = Self::default();
        let mut seen = HashSet::new();
        for (file, slot) in slots {
            match slot {
                Slot::Text(text, passages) => {
                    corpus.add(display_name(&file, path), text, passages, &mut seen, &mut skipped);
                }
                Slot::Binary => skipped.binary += 1,
                Slot::Unread => skipped.unreadable += 1,
            }
        }
        corpus.skipped = skipped;
        if corpus.places.is_empty() {
            bail!("{}: no text found", path.display());
        }
        Ok(corpus)
    }

    /// Texts that are already in memory, with the names they are shown under.
    pub(crate) fn from_texts(texts: &[(&str, &str)]) -> Self {
        let (mut corpus, mut seen, mut skipped) = (Self::default(), HashSet::new(), Skipped::default());
        for (name, text) in texts {
            let passages = hashed(text);
            corpus.add((*name).to_owned(), (*text).to_owned(), passages, &mut seen, &mut skipped);
        }
        corpus.skipped = skipped;
        corpus
    }

    fn add(
        &mut self,
        name: String,
        text: String,
        passages: Vec<(passage::Passage, u64)>,
        seen: &mut HashSet<u64>,
        skipped: &mut Skipped,
    ) {
        let file = self.sources.len() as u32;
        let before = self.places.len();
        for (passage, hash) in passages {
            if seen.insert(hash) {
                // Files are at most `LARGEST_FILE` bytes and compiled-in texts are smaller.
                let (start, end) = (passage.range.start as u32, passage.range.end as u32);
                self.places.push(Place { file, start, end, line: passage.line });
            } else {
                skipped.repeated += 1;
            }
        }
        if self.places.len() > before {
            self.sources.push(Source { name, text });
        }
    }

    /// Number of passages.
    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }

    /// Number of files that gave a passage.
    pub(crate) fn files(&self) -> usize {
        self.sources.len()
    }

    /// Bytes of all passages.
    pub(crate) fn bytes(&self) -> usize {
        self.places.iter().map(|place| (place.end - place.start) as usize).sum()
    }

    /// The passages, in order.
    pub(crate) fn places(&self) -> &[Place] {
        &self.places
    }

    /// The text of a passage.
    pub(crate) fn text(&self, place: &Place) -> &str {
        &self.sources[place.file as usize].text[place.start as usize..place.end as usize]
    }

    /// The name of the file a passage is in.
    pub(crate) fn file(&self, place: &Place) -> &str {
        &self.sources[place.file as usize].name
    }
}

/// What reading one file gave.
enum Slot {
    Text(String, Vec<(passage::Passage, u64)>),
    Binary,
    Unread,
}

impl Slot {
    fn read(file: &Path) -> Self {
        let Ok(bytes) = fs::read(file) else { return Self::Unread };
        if bytes[..bytes.len().min(SNIFFED_BYTES)].contains(&0) {
            return Self::Binary;
        }
        let text = String::from_utf8(bytes)
            .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned());
        let passages = hashed(&text);
        Self::Text(text, passages)
    }
}

/// The passages of a text with a hash that white space does not change.
fn hashed(text: &str) -> Vec<(passage::Passage, u64)> {
    let mut visible = Vec::new();
    let hash = |passage: passage::Passage| {
        visible.clear();
        visible.extend(text[passage.range.clone()].bytes().filter(|byte| !byte.is_ascii_whitespace()));
        let hash = words::hash(&visible);
        (passage, hash)
    };
    passage::cut(text).into_iter().map(hash).collect()
}

/// The files under `path` worth reading, sorted by path.
fn list(path: &Path) -> anyhow::Result<(Vec<PathBuf>, Skipped)> {
    let place = || format!("cannot read {}", path.display());
    let metadata = fs::metadata(path)
        .with_context(place)
        .hint("name a folder or a text file; without a path the demo runs on Orthant's own docs")?;
    if metadata.is_file() {
        return Ok((vec![path.to_owned()], Skipped::default()));
    }
    fs::read_dir(path).with_context(place)?;
    let (mut files, mut skipped) = (Vec::new(), Skipped::default());
    let walk = WalkBuilder::new(path).sort_by_file_path(Path::cmp).build();
    for entry in walk {
        let Ok(entry) = entry else {
            skipped.unreadable += 1;
            continue;
        };
        if !entry.file_type().is_some_and(|kind| kind.is_file()) {
            continue;
        }
        let extension = entry.path().extension().and_then(|extension| extension.to_str()).unwrap_or("");
        let size = entry.metadata().map_or(0, |metadata| metadata.len());
        if GENERATED_EXTENSIONS.iter().any(|generated| extension.eq_ignore_ascii_case(generated)) {
            skipped.generated += 1;
        } else if size > LARGEST_FILE {
            skipped.large += 1;
        } else {
            files.push(entry.into_path());
        }
    }
    Ok((files, skipped))
}

/// The path below the folder that was named, or the file as it was named.
fn display_name(file: &Path, root: &Path) -> String {
    let below = file.strip_prefix(root).ok().filter(|below| !below.as_os_str().is_empty());
    below.unwrap_or(file).display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn essay(seed: usize) -> String {
        (0..70).map(|word| format!("word{}x ", word * seed)).collect::<String>() + "\n"
    }

    #[test]
    fn reads_text_and_says_what_it_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: &[u8]| fs::write(folder.path().join(name), bytes).unwrap();
        write("b.md", essay(3).as_bytes());
        write("a.rs", (essay(5) + "\n\n" + &essay(7)).as_bytes());
        write("copy.md", essay(3).replace(' ', "  ").as_bytes());
        write("image.png", b"\x89PNG\0\0\0");
        write("Cargo.lock", essay(11).as_bytes());
        write(".ignore", b"secret.md\n");
        write("secret.md", essay(13).as_bytes());
        let corpus = Corpus::read(folder.path(), 2).unwrap();
        let found: Vec<(&str, u32)> =
            corpus.places().iter().map(|place| (corpus.file(place), place.line)).collect();
        assert_eq!(found, [("a.rs", 1), ("a.rs", 4), ("b.md", 1)]);
        let expected = Skipped { binary: 1, generated: 1, repeated: 1, ..Skipped::default() };
        assert_eq!(corpus.skipped, expected);
        assert!(corpus.text(&corpus.places()[2]).starts_with("word0x word3x"));
    }

    #[test]
    fn a_missing_folder_is_named() {
        let error = Corpus::read(Path::new("no/such/folder"), 1).unwrap_err();
        assert!(crate::failure::describe(&error).contains("no/such/folder"));
    }
}
