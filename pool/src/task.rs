//! Tasks: four words in a queue that hold a small closure, or name a larger one on the heap or in a waiting
//! stack frame.
//!
//! * **T1** Every task that is pushed runs exactly once, on a worker of its pool.
//! * **T2** `run` never unwinds: each kind of task catches the panic of its closure and hands it to whom
//!   it concerns.
//!
//! Cost: no allocation for `join`, `for_each_chunk` and small closures, one for each larger `spawn` or `execute`.

use std::{
    any::Any,
    mem::{ManuallyDrop, MaybeUninit},
    panic::{AssertUnwindSafe, catch_unwind},
};

use crate::{
    latch::{Latch, Signal},
    sync::{Arc, Mutex, SharedCell, lock},
    worker::Worker,
};

/// What a panicking closure left.
pub(crate) type Panic = Box<dyn Any + Send>;

/// Words of a closure that lie in the queue itself. With two, a task is half a cache line: closures that capture
/// two references need no allocation, and the copies in push and pop stay cheap for `join`, which needs none.
const WORDS: usize = 2;

/// Set in [`Task::data`] of tasks that own their closure: they are spawned in numbers.
const OWNING: usize = 1;

/// A small closure, or the address of a larger one.
type Words = [MaybeUninit<*const ()>; WORDS];

/// A closure to run once, as it lies in the queues.
#[derive(Clone, Copy)]
pub(crate) struct Task {
    run: unsafe fn(*const (), &Words, &Worker),
    /// What the task belongs to: the same for all tasks of a scope or loop, its own for a joined closure. Both are
    /// aligned to words, which leaves the lowest bit for [`OWNING`].
    data: *const (),
    words: Words,
}

// SAFETY: a task is built only from closures that are `Send`, and from loops that are `Sync`; what it points to
// stays until the task has run (the unsafe constructors' condition).
unsafe impl Send for Task {}

/// Something in a waiting stack frame that tasks point to.
pub(crate) trait RunAt {
    /// Runs the task's part. Does not unwind (T2).
    ///
    /// # Safety
    /// `this` is live when the call starts. One call for each task made.
    unsafe fn run_at(this: *const Self, worker: &Worker);
}

impl Task {
    /// A task that points to `data`.
    ///
    /// # Safety
    /// `data` may be used on any thread, and lives until `run_at` gives it up.
    #[inline]
    pub(crate) unsafe fn at<D: RunAt>(data: *const D) -> Self {
        unsafe fn run<D: RunAt>(data: *const (), _: &Words, worker: &Worker) {
            // SAFETY: live by the condition of `at`, run once (T1).
            unsafe { D::run_at(data.cast(), worker) }
        }
        Self { run: run::<D>, data: data.cast(), words: [MaybeUninit::uninit(); WORDS] }
    }

    /// A task that owns `f`, in place if it fits, and hands `data` to it. `f` must not unwind (T2); a lifetime
    /// in `f` is erased here.
    ///
    /// # Safety
    /// The task runs before anything that `f` borrows ends. `f` may use `data` on any thread.
    #[inline]
    pub(crate) unsafe fn owning<F>(data: *const (), f: F) -> Self
    where
        F: FnOnce(*const (), &Worker) + Send,
    {
        unsafe fn run_in_place<F: FnOnce(*const (), &Worker)>(
            data: *const (),
            words: &Words,
            worker: &Worker,
        ) {
            // SAFETY: `owning` wrote an `F` there, and the task runs once (T1).
            let f = unsafe { words.as_ptr().cast::<F>().read() };
            f(without_mark(data), worker);
        }
        unsafe fn run_boxed<F: FnOnce(*const (), &Worker)>(data: *const (), words: &Words, worker: &Worker) {
            // SAFETY: `owning` wrote an address there.
            let address = unsafe { words[0].assume_init() };
            // SAFETY: the address came from `Box::into_raw`, and the task runs once (T1).
            let f = unsafe { Box::from_raw(address.cast::<F>().cast_mut()) };
            f(without_mark(data), worker);
        }
        debug_assert_eq!(data.addr() & OWNING, 0, "what tasks belong to is aligned");
        let data = data.map_addr(|address| address | OWNING);
        let mut words = [MaybeUninit::uninit(); WORDS];
        if size_of::<F>() <= size_of::<Words>() && align_of::<F>() <= align_of::<Words>() {
            // SAFETY: size and alignment were just compared.
            unsafe { words.as_mut_ptr().cast::<F>().write(f) };
            Self { run: run_in_place::<F>, data, words }
        } else {
            words[0].write(Box::into_raw(Box::new(f)).cast_const().cast());
            Self { run: run_boxed::<F>, data, words }
        }
    }

    /// # Safety
    /// Called once for each task pushed (T1).
    #[inline]
    pub(crate) unsafe fn run(self, worker: &Worker) {
        // SAFETY: the constructors' conditions, and the caller guarantees that this is the only run.
        unsafe { (self.run)(self.data, &self.words, worker) }
    }

    /// Whether this task was spawned or executed, so that more like it may lie beside it.
    #[inline]
    pub(crate) fn is_one_of_many(&self) -> bool {
        self.data.addr() & OWNING != 0
    }

    /// Whether this task belongs to `data`, which owns no closure.
    #[inline]
    pub(crate) fn is_at<D>(&self, data: *const D) -> bool {
        std::ptr::eq(self.data, data.cast())
    }
}

#[inline]
fn without_mark(data: *const ()) -> *const () {
    data.map_addr(|address| address & !OWNING)
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
    /// Taken once: by the owner that popped the task, or by the thief.
    f: SharedCell<ManuallyDrop<F>>,
    /// Written by a thief, before it sets the latch.
    result: SharedCell<MaybeUninit<Result<R, Panic>>>,
}

impl<F: FnOnce() -> R + Send, R: Send> JoinTask<F, R> {
    #[inline]
    pub(crate) fn new(f: F, owner: usize) -> Self {
        let f = SharedCell::new(ManuallyDrop::new(f));
        Self { latch: Latch::new(), owner, f, result: SharedCell::new(MaybeUninit::uninit()) }
    }

    /// # Safety
    /// `self` stays where it is until its latch is set, or until the task was popped by its owner.
    #[inline]
    pub(crate) unsafe fn task(&self) -> Task {
        // SAFETY: `F` and `R` are `Send`; `self` lives by the caller's guarantee.
        unsafe { Task::at(&raw const *self) }
    }

    /// The closure.
    ///
    /// # Safety
    /// Called once, by whoever got the task out of a queue: the owner that popped it, or a thief.
    #[inline]
    pub(crate) unsafe fn take(&self) -> F {
        // SAFETY: the queue handed the task to the caller and to nobody else, so this is the only access, and
        // the closure is not used again.
        self.f.with_mut(|f| unsafe { ManuallyDrop::take(&mut *f) })
    }

    /// What a thief left.
    ///
    /// # Safety
    /// The latch was seen set.
    pub(crate) unsafe fn into_result(self) -> Result<R, Panic> {
        // SAFETY: the thief wrote the result before it set the latch.
        unsafe { self.result.into_inner().assume_init() }
    }
}

impl<F: FnOnce() -> R + Send, R: Send> RunAt for JoinTask<F, R> {
    unsafe fn run_at(this: *const Self, worker: &Worker) {
        // SAFETY: live until its latch is set (condition of `task`).
        let task = unsafe { &*this };
        // SAFETY: a task runs once (T1), and this is that run.
        let f = unsafe { task.take() };
        let result = catch_unwind(AssertUnwindSafe(f));
        // SAFETY: the owner reads the result only after the latch is set; we are the only ones here.
        task.result.with_mut(|place| unsafe {
            (*place).write(result);
        });
        let owner = task.owner;
        // SAFETY: live until this call sets it; nothing of the task is used afterwards (latch L3).
        if unsafe { Latch::set(&raw const task.latch) } {
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
        // SAFETY: `F` and `R` are `Send`; `self` lives by the caller's guarantee.
        unsafe { Task::at(&raw const *self) }
    }

    /// The result, once the signal is set.
    pub(crate) fn into_result(self) -> Result<R, Panic> {
        self.result.into_inner().expect("the signal is set after the result was written")
    }
}

impl<F: FnOnce(&Worker) -> R + Send, R: Send> RunAt for OutsideTask<F, R> {
    unsafe fn run_at(this: *const Self, worker: &Worker) {
        // SAFETY: live until its signal is set (condition of `task`).
        let task = unsafe { &*this };
        // Cloned first: the task is gone as soon as the signal is set.
        let signal = Arc::clone(&task.signal);
        // SAFETY: a task runs once (T1) and nobody else touches `f`.
        let f = task.f.with_mut(|f| unsafe { (*f).take() }).expect("a task runs once");
        let result = catch_unwind(AssertUnwindSafe(|| f(worker)));
        // SAFETY: the caller reads the result only after the signal; we are the only ones here.
        task.result.with_mut(|place| unsafe { *place = Some(result) });
        signal.set();
    }
}
