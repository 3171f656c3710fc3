//! Latches: how one thread learns that work it depends on has ended.
//!
//! * **L1** A latch is set once and stays set.
//! * **L2** Everything the setter did before is visible to the thread that sees the latch set.
//! * **L3** A worker latch often lies in the waiting worker's stack frame, which may be gone as soon
//!   as the latch is set. The setter therefore reads what it needs before, and touches nothing after.
//! * **L4** A worker that is about to sleep on a latch marks it first; whoever sets a marked latch wakes
//!   that worker. Mark and set are both read-modify-writes of one word, so one of the two comes first:
//!   either the worker finds the latch set and stays awake, or the setter finds the mark.
//!
//! Cost: one swap to set; one load to ask.

use std::cell::Cell;

use crate::sync::{AtomicU32, AtomicUsize, Condvar, Mutex, Ordering, lock};

const OPEN: u32 = 0;
const MARKED: u32 = 1;
const SET: u32 = 2;

/// A latch one worker waits for while it helps with other tasks.
pub(crate) struct Latch {
    state: AtomicU32,
}

impl Latch {
    #[inline]
    pub(crate) fn new() -> Self {
        Self { state: AtomicU32::new(OPEN) }
    }

    /// Whether the latch is set; once true, always true (L1).
    #[inline]
    pub(crate) fn is_set(&self) -> bool {
        // OBSERVE: pairs with PUBLISH in `set`.
        self.state.load(Ordering::Acquire) == SET
    }

    /// Says that the owner is about to sleep. False when the latch is set already.
    pub(crate) fn mark(&self) -> bool {
        // OBSERVE on failure: pairs with PUBLISH in `set`.
        self.state.compare_exchange(OPEN, MARKED, Ordering::Relaxed, Ordering::Acquire).is_ok()
    }

    /// Takes the mark back after waking. Does nothing when the latch was set meanwhile.
    pub(crate) fn unmark(&self) {
        let _ = self.state.compare_exchange(MARKED, OPEN, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Sets the latch. True when its owner has marked it and so has to be woken.
    ///
    /// # Safety
    /// `latch` points to a live latch when the call starts. It may be gone when the call returns (L3).
    #[inline]
    pub(crate) unsafe fn set(latch: *const Self) -> bool {
        // SAFETY: the caller guarantees that the latch is live, and its owner leaves only after it has
        // seen SET, which this very swap writes: the reference is not used after that write (L3).
        let state = unsafe { &(*latch).state };
        // PUBLISH: pairs with OBSERVE in `is_set` and `mark`.
        state.swap(SET, Ordering::AcqRel) == MARKED
    }
}

/// A latch that is set when a count of open tasks falls to zero.
pub(crate) struct CountLatch {
    open: AtomicUsize,
    latch: Latch,
}

impl CountLatch {
    /// A latch with `open` tasks to wait for, at least one.
    pub(crate) fn new(open: usize) -> Self {
        Self { open: AtomicUsize::new(open), latch: Latch::new() }
    }

    /// The latch to wait for.
    pub(crate) fn latch(&self) -> &Latch {
        &self.latch
    }

    /// Counts one task as done. True when it was the last one and the owner has to be woken.
    ///
    /// # Safety
    /// `this` points to a live latch when the call starts and the caller holds one of its open tasks.
    /// The latch may be gone when the call returns (L3).
    #[inline]
    pub(crate) unsafe fn close_one(this: *const Self) -> bool {
        // SAFETY: live by the caller's guarantee, and it stays so until the latch is set: that is done
        // below, by the one caller that took the count to zero.
        let open = unsafe { &(*this).open };
        // PUBLISH and OBSERVE: each task releases what it did, the last one acquires it all and hands it
        // on through the latch.
        if open.fetch_sub(1, Ordering::AcqRel) != 1 {
            return false;
        }
        // SAFETY: as above; this caller is the only one that gets here.
        let latch = unsafe { &raw const (*this).latch };
        // SAFETY: the latch is part of `this`, which is live until the latch is set.
        unsafe { Latch::set(latch) }
    }
}

/// A latch like [`CountLatch`] whose owner opens and closes most tasks: that costs it a plain addition.
///
/// The count is in two halves. The owner keeps its own sum; the others share an atomic one, which is biased so
/// that they cannot take it to zero. When the owner has nothing left to run it *settles*: it adds its half to the
/// others', takes the bias away, and from then on everybody uses the shared half.
///
/// Nobody can see both halves at a zero sum too early. Only an open task opens another, and it closes after
/// that, so in the order of changes of the shared half a task's opening stands before its closing, and so
/// does every opening by it; what the owner itself opened and closed it knows exactly.
pub(crate) struct OwnedCount {
    /// Opened minus closed by the owner, until it settles.
    owned: Cell<usize>,
    is_settled: Cell<bool>,
    /// Opened minus closed by others, plus `UNSETTLED`; then, settled, all that are open.
    shared: AtomicUsize,
    latch: Latch,
}

/// The bias: more than the tasks that memory has room for, with as much room above.
const UNSETTLED: usize = usize::MAX / 4;

impl OwnedCount {
    /// A count with one task open, for the owner to close.
    pub(crate) fn new() -> Self {
        Self {
            owned: Cell::new(1),
            is_settled: Cell::new(false),
            shared: AtomicUsize::new(UNSETTLED),
            latch: Latch::new(),
        }
    }

    /// The latch that is set when a settled count falls to zero.
    pub(crate) fn latch(&self) -> &Latch {
        &self.latch
    }

    /// Counts one more task, opened by an open task on the owner's thread.
    ///
    /// # Safety
    /// Called on the owner's thread.
    #[inline]
    pub(crate) unsafe fn open_one_as_owner(&self) {
        if self.is_settled.get() {
            self.open_one();
        } else {
            self.owned.set(self.owned.get().wrapping_add(1));
        }
    }

    /// Counts one more task, opened by an open task elsewhere.
    #[inline]
    pub(crate) fn open_one(&self) {
        // Relaxed: the caller's own open task keeps the sum above zero until it is done.
        self.shared.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts one task as done that ran on the owner's thread.
    ///
    /// # Safety
    /// Called on the owner's thread, for an open task.
    #[inline]
    pub(crate) unsafe fn close_one_as_owner(&self) {
        if self.is_settled.get() {
            // The owner is awake: it is here.
            // SAFETY: the owner leaves after this call, so the count is live.
            let _ = unsafe { Self::close_one(self) };
        } else {
            self.owned.set(self.owned.get().wrapping_sub(1));
        }
    }

    /// Counts one task as done that ran elsewhere. True when it was the last and the owner has to be woken.
    ///
    /// # Safety
    /// `this` points to a live count when the call starts and the caller holds one of its open tasks. The
    /// count may be gone when the call returns (L3).
    #[inline]
    pub(crate) unsafe fn close_one(this: *const Self) -> bool {
        // SAFETY: live by the caller's guarantee. The owner may leave as soon as this very subtraction is done,
        // unless it took a settled count to zero: then the owner waits for the latch.
        let shared = unsafe { &(*this).shared };
        // PUBLISH: pairs with OBSERVE in `is_done`, and with the one that takes the count to zero.
        if shared.fetch_sub(1, Ordering::AcqRel) != 1 {
            return false;
        }
        // SAFETY: as above; this caller is the only one that gets here.
        let latch = unsafe { &raw const (*this).latch };
        // SAFETY: the latch is part of `this`, which is live until the latch is set.
        unsafe { Latch::set(latch) }
    }

    /// Whether everything is done.
    ///
    /// # Safety
    /// Called on the owner's thread, before it settles.
    pub(crate) unsafe fn is_done(&self) -> bool {
        // OBSERVE: pairs with PUBLISH in `close_one`.
        self.shared.load(Ordering::Acquire).wrapping_add(self.owned.get()) == UNSETTLED
    }

    /// Joins the halves. Sets the latch if nothing is open.
    ///
    /// # Safety
    /// Called on the owner's thread, once.
    pub(crate) unsafe fn settle(&self) {
        self.is_settled.set(true);
        let change = self.owned.get().wrapping_sub(UNSETTLED);
        // PUBLISH and OBSERVE, as in `close_one`.
        if self.shared.fetch_add(change, Ordering::AcqRel).wrapping_add(change) == 0 {
            // SAFETY: the owner is here and leaves later.
            let _ = unsafe { Latch::set(&raw const self.latch) };
        }
    }
}

/// A latch for threads that are no workers: they have nothing to help with and block.
///
/// It is shared by reference count, so L3 does not touch it.
pub(crate) struct Signal {
    is_set: Mutex<bool>,
    changed: Condvar,
}

impl Signal {
    pub(crate) fn new() -> Self {
        Self { is_set: Mutex::new(false), changed: Condvar::new() }
    }

    /// Blocks until the signal is set, and clears it.
    pub(crate) fn wait(&self) {
        let mut is_set = lock(&self.is_set);
        while !*is_set {
            is_set = self.changed.wait(is_set).unwrap_or_else(|poisoned| poisoned.into_inner());
        }
        *is_set = false;
    }

    pub(crate) fn set(&self) {
        *lock(&self.is_set) = true;
        self.changed.notify_one();
    }
}
