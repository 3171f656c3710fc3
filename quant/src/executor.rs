//! [`Executor`]: who runs the parts of a training pass. This crate has no threads of its own.

/// Runs tasks, on however many threads.
///
/// What is trained does not depend on it: tasks write to places of their own, and what they wrote is added up in the
/// order of their numbers.
pub trait Executor: Sync {
    /// Calls `task` once with each number below `count`, in any order, and returns when all calls have.
    fn run(&self, count: usize, task: &(dyn Fn(usize) + Sync));
}

/// Runs every task on the thread that asks.
#[derive(Debug, Clone, Copy, Default)]
pub struct Serial;

impl Executor for Serial {
    fn run(&self, count: usize, task: &(dyn Fn(usize) + Sync)) {
        (0..count).for_each(task);
    }
}
