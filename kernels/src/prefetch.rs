//! Cache hints: ask for a line before it is needed.
//!
//! A hint never faults and never changes what a program computes, so these are safe on any address,
//! mapped or not. They cost one load slot each, and one of the 10-16 miss buffers of a core while the
//! line is on its way: asking for more lines than that at once only queues them.

/// Bytes fetched by one hint. 64 on every CPU these kernels have a wide path for.
pub const LINE: usize = 64;

/// Asks for the line at `address` to be brought into the first-level cache.
#[inline(always)]
pub fn line<T>(address: *const T) {
    #[cfg(target_arch = "x86_64")]
    {
        use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: SSE is part of x86_64, and a prefetch of any address, valid or not, has no effect
        // other than on caches.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) }
    }
    #[cfg(target_arch = "aarch64")]
    {
        // SAFETY: PRFM of any address, valid or not, has no effect other than on caches; the block
        // touches no memory, no stack and no flags.
        unsafe {
            core::arch::asm!(
                "prfm pldl1keep, [{address}]",
                address = in(reg) address,
                options(nostack, preserves_flags, readonly)
            );
        }
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let _ = address;
}

/// Asks for every line of the `count` elements at `address`. `count = 0` asks for nothing.
///
/// Elements that start inside a line and end in the next touch both; all of them are asked for.
#[inline(always)]
pub fn lines<T>(address: *const T, count: usize) {
    let bytes = count * size_of::<T>();
    if bytes == 0 {
        return;
    }
    let start = address.cast::<u8>();
    // From the start of the first line, so that a row that is not aligned has its last line asked for.
    let lead = start.addr() % LINE;
    let mut at = 0;
    while at < lead + bytes {
        line(start.wrapping_sub(lead).wrapping_add(at));
        at += LINE;
    }
}

/// Asks for the lines `from..to` of the row at `address`, counted from 0 and clipped to the `count`
/// elements that the row has.
///
/// Not inlined: against the time that such a row takes the call is nothing, and gathers are many.
#[inline(never)]
pub(crate) fn some_lines<T>(address: *const T, count: usize, from: usize, to: usize) {
    let start = address.cast::<u8>();
    let lead = start.addr() % LINE;
    let whole = (lead + count * size_of::<T>()).div_ceil(LINE);
    for at in from..to.min(whole) {
        line(start.wrapping_sub(lead).wrapping_add(at * LINE));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_address_will_do() {
        line(core::ptr::null::<u8>());
        line(usize::MAX as *const u8);
        lines(core::ptr::null::<f32>(), 0);
        lines(core::ptr::without_provenance::<f32>(4), 1000);
        let row = [0f32; 100];
        lines(row.as_ptr(), row.len());
    }
}
