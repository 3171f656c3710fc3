#![doc = include_str!("sleep/README.md")]

use crate::{
    fences::Fences,
    latch::Signal,
    sync::{AtomicUsize, Mutex, Ordering, Padded, fence, lock},
};

/// One sleeping worker in [`Sleep::state`].
const SLEEPING: usize = 1;
/// One searching worker in [`Sleep::state`].
const SEARCHING: usize = 1 << 16;

/// Who sleeps, who searches, and how a sleeper is woken. One per pool.
pub(crate) struct Sleep {
    /// Sleeping workers in the low 16 bits, searching ones above.
    state: Padded<AtomicUsize>,
    fences: Fences,
    /// The sleepers; the one that came last is woken first, since its caches are the warmest.
    asleep: Mutex<Vec<usize>>,
    /// One signal per worker. A signal set too often costs its worker one more search, nothing else.
    signals: Box<[Padded<Signal>]>,
}

impl Sleep {
    pub(crate) fn new(workers: usize) -> Self {
        Self {
            state: Padded(AtomicUsize::new(0)),
            fences: Fences::new(),
            asleep: Mutex::new(Vec::with_capacity(workers)),
            signals: (0..workers).map(|_| Padded(Signal::new())).collect(),
        }
    }

    /// A worker has run out of tasks of its own and begins to search.
    pub(crate) fn start_search(&self) {
        self.state.fetch_add(SEARCHING, Ordering::Relaxed);
    }

    /// Whether more than half of the workers search: the others would find a task as soon, and threads from
    /// outside want a core too.
    pub(crate) fn is_crowded(&self) -> bool {
        self.state.load(Ordering::Relaxed) / SEARCHING * 2 > self.signals.len()
    }

    /// A worker ends its search. True when it was the last searcher and others sleep (S3): it must then
    /// look whether tasks are left, and call [`wake_one`](Self::wake_one) if so.
    pub(crate) fn stop_search(&self) -> bool {
        let before = self.state.fetch_sub(SEARCHING, Ordering::Relaxed);
        let (searching, sleeping) = (before / SEARCHING, before % SEARCHING);
        let is_last = searching == 1 && sleeping > 0;
        if is_last {
            // STOP FENCE: pairs with the TASK FENCE.
            self.fence_against_others(sleeping);
        }
        is_last
    }

    /// A searching worker goes on the list of sleepers. It must look for tasks once more afterwards, and
    /// then either [`retract`](Self::retract) or [`park`](Self::park).
    pub(crate) fn announce(&self, worker: usize) {
        let mut asleep = lock(&self.asleep);
        asleep.push(worker);
        let before = self.state.fetch_add(SLEEPING.wrapping_sub(SEARCHING), Ordering::Relaxed);
        drop(asleep);
        // SLEEP FENCE: pairs with the TASK FENCE.
        self.fence_against_others(before % SEARCHING);
    }

    /// The fence of a worker beside which `sleeping` others sleep. When they all do, nobody is left whose
    /// queueing it would have to hold up, but threads from outside, which have a full fence of their own.
    fn fence_against_others(&self, sleeping: usize) {
        if sleeping + 1 == self.signals.len() {
            fence(Ordering::SeqCst);
        } else {
            self.fences.heavy();
        }
    }

    /// Takes the announcement back; the worker searches again.
    pub(crate) fn retract(&self, worker: usize) {
        self.take(worker);
    }

    /// Blocks until somebody wakes this worker; it then searches again.
    pub(crate) fn park(&self, worker: usize) {
        self.signals[worker].wait();
        // Whoever woke it took it off the list, unless the signal was an old one.
        self.take(worker);
    }

    /// Tells the pool that a worker has queued a task.
    #[inline]
    pub(crate) fn notify(&self) {
        // TASK FENCE: pairs with the SLEEP FENCE and the STOP FENCE.
        self.fences.light();
        self.wake_if_needed();
    }

    /// Tells the pool that a task was queued from outside.
    pub(crate) fn notify_from_outside(&self) {
        // TASK FENCE of those whom the others do not wait for; pairs with the same two.
        fence(Ordering::SeqCst);
        self.wake_if_needed();
    }

    #[inline]
    pub(crate) fn wake_if_needed(&self) {
        if is_wake_needed(self.state.load(Ordering::Relaxed)) {
            self.wake_one();
        }
    }

    /// Wakes one sleeper, unless somebody searches already or nobody sleeps.
    #[cold]
    pub(crate) fn wake_one(&self) {
        let mut asleep = lock(&self.asleep);
        if !is_wake_needed(self.state.load(Ordering::Relaxed)) {
            return;
        }
        let Some(worker) = asleep.pop() else { return };
        self.state.fetch_add(SEARCHING.wrapping_sub(SLEEPING), Ordering::Relaxed);
        drop(asleep);
        self.signals[worker].set();
    }

    /// Wakes `worker`, whose latch was set. If it is only about to sleep, it will not.
    #[cold]
    pub(crate) fn wake_worker(&self, worker: usize) {
        self.take(worker);
        self.signals[worker].set();
    }

    /// Wakes everybody, to end.
    pub(crate) fn wake_all(&self) {
        let mut asleep = lock(&self.asleep);
        let woken = std::mem::take(&mut *asleep);
        self.state.fetch_add(SEARCHING.wrapping_sub(SLEEPING).wrapping_mul(woken.len()), Ordering::Relaxed);
        drop(asleep);
        for worker in woken {
            self.signals[worker].set();
        }
    }

    /// Takes `worker` off the list, if it is on it, and counts it as searching.
    fn take(&self, worker: usize) {
        let mut asleep = lock(&self.asleep);
        if let Some(place) = asleep.iter().position(|&other| other == worker) {
            asleep.remove(place);
            self.state.fetch_add(SEARCHING.wrapping_sub(SLEEPING), Ordering::Relaxed);
        }
    }
}

/// Whether a new task needs somebody to be woken: somebody sleeps and nobody searches.
#[inline]
fn is_wake_needed(state: usize) -> bool {
    state > 0 && state < SEARCHING
}
