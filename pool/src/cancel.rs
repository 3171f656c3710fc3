//! Cancelling: a flag that long work looks at.
//!
//! Nothing is torn down when a token is cancelled: work that checks it stops at its next check, and says
//! so to its caller. [`Pool::for_each_chunk_until`](crate::Pool::for_each_chunk_until) checks between chunks.
//!
//! Cost: one relaxed load per check.

use crate::sync::{Arc, AtomicBool, Ordering};

/// A flag shared by the one who may cancel and the work that looks. Clones are the same flag.
///
/// # Examples
/// ```
/// use orthant_pool::CancelToken;
///
/// let token = CancelToken::new();
/// let seen_by_work = token.clone();
/// assert!(!seen_by_work.is_cancelled());
/// token.cancel();
/// assert!(seen_by_work.is_cancelled());
/// ```
#[derive(Clone)]
pub struct CancelToken(Arc<AtomicBool>);

impl CancelToken {
    /// A token that is not cancelled.
    pub fn new() -> Self {
        Self(Arc::new(AtomicBool::new(false)))
    }

    /// Cancels, for good. Doing it again changes nothing.
    pub fn cancel(&self) {
        // Relaxed: the flag says "stop" and publishes nothing else.
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether [`cancel`](Self::cancel) was called.
    #[inline]
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl Default for CancelToken {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for CancelToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("CancelToken").field(&self.is_cancelled()).finish()
    }
}

/// The work was cancelled before all of it was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("cancelled before all chunks were done")]
pub struct Cancelled;
