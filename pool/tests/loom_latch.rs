//! Latches: the waiter wakes, it sees what was done before, and the setter leaves the latch alone after.
#![cfg(loom)]

mod twin;

use loom::{
    cell::UnsafeCell,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};
use orthant_pool::model::{CountLatch, Latch, OwnedCount, Sleep};

struct Wait {
    sleep: Sleep,
    latch: Latch,
    /// Stands for the waiter's stack frame: the setter writes its result there, and the waiter takes the
    /// whole frame back once the latch is set.
    frame: UnsafeCell<u32>,
}

// SAFETY: the frame is what the models are about; loom reports every access that races.
unsafe impl Sync for Wait {}
// SAFETY: nothing in it is bound to a thread.
unsafe impl Send for Wait {}

impl Wait {
    fn new() -> Arc<Self> {
        Arc::new(Self { sleep: Sleep::new(1), latch: Latch::new(), frame: UnsafeCell::new(0) })
    }

    /// As `Worker::search` waits for a latch.
    fn wait(&self, mark: impl Fn(&Latch) -> bool) {
        self.sleep.start_search();
        while !self.latch.is_set() {
            if !mark(&self.latch) {
                break;
            }
            self.sleep.announce(0);
            if self.latch.is_set() {
                self.sleep.retract(0);
            } else {
                self.sleep.park(0);
            }
            self.latch.unmark();
        }
        self.sleep.stop_search();
    }

    fn write(&self, value: u32) {
        // SAFETY: loom checks that no other access overlaps.
        self.frame.with_mut(|frame| unsafe { *frame = value });
    }

    fn read(&self) -> u32 {
        // SAFETY: loom checks that no write overlaps.
        self.frame.with(|frame| unsafe { *frame })
    }

    fn set(&self) {
        if self.latch.set() {
            self.sleep.wake_worker(0);
        }
    }
}

fn wait_for_result(mark: fn(&Latch) -> bool, set: fn(&Wait)) {
    loom::model(move || {
        let wait = Wait::new();
        let setter = thread::spawn({
            let wait = Arc::clone(&wait);
            move || set(&wait)
        });
        wait.wait(mark);
        assert_eq!(wait.read(), 1);
        // The frame is used for something else from here on.
        wait.write(2);
        setter.join().unwrap();
    });
}

#[test]
fn the_waiter_wakes_and_sees_the_result() {
    wait_for_result(Latch::mark, |wait| {
        wait.write(1);
        wait.set();
    });
}

#[test]
fn twin_that_sleeps_without_a_mark() {
    twin::is_caught("twin_that_sleeps_without_a_mark", "deadlock", || {
        wait_for_result(
            |latch| !latch.is_set(),
            |wait| {
                wait.write(1);
                wait.set();
            },
        );
    });
}

#[test]
fn twin_that_uses_the_frame_after_it_set_the_latch() {
    twin::is_caught("twin_that_uses_the_frame_after_it_set_the_latch", "Causality violation", || {
        wait_for_result(Latch::mark, |wait| {
            wait.write(1);
            wait.set();
            wait.read();
        });
    });
}

#[test]
fn a_count_is_zero_when_the_last_task_has_ended() {
    loom::model(|| {
        let count = Arc::new(CountLatch::new(3));
        let sum = Arc::new(AtomicUsize::new(0));
        let tasks: Vec<_> = (0..2)
            .map(|_| {
                let (count, sum) = (Arc::clone(&count), Arc::clone(&sum));
                thread::spawn(move || {
                    // Relaxed: only the count orders the sum.
                    sum.fetch_add(1, Ordering::Relaxed);
                    count.close_one();
                })
            })
            .collect();
        count.close_one();
        if count.is_set() {
            assert_eq!(sum.load(Ordering::Relaxed), 2, "the count was zero too early");
        }
        for task in tasks {
            task.join().unwrap();
        }
        assert!(count.is_set());
    });
}

/// A task of the owner's runs elsewhere and opens another, which runs elsewhere again. When the owner sees
/// that all is done, by looking or by settling, both have ended.
fn owned_count(settles: bool, opens_late: bool) {
    loom::model(move || {
        let count = Arc::new(OwnedCount::new());
        let sum = Arc::new(AtomicUsize::new(0));
        let end = |count: &OwnedCount, sum: &AtomicUsize| {
            // Relaxed: only the count orders the sum.
            sum.fetch_add(1, Ordering::Relaxed);
            count.close_one();
        };
        count.open_one_as_owner();
        let first = thread::spawn({
            let (count, sum) = (Arc::clone(&count), Arc::clone(&sum));
            move || {
                if !opens_late {
                    count.open_one();
                }
                let second = thread::spawn({
                    let (count, sum) = (Arc::clone(&count), Arc::clone(&sum));
                    move || {
                        if opens_late {
                            count.open_one();
                        }
                        end(&count, &sum);
                    }
                });
                end(&count, &sum);
                second
            }
        });
        count.close_one_as_owner();
        let is_done = if settles {
            count.settle();
            count.is_set()
        } else {
            count.is_done()
        };
        if is_done {
            assert_eq!(sum.load(Ordering::Relaxed), 2, "the count was zero too early");
        }
        first.join().unwrap().join().unwrap();
        if settles {
            assert!(count.is_set());
        } else {
            assert!(count.is_done());
        }
    });
}

#[test]
fn a_settled_count_is_zero_when_the_last_task_has_ended() {
    owned_count(true, false);
}

#[test]
fn an_owner_that_looks_sees_zero_when_the_last_task_has_ended() {
    owned_count(false, false);
}

#[test]
fn twin_that_counts_a_task_when_it_begins() {
    twin::is_caught("twin_that_counts_a_task_when_it_begins", "the count was zero too early", || {
        owned_count(false, true);
    });
}
