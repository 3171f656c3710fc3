//! The seam over `crossbeam-deque`: one local queue per worker, one injector for everybody else.
//!
//! * **Q1** Only the worker that owns a [`Local`] pushes to it and pops from it (newest first); the
//!   others steal through its [`Remote`] (oldest first). A thief whose task is one of many takes up to half of
//!   what is left as well and queues that with itself, so a burst of tiny tasks is not fought over one by one.
//!   The second half of a `join` it takes alone: the next one is a part of what the victim is at, and would
//!   have to be fetched back.
//! * **Q2** "Empty" is only said when it was so at some moment during the call: a lost race is tried
//!   again here and never reported.
//!
//! `crossbeam-deque` does not run under loom, nor under Miri for its casts from integers to pointers. There, a
//! locked `VecDeque` with the same surface stands in, so they check what is built *around* the queues and take the
//! queues themselves as given.
//!
//! Cost: a push is a plain store; a pop costs one full fence; a steal one compare-and-swap.

#[cfg(not(any(loom, miri)))]
pub(crate) use deque::{Injector, Local, Remote};
#[cfg(any(loom, miri))]
pub(crate) use stand_in::{Injector, Local, Remote};

#[cfg(not(any(loom, miri)))]
mod deque {
    use crossbeam_deque as theirs;
    use theirs::Steal;

    /// The owner's end of a worker's queue.
    pub(crate) struct Local<T>(theirs::Worker<T>);

    /// The thieves' end of a worker's queue.
    pub(crate) struct Remote<T>(theirs::Stealer<T>);

    /// The queue of tasks that come from outside the workers, first in first out.
    pub(crate) struct Injector<T>(theirs::Injector<T>);

    impl<T> Local<T> {
        pub(crate) fn new() -> Self {
            Self(theirs::Worker::new_lifo())
        }

        pub(crate) fn remote(&self) -> Remote<T> {
            Remote(self.0.stealer())
        }

        #[inline]
        pub(crate) fn push(&self, value: T) {
            self.0.push(value);
        }

        #[inline]
        pub(crate) fn pop(&self) -> Option<T> {
            self.0.pop()
        }
    }

    impl<T> Remote<T> {
        /// Takes the oldest task to run now. If it `is_one_of_many`, up to half of the others go to `into`.
        #[inline]
        pub(crate) fn steal(&self, into: &Local<T>, is_one_of_many: impl Fn(&T) -> bool) -> Option<T> {
            loop {
                match self.0.steal() {
                    Steal::Success(value) => {
                        if is_one_of_many(&value) {
                            // A lost race is left at that: there is one task to run.
                            let _ = self.0.steal_batch(&into.0);
                        }
                        return Some(value);
                    }
                    Steal::Empty => return None,
                    Steal::Retry => crate::sync::spin_loop(),
                }
            }
        }

        #[inline]
        pub(crate) fn is_empty(&self) -> bool {
            self.0.is_empty()
        }
    }

    impl<T> Injector<T> {
        pub(crate) fn new() -> Self {
            Self(theirs::Injector::new())
        }

        pub(crate) fn push(&self, value: T) {
            self.0.push(value);
        }

        /// Takes the oldest task.
        pub(crate) fn steal(&self) -> Option<T> {
            loop {
                match self.0.steal() {
                    Steal::Success(value) => return Some(value),
                    Steal::Empty => return None,
                    Steal::Retry => crate::sync::spin_loop(),
                }
            }
        }

        #[inline]
        pub(crate) fn is_empty(&self) -> bool {
            self.0.is_empty()
        }
    }
}

#[cfg(any(loom, miri))]
mod stand_in {
    use std::collections::VecDeque;

    use crate::sync::{Arc, Mutex, lock};

    type Shared<T> = Arc<Mutex<VecDeque<T>>>;

    /// The owner's end of a worker's queue.
    pub(crate) struct Local<T>(Shared<T>);

    /// The thieves' end of a worker's queue.
    pub(crate) struct Remote<T>(Shared<T>);

    /// The queue of tasks that come from outside the workers, first in first out.
    pub(crate) struct Injector<T>(Mutex<VecDeque<T>>);

    impl<T> Local<T> {
        pub(crate) fn new() -> Self {
            Self(Arc::new(Mutex::new(VecDeque::new())))
        }

        pub(crate) fn remote(&self) -> Remote<T> {
            Remote(Arc::clone(&self.0))
        }

        pub(crate) fn push(&self, value: T) {
            lock(&self.0).push_back(value);
        }

        pub(crate) fn pop(&self) -> Option<T> {
            lock(&self.0).pop_back()
        }
    }

    impl<T> Remote<T> {
        pub(crate) fn steal(&self, into: &Local<T>, is_one_of_many: impl Fn(&T) -> bool) -> Option<T> {
            let mut queue = lock(&self.0);
            let first = queue.pop_front()?;
            if is_one_of_many(&first) {
                let half = queue.len().div_ceil(2);
                let taken: VecDeque<T> = queue.drain(..half).collect();
                drop(queue);
                for task in taken {
                    into.push(task);
                }
            }
            Some(first)
        }

        pub(crate) fn is_empty(&self) -> bool {
            lock(&self.0).is_empty()
        }
    }

    impl<T> Injector<T> {
        pub(crate) fn new() -> Self {
            Self(Mutex::new(VecDeque::new()))
        }

        pub(crate) fn push(&self, value: T) {
            lock(&self.0).push_back(value);
        }

        pub(crate) fn steal(&self) -> Option<T> {
            lock(&self.0).pop_front()
        }

        pub(crate) fn is_empty(&self) -> bool {
            lock(&self.0).is_empty()
        }
    }
}
