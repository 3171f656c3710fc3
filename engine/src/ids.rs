//! What rows are called: the caller's keys, the graph's nodes, and the name of one row for ever.
//!
//! | name | given by | names |
//! |---|---|---|
//! | [`Key`] | the caller, or the index that numbers its rows | at most one row at a time |
//! | `NodeId` | the graph | a place; another row may take it once the one before it is gone |
//! | [`RowId`] | the graph | one row, for ever: a stale one names nothing |

use std::fmt;

use orthant_graph::NodeId;

/// One row of an index, for ever: its place, and how often that place was given to another row before.
///
/// The id of a row that was removed names nothing, even when another row has taken its place. Ids are those
/// of one index in memory: opening a saved one gives new ids, keys stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RowId {
    /// The node in the graph.
    pub node: NodeId,
    /// How many rows had this node before.
    pub generation: u32,
}

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
    /// A copy of its own.
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
