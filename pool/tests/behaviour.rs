//! What callers may rely on: results, borrows, panics, nesting, ends.
#![cfg(not(loom))]

use std::{
    collections::HashSet,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use orthant_pool::{Affinity, CancelToken, Cancelled, MAX_THREADS, Pool, PoolError};

fn pool(threads: usize) -> Pool {
    Pool::builder().threads(threads).build().unwrap()
}

fn message(panic: &(dyn std::any::Any + Send)) -> &str {
    panic.downcast_ref::<&str>().copied().unwrap_or("not a str")
}

fn fib(pool: &Pool, n: u32) -> u64 {
    if n < 2 {
        return n.into();
    }
    let (a, b) = pool.join(|| fib(pool, n - 1), || fib(pool, n - 2));
    a + b
}

#[test]
fn join_returns_both_results_for_any_number_of_workers() {
    for threads in [1, 2, 3, 8] {
        assert_eq!(fib(&pool(threads), 20), 6765, "{threads} workers");
    }
}

#[test]
fn scope_runs_every_task_and_tasks_of_tasks() {
    for threads in [1, 2, 7] {
        let pool = pool(threads);
        let ran = AtomicUsize::new(0);
        let answer = pool.scope(|scope| {
            for _ in 0..100 {
                scope.spawn(|| {
                    for _ in 0..10 {
                        scope.spawn(|| {
                            ran.fetch_add(1, Ordering::Relaxed);
                        });
                    }
                });
            }
            7
        });
        assert_eq!((answer, ran.into_inner()), (7, 1000));
        assert_eq!(pool.counters().tasks, 1101, "the body, 100 tasks, 1000 tasks of theirs");
    }
}

#[test]
fn a_scope_without_tasks_returns() {
    assert_eq!(pool(2).scope(|_| 3), 3);
}

#[test]
#[cfg_attr(miri, ignore = "takes minutes")]
fn nested_scopes_and_joins_do_not_lock_up_one_worker() {
    fn nest(pool: &Pool, depth: usize, leaves: &AtomicUsize) {
        if depth == 0 {
            leaves.fetch_add(1, Ordering::Relaxed);
            return;
        }
        pool.scope(|scope| {
            scope.spawn(|| nest(pool, depth - 1, leaves));
            scope.spawn(|| {
                pool.join(|| nest(pool, depth - 1, leaves), || nest(pool, depth - 1, leaves));
            });
        });
    }
    for threads in [1, 2, 4] {
        let leaves = AtomicUsize::new(0);
        nest(&pool(threads), 6, &leaves);
        assert_eq!(leaves.into_inner(), 3usize.pow(6));
    }
}

#[test]
fn scopes_from_many_outside_threads_share_one_worker() {
    let pool = pool(1);
    thread::scope(|threads| {
        let calls: Vec<_> = (0..8)
            .map(|i| {
                threads.spawn({
                    let pool = &pool;
                    move || fib(pool, 5 + i)
                })
            })
            .collect();
        let sums: Vec<_> = calls.into_iter().map(|call| call.join().unwrap()).collect();
        assert_eq!(sums, [5, 8, 13, 21, 34, 55, 89, 144]);
    });
}

#[test]
fn a_panic_in_a_task_is_thrown_by_scope_after_the_others_have_run() {
    let pool = pool(2);
    let ran = AtomicUsize::new(0);
    let panic = catch_unwind(AssertUnwindSafe(|| {
        pool.scope(|scope| {
            scope.spawn(|| panic!("task"));
            for _ in 0..50 {
                scope.spawn(|| {
                    ran.fetch_add(1, Ordering::Relaxed);
                });
            }
        });
    }))
    .unwrap_err();
    assert_eq!(message(&*panic), "task");
    assert_eq!(ran.into_inner(), 50);
    assert_eq!(fib(&pool, 10), 55, "the pool works on");
}

#[test]
fn a_panic_in_the_body_waits_for_the_tasks_that_borrow() {
    let pool = pool(2);
    let ran = AtomicUsize::new(0);
    let panic = catch_unwind(AssertUnwindSafe(|| {
        pool.scope(|scope| {
            for _ in 0..50 {
                scope.spawn(|| {
                    thread::yield_now();
                    ran.fetch_add(1, Ordering::Relaxed);
                });
            }
            panic!("body");
        });
    }))
    .unwrap_err();
    assert_eq!(message(&*panic), "body");
    assert_eq!(ran.into_inner(), 50);
}

#[test]
fn join_carries_the_panic_of_either_side() {
    let pool = pool(2);
    for _ in 0..if cfg!(miri) { 3 } else { 100 } {
        let first = catch_unwind(AssertUnwindSafe(|| pool.join(|| panic!("a"), || 1))).unwrap_err();
        assert_eq!(message(&*first), "a");
        let second = catch_unwind(AssertUnwindSafe(|| pool.join(|| 1, || panic!("b")))).unwrap_err();
        assert_eq!(message(&*second), "b");
        let both =
            catch_unwind(AssertUnwindSafe(|| pool.join::<_, _, (), ()>(|| panic!("a"), || panic!("b"))))
                .unwrap_err();
        assert_eq!(message(&*both), "a");
    }
}

#[test]
fn chunks_cover_the_range_once() {
    for threads in [1, 2, 5] {
        let pool = pool(threads);
        for (n, chunk) in [(0, 3), (1, 1), (10, 3), (10, 100), (1000, 7), (5, usize::MAX)] {
            let seen: Vec<AtomicUsize> = (0..n).map(|_| AtomicUsize::new(0)).collect();
            pool.for_each_chunk(n, chunk, |worker, range| {
                assert!(worker < threads && range.len() <= chunk && !range.is_empty());
                assert_eq!(Pool::worker_index(), Some(worker));
                for i in range {
                    seen[i].fetch_add(1, Ordering::Relaxed);
                }
            });
            assert!(seen.iter().all(|seen| seen.load(Ordering::Relaxed) == 1), "{n} in chunks of {chunk}");
        }
    }
}

#[test]
#[should_panic(expected = "a chunk holds at least one index")]
fn a_chunk_of_nothing_is_refused() {
    pool(1).for_each_chunk(1, 0, |_, _| ());
}

#[test]
fn a_panic_in_a_chunk_stops_the_rest() {
    let pool = pool(2);
    let begun = AtomicUsize::new(0);
    let panic = catch_unwind(AssertUnwindSafe(|| {
        pool.for_each_chunk(1_000_000, 1, |_, range| {
            begun.fetch_add(1, Ordering::Relaxed);
            assert!(range.start < 100, "chunk");
        });
    }));
    assert!(panic.is_err());
    assert!(begun.into_inner() < 1_000_000);
}

#[test]
fn chunks_of_one_worker_never_overlap_even_when_they_call_the_pool() {
    let pool = pool(3);
    let inside: Vec<AtomicUsize> = (0..3).map(|_| AtomicUsize::new(0)).collect();
    for _ in 0..50 {
        pool.for_each_chunk(40, 1, |worker, _| {
            assert_eq!(inside[worker].fetch_add(1, Ordering::SeqCst), 0, "worker {worker} is inside already");
            // While it waits here, the worker helps; it must not come back into this loop.
            fib(&pool, 6);
            pool.for_each_chunk(4, 1, |_, _| thread::yield_now());
            inside[worker].fetch_sub(1, Ordering::SeqCst);
        });
    }
}

#[test]
fn a_cancelled_loop_stops_and_says_so() {
    let pool = pool(2);
    let token = CancelToken::new();
    let done = AtomicUsize::new(0);
    let result = pool.for_each_chunk_until(1_000_000, 1, &token, |_, _| {
        if done.fetch_add(1, Ordering::Relaxed) == 10 {
            token.cancel();
        }
    });
    assert_eq!(result, Err(Cancelled));
    assert!(done.into_inner() < 1_000_000);
    let token = CancelToken::new();
    assert_eq!(pool.for_each_chunk_until(10, 1, &token, |_, _| ()), Ok(()));
}

#[test]
fn executed_tasks_run_before_the_pool_has_ended() {
    for threads in [1, 2] {
        let ran = Arc::new(AtomicUsize::new(0));
        let pool = Arc::new(pool(threads));
        for _ in 0..100 {
            let ran = Arc::clone(&ran);
            pool.execute(move || {
                ran.fetch_add(1, Ordering::Relaxed);
            });
        }
        pool.execute(|| panic!("nobody is told but the hook"));
        drop(Arc::into_inner(pool).unwrap());
        assert_eq!(ran.load(Ordering::Relaxed), 100);
    }
}

#[test]
fn a_pool_can_be_dropped_on_its_own_worker() {
    let (sender, receiver) = std::sync::mpsc::channel();
    let pool = Arc::new(pool(2));
    let inside = Arc::clone(&pool);
    let (go, wait) = std::sync::mpsc::channel::<()>();
    pool.execute(move || {
        wait.recv().unwrap();
        drop(inside);
        sender.send(()).unwrap();
    });
    drop(pool);
    go.send(()).unwrap();
    receiver.recv().unwrap();
}

#[test]
fn workers_have_names_and_numbers() {
    let pool = Pool::builder().threads(3).name("search").build().unwrap();
    let seen = Mutex::new(HashSet::new());
    pool.for_each_chunk(300, 1, |worker, _| {
        let name = thread::current().name().unwrap().to_owned();
        assert_eq!(name, format!("search-{worker}"));
        seen.lock().unwrap().insert(worker);
    });
    assert!(!seen.lock().unwrap().is_empty());
    assert_eq!(Pool::worker_index(), None);
}

#[test]
fn a_zero_byte_ends_the_name() {
    let pool = Pool::builder().threads(1).name("a\0b").build().unwrap();
    assert_eq!(pool.scope(|_| thread::current().name().map(str::to_owned)), Some("a-0".to_owned()));
}

#[cfg(target_os = "linux")]
#[test]
#[cfg_attr(miri, ignore = "miri has no sched_getcpu")]
fn pinned_workers_stay_where_they_were_put() {
    // SAFETY: no arguments; returns the number of the core the thread runs on.
    let current = || unsafe { libc::sched_getcpu() } as usize;
    let somewhere = pool(1).scope(|_| current());
    let pool = Pool::builder().affinity(Affinity::Cores(vec![somewhere])).build().unwrap();
    assert_eq!(pool.threads(), 1, "as many workers as cores are listed");
    for _ in 0..100 {
        assert_eq!(
            pool.scope(|_| {
                thread::yield_now();
                current()
            }),
            somewhere
        );
    }
    assert!(Pool::builder().affinity(Affinity::Spread).build().is_ok());
}

#[test]
fn what_cannot_be_built_is_an_error() {
    let absent = Pool::builder().threads(2).affinity(Affinity::Cores(vec![100_000])).build();
    assert!(matches!(absent, Err(PoolError::Pin { core: 100_000, .. })), "{absent:?}");
    let many = Pool::builder().threads(MAX_THREADS + 1).build();
    assert!(matches!(many, Err(PoolError::TooManyThreads { threads }) if threads == MAX_THREADS + 1));
}

#[test]
fn two_pools_can_call_each_other_in_turn() {
    let (a, b) = (pool(1), pool(1));
    assert_eq!(a.scope(|_| b.scope(|_| fib(&b, 5)) + fib(&a, 6)), 13);
}
