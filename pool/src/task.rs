//! Tasks: two words in a queue that name a closure on the heap or in a waiting stack frame.
//!
//! * **T1** Every task that is pushed runs exactly once, on a worker of its pool.
//! * **T2** `run` never unwinds: each kind of task catches the panic of its closure and hands it to whom
//!   it concerns.
//!
//! Cost: no allocation for `join` and `for_each_chunk`, one per `spawn` and `execute`.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
};

use crate::{
    latch::{Latch, Signal},
    sync::{Arc, Mutex, SharedCell, lock},
    worker::Worker,
};

/// What a panicking closure left.
pub(crate) type Panic = Box<dyn Any + Send>;

/// A closure to run once, as it lies in the queues.
#[derive(Clone, Copy)]
pub(crate) struct Task {
    data: *const (),
    run: unsafe fn(*const (), &Worker),
}

// SAFETY: a task is built only from closures that are `Send`, and from loops that are `Sync`; the data
// behind the pointer stays until the task has run (the unsafe constructor's condition).
unsafe impl Send for Task {}

impl Task {
    /// # Safety
    /// `run(data, …)` is sound once, on any thread, until it has run; and it does not unwind (T2).
    #[inline]
    pub(crate) unsafe fn new(data: *const (), run: unsafe fn(*const (), &Worker)) -> Self {
        Self { data, run }
    }

    /// # Safety
    /// Called once for each task pushed (T1).
    #[inline]
    pub(crate) unsafe fn run(self, worker: &Worker) {
        // SAFETY: the constructor's condition, and the caller guarantees that this is the only run.
        unsafe { (self.run)(self.data, worker) }
    }

    /// Whether this task runs the closure at `data`.
    #[inline]
    pub(crate) fn is_at(&self, data: *const ()) -> bool {
        std::ptr::eq(self.data, data)
    }

    /// A task that owns `f` on the heap. `f` must not unwind (T2); a lifetime in `f` is erased here.
    ///
    /// # Safety
    /// The task runs before anything that `f` borrows ends.
    #[inline]
    pub(crate) unsafe fn boxed<F: FnOnce(&Worker) + Send>(f: F) -> Self {
        unsafe fn run<F: FnOnce(&Worker)>(data: *const (), worker: &Worker) {
            // SAFETY: `data` came from `Box::into_raw` below, and the task runs once (T1).
            let f = unsafe { Box::from_raw(data.cast::<F>().cast_mut()) };
            f(worker);
        }
        let data = Box::into_raw(Box::new(f)).cast_const().cast();
        // SAFETY: `f` is `Send`, run once; what it borrows lives by the caller's guarantee.
        unsafe { Self::new(data, run::<F>) }
    }
}

/// The first panic of a group of tasks; later ones are dropped.
pub(crate) struct FirstPanic(Mutex<Option<Panic>>);

impl FirstPanic {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(None))
    }

    #[cold]
    pub(crate) fn store(&self, panic: Panic) {
        let mut first = lock(&self.0);
        if first.is_none() {
            *first = Some(panic);
        } else {
            drop(first);
            discard(panic);
        }
    }

    pub(crate) fn take(&self) -> Option<Panic> {
        lock(&self.0).take()
    }
}

/// Drops a panic payload; a payload that panics in its own `Drop` is leaked instead.
#[cold]
pub(crate) fn discard(panic: Panic) {
    if let Err(again) = catch_unwind(AssertUnwindSafe(|| drop(panic))) {
        std::mem::forget(again);
    }
}

/// The second half of a `join`, in the stack frame of the worker that joins.
pub(crate) struct JoinTask<F, R> {
    pub(crate) latch: Latch,
    owner: usize,
    f: SharedCell<Option<F>>,
    result: SharedCell<Option<Result<R, Panic>>>,
}

impl<F: FnOnce() -> R + Send, R: Send> JoinTask<F, R> {
    pub(crate) fn new(f: F, owner: usize) -> Self {
        Self { latch: Latch::new(), owner, f: SharedCell::new(Some(f)), result: SharedCell::new(None) }
    }

    /// # Safety
    /// `self` stays where it is until its latch is set, or until the task was popped by its owner.
    pub(crate) unsafe fn task(&self) -> Task {
        // SAFETY: `F` and `R` are `Send`; `self` lives by the caller's guarantee; `run` catches panics.
        unsafe { Task::new(self.data(), Self::run) }
    }

    /// The address that names this task in a queue.
    pub(crate) fn data(&self) -> *const () {
        (&raw const *self).cast()
    }

    /// The closure, for the owner that popped its own task: nobody else will run it.
    pub(crate) fn take(&self) -> F {
        // SAFETY: the task was pushed once and popped once, by the owner, who is here: no other access.
        self.f.with_mut(|f| unsafe { (*f).take() }).expect("a joined closure runs once")
    }

    /// The result, once the latch is set.
    pub(crate) fn into_result(self) -> Result<R, Panic> {
        self.result.into_inner().expect("the latch is set after the result was written")
    }

    unsafe fn run(data: *const (), worker: &Worker) {
        // SAFETY: `data` is a live `JoinTask` until its latch is set (condition of `task`).
        let this = unsafe { &*data.cast::<Self>() };
        let f = this.take();
        let result = catch_unwind(AssertUnwindSafe(f));
        // SAFETY: the owner reads the result only after the latch is set; we are the only ones here.
        this.result.with_mut(|place| unsafe { *place = Some(result) });
        let owner = this.owner;
        // SAFETY: live until this call sets it; nothing of `this` is used afterwards (latch L3).
        if unsafe { Latch::set(&raw const this.latch) } {
            worker.shared().sleep.wake_worker(owner);
        }
    }
}

/// A closure that a thread from outside has a worker run, while it blocks.
pub(crate) struct OutsideTask<F, R> {
    signal: Arc<Signal>,
    f: SharedCell<Option<F>>,
    result: SharedCell<Option<Result<R, Panic>>>,
}

impl<F: FnOnce(&Worker) -> R + Send, R: Send> OutsideTask<F, R> {
    pub(crate) fn new(f: F, signal: Arc<Signal>) -> Self {
        Self { signal, f: SharedCell::new(Some(f)), result: SharedCell::new(None) }
    }

    /// # Safety
    /// `self` stays where it is until its signal is set.
    pub(crate) unsafe fn task(&self) -> Task {
        // SAFETY: `F` and `R` are `Send`; `self` lives by the caller's guarantee; `run` catches panics.
        unsafe { Task::new((&raw const *self).cast(), Self::run) }
    }

    /// The result, once the signal is set.
    pub(crate) fn into_result(self) -> Result<R, Panic> {
        self.result.into_inner().expect("the signal is set after the result was written")
    }

    unsafe fn run(data: *const (), worker: &Worker) {
        // SAFETY: `data` is a live `OutsideTask` until its signal is set (condition of `task`).
        let this = unsafe { &*data.cast::<Self>() };
        // Cloned first: `this` is gone as soon as the signal is set.
        let signal = Arc::clone(&this.signal);
        // SAFETY: a task runs once (T1) and nobody else touches `f`.
        let f = this.f.with_mut(|f| unsafe { (*f).take() }).expect("a task runs once");
        let result = catch_unwind(AssertUnwindSafe(|| f(worker)));
        // SAFETY: the caller reads the result only after the signal; we are the only ones here.
        this.result.with_mut(|place| unsafe { *place = Some(result) });
        signal.set();
    }
}
