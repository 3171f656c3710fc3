//! `join`: two closures, at the same time if somebody is free.
//!
//! The second closure is queued from the stack frame of the caller, the first is run at once. Mostly
//! nobody has taken the second by then: the caller pops it and runs it like a plain call. Otherwise it
//! waits for the thief and runs other tasks meanwhile (worker W2).
//!
//! Cost: no allocation; one push, one pop and two fences when nothing is stolen.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use crate::{
    task::{JoinTask, discard},
    worker::Worker,
};

/// Runs `a` and `b` on `worker`, `b` perhaps elsewhere.
#[inline(always)]
pub(crate) fn run<A, B, RA, RB>(worker: &Worker, a: A, b: B) -> (RA, RB)
where
    A: FnOnce() -> RA,
    B: FnOnce() -> RB + Send,
    RB: Send,
{
    let second = JoinTask::new(b, worker.index());
    // SAFETY: this function returns only after it has popped the task or seen its latch set.
    worker.push(unsafe { second.task() });
    let first = catch_unwind(AssertUnwindSafe(a));
    while !second.latch.is_set() {
        match worker.pop() {
            Some(task) if task.is_at(&raw const second) => {
                // Nobody took it: it is ours again, and a plain call will do.
                // SAFETY: this is the owner, which has just popped the task.
                let b = unsafe { second.take() };
                return match first {
                    Ok(a) => (a, b()),
                    Err(panic) => {
                        // The call has failed already; `b` is dropped and not run.
                        drop(b);
                        resume_unwind(panic)
                    }
                };
            }
            Some(task) => worker.execute(task),
            None => worker.wait(&second.latch),
        }
    }
    // SAFETY: the loop ends when the latch is set.
    match (first, unsafe { second.into_result() }) {
        (Ok(a), Ok(b)) => (a, b),
        (Ok(_), Err(panic)) | (Err(panic), Ok(_)) => resume_unwind(panic),
        (Err(panic), Err(other)) => {
            discard(other);
            resume_unwind(panic)
        }
    }
}
