//! `for_each_chunk`: one index range, cut into chunks, claimed by whoever is free.
//!
//! * **K1** Each chunk is claimed by one fetch-and-add and so run once.
//! * **K2** On one worker, the chunks of one call never overlap in time, not even when a chunk waits in a
//!   nested call and the worker helps meanwhile: a worker that is inside the loop does not enter it again.
//!   So data indexed by the worker's number has one user at a time.
//! * **K3** After a panic no further chunk is begun; the call throws it when the chunks begun have ended.
//!
//! Cost: no allocation; one queued task per worker and one fetch-and-add per chunk.

use std::{
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
};

use crate::{
    cancel::CancelToken,
    latch::CountLatch,
    sync::{AtomicUsize, Ordering, Padded},
    task::{FirstPanic, RunAt, Task},
    worker::Worker,
};

/// One call, in the stack frame of the worker that waits for it.
struct ChunkLoop<'a, F> {
    next: Padded<AtomicUsize>,
    chunks: usize,
    chunk: usize,
    n: usize,
    f: &'a F,
    cancel: Option<&'a CancelToken>,
    owner: usize,
    count: CountLatch,
    panic: FirstPanic,
}

/// The loops a worker is inside of, innermost first, as a list through its stack.
struct Frame {
    /// Address of the `ChunkLoop`.
    chunk_loop: *const (),
    outer: *const (),
}

/// Runs `f(worker, range)` for all chunks of `0..n`; the caller is `worker`.
///
/// `chunk > 0` and `n > 0`. Stops between chunks when `cancel` is set.
pub(crate) fn run<F>(
    worker: &Worker,
    threads: usize,
    n: usize,
    chunk: usize,
    cancel: Option<&CancelToken>,
    f: &F,
) where
    F: Fn(usize, Range<usize>) + Sync,
{
    let chunks = n.div_ceil(chunk);
    let helpers = threads.min(chunks) - 1;
    let call = ChunkLoop {
        next: Padded(AtomicUsize::new(0)),
        chunks,
        chunk,
        n,
        f,
        cancel,
        owner: worker.index(),
        count: CountLatch::new(1 + helpers),
        panic: FirstPanic::new(),
    };
    for _ in 0..helpers {
        // SAFETY: `call` lives until its count is zero, and each of these tasks holds one; it is shared
        // by reference and `Sync` (`F: Sync`).
        worker.push(unsafe { Task::at(&raw const call) });
    }
    call.claim_chunks(worker);
    // SAFETY: the caller's own count, given back once, on a live loop.
    let _ = unsafe { CountLatch::close_one(&raw const call.count) };
    worker.wait(call.count.latch());
    if let Some(panic) = call.panic.take() {
        resume_unwind(panic);
    }
}

impl<F: Fn(usize, Range<usize>) + Sync> RunAt for ChunkLoop<'_, F> {
    /// A helper's task.
    unsafe fn run_at(this: *const Self, worker: &Worker) {
        // SAFETY: live until this task gives its count back.
        let call = unsafe { &*this };
        if !call.is_inside(worker) {
            call.claim_chunks(worker);
        }
        let owner = call.owner;
        // SAFETY: this task's own count, given back once; nothing of the loop is used afterwards.
        if unsafe { CountLatch::close_one(&raw const call.count) } {
            worker.shared().sleep.wake_worker(owner);
        }
    }
}

impl<F: Fn(usize, Range<usize>) + Sync> ChunkLoop<'_, F> {
    /// Claims and runs chunks until none is left (K1).
    fn claim_chunks(&self, worker: &Worker) {
        let frame = Frame { chunk_loop: self.address(), outer: worker.chunk_loop.get() };
        worker.chunk_loop.set((&raw const frame).cast());
        let result = catch_unwind(AssertUnwindSafe(|| {
            loop {
                // Relaxed: the number itself is all that is passed on; results travel with the count.
                let index = self.next.fetch_add(1, Ordering::Relaxed);
                if index >= self.chunks || self.cancel.is_some_and(CancelToken::is_cancelled) {
                    return;
                }
                let start = index * self.chunk;
                (self.f)(worker.index(), start..self.n.min(start.saturating_add(self.chunk)));
            }
        }));
        worker.chunk_loop.set(frame.outer);
        if let Err(panic) = result {
            self.next.store(self.chunks, Ordering::Relaxed);
            self.panic.store(panic);
        }
    }

    /// Whether `worker` is inside this loop already (K2).
    fn is_inside(&self, worker: &Worker) -> bool {
        let mut place = worker.chunk_loop.get().cast::<Frame>();
        // SAFETY: the list holds the frames of `claim_chunks` calls that have not returned, on this
        // very thread's stack; each unlinks itself before it goes.
        while let Some(frame) = unsafe { place.as_ref() } {
            if std::ptr::eq(frame.chunk_loop, self.address()) {
                return true;
            }
            place = frame.outer.cast();
        }
        false
    }

    fn address(&self) -> *const () {
        (&raw const *self).cast()
    }
}
