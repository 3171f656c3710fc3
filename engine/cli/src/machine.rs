//! This process on this machine: the cores it may run on, the memory it holds.

use std::fs;
use std::io;

/// Lets the calling thread, and the threads it starts from now on, run on `cores` only.
///
/// # Errors
/// When the system refuses, as it does for a core that does not exist, or has no such call.
#[cfg(target_os = "linux")]
pub(crate) fn pin_to(cores: &[usize]) -> io::Result<()> {
    // SAFETY: an all-zero cpu_set_t is the empty set.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    for &core in cores {
        if core >= libc::CPU_SETSIZE as usize {
            return Err(io::Error::from(io::ErrorKind::InvalidInput));
        }
        // SAFETY: `core < CPU_SETSIZE` was checked above, so the bit lies inside the set.
        unsafe { libc::CPU_SET(core, &mut set) };
    }
    // SAFETY: `set` is an initialised cpu_set_t of the size passed; thread 0 is the calling one.
    let result = unsafe { libc::sched_setaffinity(0, size_of_val(&set), &set) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The cores the calling thread may run on, in order; empty where the system does not say.
#[cfg(target_os = "linux")]
pub(crate) fn allowed_cores() -> Vec<usize> {
    // SAFETY: an all-zero cpu_set_t is the empty set.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: `set` is a cpu_set_t of the size passed, ours to write; thread 0 is the calling one.
    let result = unsafe { libc::sched_getaffinity(0, size_of_val(&set), &mut set) };
    if result != 0 {
        return Vec::new();
    }
    // SAFETY: the range ends at CPU_SETSIZE, so each bit lies inside the set.
    (0..libc::CPU_SETSIZE as usize).filter(|&core| unsafe { libc::CPU_ISSET(core, &set) }).collect()
}

/// Not available on this system.
#[cfg(not(target_os = "linux"))]
pub(crate) fn allowed_cores() -> Vec<usize> {
    Vec::new()
}

/// Not available on this system.
#[cfg(not(target_os = "linux"))]
pub(crate) fn pin_to(_cores: &[usize]) -> io::Result<()> {
    Err(io::Error::from(io::ErrorKind::Unsupported))
}

/// Bytes of memory this process holds now; `None` where the system does not say.
pub(crate) fn resident_bytes() -> Option<u64> {
    status("VmRSS:")
}

/// Bytes of it that are not pages of files, which come and go as the system sees fit.
pub(crate) fn anonymous_bytes() -> Option<u64> {
    status("RssAnon:")
}

/// The most it has held since [`reset_peak`].
pub(crate) fn peak_bytes() -> Option<u64> {
    status("VmHWM:")
}

/// Memory of this machine; `None` where the system does not say.
pub(crate) fn memory_bytes() -> Option<u64> {
    field("/proc/meminfo", "MemTotal:")
}

/// Starts the peak anew. Returns whether the system could.
pub(crate) fn reset_peak() -> bool {
    fs::write("/proc/self/clear_refs", "5").is_ok()
}

fn status(name: &str) -> Option<u64> {
    field("/proc/self/status", name)
}

/// The kibibytes after `name` in a file of the kernel's, as bytes.
fn field(path: &str, name: &str) -> Option<u64> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib * 1024)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn memory_is_counted_in_bytes() {
        let ballast = vec![1_u8; 64 << 20];
        let resident = resident_bytes().unwrap();
        assert!(resident >= ballast.len() as u64 && resident < 64 << 30);
        assert!(peak_bytes().unwrap() >= ballast.len() as u64);
    }

    #[test]
    fn pinning_narrows_the_allowed_cores() {
        let allowed = std::thread::spawn(|| {
            let last = allowed_cores().pop().unwrap();
            pin_to(&[last]).unwrap();
            (last, allowed_cores())
        });
        let (last, allowed) = allowed.join().unwrap();
        assert_eq!(allowed, [last]);
    }

    #[test]
    fn a_core_that_does_not_exist_is_refused() {
        let pinned = std::thread::spawn(|| pin_to(&[100_000]).is_err());
        assert!(pinned.join().unwrap());
    }
}
