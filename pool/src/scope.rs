//! Scopes: tasks that borrow from the frame that waits for them.
//!
//! * **C1** A scope's count holds one for its body and one for each task not yet done. Only a holder adds
//!   to it, so it reaches zero once, when nothing of the scope runs or is queued.
//! * **C2** `scope` returns, or unwinds, only after that. What the tasks borrow therefore outlives them.
//! * **C3** The first panic, of the body or of a task, is thrown in the caller after that; the other
//!   tasks still run.
//!
//! Cost: a task is one push and one pop; counting it costs a plain addition on the worker that opened the scope
//! and an atomic one elsewhere (see [`OwnedCount`]). Closures of more than two words are allocated.

use std::{
    marker::PhantomData,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    ptr,
};

use crate::{
    latch::OwnedCount,
    sync::Arc,
    task::{FirstPanic, Panic, Task},
    worker::{Shared, Worker},
};

/// How many tasks the owner runs between two looks at whether its scope is done. A look takes the others'
/// cache line away from them, and for as long as there are tasks in the owner's queue nobody waits.
const LOOK_EVERY: u32 = 64;

/// Where tasks are spawned that may borrow everything that outlives the call of
/// [`Pool::scope`](crate::Pool::scope).
///
/// It can be shared with the tasks themselves, which may spawn more.
pub struct Scope<'scope, 'env: 'scope> {
    shared: Arc<Shared>,
    /// The worker that opened the scope and waits for it.
    owner: *const Worker,
    owner_index: usize,
    count: OwnedCount,
    panic: FirstPanic,
    /// Invariant in both lifetimes, as in `std::thread::Scope`: a scope that could be shortened would
    /// accept tasks that borrow from inside it.
    scope: PhantomData<&'scope mut &'scope ()>,
    env: PhantomData<&'env mut &'env ()>,
}

// SAFETY: `owner` is compared and never followed; the owner's half of `count` is used only by the thread whose
// current worker it is (see `spawn` and `close_one`). The rest is `Sync` by itself.
unsafe impl Sync for Scope<'_, '_> {}

impl<'scope, 'env> Scope<'scope, 'env> {
    /// Queues `f` to run on some worker, at the latest while the scope waits for its tasks.
    ///
    /// There is no order among tasks. A panic in `f` is thrown by `scope` when all tasks have ended.
    #[inline]
    pub fn spawn<F: FnOnce() + Send + 'scope>(&'scope self, f: F) {
        let body = move |scope: *const (), worker: &Worker| {
            let result = catch_unwind(AssertUnwindSafe(f));
            // SAFETY: the task holds one of the scope's counts, so the scope is live (C1, C2).
            unsafe { Self::close_one(scope.cast(), result.err(), worker) };
        };
        // SAFETY: `f` borrows at most for 'scope, and `run` ends only after this task has (C2).
        let task = unsafe { Task::owning((&raw const *self).cast(), body) };
        match Worker::current(&self.shared) {
            Some(worker) => {
                if ptr::eq(worker, self.owner) {
                    // SAFETY: this is the owner's thread.
                    unsafe { self.count.open_one_as_owner() };
                } else {
                    self.count.open_one();
                }
                worker.push(task);
            }
            None => {
                self.count.open_one();
                self.shared.inject(task);
            }
        }
    }

    /// Gives back one count of the scope.
    ///
    /// # Safety
    /// `this` is live when the call starts and the caller holds one of its counts. It may be gone
    /// afterwards.
    #[inline]
    unsafe fn close_one(this: *const Self, panic: Option<Panic>, worker: &Worker) {
        // SAFETY: live by the caller's guarantee, until the count is given back below.
        let scope = unsafe { &*this };
        if let Some(panic) = panic {
            scope.panic.store(panic);
        }
        if ptr::eq(worker, scope.owner) {
            // SAFETY: this is the owner's thread; the owner leaves the scope only after this has returned.
            unsafe { scope.count.close_one_as_owner() };
            return;
        }
        let owner = scope.owner_index;
        // SAFETY: as above; nothing of the scope is used after this call.
        if unsafe { OwnedCount::close_one(&raw const scope.count) } {
            worker.shared().sleep.wake_worker(owner);
        }
    }

    /// Runs `body` and then waits for all tasks, on a worker.
    pub(crate) fn run<F, R>(worker: &Worker, body: F) -> R
    where
        F: for<'s> FnOnce(&'s Scope<'s, 'env>) -> R,
    {
        let scope = Scope {
            shared: Arc::clone(worker.shared()),
            owner: worker,
            owner_index: worker.index(),
            count: OwnedCount::new(),
            panic: FirstPanic::new(),
            scope: PhantomData,
            env: PhantomData,
        };
        let result = catch_unwind(AssertUnwindSafe(|| body(&scope)));
        // SAFETY: this is the owner's thread, which gives back the body's own count.
        unsafe { scope.count.close_one_as_owner() };
        scope.wait(worker);
        match (result, scope.panic.take()) {
            (Err(panic), _) | (Ok(_), Some(panic)) => resume_unwind(panic),
            (Ok(value), None) => value,
        }
    }

    /// Runs tasks, on the owner, until the scope is done.
    fn wait(&self, owner: &Worker) {
        for ran in 0.. {
            // SAFETY: this is the owner's thread, and the count is not settled yet.
            if ran % LOOK_EVERY == 0 && unsafe { self.count.is_done() } {
                return;
            }
            match owner.next() {
                Some(task) => owner.execute(task),
                None => break,
            }
        }
        // SAFETY: this is the owner's thread, and it settles once.
        unsafe { self.count.settle() };
        owner.wait(self.count.latch());
    }
}
