//! Sleep and wake: no interleaving leaves a task queued while everybody sleeps.
//!
//! The queue is a bare counter, so that nothing but the protocol's own fences orders it. A lost wake-up
//! shows as a deadlock, which loom reports by a panic; the broken twins must end that way.
#![cfg(loom)]

mod twin;

use loom::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};
use orthant_pool::model::Sleep;

struct Pool {
    sleep: Sleep,
    queued: AtomicUsize,
}

impl Pool {
    fn new(workers: usize) -> Arc<Self> {
        Arc::new(Self { sleep: Sleep::new(workers), queued: AtomicUsize::new(0) })
    }

    fn has_tasks(&self) -> bool {
        self.queued.load(Ordering::Acquire) > 0
    }

    fn take(&self) -> bool {
        self.queued.fetch_update(Ordering::AcqRel, Ordering::Acquire, |n| n.checked_sub(1)).is_ok()
    }

    fn push(&self) {
        self.queued.fetch_add(1, Ordering::Release);
    }

    /// The worker's search, as `Worker::search` does it, without an end.
    fn search(&self, worker: usize) {
        self.sleep.start_search();
        while !self.take() {
            self.sleep.announce(worker);
            if self.has_tasks() {
                self.sleep.retract(worker);
            } else {
                self.sleep.park(worker);
            }
        }
        if self.sleep.stop_search() && self.has_tasks() {
            self.sleep.wake_one();
        }
    }
}

#[test]
fn a_task_wakes_a_sleeper() {
    loom::model(|| {
        let pool = Pool::new(1);
        let worker = thread::spawn({
            let pool = Arc::clone(&pool);
            move || pool.search(0)
        });
        pool.push();
        pool.sleep.notify();
        worker.join().unwrap();
    });
}

#[test]
fn twin_that_looks_before_it_announces() {
    twin::is_caught("twin_that_looks_before_it_announces", "deadlock", || {
        loom::model(|| {
            let pool = Pool::new(1);
            let worker = thread::spawn({
                let pool = Arc::clone(&pool);
                move || {
                    pool.sleep.start_search();
                    while !pool.take() {
                        // Wrong way round: a task that comes in between is seen by nobody.
                        if !pool.has_tasks() {
                            pool.sleep.announce(0);
                            pool.sleep.park(0);
                        }
                    }
                }
            });
            pool.push();
            pool.sleep.notify();
            worker.join().unwrap();
        });
    });
}

#[test]
fn twin_that_notifies_without_its_fence() {
    twin::is_caught("twin_that_notifies_without_its_fence", "deadlock", || {
        loom::model(|| {
            let pool = Pool::new(1);
            let worker = thread::spawn({
                let pool = Arc::clone(&pool);
                move || pool.search(0)
            });
            pool.push();
            // The read of the word may now overtake the push.
            pool.sleep.notify_without_fence();
            worker.join().unwrap();
        });
    });
}

/// Two tasks, of which each waits until somebody has begun the other: both workers must come.
fn two_tasks_need_two_workers(search: fn(&Pool, usize)) {
    loom::model(move || {
        let pool = Pool::new(2);
        let workers: Vec<_> = (0..2)
            .map(|index| {
                let pool = Arc::clone(&pool);
                thread::spawn(move || search(&pool, index))
            })
            .collect();
        for _ in 0..2 {
            pool.push();
            pool.sleep.notify();
        }
        for worker in workers {
            worker.join().unwrap();
        }
    });
}

#[test]
fn a_searcher_that_finds_one_task_sends_for_the_next() {
    two_tasks_need_two_workers(Pool::search);
}

#[test]
fn twin_whose_last_searcher_does_not_look_again() {
    twin::is_caught("twin_whose_last_searcher_does_not_look_again", "deadlock", || {
        two_tasks_need_two_workers(|pool, worker| {
            pool.sleep.start_search();
            while !pool.take() {
                pool.sleep.announce(worker);
                if pool.has_tasks() {
                    pool.sleep.retract(worker);
                } else {
                    pool.sleep.park(worker);
                }
            }
            // S3 left out: the second task found a searcher and woke nobody.
            pool.sleep.stop_search();
        });
    });
}
