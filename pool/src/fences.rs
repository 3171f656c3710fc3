//! A pair of fences of unequal cost: next to nothing where tasks flow, a system call where workers sleep.
//!
//! The sleep protocol needs a full fence between "queue a task" and "look who sleeps", and one between "say
//! that I sleep" and "look at the queues". The first happens for every task, the second a few thousand times a
//! second at most. Linux lets the rare side pay for both: `membarrier` makes every running thread of the
//! process pass a full fence, wherever it is. The frequent side then only has to keep the compiler from
//! reordering (Desnoyers, `membarrier(2)`; the same device as in userspace RCU).
//!
//! * **F1** For a [`light`](Fences::light) and a [`heavy`](Fences::heavy) fence of the same [`Fences`], one comes
//!   first: either what was written before the light one is seen after the heavy one, or the reverse.
//!
//! Where the system has no `membarrier`, and under loom and Miri, both are `fence(SeqCst)`: the same guarantee, for about 7 ns
//! more a task.

use crate::sync::{Ordering, fence};

/// Which kind of fences this process can have.
#[derive(Clone, Copy)]
pub(crate) struct Fences {
    has_membarrier: bool,
}

impl Fences {
    /// Asks the system, and registers the process with it.
    pub(crate) fn new() -> Self {
        Self { has_membarrier: membarrier::register() }
    }

    /// The cheap side.
    #[inline(always)]
    pub(crate) fn light(self) {
        if self.has_membarrier {
            // The hardware's part is done by `heavy`, in this thread's name.
            std::sync::atomic::compiler_fence(std::sync::atomic::Ordering::SeqCst);
        } else {
            fence(Ordering::SeqCst);
        }
    }

    /// The dear side: some microseconds, more when many threads of the process run.
    pub(crate) fn heavy(self) {
        // For what this very thread did before, in either case.
        fence(Ordering::SeqCst);
        if self.has_membarrier {
            membarrier::run();
        }
    }
}

#[cfg(all(target_os = "linux", not(loom), not(miri)))]
mod membarrier {
    fn call(command: libc::membarrier_cmd) -> bool {
        // SAFETY: the call takes two numbers and touches no memory of ours.
        unsafe { libc::syscall(libc::SYS_membarrier, command, 0) == 0 }
    }

    /// Says that this process will use the expedited fence. False where there is none.
    pub(super) fn register() -> bool {
        call(libc::MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED)
    }

    pub(super) fn run() {
        let is_done = call(libc::MEMBARRIER_CMD_PRIVATE_EXPEDITED);
        assert!(is_done, "membarrier works for a process that has registered");
    }
}

#[cfg(not(all(target_os = "linux", not(loom), not(miri))))]
mod membarrier {
    pub(super) fn register() -> bool {
        false
    }

    pub(super) fn run() {}
}
