//! A cache hint for list blocks. Rows have their own hints behind [`Scorer`](crate::Scorer).

/// Asks for a run of `bytes` from `start` to be brought near, but not into the innermost cache, which holds what is worked
/// on. Never faults, whatever the address.
#[inline(always)]
pub(crate) fn run_near(start: *const u8, bytes: usize) {
    for at in (0..bytes).step_by(64) {
        let line = start.wrapping_add(at);
        #[cfg(target_arch = "x86_64")]
        // SAFETY: a prefetch is a hint: it reads nothing and raises no fault; SSE is part of x86_64.
        unsafe {
            use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
            _mm_prefetch::<_MM_HINT_T1>(line.cast());
        }
        #[cfg(target_arch = "aarch64")]
        // SAFETY: as above, `prfm` is a hint without side effects.
        unsafe {
            std::arch::asm!("prfm pldl2keep, [{0}]", in(reg) line, options(nostack, readonly, preserves_flags));
        }
        #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
        let _ = line;
    }
}

/// Asks for the cache line that holds `pointer`. Never faults, whatever the address.
#[inline(always)]
pub(crate) fn line<T>(pointer: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch is a hint: it reads nothing and raises no fault; SSE is part of x86_64.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(pointer.cast());
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: as above, `prfm` is a hint without side effects.
    unsafe {
        std::arch::asm!("prfm pldl1keep, [{0}]", in(reg) pointer, options(nostack, readonly, preserves_flags));
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let _ = pointer;
}
