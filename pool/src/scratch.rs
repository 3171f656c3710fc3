//! Scratch that outlives tasks: one value per worker, made when the worker first needs it.
//!
//! * **X1** The value of worker `i` is touched only on the thread of worker `i`, or by the one who holds the
//!   whole [`PerWorker`] exclusively.
//! * **X2** A value is lent to one borrower at a time: a worker that helps with another task while it holds
//!   its value is refused a second loan.
//!
//! Cost: a thread-local read, a comparison and a flag; no lock, no locked instruction.

use std::cell::{Cell, UnsafeCell};

use crate::{
    pool::Pool,
    sync::{Arc, Padded},
    worker::{Shared, Worker},
};

/// One value for each worker of a pool, kept from task to task.
///
/// # Examples
/// ```
/// use orthant_pool::PerWorker;
///
/// # let pool = orthant_pool::Pool::builder().threads(2).build()?;
/// let mut buffers = PerWorker::new(&pool, || Vec::<usize>::with_capacity(100));
/// pool.for_each_chunk(100, 10, |_, range| buffers.with(|buffer| buffer.extend(range)));
/// let filled: usize = buffers.iter_mut().map(|buffer| buffer.len()).sum();
/// assert_eq!(filled, 100);
/// # Ok::<(), orthant_pool::PoolError>(())
/// ```
pub struct PerWorker<T> {
    shared: Arc<Shared>,
    make: Box<dyn Fn() -> T + Send + Sync>,
    places: Box<[Padded<Place<T>>]>,
}

struct Place<T> {
    is_lent: Cell<bool>,
    value: UnsafeCell<Option<T>>,
}

// SAFETY: a shared `PerWorker` gives worker `i`'s value only to worker `i`'s thread (X1), one borrower at a
// time (X2); values made on one thread are dropped on another, hence `T: Send`.
unsafe impl<T: Send> Sync for PerWorker<T> {}

impl<T: Send> PerWorker<T> {
    /// A place for each worker of `pool`, empty until the worker first asks; `make` then fills it.
    pub fn new(pool: &Pool, make: impl Fn() -> T + Send + Sync + 'static) -> Self {
        let place = || Padded(Place { is_lent: Cell::new(false), value: UnsafeCell::new(None) });
        Self {
            shared: Arc::clone(pool.shared()),
            make: Box::new(make),
            places: (0..pool.threads()).map(|_| place()).collect(),
        }
    }

    /// Runs `f` on the value of the worker that calls.
    ///
    /// # Panics
    /// If the caller is no worker of the pool, or if the worker's value is lent already: `f` must not call
    /// into the pool in a way that makes the worker run tasks which ask for the same value.
    #[inline]
    pub fn with<R>(&self, f: impl FnOnce(&mut T) -> R) -> R {
        let worker = Worker::current(&self.shared).expect("only a worker of the pool has a value here");
        let place = &self.places[worker.index()];
        assert!(!place.is_lent.replace(true), "the value of worker {} is lent already", worker.index());
        let _loan = Loan(&place.is_lent);
        // SAFETY: this is the worker's own thread (X1), and the flag was down: nobody else borrows (X2).
        let value = unsafe { &mut *place.value.get() };
        f(value.get_or_insert_with(&self.make))
    }

    /// The values made so far, in the order of the workers.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.places.iter_mut().filter_map(|place| place.value.get_mut().as_mut())
    }
}

impl<T> std::fmt::Debug for PerWorker<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PerWorker").field("workers", &self.places.len()).finish_non_exhaustive()
    }
}

/// Ends the loan, also when the borrower panics.
struct Loan<'a>(&'a Cell<bool>);

impl Drop for Loan<'_> {
    fn drop(&mut self) {
        self.0.set(false);
    }
}
