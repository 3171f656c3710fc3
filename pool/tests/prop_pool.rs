//! Whatever the shape of the work, a pool computes what one thread would.
#![cfg(not(loom))]

use std::sync::atomic::{AtomicU64, Ordering};

use orthant_pool::Pool;
use proptest::prelude::*;

/// Work of any shape.
#[derive(Debug, Clone)]
enum Work {
    Leaf(u64),
    Join(Box<Work>, Box<Work>),
    Scope(Vec<Work>),
    Chunks(Vec<Work>, usize),
}

fn work() -> impl Strategy<Value = Work> {
    let leaf = (0..1000u64).prop_map(Work::Leaf);
    leaf.prop_recursive(4, 60, 6, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(a, b)| Work::Join(Box::new(a), Box::new(b))),
            prop::collection::vec(inner.clone(), 0..6).prop_map(Work::Scope),
            (prop::collection::vec(inner, 0..6), 1..4usize)
                .prop_map(|(parts, chunk)| Work::Chunks(parts, chunk)),
        ]
    })
}

fn on_one_thread(work: &Work) -> u64 {
    match work {
        Work::Leaf(value) => *value,
        Work::Join(a, b) => 3 * on_one_thread(a) + on_one_thread(b),
        Work::Scope(parts) | Work::Chunks(parts, _) => parts.iter().map(on_one_thread).sum(),
    }
}

fn on_pool(pool: &Pool, work: &Work) -> u64 {
    match work {
        Work::Leaf(value) => *value,
        Work::Join(a, b) => {
            let (a, b) = pool.join(|| on_pool(pool, a), || on_pool(pool, b));
            3 * a + b
        }
        Work::Scope(parts) => {
            let sum = AtomicU64::new(0);
            pool.scope(|scope| {
                for part in parts {
                    scope.spawn(|| {
                        sum.fetch_add(on_pool(pool, part), Ordering::Relaxed);
                    });
                }
            });
            sum.into_inner()
        }
        Work::Chunks(parts, chunk) => {
            let sum = AtomicU64::new(0);
            pool.for_each_chunk(parts.len(), *chunk, |_, range| {
                let part: u64 = parts[range].iter().map(|part| on_pool(pool, part)).sum();
                sum.fetch_add(part, Ordering::Relaxed);
            });
            sum.into_inner()
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_nesting_gives_the_result_of_one_thread(work in work(), threads in 1..5usize) {
        let pool = Pool::builder().threads(threads).build().unwrap();
        prop_assert_eq!(on_pool(&pool, &work), on_one_thread(&work));
    }

    #[test]
    fn every_index_is_in_one_chunk(n in 0..500usize, chunk in 1..600usize, threads in 1..5usize) {
        let pool = Pool::builder().threads(threads).build().unwrap();
        let seen: Vec<AtomicU64> = (0..n).map(|_| AtomicU64::new(0)).collect();
        pool.for_each_chunk(n, chunk, |_, range| {
            for index in range {
                seen[index].fetch_add(1, Ordering::Relaxed);
            }
        });
        prop_assert!(seen.iter().all(|seen| seen.load(Ordering::Relaxed) == 1));
    }
}
