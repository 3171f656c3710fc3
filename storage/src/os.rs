//! The operating system, behind one small interface: the only files of this crate that call it.
//!
//! `linux.rs` reserves address space and commits it step by step; `fallback.rs` does the same with
//! one zeroed allocation and is also what loom, Miri and the feature `portable` run on.

#[cfg(all(target_os = "linux", not(any(miri, loom, feature = "portable"))))]
mod linux;
#[cfg(all(target_os = "linux", not(any(miri, loom, feature = "portable"))))]
pub(crate) use linux::*;

#[cfg(not(all(target_os = "linux", not(any(miri, loom, feature = "portable")))))]
mod fallback;
#[cfg(not(all(target_os = "linux", not(any(miri, loom, feature = "portable")))))]
pub(crate) use fallback::*;

/// A huge page, where the system has them: 2 MiB on x86-64 and on 4 KiB-page ARM.
pub(crate) const HUGE_PAGE: usize = 2 << 20;

/// What the system says about a range of memory, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    /// Backed by memory now.
    pub(crate) resident: usize,
    /// Backed by huge pages now.
    pub(crate) huge: usize,
}
