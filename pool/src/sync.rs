//! The seam between `std` and loom: every atomic, lock and thread of this crate comes from here.
//!
//! With `--cfg loom` the same names are loom's, so that the models in `tests/loom_*.rs` run the code
//! that ships and not a copy of it. Outside of it the crate
//! names `std::sync` once, for the channel on which pinned workers report before their first task.

#[cfg(not(loom))]
pub(crate) use std::{
    hint::spin_loop,
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence},
    },
    thread::{Builder, JoinHandle, yield_now},
};

#[cfg(loom)]
pub(crate) use loom::{
    hint::spin_loop,
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence},
    },
    thread::{Builder, JoinHandle, yield_now},
};

#[cfg(not(loom))]
pub(crate) use std::sync::MutexGuard;

#[cfg(loom)]
pub(crate) use loom::sync::MutexGuard;

use std::ops::{Deref, DerefMut};

/// Locks `mutex`, taking the value as it is when an earlier holder panicked.
///
/// No code of ours panics while it holds one of this crate's locks, and each protected value is valid
/// after every single statement, so a poisoned lock carries no news.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// A value alone on its cache lines, so that writes to it do not slow readers of its neighbors.
///
/// 128 bytes: x86 fetches lines in pairs, so 64 would still let two owners disturb each other.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Padded<T>(pub(crate) T);

impl<T> Deref for Padded<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> DerefMut for Padded<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

/// A cell whose accesses loom checks for races; `std`'s `UnsafeCell` otherwise.
#[derive(Debug)]
pub(crate) struct SharedCell<T> {
    #[cfg(not(loom))]
    inner: std::cell::UnsafeCell<T>,
    #[cfg(loom)]
    inner: loom::cell::UnsafeCell<T>,
}

impl<T> SharedCell<T> {
    pub(crate) fn new(value: T) -> Self {
        Self {
            #[cfg(not(loom))]
            inner: std::cell::UnsafeCell::new(value),
            #[cfg(loom)]
            inner: loom::cell::UnsafeCell::new(value),
        }
    }

    /// Runs `f` on a pointer to the value; the access counts as a read.
    #[inline]
    pub(crate) fn with<R>(&self, f: impl FnOnce(*const T) -> R) -> R {
        #[cfg(not(loom))]
        return f(self.inner.get());
        #[cfg(loom)]
        self.inner.with(f)
    }

    /// Runs `f` on a pointer to the value; the access counts as a write.
    #[inline]
    pub(crate) fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
        #[cfg(not(loom))]
        return f(self.inner.get());
        #[cfg(loom)]
        self.inner.with_mut(f)
    }

    #[cfg(not(loom))]
    pub(crate) fn into_inner(self) -> T {
        self.inner.into_inner()
    }

    #[cfg(loom)]
    pub(crate) fn into_inner(self) -> T {
        self.inner.into_inner()
    }
}
