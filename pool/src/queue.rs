//! The seam over `crossbeam-deque`: one local queue per worker, one injector for everybody else.
//!
//! * **Q1** Only the worker that owns a [`Local`] pushes to it and pops from it (newest first); the
//!   others steal through its [`Remote`] (oldest first, several at a time: the thief keeps one to run and
//!   queues the rest with itself, so a burst of tiny tasks is not fought over one by one).
//! * **Q2** "Empty" is only said when it was so at some moment during the call: a lost race is tried
//!   again here and never reported.
//!
//! `crossbeam-deque` does not run under loom. There, a locked `VecDeque` with the same surface stands
//! in, so the models check what is built *around* the queues and take the queues themselves as given.
//!
//! Cost: a push is a plain store; a pop costs one full fence; a steal one compare-and-swap.

#[cfg(not(loom))]
pub(crate) use deque::{Injector, Local, Remote};
#[cfg(loom)]
pub(crate) use stand_in::{Injector, Local, Remote};

#[cfg(not(loom))]
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
        /// Takes the oldest tasks, up to half of them: one to run now, the others go to `into`.
        #[inline]
        pub(crate) fn steal(&self, into: &Local<T>) -> Option<T> {
            loop {
                match self.0.steal_batch_and_pop(&into.0) {
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

#[cfg(loom)]
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
        pub(crate) fn steal(&self, into: &Local<T>) -> Option<T> {
            let mut queue = lock(&self.0);
            let half = queue.len().div_ceil(2);
            let mut taken: VecDeque<T> = queue.drain(..half).collect();
            drop(queue);
            let first = taken.pop_front();
            for task in taken {
                into.push(task);
            }
            first
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
