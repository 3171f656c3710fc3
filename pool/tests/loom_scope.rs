//! Scopes, joins and loops over chunks on the whole pool: they return, and only when all is done.
#![cfg(loom)]

mod twin;

use loom::{
    cell::UnsafeCell,
    sync::atomic::{AtomicUsize, Ordering},
};
use orthant_pool::Pool;

/// A place that loom watches.
struct Place(UnsafeCell<u32>);

// SAFETY: loom reports every access that races.
unsafe impl Sync for Place {}

impl Place {
    fn new() -> Self {
        Self(UnsafeCell::new(0))
    }

    fn add(&self) {
        // SAFETY: loom checks that no other access overlaps.
        self.0.with_mut(|place| unsafe { *place += 1 });
    }

    fn read(&self) -> u32 {
        // SAFETY: loom checks that no write overlaps.
        self.0.with(|place| unsafe { *place })
    }
}

#[test]
fn a_scope_returns_after_its_tasks() {
    loom::model(|| {
        let pool = Pool::builder().threads(1).build().unwrap();
        let place = Place::new();
        pool.scope(|scope| scope.spawn(|| place.add()));
        assert_eq!(place.read(), 1);
    });
}

#[test]
fn a_stolen_task_ends_before_its_scope() {
    loom::model(|| {
        let pool = Pool::builder().threads(2).build().unwrap();
        let (stolen, own) = (Place::new(), Place::new());
        pool.scope(|scope| {
            scope.spawn(|| stolen.add());
            own.add();
        });
        assert_eq!((stolen.read(), own.read()), (1, 1));
    });
}

#[test]
fn a_join_returns_after_both() {
    loom::model(|| {
        let pool = Pool::builder().threads(2).build().unwrap();
        let (a, b) = (Place::new(), Place::new());
        pool.join(|| a.add(), || b.add());
        assert_eq!((a.read(), b.read()), (1, 1));
    });
}

#[test]
fn chunks_run_once_each_before_the_loop_returns() {
    loom::model(|| {
        let pool = Pool::builder().threads(2).build().unwrap();
        let places = [Place::new(), Place::new()];
        pool.for_each_chunk(2, 1, |_, range| places[range.start].add());
        assert_eq!((places[0].read(), places[1].read()), (1, 1));
    });
}

#[test]
fn twin_that_returns_before_the_task() {
    twin::is_caught("twin_that_returns_before_the_task", "returned before its task", || {
        // What `scope` would be without its wait.
        loom::model(|| {
            let pool = Pool::builder().threads(1).build().unwrap();
            let place = std::sync::Arc::new(Place::new());
            pool.execute({
                let place = std::sync::Arc::clone(&place);
                move || place.add()
            });
            assert_eq!(place.read(), 1, "returned before its task");
        });
    });
}

#[test]
fn a_panic_waits_for_the_other_task() {
    loom::model(|| {
        let pool = Pool::builder().threads(2).build().unwrap();
        let ran = AtomicUsize::new(0);
        let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            pool.scope(|scope| {
                scope.spawn(|| {
                    ran.fetch_add(1, Ordering::Relaxed);
                });
                std::panic::resume_unwind(Box::new("body"));
            });
        }));
        assert!(panic.is_err());
        assert_eq!(ran.load(Ordering::Relaxed), 1);
    });
}
