//! The worker: what it runs next, and what it does when there is nothing to run.
//!
//! * **W1** A worker takes from its own queue first (newest), then from outside (oldest), then steals
//!   (oldest). One task in 61 is taken from outside first, so that outside callers are served even while
//!   tasks breed tasks.
//! * **W2** A worker that waits for a latch runs other tasks meanwhile; it blocks only when it finds none.
//!   So nested scopes and joins cannot leave every worker blocked while tasks are queued.
//! * **W3** A worker ends only when the pool ends *and* a whole search after that found nothing: every
//!   task that was queued is run.
//!
//! Cost: taking and running a task is a few nanoseconds beside the closure; an idle worker searches for
//! some microseconds and then blocks (see [`crate::sleep`]).

use std::{cell::Cell, ptr};

use crate::{
    counters::WorkerCounters,
    latch::Latch,
    queue::{Injector, Local, Remote},
    sleep::Sleep,
    steal::Victims,
    sync::{Arc, AtomicBool, Ordering, Padded, spin_loop, yield_now},
    task::Task,
};

/// How often a searching worker looks around before it goes to sleep. A wake-up costs some microseconds,
/// and so do these rounds: it pays to wait about as long as waking takes, and not longer.
const SEARCH_ROUNDS: usize = if cfg!(loom) { 1 } else { 48 };
/// The first rounds only pause; the later ones offer the core to other threads.
const SPIN_ROUNDS: usize = 16;
/// One task in so many is taken from outside first (W1). Prime, so it does not beat with loops of the
/// caller; tokio settled on the same number for the same reason.
const OUTSIDE_FIRST: u32 = 61;

/// What all workers of a pool share.
pub(crate) struct Shared {
    pub(crate) sleep: Sleep,
    pub(crate) injector: Injector<Task>,
    pub(crate) remotes: Box<[Remote<Task>]>,
    pub(crate) counters: Box<[Padded<WorkerCounters>]>,
    /// Set once, when the pool ends.
    pub(crate) is_ending: AtomicBool,
}

impl Shared {
    /// Whether a task is queued anywhere.
    fn has_tasks(&self) -> bool {
        !self.injector.is_empty() || self.remotes.iter().any(|remote| !remote.is_empty())
    }

    /// Queues a task from outside.
    pub(crate) fn inject(&self, task: Task) {
        self.injector.push(task);
        self.sleep.notify_from_outside();
    }
}

/// One worker, on its own thread and never elsewhere.
pub(crate) struct Worker {
    index: usize,
    shared: Arc<Shared>,
    local: Local<Task>,
    victims: Victims,
    tick: Cell<u32>,
    /// The innermost `for_each_chunk` this worker runs chunks of; see `chunks.rs`.
    pub(crate) chunk_loop: Cell<*const ()>,
}

/// Why a search may end without a task.
enum Until<'a> {
    /// The pool ends.
    End,
    /// A latch is set.
    Set(&'a Latch),
}

#[cfg(not(loom))]
thread_local! {
    static CURRENT: Cell<*const Worker> = const { Cell::new(ptr::null()) };
}
#[cfg(loom)]
loom::thread_local! {
    static CURRENT: Cell<*const Worker> = Cell::new(ptr::null());
}

impl Worker {
    pub(crate) fn new(index: usize, shared: Arc<Shared>, local: Local<Task>, victims: Victims) -> Self {
        Self { index, shared, local, victims, tick: Cell::new(0), chunk_loop: Cell::new(ptr::null()) }
    }

    #[inline]
    pub(crate) fn index(&self) -> usize {
        self.index
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Runs `f` on the worker this thread is, if it is one.
    pub(crate) fn with_current<R>(f: impl FnOnce(&Worker) -> R) -> Option<R> {
        let current = CURRENT.with(Cell::get);
        // SAFETY: set by `run` for as long as the worker lives on this thread, null otherwise; the
        // reference does not leave this thread or outlive `f`, which runs inside `run`.
        unsafe { current.as_ref() }.map(f)
    }

    /// The worker this thread is, if it is one of the pool `shared`. Workers outlive every task they run.
    #[inline]
    pub(crate) fn current(shared: &Shared) -> Option<&Worker> {
        let current = CURRENT.with(Cell::get);
        // SAFETY: set by `run` for as long as the worker lives on this thread, null otherwise; code that
        // runs on a worker's thread runs inside `run`, so the worker outlives the returned reference,
        // and `Worker` is not `Sync`, so the reference cannot leave the thread.
        unsafe { current.as_ref() }.filter(|worker| ptr::eq(&raw const *worker.shared, shared))
    }

    /// The thread's body.
    pub(crate) fn run(self) {
        CURRENT.with(|current| current.set(&raw const self));
        while let Some(task) = self.local.pop().or_else(|| self.search(Until::End)) {
            self.execute(task);
        }
        CURRENT.with(|current| current.set(ptr::null()));
    }

    /// Queues a task with this worker.
    #[inline]
    pub(crate) fn push(&self, task: Task) {
        self.local.push(task);
        self.shared.sleep.notify();
    }

    /// The newest task of this worker's own queue.
    #[inline]
    pub(crate) fn pop(&self) -> Option<Task> {
        self.local.pop()
    }

    #[inline]
    pub(crate) fn execute(&self, task: Task) {
        self.counters().count_task();
        // SAFETY: queues hand out each task once (T1).
        unsafe { task.run(self) };
    }

    /// Runs tasks until `latch` is set (W2).
    #[inline]
    pub(crate) fn wait(&self, latch: &Latch) {
        while !latch.is_set() {
            match self.next().or_else(|| self.search(Until::Set(latch))) {
                Some(task) => self.execute(task),
                None => return,
            }
        }
    }

    pub(crate) fn counters(&self) -> &WorkerCounters {
        &self.shared.counters[self.index]
    }

    /// The next task without a search (W1).
    #[inline]
    pub(crate) fn next(&self) -> Option<Task> {
        let tick = self.tick.get().wrapping_add(1);
        self.tick.set(tick);
        if tick.is_multiple_of(OUTSIDE_FIRST)
            && let Some(task) = self.shared.injector.steal()
        {
            return Some(task);
        }
        self.local.pop()
    }

    /// One look at everything that others queued.
    fn look_around(&self) -> Option<Task> {
        if let Some(task) = self.shared.injector.steal() {
            return Some(task);
        }
        let stolen =
            self.victims.find(|victim| self.shared.remotes[victim].steal(&self.local, Task::is_one_of_many));
        if stolen.is_some() {
            self.counters().count_steal();
        }
        stolen
    }

    /// Looks for a task, sleeping in between, until there is one or a reason to stop.
    #[cold]
    fn search(&self, until: Until<'_>) -> Option<Task> {
        let sleep = &self.shared.sleep;
        sleep.start_search();
        let found = 'search: loop {
            for round in 0..SEARCH_ROUNDS {
                // Asked before the look around: an end seen here means that the look was a whole one (W3).
                let is_over = self.is_over(&until);
                if is_over && matches!(until, Until::Set(_)) {
                    break 'search None;
                }
                if let Some(task) = self.look_around() {
                    break 'search Some(task);
                }
                if is_over {
                    break 'search None;
                }
                if round < SPIN_ROUNDS {
                    spin_loop();
                } else if matches!(until, Until::End) && sleep.is_crowded() {
                    break;
                } else {
                    yield_now();
                }
            }
            if let Until::Set(latch) = until
                && !latch.mark()
            {
                break None;
            }
            sleep.announce(self.index);
            if self.shared.has_tasks() || self.is_over(&until) {
                sleep.retract(self.index);
            } else {
                self.counters().count_sleep();
                sleep.park(self.index);
            }
            if let Until::Set(latch) = until {
                latch.unmark();
            }
        };
        if sleep.stop_search() && self.shared.has_tasks() {
            sleep.wake_one();
        }
        found
    }

    fn is_over(&self, until: &Until<'_>) -> bool {
        match until {
            // OBSERVE: pairs with PUBLISH in `Pool::end`.
            Until::End => self.shared.is_ending.load(Ordering::Acquire),
            Until::Set(latch) => latch.is_set(),
        }
    }
}
