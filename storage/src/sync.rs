//! The seam between std and loom: what the lock-free parts of this crate are built from.
//!
//! Under `--cfg loom` the atomics are loom's, and [`Shadow`] gives every row a cell that loom
//! checks for races: row bytes lie in plain memory, which loom cannot see, so without it a model
//! would pass with any ordering. In a normal build `Shadow` is empty and compiles to nothing.

#[cfg(not(loom))]
pub(crate) use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};

#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicU32, AtomicUsize, Ordering, fence};

/// Keeps a hot atomic on cache lines of its own. 128 bytes, because x86 fetches lines in pairs and
/// some ARM cores have 128-byte lines.
#[repr(align(128))]
pub(crate) struct Padded<T>(pub(crate) T);

/// Stands for the bytes of the rows in a loom model; nothing in a normal build.
#[cfg(not(loom))]
pub(crate) struct Shadow;

#[cfg(not(loom))]
impl Shadow {
    pub(crate) fn new() -> Self {
        Shadow
    }
    /// Row `row` is about to be read.
    #[inline(always)]
    pub(crate) fn read(&self, _row: usize) {}
    /// Row `row` is about to be written.
    #[inline(always)]
    pub(crate) fn write(&self, _row: usize) {}
}

/// Rows a loom model may use.
#[cfg(loom)]
pub(crate) const MODEL_ROWS: usize = 4;

#[cfg(loom)]
pub(crate) struct Shadow(Vec<loom::cell::UnsafeCell<()>>);

// SAFETY: the cells hold nothing; what loom does with their addresses it does under its own lock, and
// that threads meet over them is what the model looks for.
#[cfg(loom)]
unsafe impl Sync for Shadow {}

#[cfg(loom)]
impl Shadow {
    pub(crate) fn new() -> Self {
        Shadow((0..MODEL_ROWS).map(|_| loom::cell::UnsafeCell::new(())).collect())
    }
    pub(crate) fn read(&self, row: usize) {
        self.0[row].with(|_| ());
    }
    pub(crate) fn write(&self, row: usize) {
        self.0[row].with_mut(|_| ());
    }
}
