//! The end of a pool: every worker ends, and what was queued before has run.
#![cfg(loom)]

mod twin;

use loom::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
};
use orthant_pool::{Pool, model::Sleep};

#[test]
fn an_idle_pool_ends() {
    loom::model(|| drop(Pool::builder().threads(2).build().unwrap()));
}

#[test]
fn a_queued_task_runs_before_the_end() {
    loom::model(|| {
        let pool = Pool::builder().threads(1).build().unwrap();
        let ran = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&ran);
        pool.execute(move || {
            counted.fetch_add(1, Ordering::Relaxed);
        });
        drop(pool);
        assert_eq!(ran.load(Ordering::Relaxed), 1);
    });
}

/// A worker in small: a queue of at most one task, a flag for the end.
struct Worker {
    sleep: Sleep,
    queued: AtomicUsize,
    is_ending: AtomicBool,
    ran: AtomicUsize,
}

fn end_after_a_task(run: fn(&Worker), end: fn(&Worker)) {
    loom::model(move || {
        let worker = Arc::new(Worker {
            sleep: Sleep::new(1),
            queued: AtomicUsize::new(0),
            is_ending: AtomicBool::new(false),
            ran: AtomicUsize::new(0),
        });
        let thread = thread::spawn({
            let worker = Arc::clone(&worker);
            move || run(&worker)
        });
        worker.queued.store(1, Ordering::Release);
        worker.sleep.notify();
        end(&worker);
        thread.join().unwrap();
        assert_eq!(worker.ran.load(Ordering::Relaxed), 1, "a task was dropped");
    });
}

/// The worker's loop; `order` says whether the end is asked for before the queue is looked at, as in
/// `Worker::search`, or after.
fn work(worker: &Worker, asks_first: bool) {
    worker.sleep.start_search();
    loop {
        let asked_before = worker.is_ending.load(Ordering::Acquire);
        if worker.queued.compare_exchange(1, 0, Ordering::AcqRel, Ordering::Acquire).is_ok() {
            worker.ran.fetch_add(1, Ordering::Relaxed);
            continue;
        }
        let is_over = if asks_first { asked_before } else { worker.is_ending.load(Ordering::Acquire) };
        if is_over {
            return;
        }
        worker.sleep.announce(0);
        if worker.queued.load(Ordering::Acquire) == 1 || worker.is_ending.load(Ordering::Acquire) {
            worker.sleep.retract(0);
        } else {
            worker.sleep.park(0);
        }
    }
}

fn end(worker: &Worker) {
    worker.is_ending.store(true, Ordering::Release);
    worker.sleep.wake_all();
}

#[test]
fn a_worker_that_asks_first_drops_nothing() {
    end_after_a_task(|worker| work(worker, true), end);
}

#[test]
fn twin_that_looks_first_and_asks_later() {
    twin::is_caught("twin_that_looks_first_and_asks_later", "a task was dropped", || {
        end_after_a_task(|worker| work(worker, false), end);
    });
}

#[test]
fn twin_that_ends_without_waking() {
    twin::is_caught("twin_that_ends_without_waking", "deadlock", || {
        end_after_a_task(
            |worker| work(worker, true),
            |worker| worker.is_ending.store(true, Ordering::Release),
        );
    });
}
