//! Counters: what each worker has done, summed when somebody asks.
//!
//! Each worker writes only its own counters, on its own cache lines, with plain (relaxed) loads and
//! stores. A sum taken while workers run is a little behind; taken after a `scope`, `join` or
//! `for_each_chunk` that they belong to has returned, it holds all of its tasks.
//!
//! Cost: one load and one store per event, no locked instruction.

use crate::sync::{AtomicU64, Ordering};

/// The counters of one worker.
pub(crate) struct WorkerCounters {
    tasks: AtomicU64,
    steals: AtomicU64,
    sleeps: AtomicU64,
}

impl WorkerCounters {
    pub(crate) fn new() -> Self {
        Self { tasks: AtomicU64::new(0), steals: AtomicU64::new(0), sleeps: AtomicU64::new(0) }
    }

    #[inline]
    pub(crate) fn count_task(&self) {
        add_one(&self.tasks);
    }

    #[inline]
    pub(crate) fn count_steal(&self) {
        add_one(&self.steals);
    }

    #[inline]
    pub(crate) fn count_sleep(&self) {
        add_one(&self.sleeps);
    }

    pub(crate) fn read(&self) -> Counters {
        Counters {
            tasks: self.tasks.load(Ordering::Relaxed),
            steals: self.steals.load(Ordering::Relaxed),
            sleeps: self.sleeps.load(Ordering::Relaxed),
        }
    }
}

/// Not a `fetch_add`: only one thread writes, so there is nothing to lose between load and store.
#[inline]
fn add_one(counter: &AtomicU64) {
    counter.store(counter.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
}

/// What the workers of a pool have done since it was built. See [`Pool::counters`](crate::Pool::counters).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Tasks run. The half of a `join` that the caller runs itself is no task.
    pub tasks: u64,
    /// Times one worker took tasks from another: up to half of what lay there, 32 at most.
    pub steals: u64,
    /// Times a worker found nothing to do and blocked.
    pub sleeps: u64,
}

impl std::ops::Add for Counters {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            tasks: self.tasks + other.tasks,
            steals: self.steals + other.steals,
            sleeps: self.sleeps + other.sleeps,
        }
    }
}
