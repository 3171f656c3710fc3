//! Object pool: a bounded stock of buffers that are used again instead of being made again.
//!
//! * **O1** A slot is taken by a compare-and-swap from free to taken; whoever did that owns what is in it.
//! * **O2** The owner frees the slot as its last access to it.
//!
//! There is no list to thread through the slots and so nothing for the ABA problem to bite on. Each thread
//! begins its look at a slot of its own, and mostly finds there what it gave back last, still in its cache.
//!
//! Cost: one compare-and-swap to take, one store to give back. A thread looks at each slot once at most, so
//! nobody waits for anybody.

use std::{
    fmt,
    ops::{Deref, DerefMut},
};

use crate::sync::{AtomicBool, Ordering, Padded, SharedCell};

/// A bounded, lock-free stock of `T`, shared by any threads.
///
/// # Examples
/// ```
/// use orthant_pool::ObjectPool;
///
/// let buffers = ObjectPool::new(8, || Vec::<f32>::with_capacity(1024));
/// {
///     let mut buffer = buffers.acquire().expect("8 at the same time");
///     buffer.push(1.0);
/// } // goes back here, as it is
/// assert_eq!(buffers.acquire().as_deref().map(Vec::len), Some(1));
/// ```
pub struct ObjectPool<T> {
    slots: Box<[Padded<Slot<T>>]>,
    make: Box<dyn Fn() -> T + Send + Sync>,
}

struct Slot<T> {
    is_taken: AtomicBool,
    /// Empty until the slot is first taken.
    object: SharedCell<Option<T>>,
}

// SAFETY: an object is reached only by the owner of its slot (O1, O2), one thread at a time; it may be made,
// used and dropped on different threads, hence `T: Send`.
unsafe impl<T: Send> Sync for ObjectPool<T> {}

impl<T> ObjectPool<T> {
    /// A stock of at most `capacity` objects. Each is made by `make` when it is first needed.
    pub fn new(capacity: usize, make: impl Fn() -> T + Send + Sync + 'static) -> Self {
        let slot = || Padded(Slot { is_taken: AtomicBool::new(false), object: SharedCell::new(None) });
        Self { slots: (0..capacity).map(|_| slot()).collect(), make: Box::new(make) }
    }

    /// How many objects can be out at the same time.
    pub fn capacity(&self) -> usize {
        self.slots.len()
    }

    /// Takes an object, in the state in which it was given back; `None` when all are out.
    ///
    /// # Panics
    /// If `make` does; the slot is free again then.
    #[inline]
    pub fn acquire(&self) -> Option<PoolGuard<'_, T>> {
        let first = first_slot(self.slots.len());
        let slot = match self.slots.get(first) {
            Some(slot) if slot.take() => slot,
            _ => self.take_other(first)?,
        };
        let guard = PoolGuard { slot };
        // SAFETY: we own the slot (O1).
        let object = slot.object.with_mut(|object| unsafe { &mut *object });
        if object.is_none() {
            *object = Some((self.make)());
        }
        Some(guard)
    }

    /// Takes a slot, beginning behind `first`.
    #[cold]
    fn take_other(&self, first: usize) -> Option<&Slot<T>> {
        let (head, tail) = self.slots.split_at(first);
        tail.iter().chain(head).map(|slot| &**slot).find(|slot| slot.take())
    }
}

impl<T> Slot<T> {
    #[inline]
    fn take(&self) -> bool {
        // The plain load first: a slot that is out costs its seeker no exclusive cache line.
        // OBSERVE: pairs with PUBLISH in `PoolGuard::drop`.
        !self.is_taken.load(Ordering::Relaxed)
            && self.is_taken.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }
}

impl<T> fmt::Debug for ObjectPool<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ObjectPool").field("capacity", &self.capacity()).finish_non_exhaustive()
    }
}

/// An object on loan; it goes back when this is dropped.
#[must_use = "the object goes back at once"]
pub struct PoolGuard<'a, T> {
    slot: &'a Slot<T>,
}

// SAFETY: sharing the guard shares `&T` only.
unsafe impl<T: Sync> Sync for PoolGuard<'_, T> {}
// SAFETY: the guard is the object's only owner; moving it moves the object.
unsafe impl<T: Send> Send for PoolGuard<'_, T> {}

impl<T> Deref for PoolGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the guard owns the slot (O1) and is borrowed.
        let object = self.slot.object.with(|object| unsafe { &*object });
        object.as_ref().expect("`acquire` filled the slot")
    }
}

impl<T> DerefMut for PoolGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the guard owns the slot (O1) and is borrowed exclusively.
        let object = self.slot.object.with_mut(|object| unsafe { &mut *object });
        object.as_mut().expect("`acquire` filled the slot")
    }
}

impl<T> Drop for PoolGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        // PUBLISH: pairs with OBSERVE in `Slot::take`.
        self.slot.is_taken.store(false, Ordering::Release);
    }
}

impl<T: fmt::Debug> fmt::Debug for PoolGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

/// Where this thread begins to look among `slots`: each thread has a number of its own.
#[cfg(not(loom))]
#[inline]
fn first_slot(slots: usize) -> usize {
    use std::cell::Cell;

    static THREADS: crate::sync::AtomicUsize = crate::sync::AtomicUsize::new(0);
    thread_local! {
        static NUMBER: Cell<Option<usize>> = const { Cell::new(None) };
    }
    let number = NUMBER.get().unwrap_or_else(|| {
        let number = THREADS.fetch_add(1, Ordering::Relaxed);
        NUMBER.set(Some(number));
        number
    });
    // The division costs more than the rest of `acquire`, and few programs need it.
    if number < slots { number } else { number.checked_rem(slots).unwrap_or(0) }
}

/// Under loom all threads begin at the same slot, where they meet.
#[cfg(loom)]
fn first_slot(_slots: usize) -> usize {
    0
}
