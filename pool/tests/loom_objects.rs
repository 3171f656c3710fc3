//! The object pool: an object has one holder at a time, and the next one sees what the last one left.
#![cfg(loom)]

mod twin;

use loom::{
    cell::UnsafeCell,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};
use orthant_pool::ObjectPool;

#[test]
fn two_threads_share_one_object_in_turn() {
    loom::model(|| {
        let objects = Arc::new(ObjectPool::new(1, || 0));
        let add = |objects: &ObjectPool<u32>| match objects.acquire() {
            Some(mut object) => {
                *object += 1;
                1
            }
            None => 0,
        };
        let other = thread::spawn({
            let objects = Arc::clone(&objects);
            move || add(&objects)
        });
        let added = add(&objects) + other.join().unwrap();
        assert!(added > 0, "one of two must get the only object");
        assert_eq!(*objects.acquire().unwrap(), added);
    });
}

#[test]
fn two_objects_are_enough_for_two_threads() {
    loom::model(|| {
        let objects = Arc::new(ObjectPool::new(2, || 0));
        let other = thread::spawn({
            let objects = Arc::clone(&objects);
            move || *objects.acquire().expect("there are two") += 1
        });
        *objects.acquire().expect("there are two") += 1;
        other.join().unwrap();
    });
}

/// A slot as the pool has it, with the take and the return to be broken.
struct Slot {
    is_taken: AtomicBool,
    object: UnsafeCell<u32>,
}

// SAFETY: loom reports every access that races.
unsafe impl Sync for Slot {}
// SAFETY: nothing in it is bound to a thread.
unsafe impl Send for Slot {}

fn share(take: fn(&AtomicBool) -> bool, give_back: Ordering) {
    loom::model(move || {
        let slot = Arc::new(Slot { is_taken: AtomicBool::new(false), object: UnsafeCell::new(0) });
        let add = move |slot: &Slot| {
            if take(&slot.is_taken) {
                // SAFETY: loom checks that no other access overlaps.
                slot.object.with_mut(|object| unsafe { *object += 1 });
                slot.is_taken.store(false, give_back);
            }
        };
        let other = thread::spawn({
            let slot = Arc::clone(&slot);
            move || add(&slot)
        });
        add(&slot);
        other.join().unwrap();
    });
}

fn compare_and_swap(is_taken: &AtomicBool) -> bool {
    is_taken.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).is_ok()
}

#[test]
fn a_slot_taken_by_compare_and_swap_has_one_owner() {
    share(compare_and_swap, Ordering::Release);
}

#[test]
fn twin_that_looks_and_then_takes() {
    twin::is_caught("twin_that_looks_and_then_takes", "Causality violation", || {
        share(
            |is_taken| {
                let is_free = !is_taken.load(Ordering::Acquire);
                if is_free {
                    is_taken.store(true, Ordering::Relaxed);
                }
                is_free
            },
            Ordering::Release,
        );
    });
}

#[test]
fn twin_that_gives_back_without_publishing() {
    twin::is_caught("twin_that_gives_back_without_publishing", "Causality violation", || {
        share(compare_and_swap, Ordering::Relaxed);
    });
}
