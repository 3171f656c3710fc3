//! The parts of the protocols, for the loom models in `tests/`: they drive the code that ships, step by
//! step, and their broken twins leave a step out or swap two. Only there with `--cfg loom`.

#![allow(missing_docs, reason = "each function is the function of the same name behind it")]

use crate::{latch, sleep};

pub struct Sleep(sleep::Sleep);

impl Sleep {
    pub fn new(workers: usize) -> Self {
        Self(sleep::Sleep::new(workers))
    }

    pub fn start_search(&self) {
        self.0.start_search();
    }

    pub fn stop_search(&self) -> bool {
        self.0.stop_search()
    }

    pub fn announce(&self, worker: usize) {
        self.0.announce(worker);
    }

    pub fn retract(&self, worker: usize) {
        self.0.retract(worker);
    }

    pub fn park(&self, worker: usize) {
        self.0.park(worker);
    }

    pub fn notify(&self) {
        self.0.notify();
    }

    pub fn notify_without_fence(&self) {
        self.0.wake_if_needed();
    }

    pub fn wake_one(&self) {
        self.0.wake_one();
    }

    pub fn wake_worker(&self, worker: usize) {
        self.0.wake_worker(worker);
    }

    pub fn wake_all(&self) {
        self.0.wake_all();
    }
}

pub struct Latch(latch::Latch);

impl Latch {
    #[expect(clippy::new_without_default, reason = "loom's atomics exist only inside a model")]
    pub fn new() -> Self {
        Self(latch::Latch::new())
    }

    pub fn is_set(&self) -> bool {
        self.0.is_set()
    }

    pub fn mark(&self) -> bool {
        self.0.mark()
    }

    pub fn unmark(&self) {
        self.0.unmark();
    }

    pub fn set(&self) -> bool {
        // SAFETY: `self` is live, and the models keep it so by reference count.
        unsafe { latch::Latch::set(&raw const self.0) }
    }
}

pub struct CountLatch(latch::CountLatch);

impl CountLatch {
    pub fn new(open: usize) -> Self {
        Self(latch::CountLatch::new(open))
    }

    pub fn is_set(&self) -> bool {
        self.0.latch().is_set()
    }

    pub fn close_one(&self) -> bool {
        // SAFETY: `self` is live, and the models keep it so by reference count.
        unsafe { latch::CountLatch::close_one(&raw const self.0) }
    }
}

pub struct OwnedCount(latch::OwnedCount);

// SAFETY: the models call the owner's functions on one thread only.
unsafe impl Sync for OwnedCount {}

impl OwnedCount {
    #[expect(clippy::new_without_default, reason = "loom's atomics exist only inside a model")]
    pub fn new() -> Self {
        Self(latch::OwnedCount::new())
    }

    pub fn is_set(&self) -> bool {
        self.0.latch().is_set()
    }

    pub fn open_one(&self) {
        self.0.open_one();
    }

    pub fn open_one_as_owner(&self) {
        // SAFETY: the models call this on one thread only.
        unsafe { self.0.open_one_as_owner() };
    }

    pub fn close_one(&self) -> bool {
        // SAFETY: `self` is live, and the models keep it so by reference count.
        unsafe { latch::OwnedCount::close_one(&raw const self.0) }
    }

    pub fn close_one_as_owner(&self) {
        // SAFETY: the models call this on one thread only.
        unsafe { self.0.close_one_as_owner() };
    }

    pub fn is_done(&self) -> bool {
        // SAFETY: the models call this on one thread only.
        unsafe { self.0.is_done() }
    }

    pub fn settle(&self) {
        // SAFETY: the models call this on one thread only.
        unsafe { self.0.settle() };
    }
}
