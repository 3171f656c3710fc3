//! Scopes: tasks that borrow from the frame that waits for them.
//!
//! * **C1** A scope's count holds one for its body and one for each task not yet done. Only a holder adds
//!   to it, so it reaches zero once, when nothing of the scope runs or is queued.
//! * **C2** `scope` returns, or unwinds, only after that. What the tasks borrow therefore outlives them.
//! * **C3** The first panic, of the body or of a task, is thrown in the caller after that; the other
//!   tasks still run.
//!
//! Cost: one allocation per task.

use std::{
    marker::PhantomData,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
};

use crate::{
    latch::CountLatch,
    sync::Arc,
    task::{FirstPanic, Task},
    worker::{Shared, Worker},
};

/// Where tasks are spawned that may borrow everything that outlives the call of
/// [`Pool::scope`](crate::Pool::scope).
///
/// It can be shared with the tasks themselves, which may spawn more.
pub struct Scope<'scope, 'env: 'scope> {
    shared: Arc<Shared>,
    owner: usize,
    count: CountLatch,
    panic: FirstPanic,
    /// Invariant in both lifetimes, as in `std::thread::Scope`: a scope that could be shortened would
    /// accept tasks that borrow from inside it.
    scope: PhantomData<&'scope mut &'scope ()>,
    env: PhantomData<&'env mut &'env ()>,
}

/// A scope as its tasks see it: an address that is good until the task's own count is given back.
struct ScopeAddress(*const ());

// SAFETY: the scope behind it is shared by reference between threads anyway (it is `Sync`).
unsafe impl Send for ScopeAddress {}

impl<'scope, 'env> Scope<'scope, 'env> {
    /// Queues `f` to run on some worker, at the latest while the scope waits for its tasks.
    ///
    /// There is no order among tasks. A panic in `f` is thrown by `scope` when all tasks have ended.
    pub fn spawn<F: FnOnce() + Send + 'scope>(&'scope self, f: F) {
        self.count.open_one();
        let scope = ScopeAddress((&raw const *self).cast());
        let body = move |worker: &Worker| {
            let scope = scope;
            let result = catch_unwind(AssertUnwindSafe(f));
            // SAFETY: the task holds one of the scope's counts, so the scope is live (C1, C2).
            unsafe { Self::close_one(scope.0.cast(), result.err(), worker) };
        };
        // SAFETY: `f` borrows at most for 'scope, and `run` ends only after this task has (C2).
        self.shared.push(unsafe { Task::boxed(body) });
    }

    /// Gives back one count of the scope.
    ///
    /// # Safety
    /// `this` is live when the call starts and the caller holds one of its counts. It may be gone
    /// afterwards.
    unsafe fn close_one(this: *const Self, panic: Option<crate::task::Panic>, worker: &Worker) {
        // SAFETY: live by the caller's guarantee, until the count is given back below.
        let scope = unsafe { &*this };
        if let Some(panic) = panic {
            scope.panic.store(panic);
        }
        let owner = scope.owner;
        // SAFETY: as above; nothing of the scope is used after this call.
        if unsafe { CountLatch::close_one(&raw const scope.count) } {
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
            owner: worker.index(),
            count: CountLatch::new(1),
            panic: FirstPanic::new(),
            scope: PhantomData,
            env: PhantomData,
        };
        let result = catch_unwind(AssertUnwindSafe(|| body(&scope)));
        // The owner is here and awake: there is nobody to be woken.
        // SAFETY: the body's own count, given back once, on a live scope.
        let _ = unsafe { CountLatch::close_one(&raw const scope.count) };
        worker.wait(scope.count.latch());
        match (result, scope.panic.take()) {
            (Err(panic), _) | (Ok(_), Some(panic)) => resume_unwind(panic),
            (Ok(value), None) => value,
        }
    }
}
