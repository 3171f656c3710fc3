//! Dividing a mutable slice among threads: whoever is free takes the next chunk.
//!
//! This is for the command's own preparations (reading, cutting, embedding); the engine brings its
//! own pool. One lock per chunk, so chunks should be worth more than a microsecond.

use std::num::NonZero;
use std::sync::Mutex;

/// `threads`, or the cores this process may use when it is 0.
pub(crate) fn thread_count(threads: usize) -> usize {
    match threads {
        0 => std::thread::available_parallelism().map_or(1, NonZero::get),
        given => given,
    }
}

/// Calls `work(first, chunk)` for consecutive chunks of `items`, where `first` is the index of the
/// chunk's first item.
///
/// # Panics
/// If `chunk` is 0, or with the panic of a call to `work`.
pub(crate) fn for_each_chunk<T: Send>(
    threads: usize,
    items: &mut [T],
    chunk: usize,
    work: impl Fn(usize, &mut [T]) + Sync,
) {
    let workers = thread_count(threads).min(items.len().div_ceil(chunk)).max(1);
    let queue = Mutex::new(items.chunks_mut(chunk).enumerate());
    let run = || {
        // The lock is held only to take the next chunk, so a panic in `work` cannot poison it.
        while let Some((at, items)) = { queue.lock().map_or(None, |mut queue| queue.next()) } {
            work(at * chunk, items);
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..workers {
            scope.spawn(run);
        }
        run();
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_item_is_visited_once_in_place() {
        for threads in [1, 3] {
            for n in [0, 1, 9, 10, 101] {
                let mut items = vec![0_usize; n];
                for_each_chunk(threads, &mut items, 10, |first, items| {
                    for (offset, item) in items.iter_mut().enumerate() {
                        *item += first + offset + 1;
                    }
                });
                assert!(items.iter().enumerate().all(|(at, &item)| item == at + 1));
            }
        }
    }
}
