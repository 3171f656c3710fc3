//! From a node to its key: columns beside the rows.
//!
//! An index either numbers its rows itself (0, 1, 2 … in the order they came; a number is never given twice) or
//! keeps the keys it was given; the first insert decides, and the two do not mix. A row whose number is its
//! node, as all are until a place is taken again, needs no word for it.
//!
//! * **K1** A row is whole before its key is shown, and its key is shown before its node is linked: whoever
//!   finds the node reads its key, and whoever sees the key reads a whole row.
//! * **K2** The words of a node are written by the one thread that was given the node's place, while nobody
//!   can find the node; its text bytes too. So a key is read under a pin taken before its node was seen live.
//! * **K3** A place keeps the bytes that its texts lie in: a later text is written over them where it fits and
//!   gets twice the room or more where it does not, so what is left behind is less than what is in use.
//!
//! Cost: two loads. Memory: one byte per row; given keys, and numbers that are not the node, 8 bytes more; texts 8
//! bytes more beside their own.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use orthant_graph::NodeId;
use orthant_storage::{Column, MemoryOptions, Region, RegionError};

use crate::ids::KeyRef;

/// Most bytes of a text key: its length shares a word with its place.
pub(crate) const MAX_KEY_BYTES: usize = u16::MAX as usize;

/// Room that a text gets at the least: what shorter ones would waste is less than what they would leave
/// behind when the next one is a little longer.
const LEAST_ROOM: usize = 16;

/// Kinds of a row's key word.
const KIND_HOLE: u8 = 0;
const KIND_INT: u8 = 1;
const KIND_STR: u8 = 2;
const KIND_NODE: u8 = 3;

/// Who names the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum KeyMode {
    /// No row yet.
    Undecided = 0,
    /// The index numbers its rows.
    RowNumber = 1,
    /// The caller gives keys.
    Given = 2,
}

impl KeyMode {
    pub(crate) fn from_u8(mode: u8) -> Option<Self> {
        [Self::Undecided, Self::RowNumber, Self::Given].into_iter().find(|known| *known as u8 == mode)
    }
}

/// Why a key was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum KeyRefused {
    /// Longer than a key may be.
    TooLong(usize),
    /// No memory.
    Memory(RegionError),
}

/// How a written key is to be shown.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kind(u8);

/// The keys of all nodes.
pub(crate) struct Keys {
    kinds: Column<u8>,
    words: Column<u64>,
    /// Where the bytes for texts of a place begin, and log2 of how many there are: `start << 8 | log2`; 0 for none.
    rooms: Column<u64>,
    texts: Region,
    texts_len: AtomicU64,
    mode: AtomicU8,
    next_number: AtomicU64,
}

/// The tables of [`Keys`] as a file holds them.
pub(crate) struct SavedKeys {
    pub(crate) mode: KeyMode,
    pub(crate) next_number: u64,
    pub(crate) kinds: Region,
    pub(crate) words: Region,
    pub(crate) texts: Region,
    pub(crate) texts_len: u64,
    pub(crate) rooms: Region,
}

impl Keys {
    pub(crate) fn new(options: &MemoryOptions) -> Result<Self, RegionError> {
        let options = MemoryOptions { expected_bytes: None, ..options.clone() };
        let region = || Region::reserve(&options);
        Ok(Self::from_saved(SavedKeys {
            mode: KeyMode::Undecided,
            next_number: 0,
            kinds: region()?,
            words: region()?,
            texts: region()?,
            texts_len: 0,
            rooms: region()?,
        }))
    }

    pub(crate) fn from_saved(saved: SavedKeys) -> Self {
        Self {
            kinds: Column::from_region(1, saved.kinds),
            words: Column::from_region(1, saved.words),
            rooms: Column::from_region(1, saved.rooms),
            texts: saved.texts,
            texts_len: AtomicU64::new(saved.texts_len),
            mode: AtomicU8::new(saved.mode as u8),
            next_number: AtomicU64::new(saved.next_number),
        }
    }

    pub(crate) fn mode(&self) -> KeyMode {
        KeyMode::from_u8(self.mode.load(Ordering::Acquire)).unwrap_or(KeyMode::Undecided)
    }

    /// Settles on `mode` if nothing is settled yet; whether `mode` is what the index uses.
    pub(crate) fn settle(&self, mode: KeyMode) -> bool {
        let undecided = KeyMode::Undecided as u8;
        match self.mode.compare_exchange(undecided, mode as u8, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => true,
            Err(settled) => settled == mode as u8,
        }
    }

    /// The number that the next row gets.
    pub(crate) fn next_number(&self) -> u64 {
        self.next_number.load(Ordering::Relaxed)
    }

    /// A number for a row; nobody gets it again.
    pub(crate) fn take_number(&self) -> u64 {
        // Relaxed: the number is all that is passed on.
        self.next_number.fetch_add(1, Ordering::Relaxed)
    }

    /// Writes the key of a node that nobody can find yet. Returns what to [`show`](Self::show) once its row
    /// is whole.
    ///
    /// # Safety
    /// The place `node` is the caller's alone (K2).
    pub(crate) unsafe fn write(&self, node: NodeId, key: KeyRef<'_>) -> Result<Kind, KeyRefused> {
        self.kinds.ensure(node as usize + 1).map_err(KeyRefused::Memory)?;
        if self.mode() == KeyMode::RowNumber && key == KeyRef::Int(u64::from(node)) {
            return Ok(Kind(KIND_NODE));
        }
        self.words.ensure(node as usize + 1).map_err(KeyRefused::Memory)?;
        let (kind, word) = match key {
            KeyRef::Int(number) => (KIND_INT, number),
            // SAFETY: the caller's promise.
            KeyRef::Str(text) => (KIND_STR, unsafe { self.write_text(node, text) }?),
        };
        if let Some(place) = self.word(node) {
            // Relaxed: published by the kind.
            place.store(word, Ordering::Relaxed);
        }
        Ok(Kind(kind))
    }

    /// Makes the key of a whole row visible (K1).
    pub(crate) fn show(&self, node: NodeId, kind: Kind) {
        if let Some(place) = self.kind_place(node) {
            // PUBLISH: pairs with OBSERVE in `kind`; the row and the key's word come before.
            place.store(kind.0, Ordering::Release);
        }
    }

    /// Takes the key from a node that will not be linked.
    pub(crate) fn give_up(&self, node: NodeId) {
        self.show(node, Kind(KIND_HOLE));
    }

    /// The key of a node; `None` for one that was given up or never had one.
    ///
    /// # Safety
    /// The caller holds a pin from before the node was seen live, or nothing is written meanwhile (K2).
    pub(crate) unsafe fn key(&self, node: NodeId) -> Option<KeyRef<'_>> {
        let kind = self.kind(node);
        match kind {
            KIND_HOLE => return None,
            KIND_NODE => return Some(KeyRef::Int(u64::from(node))),
            _ => {}
        }
        let word = self.word(node)?.load(Ordering::Relaxed);
        if kind == KIND_INT {
            return Some(KeyRef::Int(word));
        }
        let (place, length) = text_place(word);
        // SAFETY: the word was made by `write_text` (or checked by `check`), so the bytes are committed.
        let start = unsafe { self.texts.as_ptr().add(place) };
        // SAFETY: written before the key was shown, and not again while the caller's pin is held (K2).
        let bytes = unsafe { std::slice::from_raw_parts(start, length) };
        // Made from a `str`; from a file, checked when it was opened.
        Some(KeyRef::Str(std::str::from_utf8(bytes).unwrap_or_default()))
    }

    /// Whether the key of a node is a number that is its node id.
    pub(crate) fn is_own_number(&self, node: NodeId) -> bool {
        self.kind(node) == KIND_NODE
    }

    fn kind(&self, node: NodeId) -> u8 {
        // OBSERVE: pairs with PUBLISH in `show`.
        self.kind_place(node).map_or(KIND_HOLE, |place| place.load(Ordering::Acquire))
    }

    /// The kind byte of a node; `None` where the column was never grown to.
    fn kind_place(&self, node: NodeId) -> Option<&AtomicU8> {
        if node as usize >= self.kinds.region().committed() {
            return None;
        }
        // SAFETY: inside the committed bytes, as just checked.
        let place = unsafe { self.kinds.as_ptr().cast_mut().add(node as usize) };
        // SAFETY: committed bytes stay so while `self` lives, and this column is only accessed through these
        // atomics.
        Some(unsafe { AtomicU8::from_ptr(place) })
    }

    /// The key word of a node; `None` where the column was never grown to.
    fn word(&self, node: NodeId) -> Option<&AtomicU64> {
        if (node as usize + 1) * size_of::<u64>() > self.words.region().committed() {
            return None;
        }
        // SAFETY: inside the committed bytes, as just checked.
        let place = unsafe { self.words.as_ptr().cast_mut().add(node as usize) };
        // SAFETY: committed bytes stay so while `self` lives, aligned (a region starts on a page), and this
        // column is only accessed through these atomics.
        Some(unsafe { AtomicU64::from_ptr(place) })
    }

    /// Writes a text where the texts of `node` lie (K3) and returns its place and length in one word.
    ///
    /// # Safety
    /// As for [`write`](Self::write).
    unsafe fn write_text(&self, node: NodeId, text: &str) -> Result<u64, KeyRefused> {
        if text.len() > MAX_KEY_BYTES {
            return Err(KeyRefused::TooLong(text.len()));
        }
        self.rooms.ensure(node as usize + 1).map_err(KeyRefused::Memory)?;
        // SAFETY: grown above; only who was given the place reads or writes its room (K2).
        let room = unsafe { self.rooms.at(node) }[0];
        let (mut start, bytes) = (room >> 8, if room == 0 { 0 } else { 1usize << (room & 0xFF) });
        if bytes < text.len() {
            let bytes = text.len().next_power_of_two().max(LEAST_ROOM);
            // Relaxed: the counter only hands out distinct bytes; the text is published with its row.
            start = self.texts_len.fetch_add(bytes as u64, Ordering::Relaxed);
            self.texts.ensure(start as usize + bytes).map_err(KeyRefused::Memory)?;
            let room = start << 8 | u64::from(bytes.trailing_zeros());
            // SAFETY: as above.
            unsafe { self.rooms.put(node, &[room]) };
        }
        // SAFETY: the room lies inside the bytes ensured when it was handed out.
        let target = unsafe { self.texts.as_ptr().add(start as usize) };
        // SAFETY: the room belongs to the place, the place to the caller, and no reader is left (K2).
        unsafe { std::ptr::copy_nonoverlapping(text.as_ptr(), target, text.len()) };
        Ok(text_word(start, text.len()))
    }

    /// Whether the keys of the nodes `0..rows`, which came from a file, are keys. Returns the first node
    /// whose key is not.
    pub(crate) fn check(&self, rows: usize, texts: &[u8]) -> Result<(), NodeId> {
        let mode = self.mode();
        let next_number = self.next_number();
        let bad = (0..rows as NodeId).find(|&node| {
            let word = || self.word(node).map(|word| word.load(Ordering::Relaxed));
            let is_fine = match self.kind(node) {
                KIND_HOLE => true,
                KIND_NODE => mode == KeyMode::RowNumber && u64::from(node) < next_number,
                KIND_INT => match mode {
                    KeyMode::Given => word().is_some(),
                    KeyMode::RowNumber => word().is_some_and(|number| number < next_number),
                    KeyMode::Undecided => false,
                },
                KIND_STR => {
                    let text = word()
                        .map(text_place)
                        .and_then(|(place, length)| texts.get(place..).and_then(|texts| texts.get(..length)));
                    mode == KeyMode::Given && text.is_some_and(|text| std::str::from_utf8(text).is_ok())
                }
                _ => false,
            };
            !is_fine
        });
        bad.map_or(Ok(()), Err)
    }
}

/// The keys of a saved file, made anew in the order of its rows: nothing of removed rows is in them.
pub(crate) struct CompactKeys {
    pub(crate) kinds: Vec<u8>,
    /// Empty where every key is its row's number.
    pub(crate) words: Vec<u64>,
    pub(crate) texts_len: u64,
}

impl Keys {
    /// The keys of `nodes` as a file holds them, which become the nodes 0, 1, 2 ….
    ///
    /// # Safety
    /// Nothing is written meanwhile.
    pub(crate) unsafe fn compact(&self, nodes: &[NodeId]) -> CompactKeys {
        let mut kinds = Vec::with_capacity(nodes.len());
        let mut words = Vec::with_capacity(nodes.len());
        let mut texts_len = 0;
        let mut has_words = self.mode() == KeyMode::Given;
        for (row, &node) in nodes.iter().enumerate() {
            // SAFETY: the caller's promise.
            let (kind, word) = match unsafe { self.key(node) } {
                None => (KIND_HOLE, 0),
                Some(KeyRef::Int(number)) if self.mode() == KeyMode::RowNumber && number == row as u64 => {
                    (KIND_NODE, 0)
                }
                Some(KeyRef::Int(number)) => (KIND_INT, number),
                Some(KeyRef::Str(text)) => {
                    texts_len += text.len() as u64;
                    (KIND_STR, text_word(texts_len - text.len() as u64, text.len()))
                }
            };
            has_words |= kind == KIND_INT;
            kinds.push(kind);
            words.push(word);
        }
        if !has_words {
            words = Vec::new();
        }
        CompactKeys { kinds, words, texts_len }
    }
}

impl Keys {
    /// Keys of their own for the nodes `order[0]`, `order[1]` …, which become the nodes 0, 1 ….
    pub(crate) fn reordered(
        &mut self,
        order: &[NodeId],
        options: &MemoryOptions,
    ) -> Result<Self, RegionError> {
        // SAFETY: borrowed mutably, so nothing is written.
        let compact = unsafe { self.compact(order) };
        let keys = Self::new(options)?;
        keys.mode.store(self.mode() as u8, Ordering::Relaxed);
        keys.next_number.store(self.next_number(), Ordering::Relaxed);
        keys.texts_len.store(compact.texts_len, Ordering::Relaxed);
        keys.kinds.ensure(order.len())?;
        keys.words.ensure(compact.words.len())?;
        keys.texts.ensure(compact.texts_len as usize)?;
        for (node, &kind) in (0..).zip(&compact.kinds) {
            // SAFETY: grown above, and nobody else knows the columns yet.
            unsafe { keys.kinds.put(node, &[kind]) };
        }
        for (node, &word) in (0..).zip(&compact.words) {
            // SAFETY: as above.
            unsafe { keys.words.put(node, &[word]) };
        }
        let mut place = 0;
        for &node in order {
            // SAFETY: borrowed mutably, so nothing is written.
            let Some(KeyRef::Str(text)) = (unsafe { self.key(node) }) else { continue };
            // SAFETY: `texts_len` bytes were ensured, the sum of all lengths.
            let target = unsafe { keys.texts.as_ptr().add(place) };
            // SAFETY: as above; the two regions are different ones.
            unsafe { std::ptr::copy_nonoverlapping(text.as_ptr(), target, text.len()) };
            place += text.len();
        }
        Ok(keys)
    }
}

/// A place among the texts and a length in one word.
fn text_word(place: u64, length: usize) -> u64 {
    place << 16 | length as u64
}

/// Where the text of a key word lies, and its bytes.
fn text_place(word: u64) -> (usize, usize) {
    ((word >> 16) as usize, (word & 0xFFFF) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(keys: &Keys, node: NodeId, text: &str) {
        // SAFETY: one thread, which holds no key.
        let kind = unsafe { keys.write(node, KeyRef::Str(text)) }.unwrap();
        keys.show(node, kind);
        // SAFETY: as above.
        assert_eq!(unsafe { keys.key(node) }, Some(KeyRef::Str(text)));
    }

    #[test]
    fn a_place_writes_its_texts_over_each_other() {
        let keys = Keys::new(&MemoryOptions::default()).unwrap();
        assert!(keys.settle(KeyMode::Given));
        for round in 0..1000 {
            for node in 0..10 {
                write(&keys, node, &"x".repeat((round * 7 + node as usize) % 100));
            }
        }
        let in_use = 10 * 128;
        assert!(keys.texts_len.load(Ordering::Relaxed) < 2 * in_use, "what is left behind is less (K3)");
    }

    #[test]
    fn a_number_that_is_the_node_takes_no_word() {
        let keys = Keys::new(&MemoryOptions::default()).unwrap();
        assert!(keys.settle(KeyMode::RowNumber) && !keys.settle(KeyMode::Given));
        for (node, number) in [(0, 0), (1, 1), (0, 2)] {
            assert_eq!(keys.take_number(), number);
            // SAFETY: one thread, which holds no key.
            let kind = unsafe { keys.write(node, KeyRef::Int(number)) }.unwrap();
            keys.show(node, kind);
            assert_eq!(keys.is_own_number(node), u64::from(node) == number);
            // SAFETY: as above.
            assert_eq!(unsafe { keys.key(node) }, Some(KeyRef::Int(number)));
        }
    }
}
