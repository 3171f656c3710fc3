//! The operating system, behind one small interface: the only files of this crate that call it.
//!
//! `linux.rs` reserves address space and commits it step by step; `fallback.rs` does the same with
//! one zeroed allocation and is also what loom and Miri run on.

#[cfg(all(target_os = "linux", not(miri), not(loom)))]
mod linux;
#[cfg(all(target_os = "linux", not(miri), not(loom)))]
pub(crate) use linux::*;

#[cfg(any(not(target_os = "linux"), miri, loom))]
mod fallback;
#[cfg(any(not(target_os = "linux"), miri, loom))]
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
