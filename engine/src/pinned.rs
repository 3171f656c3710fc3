//! Reading keys and rows in place, while other threads remove rows.

use orthant_graph::Pin;

use crate::ids::{Key, KeyRef, RowId};
use crate::index::Index;

/// Holds the rows that are in the index where they are: what it lends stays as it is while it lives, even when
/// the row is removed meanwhile.
///
/// It costs a few nanoseconds and blocks nobody, but what is removed while it lives is not given to new rows:
/// drop it within milliseconds, not minutes.
///
/// # Examples
/// ```
/// use orthant_engine::{Index, Key, KeyRef, Metric};
///
/// let index = Index::builder(2, Metric::L2).build()?;
/// let east = index.insert("east", &[5.0, 0.0])?;
/// let pinned = index.pin();
/// let row = pinned.row(east);
/// assert!(index.remove(&Key::from("east")));
/// assert_eq!(row, Some(&[5.0, 0.0][..]), "lent before it was removed");
/// assert_eq!((pinned.row(east), pinned.key(east)), (None, None));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Pinned<'a> {
    index: &'a Index,
    _pin: Pin,
}

impl Index {
    /// Lends keys and rows without copying them.
    pub fn pin(&self) -> Pinned<'_> {
        Pinned { index: self, _pin: self.graph.pin() }
    }
}

impl Pinned<'_> {
    /// The row that a key names now.
    pub fn id(&self, key: &Key) -> Option<RowId> {
        self.index.find(key)
    }

    /// The key of a row; `None` for one that is not in the index any more.
    pub fn key(&self, row: RowId) -> Option<KeyRef<'_>> {
        if !self.index.is_live(row) {
            return None;
        }
        // SAFETY: the node was just seen live under this pin, which outlives the key.
        unsafe { self.index.keys.key(row.node) }
    }

    /// A row as it is stored, `[dim]`: of unit length for [`Metric::Cosine`](crate::Metric::Cosine). `None` for
    /// one that is not in the index any more.
    pub fn row(&self, row: RowId) -> Option<&[f32]> {
        if !self.index.is_live(row) {
            return None;
        }
        // SAFETY: a live node's row was published before the node was linked (N1), and is not written again while
        // this pin is held (N4).
        Some(unsafe { self.index.rows.row_unchecked(row.node) })
    }
}
