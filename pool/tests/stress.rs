//! Under load and at rest: more workers than cores, nobody starves, nothing is lost, nothing spins.
#![cfg(not(loom))]

use std::{
    collections::HashSet,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use orthant_pool::{ObjectPool, PerWorker, Pool};

fn pool(threads: usize) -> Pool {
    Pool::builder().threads(threads).build().unwrap()
}

fn add(sum: &AtomicUsize, n: usize) {
    sum.fetch_add(n, Ordering::Relaxed);
}

#[test]
fn the_slowest_of_a_thousand_equal_tasks_finishes() {
    // 32 workers on however many cores there are.
    let pool = pool(32);
    let slowest = Mutex::new(Duration::ZERO);
    let start = Instant::now();
    pool.scope(|scope| {
        for _ in 0..1000 {
            scope.spawn(|| {
                let until = Instant::now() + Duration::from_micros(50);
                while Instant::now() < until {}
                let mut slowest = slowest.lock().unwrap();
                *slowest = start.elapsed().max(*slowest);
            });
        }
    });
    // 50 ms of work on one core; a starved task would wait for a wake-up that never comes.
    assert!(*slowest.lock().unwrap() < Duration::from_secs(20));
}

#[test]
fn outside_callers_are_served_while_tasks_breed_tasks() {
    let pool = pool(2);
    let is_served = AtomicBool::new(false);
    pool_breeds_until(&pool, &is_served, || {
        assert_eq!(pool.scope(|_| 7), 7);
        is_served.store(true, Ordering::Relaxed);
    });
}

/// Keeps both workers' own queues full until `stop` is set, while `outside` runs on this thread.
fn pool_breeds_until(pool: &Pool, stop: &AtomicBool, outside: impl FnOnce()) {
    fn breed<'scope>(scope: &'scope orthant_pool::Scope<'scope, '_>, stop: &'scope AtomicBool) {
        if !stop.load(Ordering::Relaxed) {
            scope.spawn(move || breed(scope, stop));
        }
    }
    thread::scope(|threads| {
        threads.spawn(|| {
            pool.scope(|scope| {
                for _ in 0..8 {
                    scope.spawn(|| breed(scope, stop));
                }
            });
        });
        outside();
    });
}

#[test]
fn mixed_work_from_many_threads_on_too_many_workers() {
    let pool = pool(32);
    let ran = AtomicUsize::new(0);
    thread::scope(|threads| {
        for caller in 0..8 {
            let (pool, ran) = (&pool, &ran);
            threads.spawn(move || {
                for round in 0..20 {
                    match (caller + round) % 4 {
                        0 => pool.scope(|scope| {
                            for _ in 0..50 {
                                scope.spawn(|| add(ran, 1));
                            }
                        }),
                        1 => pool.for_each_chunk(50, 3, |_, range| add(ran, range.len())),
                        2 => {
                            pool.join(|| add(ran, 25), || add(ran, 25));
                        }
                        _ => {
                            let panic = catch_unwind(AssertUnwindSafe(|| {
                                pool.scope(|scope| {
                                    scope.spawn(|| std::panic::resume_unwind(Box::new(())));
                                    scope.spawn(|| add(ran, 50));
                                });
                            }));
                            assert!(panic.is_err());
                        }
                    }
                }
            });
        }
    });
    assert_eq!(ran.into_inner(), 8 * 20 * 50);
}

#[test]
fn pools_come_and_go() {
    let ran = std::sync::Arc::new(AtomicUsize::new(0));
    for round in 0..200 {
        let pool = pool(1 + round % 4);
        for _ in 0..round % 5 {
            let ran = std::sync::Arc::clone(&ran);
            pool.execute(move || add(&ran, 1));
        }
    }
    assert_eq!(ran.load(Ordering::Relaxed), 40 * (1 + 2 + 3 + 4));
}

#[test]
fn a_burst_wakes_more_than_one_worker() {
    let pool = pool(4);
    thread::sleep(Duration::from_millis(20));
    let seen = Mutex::new(HashSet::new());
    let start = Instant::now();
    pool.scope(|scope| {
        for _ in 0..4 {
            // Each waits for the others, so four workers must come.
            scope.spawn(|| {
                seen.lock().unwrap().insert(Pool::worker_index());
                while seen.lock().unwrap().len() < 4 && start.elapsed() < Duration::from_secs(20) {
                    thread::yield_now();
                }
            });
        }
    });
    assert_eq!(seen.into_inner().unwrap().len(), 4);
}

#[test]
fn scratch_is_made_once_per_worker_and_kept() {
    let pool = pool(3);
    let mut sums = PerWorker::new(&pool, || 0);
    for _ in 0..20 {
        pool.for_each_chunk(100, 1, |_, range| sums.with(|sum| *sum += range.len()));
    }
    assert!(sums.iter_mut().count() <= 3);
    assert_eq!(sums.iter_mut().map(|sum| *sum).sum::<usize>(), 2000);
}

#[test]
fn scratch_is_not_lent_twice_nor_to_strangers() {
    let pool = pool(1);
    let scratch = PerWorker::new(&pool, || 0);
    let again = catch_unwind(AssertUnwindSafe(|| {
        pool.scope(|_| scratch.with(|_| scratch.with(|value| *value += 1)));
    }));
    assert!(again.is_err());
    pool.scope(|_| scratch.with(|value| *value += 1));
    assert!(catch_unwind(AssertUnwindSafe(|| scratch.with(|_| ()))).is_err(), "no worker");
    let other = self::pool(1);
    assert!(
        catch_unwind(AssertUnwindSafe(|| other.scope(|_| scratch.with(|_| ())))).is_err(),
        "another pool's"
    );
}

#[test]
fn an_object_has_one_holder_and_all_come_back() {
    let objects = ObjectPool::new(3, || AtomicBool::new(false));
    thread::scope(|threads| {
        for _ in 0..8 {
            threads.spawn(|| {
                for _ in 0..20_000 {
                    if let Some(is_held) = objects.acquire() {
                        assert!(!is_held.swap(true, Ordering::Relaxed), "two holders");
                        is_held.store(false, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let all: Vec<_> = (0..3).map(|_| objects.acquire().unwrap()).collect();
    assert!(objects.acquire().is_none(), "three are all there are");
    drop(all);
    assert!(objects.acquire().is_some());
    assert!(ObjectPool::new(0, || ()).acquire().is_none());
}

#[test]
fn an_object_that_cannot_be_made_does_not_keep_its_slot() {
    let fails = std::sync::Arc::new(AtomicBool::new(true));
    let seen = std::sync::Arc::clone(&fails);
    let objects = ObjectPool::new(1, move || assert!(!seen.load(Ordering::Relaxed), "made"));
    assert!(catch_unwind(AssertUnwindSafe(|| drop(objects.acquire()))).is_err());
    fails.store(false, Ordering::Relaxed);
    assert!(objects.acquire().is_some());
}
