//! An idle pool uses no processor time. Alone in its file, so that no other test runs in its process.
#![cfg(all(target_os = "linux", not(loom)))]

use std::time::Duration;

use orthant_pool::Pool;

/// Processor time this process has used, all threads together.
fn processor_time() -> Duration {
    // SAFETY: an all-zero `timespec` is the zero time.
    let mut time: libc::timespec = unsafe { std::mem::zeroed() };
    // SAFETY: the clock exists on every Linux, and `time` is valid to write to.
    let code = unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) };
    assert_eq!(code, 0);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

#[test]
fn workers_with_nothing_to_do_use_no_processor_time() {
    let pool = Pool::builder().threads(8).build().unwrap();
    // Wake them all, so that "idle" is not just "never started".
    pool.for_each_chunk(10_000, 1, |_, _| std::thread::yield_now());
    // On a busy machine it may take them a while to get to their search, and through it.
    let sleeps = loop {
        let sleeps = pool.counters().sleeps;
        std::thread::sleep(Duration::from_millis(500));
        if sleeps >= 8 && sleeps == pool.counters().sleeps {
            break sleeps;
        }
    };
    let before = processor_time();
    std::thread::sleep(Duration::from_secs(1));
    let used = processor_time() - before;
    assert!(used < Duration::from_millis(5), "{used:?} of processor time in an idle second");
    assert_eq!(pool.counters().sleeps, sleeps, "somebody woke for no reason");

    // A worker that waits for another's task is idle as well: what a wait costs, going to sleep and waking up
    // again, does not grow with its length. The least of a few, as a loaded machine makes any one of them long.
    let wait = |length: u64| {
        let before = processor_time();
        let task = || std::thread::sleep(Duration::from_millis(length));
        pool.join(task, task);
        processor_time() - before
    };
    let short = (0..4).map(|_| wait(1)).max().unwrap();
    let long = (0..4).map(|_| wait(400)).min().unwrap();
    assert!(
        long < short + Duration::from_millis(8),
        "{long:?} of processor time in a wait of 400 ms, {short:?} in one of 1"
    );
}
