//! Work shared out in chunks of a fixed size, whatever the number of threads.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use orthant_quant::Executor;

/// Calls `work(chunk, items)` for each chunk of `items`.
pub(crate) fn for_each_chunk_mut<T: Send>(
    executor: &dyn Executor,
    items: &mut [T],
    chunk: usize,
    work: impl Fn(usize, &mut [T]) + Sync,
) {
    // A lock per chunk, taken once: how safe code lends each task its own part.
    let chunks: Vec<Mutex<&mut [T]>> = items.chunks_mut(chunk.max(1)).map(Mutex::new).collect();
    executor
        .run(chunks.len(), &|at| work(at, &mut chunks[at].lock().unwrap_or_else(PoisonError::into_inner)));
}

/// What `work` makes of each chunk of `0..count`, in order.
pub(crate) fn map_chunks<T: Send>(
    executor: &dyn Executor,
    count: usize,
    chunk: usize,
    work: impl Fn(Range<usize>) -> T + Sync,
) -> Vec<T> {
    let made: Vec<Mutex<Option<T>>> = (0..count.div_ceil(chunk)).map(|_| Mutex::new(None)).collect();
    executor.run(made.len(), &|at| {
        let result = work(at * chunk..count.min((at + 1) * chunk));
        *made[at].lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
    });
    made.into_iter().filter_map(|made| made.into_inner().unwrap_or_else(PoisonError::into_inner)).collect()
}

/// Values that tasks borrow for their duration: as many are made as are in use at once.
pub(crate) struct Spares<T>(Mutex<Vec<T>>);

impl<T: Default> Spares<T> {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(Vec::new()))
    }

    /// Calls `work` with a value that nobody else has meanwhile.
    pub(crate) fn with<R>(&self, work: impl FnOnce(&mut T) -> R) -> R {
        let spare = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut value = spare.unwrap_or_default();
        let result = work(&mut value);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(value);
        result
    }
}
