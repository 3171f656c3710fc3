//! The caller's keys and the graph's node ids.
//!
//! An index either numbers its rows itself (key = row number, nothing stored twice) or keeps the keys it
//! was given; the first insert decides, and the two do not mix.
//!
//! * **K1** A row is published before its key is shown, and its key is shown before its node is linked: whoever
//!   finds the node reads its key, and whoever sees the key reads a whole row.
//! * **K2** A given key names at most one node: it is claimed in the map before the row is.
//!
//! Cost: node to key is two loads. Key to node is a lock-free hash map that is filled on first use after
//! opening a file, so that opening stays free of parsing.

use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use orthant_graph::NodeId;
use orthant_storage::{Column, MemoryOptions, Region, RegionError};

/// The caller's name for a row.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Key {
    /// A number.
    Int(u64),
    /// A text of at most 65,535 bytes.
    Str(Box<str>),
}

/// A key inside an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum KeyRef<'a> {
    /// A number.
    Int(u64),
    /// A text.
    Str(&'a str),
}

impl KeyRef<'_> {
    /// A copy that outlives the index.
    pub fn to_key(self) -> Key {
        match self {
            KeyRef::Int(number) => Key::Int(number),
            KeyRef::Str(text) => Key::Str(text.into()),
        }
    }
}

impl Key {
    /// The key, borrowed.
    pub fn as_ref(&self) -> KeyRef<'_> {
        match self {
            Key::Int(number) => KeyRef::Int(*number),
            Key::Str(text) => KeyRef::Str(text),
        }
    }
}

impl From<u64> for Key {
    fn from(number: u64) -> Self {
        Key::Int(number)
    }
}

impl From<&str> for Key {
    fn from(text: &str) -> Self {
        Key::Str(text.into())
    }
}

impl From<String> for Key {
    fn from(text: String) -> Self {
        Key::Str(text.into())
    }
}

impl fmt::Display for KeyRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeyRef::Int(number) => number.fmt(f),
            KeyRef::Str(text) => f.write_str(text),
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_ref().fmt(f)
    }
}

/// Most bytes of a text key: its length shares a word with its place.
pub(crate) const MAX_KEY_BYTES: usize = u16::MAX as usize;

/// In the map: claimed by an insert that is not done yet.
const PENDING: NodeId = NodeId::MAX;

/// Kinds of a row's key word.
const KIND_HOLE: u8 = 0;
const KIND_INT: u8 = 1;
const KIND_STR: u8 = 2;
const KIND_ROW_NUMBER: u8 = 3;

/// Who names the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum KeyMode {
    /// No row yet.
    Undecided = 0,
    /// The key is the row number.
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
    /// Taken by another row.
    Duplicate,
    /// Longer than a key may be.
    TooLong(usize),
    /// No memory.
    Memory(RegionError),
}

/// How a written key is to be shown.
pub(crate) struct Kind(u8);

/// All keys of an index.
pub(crate) struct Keys {
    pub(crate) kinds: Column<u8>,
    pub(crate) words: Column<u64>,
    pub(crate) texts: Region,
    texts_len: AtomicU64,
    mode: AtomicU8,
    map: OnceLock<papaya::HashMap<Key, NodeId>>,
}

impl Keys {
    pub(crate) fn new(options: &MemoryOptions) -> Result<Self, RegionError> {
        let options = MemoryOptions { expected_bytes: None, ..options.clone() };
        Ok(Self::from_parts(
            Column::new(1, &options)?,
            Column::new(1, &options)?,
            Region::reserve(&options)?,
            0,
            KeyMode::Undecided,
        ))
    }

    pub(crate) fn from_parts(
        kinds: Column<u8>,
        words: Column<u64>,
        texts: Region,
        texts_len: u64,
        mode: KeyMode,
    ) -> Self {
        Self {
            kinds,
            words,
            texts,
            texts_len: AtomicU64::new(texts_len),
            mode: AtomicU8::new(mode as u8),
            map: OnceLock::new(),
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

    /// Bytes of text keys.
    pub(crate) fn texts_len(&self) -> u64 {
        self.texts_len.load(Ordering::Acquire)
    }

    /// The map, filled from the rows `0..rows` when it is first needed.
    fn map(&self, rows: usize) -> &papaya::HashMap<Key, NodeId> {
        self.map.get_or_init(|| {
            let map = papaya::HashMap::new();
            let pinned = map.pin();
            for node in 0..rows as NodeId {
                if let Some(key) = self.key(node) {
                    pinned.insert(key.to_key(), node);
                }
            }
            drop(pinned);
            map
        })
    }

    /// Reserves a given key for a row to come (K2).
    pub(crate) fn claim(&self, key: &Key, rows: usize) -> Result<(), KeyRefused> {
        if let Key::Str(text) = key
            && text.len() > MAX_KEY_BYTES
        {
            return Err(KeyRefused::TooLong(text.len()));
        }
        match self.map(rows).pin().try_insert(key.clone(), PENDING) {
            Ok(_) => Ok(()),
            Err(_) => Err(KeyRefused::Duplicate),
        }
    }

    /// Gives a claimed key up again.
    pub(crate) fn release(&self, key: &Key) {
        if let Some(map) = self.map.get() {
            map.pin().remove(key);
        }
    }

    /// Makes a claimed key find its node.
    pub(crate) fn settle_node(&self, key: &Key, node: NodeId) {
        if let Some(map) = self.map.get() {
            map.pin().insert(key.clone(), node);
        }
    }

    /// Writes the key of a row that nobody can see yet; without one, its number is its key. Returns what to
    /// [`show`](Self::show) once the row is published.
    ///
    /// # Safety
    /// Row `node` was claimed by the caller and is not published yet.
    pub(crate) unsafe fn write(&self, node: NodeId, key: Option<KeyRef<'_>>) -> Result<Kind, KeyRefused> {
        self.kinds.ensure(node as usize + 1).map_err(KeyRefused::Memory)?;
        let kind = match key {
            None => KIND_ROW_NUMBER,
            Some(key) => {
                self.words.ensure(node as usize + 1).map_err(KeyRefused::Memory)?;
                let (kind, word) = match key {
                    KeyRef::Int(number) => (KIND_INT, number),
                    KeyRef::Str(text) => (KIND_STR, self.append_text(text)?),
                };
                // SAFETY: the row belongs to the caller alone, and the column was grown to it.
                unsafe { self.words.put(node, &[word]) };
                kind
            }
        };
        Ok(Kind(kind))
    }

    /// Makes the key of a published row visible (K1).
    pub(crate) fn show(&self, node: NodeId, kind: Kind) {
        self.set_kind(node, kind.0);
    }

    /// Takes the key from a row that will not be linked: it is in no result from here on.
    pub(crate) fn give_up(&self, node: NodeId) {
        self.set_kind(node, KIND_HOLE);
    }

    fn set_kind(&self, node: NodeId, kind: u8) {
        if let Some(place) = self.kind_place(node) {
            // PUBLISH: pairs with OBSERVE in `kind`; the row and the key's word come before.
            place.store(kind, Ordering::Release);
        }
    }

    fn kind(&self, node: NodeId) -> u8 {
        // OBSERVE: pairs with PUBLISH in `set_kind`.
        self.kind_place(node).map_or(KIND_HOLE, |place| place.load(Ordering::Acquire))
    }

    /// The kind byte of a row; `None` where the column was never grown to (a row that failed early).
    fn kind_place(&self, node: NodeId) -> Option<&AtomicU8> {
        if node as usize >= self.kinds.region().committed() {
            return None;
        }
        // SAFETY: inside the committed bytes, as just checked.
        let place = unsafe { self.kinds.as_ptr().cast_mut().add(node as usize) };
        // SAFETY: committed bytes stay so while `self` lives, and this column is only accessed through
        // these atomics, or copied while nothing is written.
        Some(unsafe { AtomicU8::from_ptr(place) })
    }

    /// Appends a text and returns its place and length in one word.
    fn append_text(&self, text: &str) -> Result<u64, KeyRefused> {
        if text.len() > MAX_KEY_BYTES {
            return Err(KeyRefused::TooLong(text.len()));
        }
        // Relaxed: the counter only hands out distinct places; the text is published with its row.
        let place = self.texts_len.fetch_add(text.len() as u64, Ordering::Relaxed);
        let end = place as usize + text.len();
        self.texts.ensure(end).map_err(KeyRefused::Memory)?;
        // SAFETY: `place` lies inside the bytes just ensured.
        let target = unsafe { self.texts.as_ptr().add(place as usize) };
        // SAFETY: `place..end` was handed out to this call alone and is committed.
        unsafe { std::ptr::copy_nonoverlapping(text.as_ptr(), target, text.len()) };
        Ok(place << 16 | text.len() as u64)
    }

    /// The key of a published row; `None` for a row that was given up.
    pub(crate) fn key(&self, node: NodeId) -> Option<KeyRef<'_>> {
        let kind = self.kind(node);
        match kind {
            KIND_HOLE => return None,
            KIND_ROW_NUMBER => return Some(KeyRef::Int(u64::from(node))),
            _ => {}
        }
        // SAFETY: the column was grown and the word written before the kind was set (K1).
        let word = unsafe { self.words.at(node) }[0];
        if kind == KIND_INT {
            return Some(KeyRef::Int(word));
        }
        let (place, length) = text_place(word);
        // SAFETY: the word was made by `append_text` (or checked by `check`), so the bytes are committed.
        let start = unsafe { self.texts.as_ptr().add(place) };
        // SAFETY: written once by `append_text`, before the row was published, and never again.
        let bytes = unsafe { std::slice::from_raw_parts(start, length) };
        // Made from a `str`; from a file, checked when it was opened.
        Some(KeyRef::Str(std::str::from_utf8(bytes).unwrap_or_default()))
    }

    /// Whether row `node` holds a key (and so a vector that was not given up).
    pub(crate) fn is_present(&self, node: NodeId) -> bool {
        self.kind(node) != KIND_HOLE
    }

    /// The node that a key names; `rows` are published for certain.
    pub(crate) fn node(&self, key: &Key, rows: usize) -> Option<NodeId> {
        match self.mode() {
            KeyMode::Undecided => None,
            KeyMode::RowNumber => self.numbered_node(key, rows),
            KeyMode::Given => self.map(rows).pin().get(key).copied().filter(|&node| node != PENDING),
        }
    }

    /// The node of a numbered row: that of its number, unless rows were moved by
    /// [`renumber`](Self::renumber) since.
    fn numbered_node(&self, key: &Key, rows: usize) -> Option<NodeId> {
        let Key::Int(number) = key else { return None };
        let node = NodeId::try_from(*number).ok()?;
        match self.kind(node) {
            KIND_ROW_NUMBER => Some(node),
            // Another row has the place: this one was moved.
            KIND_INT => {
                self.map(rows).pin().get(key).copied().filter(|&node| self.key(node) == Some(key.as_ref()))
            }
            _ => None,
        }
    }

    /// Whether the keys of the rows `0..rows`, which came from a file, are keys. Returns the first row
    /// whose key is not.
    pub(crate) fn check(&self, rows: usize, texts: &[u8]) -> Result<(), NodeId> {
        let mode = self.mode();
        let words = self.words.region().committed() / size_of::<u64>();
        if mode == KeyMode::RowNumber && self.kinds_of(rows).iter().all(|&kind| kind == KIND_ROW_NUMBER) {
            return Ok(());
        }
        let bad = (0..rows as NodeId).find(|&node| {
            let is_fine = match self.kind(node) {
                KIND_HOLE => true,
                KIND_ROW_NUMBER => mode == KeyMode::RowNumber,
                // A numbered row that was moved keeps its number as a word.
                KIND_INT => mode != KeyMode::Undecided && (node as usize) < words,
                KIND_STR => {
                    // SAFETY: the column was mapped with this many rows.
                    let (place, length) = text_place(unsafe { self.words.at(node) }[0]);
                    let text = texts.get(place..).and_then(|texts| texts.get(..length));
                    mode == KeyMode::Given && text.is_some_and(|text| std::str::from_utf8(text).is_ok())
                }
                _ => false,
            };
            !is_fine
        });
        bad.map_or(Ok(()), Err)
    }

    /// The kind bytes of the first `rows` rows, while nothing is written.
    pub(crate) fn kinds_of(&self, rows: usize) -> &[u8] {
        let rows = rows.min(self.kinds.region().committed());
        // SAFETY: committed bytes; the caller sees to it that nothing is written.
        unsafe { std::slice::from_raw_parts(self.kinds.as_ptr(), rows) }
    }
}

impl Keys {
    /// Gives the key of row `order[i]` to row `i`. Numbered rows keep their numbers as keys.
    ///
    /// On an error the keys are as they were.
    pub(crate) fn renumber(&mut self, order: &[NodeId], options: &MemoryOptions) -> Result<(), RegionError> {
        let options = MemoryOptions { expected_bytes: None, ..options.clone() };
        let (kinds, words) = (Column::new(1, &options)?, Column::new(1, &options)?);
        kinds.ensure(order.len())?;
        words.ensure(order.len())?;
        for (row, &node) in (0..).zip(order) {
            let kind = match self.kind(node) {
                KIND_ROW_NUMBER if node != row => KIND_INT,
                kind => kind,
            };
            // SAFETY: grown above, and nobody else knows the columns yet.
            unsafe { kinds.put(row, &[kind]) };
            // SAFETY: as above.
            unsafe { words.put(row, &[self.word(node)]) };
        }
        (self.kinds, self.words, self.map) = (kinds, words, OnceLock::new());
        Ok(())
    }

    /// The word that stands for the key of a row in a file: a number, or where the text is. 0 for none.
    pub(crate) fn word(&self, node: NodeId) -> u64 {
        match self.kind(node) {
            KIND_HOLE => 0,
            KIND_ROW_NUMBER => u64::from(node),
            _ => {
                // SAFETY: the column was grown and the word written before the kind was set (K1).
                let word = unsafe { self.words.at(node) };
                word[0]
            }
        }
    }

    /// Whether some of the rows `0..rows` have words, although rows are numbered.
    pub(crate) fn has_moved(&self, rows: usize) -> bool {
        self.mode() == KeyMode::RowNumber && self.kinds_of(rows).contains(&KIND_INT)
    }

    /// The bytes of all text keys, while nothing is written.
    pub(crate) fn texts_bytes(&self) -> &[u8] {
        let length = (self.texts_len() as usize).min(self.texts.committed());
        // SAFETY: committed bytes; the caller sees to it that nothing is written.
        unsafe { std::slice::from_raw_parts(self.texts.as_ptr(), length) }
    }
}

/// Where the text of a key word lies, and its bytes.
fn text_place(word: u64) -> (usize, usize) {
    ((word >> 16) as usize, (word & 0xFFFF) as usize)
}
