//! The pool itself: building it, calling into it, ending it.
//!
//! * **P1** A call from a worker of the pool runs in place. A call from any other thread is queued, runs on a
//!   worker, and blocks its caller until it has returned.
//! * **P2** Dropping the pool runs what is queued, and then ends the workers.

use std::ops::Range;

use crate::{
    affinity::{self, Affinity, Place},
    cancel::{CancelToken, Cancelled},
    chunks,
    counters::{Counters, WorkerCounters},
    join,
    latch::Signal,
    queue::{Injector, Local},
    scope::Scope,
    sleep::Sleep,
    steal::Victims,
    sync::{Arc, AtomicBool, Builder, JoinHandle, Ordering, Padded},
    task::{OutsideTask, Task, discard},
    topology::Topology,
    worker::{Shared, Worker},
};

/// More workers than this are refused: the sleep protocol counts them in 16 bits, and no machine this
/// engine is meant for has a use for more.
pub const MAX_THREADS: usize = 4096;

/// Why a pool could not be built. Workers already started have ended when this is returned.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PoolError {
    /// More workers were asked for than [`MAX_THREADS`].
    #[error("{threads} workers are more than the {MAX_THREADS} a pool can have")]
    TooManyThreads {
        /// The workers asked for.
        threads: usize,
    },
    /// The operating system refused a thread.
    #[error("worker {worker} could not be started")]
    Spawn {
        /// The worker's number, from 0.
        worker: usize,
        /// What the system said.
        source: std::io::Error,
    },
    /// A worker could not be pinned: there is no such core, or this process may not use it.
    #[error("worker {worker} could not be pinned to core {core}")]
    Pin {
        /// The worker's number, from 0.
        worker: usize,
        /// The core, by the system's number.
        core: usize,
        /// What the system said.
        source: std::io::Error,
    },
}

/// Choices for a [`Pool`]. Made by [`Pool::builder`].
#[derive(Debug, Clone)]
#[must_use]
pub struct PoolBuilder {
    threads: usize,
    affinity: Affinity,
    name: String,
}

impl PoolBuilder {
    /// How many workers. 0, the default: as many as [`Affinity::Cores`] lists, or else as many as the
    /// process may use at the same time (its affinity mask and its cgroup's quota are looked at).
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = threads;
        self
    }

    /// Where the workers may run. Default: anywhere.
    pub fn affinity(mut self, affinity: Affinity) -> Self {
        self.affinity = affinity;
        self
    }

    /// What the threads are called: worker 3 of `"search"` is `search-3`. Default: `orthant`. A zero byte
    /// ends the name, since the system could not hold it.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        if let Some(end) = self.name.find('\0') {
            self.name.truncate(end);
        }
        self
    }

    /// Starts the workers, and returns when each has its place.
    ///
    /// # Errors
    /// See [`PoolError`].
    pub fn build(self) -> Result<Pool, PoolError> {
        let threads = self.thread_count();
        if threads > MAX_THREADS {
            return Err(PoolError::TooManyThreads { threads });
        }
        let topology = Topology::read(&affinity::allowed_cores());
        let places = affinity::plan(&self.affinity, threads, &topology);
        let nodes: Vec<usize> = places.iter().map(|place| place.node).collect();
        let locals: Vec<Local<Task>> = (0..threads).map(|_| Local::new()).collect();
        let shared = Arc::new(Shared {
            sleep: Sleep::new(threads),
            injector: Injector::new(),
            remotes: locals.iter().map(Local::remote).collect(),
            counters: (0..threads).map(|_| Padded(WorkerCounters::new())).collect(),
            is_ending: AtomicBool::new(false),
        });
        let mut pool = Pool { shared, handles: Vec::with_capacity(threads), threads };
        let (report, reports) = std::sync::mpsc::channel();
        for (index, local) in locals.into_iter().enumerate() {
            let worker = Seat {
                index,
                local,
                victims: Victims::new(index, &nodes),
                shared: Arc::clone(&pool.shared),
                place: places[index],
                report: report.clone(),
            };
            let handle = Builder::new()
                .name(format!("{}-{index}", self.name))
                .spawn(move || worker.run())
                .map_err(|source| PoolError::Spawn { worker: index, source })?;
            pool.handles.push(handle);
        }
        drop(report);
        if places.iter().any(|place| place.core.is_some()) {
            // Ends when every worker has reported or has dropped its end.
            while let Ok(result) = reports.recv() {
                result?;
            }
        }
        Ok(pool)
    }

    fn thread_count(&self) -> usize {
        match (self.threads, &self.affinity) {
            (0, Affinity::Cores(cores)) if !cores.is_empty() => cores.len(),
            (0, _) => std::thread::available_parallelism().map_or(1, usize::from),
            (threads, _) => threads,
        }
    }
}

/// What a new thread is given to become a worker.
struct Seat {
    index: usize,
    local: Local<Task>,
    victims: Victims,
    shared: Arc<Shared>,
    place: Place,
    report: std::sync::mpsc::Sender<Result<(), PoolError>>,
}

impl Seat {
    fn run(self) {
        if let Some(core) = self.place.core {
            let pinned =
                affinity::pin(core).map_err(|source| PoolError::Pin { worker: self.index, core, source });
            // Fails only when `build` has given up already; the pool is ending then.
            let _ = self.report.send(pinned);
        }
        drop(self.report);
        Worker::new(self.index, self.shared, self.local, self.victims).run();
    }
}

/// Worker threads that share their tasks. See the [crate's page](crate) for how to use it.
///
/// Calls may come from any thread. A call made on a worker of this very pool runs in place and keeps the
/// worker busy with other tasks while it waits; a call from elsewhere blocks its thread. A worker of one pool
/// that calls into another is "elsewhere": two pools whose tasks wait for each other can block forever.
///
/// Dropping the pool runs all tasks that are queued, and joins the threads. Dropped on one of its own workers
/// it only tells them to end.
pub struct Pool {
    shared: Arc<Shared>,
    handles: Vec<JoinHandle<()>>,
    threads: usize,
}

impl Pool {
    /// The default choices: one worker per core, not pinned.
    pub fn builder() -> PoolBuilder {
        PoolBuilder { threads: 0, affinity: Affinity::None, name: "orthant".into() }
    }

    /// How many workers the pool has, at least one.
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// The number of the worker that runs the caller, below [`threads`](Self::threads) of its pool; `None` on
    /// a thread that is no worker of any pool.
    pub fn worker_index() -> Option<usize> {
        Worker::with_current(Worker::index)
    }

    /// Runs `body`, which may spawn tasks that borrow from the caller's frame, and waits for all of them.
    ///
    /// # Panics
    /// With the first panic of the body or of a task, after all tasks have ended.
    ///
    /// # Examples
    /// ```
    /// # let pool = orthant_pool::Pool::builder().threads(2).build()?;
    /// let mut halves = [0, 0];
    /// let [low, high] = &mut halves;
    /// pool.scope(|scope| {
    ///     scope.spawn(|| *low = 1);
    ///     scope.spawn(|| *high = 2);
    /// });
    /// assert_eq!(halves, [1, 2]);
    /// # Ok::<(), orthant_pool::PoolError>(())
    /// ```
    ///
    /// A task cannot borrow what ends before the scope does:
    /// ```compile_fail,E0373
    /// # let pool = orthant_pool::Pool::builder().threads(2).build().unwrap();
    /// pool.scope(|scope| {
    ///     let inside = 1;
    ///     scope.spawn(|| println!("{inside}"));
    /// });
    /// ```
    ///
    /// Nor can two tasks write to the same place:
    /// ```compile_fail,E0499
    /// # let pool = orthant_pool::Pool::builder().threads(2).build().unwrap();
    /// let mut sum = 0;
    /// pool.scope(|scope| {
    ///     scope.spawn(|| sum += 1);
    ///     scope.spawn(|| sum += 2);
    /// });
    /// ```
    ///
    /// Nor can a task take what must stay on its thread:
    /// ```compile_fail,E0277
    /// # let pool = orthant_pool::Pool::builder().threads(2).build().unwrap();
    /// let counted = std::rc::Rc::new(1);
    /// pool.scope(|scope| scope.spawn(|| println!("{counted}")));
    /// ```
    pub fn scope<'env, F, R>(&self, body: F) -> R
    where
        F: for<'scope> FnOnce(&'scope Scope<'scope, 'env>) -> R + Send,
        R: Send,
    {
        self.on_worker(|worker| Scope::run(worker, body))
    }

    /// Runs both closures, `b` on another worker if one is free, and returns both results.
    ///
    /// # Panics
    /// With the panic of `a` or else of `b`, after both have ended. When `a` panics before anybody has begun
    /// `b`, `b` is dropped and not run.
    ///
    /// # Examples
    /// ```
    /// # let pool = orthant_pool::Pool::builder().threads(2).build()?;
    /// fn sum(pool: &orthant_pool::Pool, values: &[u64]) -> u64 {
    ///     if values.len() <= 1000 {
    ///         return values.iter().sum();
    ///     }
    ///     let (low, high) = values.split_at(values.len() / 2);
    ///     let (low, high) = pool.join(|| sum(pool, low), || sum(pool, high));
    ///     low + high
    /// }
    /// let values: Vec<u64> = (0..10_000).collect();
    /// assert_eq!(sum(&pool, &values), 49_995_000);
    /// # Ok::<(), orthant_pool::PoolError>(())
    /// ```
    #[inline]
    pub fn join<A, B, RA, RB>(&self, a: A, b: B) -> (RA, RB)
    where
        A: FnOnce() -> RA + Send,
        B: FnOnce() -> RB + Send,
        RA: Send,
        RB: Send,
    {
        // Spelled out, and not through `on_worker`: a detour over one more closure would copy both of these
        // through memory, and the copy stalls on the stores just made (4 ns of 12).
        match Worker::current(&self.shared) {
            Some(worker) => join::run(worker, a, b),
            None => self.call_from_outside(move |worker| join::run(worker, a, b)),
        }
    }

    /// Calls `f(worker, range)` for `0..n` in chunks of `chunk` (the last may be shorter), on all workers.
    ///
    /// Workers claim chunks as they become free, so uneven chunks even out; the order is not fixed. `worker`
    /// is the number of the worker that runs the chunk, below [`threads`](Self::threads). Chunks with the same
    /// `worker` never overlap in time within one call, not even when `f` calls into the pool itself. `n = 0`
    /// does nothing.
    ///
    /// # Panics
    /// If `chunk` is 0. With the first panic of `f`, after the chunks already begun have ended; no others are
    /// begun.
    ///
    /// # Examples
    /// ```
    /// use std::sync::atomic::{AtomicU64, Ordering};
    ///
    /// # let pool = orthant_pool::Pool::builder().threads(2).build()?;
    /// let sum = AtomicU64::new(0);
    /// pool.for_each_chunk(1000, 64, |_worker, range| {
    ///     sum.fetch_add(range.map(|i| i as u64).sum(), Ordering::Relaxed);
    /// });
    /// assert_eq!(sum.into_inner(), 499_500);
    /// # Ok::<(), orthant_pool::PoolError>(())
    /// ```
    pub fn for_each_chunk<F>(&self, n: usize, chunk: usize, f: F)
    where
        F: Fn(usize, Range<usize>) + Sync,
    {
        self.run_chunks(n, chunk, None, &f);
    }

    /// Like [`for_each_chunk`](Self::for_each_chunk), but begins no further chunk once `cancel` is cancelled.
    ///
    /// # Errors
    /// [`Cancelled`] when the token is cancelled by the time the call ends, even if that was after the last
    /// chunk had begun.
    ///
    /// # Panics
    /// As `for_each_chunk` does.
    pub fn for_each_chunk_until<F>(
        &self,
        n: usize,
        chunk: usize,
        cancel: &CancelToken,
        f: F,
    ) -> Result<(), Cancelled>
    where
        F: Fn(usize, Range<usize>) + Sync,
    {
        self.run_chunks(n, chunk, Some(cancel), &f);
        if cancel.is_cancelled() { Err(Cancelled) } else { Ok(()) }
    }

    /// Queues `f` and returns at once. It runs before the pool has ended, if not earlier.
    ///
    /// A panic in `f` goes through the panic hook and no further: there is no caller to carry it to.
    pub fn execute<F: FnOnce() + Send + 'static>(&self, f: F) {
        let body = move |_: *const (), _: &Worker| {
            if let Err(panic) = std::panic::catch_unwind(std::panic::AssertUnwindSafe(f)) {
                discard(panic);
            }
        };
        // SAFETY: `f` borrows nothing ('static).
        let task = unsafe { Task::owning(std::ptr::null(), body) };
        match Worker::current(&self.shared) {
            Some(worker) => worker.push(task),
            None => self.shared.inject(task),
        }
    }

    /// What the workers have done since the pool was built, summed over them.
    pub fn counters(&self) -> Counters {
        self.shared
            .counters
            .iter()
            .map(|worker| worker.read())
            .fold(Counters::default(), |sum, one| sum + one)
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    fn run_chunks<F>(&self, n: usize, chunk: usize, cancel: Option<&CancelToken>, f: &F)
    where
        F: Fn(usize, Range<usize>) + Sync,
    {
        assert!(chunk > 0, "a chunk holds at least one index");
        if n > 0 {
            self.on_worker(|worker| chunks::run(worker, self.threads, n, chunk, cancel, f));
        }
    }

    /// Runs `f` on a worker: here, if the caller is one (P1).
    #[inline]
    fn on_worker<F, R>(&self, f: F) -> R
    where
        F: FnOnce(&Worker) -> R + Send,
        R: Send,
    {
        match Worker::current(&self.shared) {
            Some(worker) => f(worker),
            None => self.call_from_outside(f),
        }
    }

    #[cold]
    fn call_from_outside<F, R>(&self, f: F) -> R
    where
        F: FnOnce(&Worker) -> R + Send,
        R: Send,
    {
        let signal = Arc::new(Signal::new());
        let task = OutsideTask::new(f, Arc::clone(&signal));
        // SAFETY: `task` stays in this frame until the signal is set.
        self.shared.inject(unsafe { task.task() });
        signal.wait();
        task.into_result().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    fn end(&self) {
        // PUBLISH: pairs with OBSERVE in `Worker::is_over`.
        self.shared.is_ending.store(true, Ordering::Release);
        self.shared.sleep.wake_all();
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.end();
        if Worker::current(&self.shared).is_some() {
            // A worker cannot wait for its own end.
            return;
        }
        for handle in self.handles.drain(..) {
            // A worker's thread does not panic (task T2); if it did, the panic hook has told.
            let _ = handle.join();
        }
    }
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool").field("threads", &self.threads).finish_non_exhaustive()
    }
}
