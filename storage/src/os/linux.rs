//! Linux: address space reserved without rights, opened for use piece by piece.

use super::{HUGE_PAGE, Usage};
use crate::numa::Placement;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::ptr::NonNull;

/// Whether a new reservation is open for use as a whole.
pub(crate) const IS_OPEN_FROM_START: bool = false;

/// Memory nodes that a mask has room for: as many as the kernel can be built for.
const MAX_NODES: usize = 1024;

/// The last error of the calling thread.
fn errno() -> i32 {
    io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO)
}

/// Bytes in a page.
pub(crate) fn page_size() -> usize {
    // SAFETY: `sysconf` has no preconditions.
    let bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(bytes).unwrap_or(4096)
}

/// Gives pages that nothing on the heap uses back to the system, where the allocator is one that keeps them.
pub(crate) fn trim_heap() {
    #[cfg(target_env = "gnu")]
    // SAFETY: `malloc_trim` has no preconditions, and touches no memory that is in use.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Bytes that this process may use at most: physical memory, or the limit of its control group
/// where that is smaller.
pub(crate) fn memory_limit() -> usize {
    // SAFETY: `sysconf` has no preconditions.
    let pages = unsafe { libc::sysconf(libc::_SC_PHYS_PAGES) };
    let physical = usize::try_from(pages).unwrap_or(1 << 20).saturating_mul(page_size());
    cgroup_limit().map_or(physical, |limit| limit.min(physical))
}

/// The smallest `memory.max` of this process's control group (version 2) and those above it.
fn cgroup_limit() -> Option<usize> {
    let groups = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let group = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let root = Path::new("/sys/fs/cgroup");
    let limit_of = |group: &Path| {
        let limit = std::fs::read_to_string(root.join(group).join("memory.max")).ok()?;
        limit.trim().parse().ok() // "max" is no number
    };
    Path::new(group).ancestors().filter_map(limit_of).min()
}

/// A piece of address space, unmapped on drop. Nothing in it may be touched until it is committed.
pub(crate) struct Reservation {
    base: NonNull<u8>,
    bytes: usize,
}

// SAFETY: a reservation is an address range that this value alone unmaps; the calls below are
// thread safe in the kernel. What is done with the bytes is the business of `Region`.
unsafe impl Send for Reservation {}
// SAFETY: as above.
unsafe impl Sync for Reservation {}

impl Reservation {
    /// Reserves `bytes` (a multiple of the page size) starting on 2 MiB, with one page of no rights
    /// behind it that keeps this mapping apart from its neighbor. Fails with an errno.
    pub(crate) fn new(bytes: usize) -> Result<Reservation, i32> {
        let page = page_size();
        let total = bytes.checked_add(HUGE_PAGE + page).ok_or(libc::ENOMEM)?;
        // SAFETY: a fresh mapping at an address of the kernel's choice touches nobody's memory.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                total,
                libc::PROT_NONE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(errno());
        }
        let before = start.align_offset(HUGE_PAGE);
        let after = total - before - bytes - page;
        let base = start.cast::<u8>().wrapping_add(before);
        if before > 0 {
            // SAFETY: the first `before` bytes of the fresh mapping are ours and unused.
            unsafe { libc::munmap(start, before) };
        }
        if after > 0 {
            let tail = base.wrapping_add(bytes + page);
            // SAFETY: the last `after` bytes of the fresh mapping are ours and unused.
            unsafe { libc::munmap(tail.cast(), after) };
        }
        let base = NonNull::new(base).ok_or(libc::ENOMEM)?;
        Ok(Reservation { base, bytes: bytes + page })
    }

    /// First byte; starts on 2 MiB.
    pub(crate) fn base(&self) -> NonNull<u8> {
        self.base
    }

    fn at(&self, from: usize, to: usize) -> *mut libc::c_void {
        assert!(from <= to && to <= self.bytes, "range {from}..{to} leaves the reservation");
        self.base.as_ptr().wrapping_add(from).cast()
    }

    /// Opens `from..to` for reading and writing. Doing it again changes nothing; pages that were
    /// never open read as zero.
    pub(crate) fn commit(&self, from: usize, to: usize) -> Result<(), i32> {
        let start = self.at(from, to);
        // SAFETY: the range lies in this reservation (checked by `at`); giving more rights to it
        // invalidates no reference.
        match unsafe { libc::mprotect(start, to - from, libc::PROT_READ | libc::PROT_WRITE) } {
            0 => Ok(()),
            _ => Err(errno()),
        }
    }

    /// Asks for transparent huge pages in `from..to`. Whether the kernel heeds it is in [`Usage`].
    pub(crate) fn advise_huge(&self, from: usize, to: usize) -> bool {
        let start = self.at(from, to);
        // SAFETY: the range lies in this reservation; the advice changes page sizes, not contents.
        unsafe { libc::madvise(start, to - from, libc::MADV_HUGEPAGE) == 0 }
    }

    /// Copies the small pages of `from..to` into huge ones now (Linux 6.1), rather than whenever the
    /// kernel's background thread comes by. Contents and addresses stay; a refusal is harmless.
    pub(crate) fn collapse(&self, from: usize, to: usize) {
        /// Linux 6.1, `include/uapi/asm-generic/mman-common.h`; not in libc for all targets.
        const MADV_COLLAPSE: libc::c_int = 25;
        let start = self.at(from, to);
        // SAFETY: the range lies in this reservation; the kernel moves pages behind unchanged
        // addresses and stops accesses for as long as it does.
        unsafe { libc::madvise(start, to - from, MADV_COLLAPSE) };
    }

    /// Gives the pages of `from..to` (whole pages) back; they read as zeros, or as the file they were mapped
    /// from, when they are touched again.
    pub(crate) fn discard(&self, from: usize, to: usize) {
        let start = self.at(from, to);
        // SAFETY: the pages lie inside the reservation, and the caller of `Region::discard` guarantees that
        // nobody needs what is in them. Where the system refuses nothing has changed.
        unsafe { libc::madvise(start, to - from, libc::MADV_DONTNEED) };
    }

    /// Backs the first `bytes` (a multiple of 2 MiB) by pages of the administrator's huge page pool
    /// and opens them. `Err` gives the reservation up: the kernel may have left a hole in it.
    pub(crate) fn with_hugetlb(self, bytes: usize) -> Result<Reservation, i32> {
        let start = self.at(0, bytes);
        // SAFETY: the range lies in this reservation, which nobody else knows yet (`self` by value),
        // so replacing the mapping takes no memory from under anyone. Without MAP_NORESERVE the
        // kernel takes the pages from the pool now, so a later touch cannot fail.
        let got = unsafe {
            libc::mmap(
                start,
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE
                    | libc::MAP_ANONYMOUS
                    | libc::MAP_FIXED
                    | libc::MAP_HUGETLB
                    | libc::MAP_HUGE_2MB,
                -1,
                0,
            )
        };
        if got == libc::MAP_FAILED {
            let error = errno();
            // The failed call may have unmapped the range, and another thread may have been given
            // it since: unmap only what lies behind it. If the call failed early the range stays
            // reserved for good, which costs address space and no memory.
            let hole = std::mem::ManuallyDrop::new(self);
            let rest = hole.base.as_ptr().wrapping_add(bytes);
            // SAFETY: `bytes..` of the reservation was not touched by the failed call and is ours.
            unsafe { libc::munmap(rest.cast(), hole.bytes - bytes) };
            return Err(error);
        }
        Ok(self)
    }

    /// Puts `bytes` of `file` from `offset` (both multiples of the page size) at `0..bytes`, to read
    /// and to write; what is written stays private to this mapping.
    pub(crate) fn map_file(self, file: &File, offset: u64, bytes: usize) -> Result<Reservation, i32> {
        let start = self.at(0, bytes);
        let offset = libc::off_t::try_from(offset).map_err(|_| libc::EOVERFLOW)?;
        // SAFETY: the range lies in this reservation, which nobody else knows yet (`self` by value).
        let got = unsafe {
            libc::mmap(
                start,
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_FIXED,
                file.as_raw_fd(),
                offset,
            )
        };
        if got == libc::MAP_FAILED { Err(errno()) } else { Ok(self) }
    }

    /// Sets where the pages of `from..to` are to come from, before they are touched. `false` if the
    /// system refuses.
    pub(crate) fn place(&self, from: usize, to: usize, placement: &Placement) -> bool {
        let (mode, nodes) = match placement {
            Placement::Any => (libc::MPOL_DEFAULT, &[][..]),
            Placement::Bind(node) => (libc::MPOL_BIND, std::slice::from_ref(node)),
            Placement::Preferred(node) => (libc::MPOL_PREFERRED, std::slice::from_ref(node)),
            Placement::Interleave(nodes) => (libc::MPOL_INTERLEAVE, &nodes[..]),
        };
        const WORD: usize = libc::c_ulong::BITS as usize;
        let mut mask = [0 as libc::c_ulong; MAX_NODES / WORD];
        for &node in nodes {
            let Some(word) = mask.get_mut(node as usize / WORD) else { return false };
            *word |= 1 << (node as usize % WORD);
        }
        let start = self.at(from, to);
        // One more than there are bits: the kernel takes the last one off.
        let bits = MAX_NODES + 1;
        // SAFETY: the range lies in this reservation and the mask is as long as said; the call
        // chooses nodes for pages that are yet to come, and changes no contents.
        unsafe { libc::syscall(libc::SYS_mbind, start, to - from, mode, mask.as_ptr(), bits, 0) == 0 }
    }

    /// The node of the page at `offset`, if it has been touched and the system tells.
    pub(crate) fn node_at(&self, offset: usize) -> Option<u32> {
        let page = self.at(offset, offset);
        let mut node: libc::c_int = -1;
        let nodes = std::ptr::null::<libc::c_int>();
        // SAFETY: one page and one place for its node; without target nodes the call moves nothing.
        let result = unsafe { libc::syscall(libc::SYS_move_pages, 0, 1usize, &page, nodes, &mut node, 0) };
        if result == 0 { u32::try_from(node).ok() } else { None }
    }

    /// What backs `0..to` now. `None` if the system does not say.
    pub(crate) fn usage(&self, to: usize) -> Option<Usage> {
        let start = self.base.as_ptr().addr();
        let smaps = std::fs::read_to_string("/proc/self/smaps").ok()?;
        Some(parse_smaps(&smaps, start, start + to))
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        // SAFETY: the range is ours (made by `new`, given up only by `with_hugetlb`, which forgets
        // the value), and whoever owns the reservation lends its bytes for no longer than it lives.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.bytes) };
    }
}

/// Whether the administrator has set 2 MiB pages aside that nobody uses yet.
pub(crate) fn has_free_hugetlb(bytes: usize) -> bool {
    std::fs::read_to_string("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages")
        .ok()
        .and_then(|text| text.trim().parse::<usize>().ok())
        .is_some_and(|free| free >= bytes / HUGE_PAGE && free > 0)
}

/// Sums what `/proc/self/smaps` says about the mappings that overlap `start..end`.
fn parse_smaps(smaps: &str, start: usize, end: usize) -> Usage {
    let mut usage = Usage::default();
    let mut is_inside = false;
    for line in smaps.lines() {
        let Some((key, rest)) = line.split_once(char::is_whitespace) else { continue };
        let Some(field) = key.strip_suffix(':') else {
            let range = key.split_once('-').and_then(|(low, high)| {
                Some((usize::from_str_radix(low, 16).ok()?, usize::from_str_radix(high, 16).ok()?))
            });
            is_inside = range.is_some_and(|(low, high)| low < end && high > start);
            continue;
        };
        if !is_inside {
            continue;
        }
        let kilobytes = || rest.trim().strip_suffix("kB").and_then(|n| n.trim().parse::<usize>().ok());
        match field {
            "Rss" => usage.resident += kilobytes().unwrap_or(0) << 10,
            "AnonHugePages" | "FilePmdMapped" => usage.huge += kilobytes().unwrap_or(0) << 10,
            // Pages of the pool are in neither of the two above.
            "Private_Hugetlb" => {
                usage.huge += kilobytes().unwrap_or(0) << 10;
                usage.resident += kilobytes().unwrap_or(0) << 10;
            }
            _ => {}
        }
    }
    usage
}

/// A whole file, mapped to be read.
pub(crate) struct ReadMap {
    base: NonNull<u8>,
    bytes: usize,
}

// SAFETY: the mapping is read-only and owned by this value.
unsafe impl Send for ReadMap {}
// SAFETY: as above.
unsafe impl Sync for ReadMap {}

impl ReadMap {
    /// Maps the first `bytes` of `file`.
    pub(crate) fn new(file: &File, bytes: usize) -> io::Result<ReadMap> {
        if bytes == 0 {
            return Ok(ReadMap { base: NonNull::dangling(), bytes: 0 });
        }
        // SAFETY: a fresh mapping at an address of the kernel's choice touches nobody's memory.
        let base = unsafe {
            libc::mmap(std::ptr::null_mut(), bytes, libc::PROT_READ, libc::MAP_SHARED, file.as_raw_fd(), 0)
        };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = NonNull::new(base.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(ReadMap { base, bytes })
    }

    /// The bytes of the file.
    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: `base..base + bytes` is mapped to be read for as long as `self` lives (unmapped
        // only in `drop`). That nobody cuts or changes the file meanwhile is the condition
        // `MappedFile::open` states; files of this crate are replaced by rename, never changed.
        unsafe { std::slice::from_raw_parts(self.base.as_ptr(), self.bytes) }
    }
}

impl Drop for ReadMap {
    fn drop(&mut self) {
        if self.bytes > 0 {
            // SAFETY: the mapping is ours, and no slice of it outlives `self`.
            unsafe { libc::munmap(self.base.as_ptr().cast(), self.bytes) };
        }
    }
}

/// Keeps the calling thread on these cores. `false` if the system refuses, for instance because none
/// of them exists.
pub(crate) fn pin_to_cores(cores: &[u32]) -> bool {
    const WORD: usize = libc::c_ulong::BITS as usize;
    // 8192 cores, the most Linux can be built for.
    let mut mask = [0 as libc::c_ulong; 8192 / WORD];
    for &core in cores {
        let Some(word) = mask.get_mut(core as usize / WORD) else { return false };
        *word |= 1 << (core as usize % WORD);
    }
    // SAFETY: the mask is as long as said, and the call concerns the calling thread alone.
    unsafe { libc::sched_setaffinity(0, size_of_val(&mask), mask.as_ptr().cast()) == 0 }
}

/// Makes a rename in `directory` last.
pub(crate) fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_limit_is_one_of_this_machine() {
        let limit = memory_limit();
        let meminfo = std::fs::read_to_string("/proc/meminfo").expect("Linux has it");
        let total = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:")).expect("the total");
        let total: usize = total.trim().trim_end_matches(" kB").parse().expect("a number");
        assert!(limit > 1 << 20 && limit <= total << 10, "{limit} of {total} kB");
    }

    #[test]
    fn smaps_of_overlapping_mappings_are_summed() {
        let text = "\
7f0000000000-7f0000200000 rw-p 00000000 00:00 0 \n\
Rss:                2048 kB\n\
AnonHugePages:      2048 kB\n\
VmFlags: rd wr mr mw me ac hg \n\
7f0000200000-7f0000400000 rw-p 00000000 00:00 0 [anon: x]\n\
Rss:                   8 kB\n\
Private_Hugetlb:    2048 kB\n\
AnonHugePages:         0 kB\n\
7f0000400000-7f0000600000 rw-p 00000000 00:00 0 \n\
Rss:                  99 kB\n";
        let usage = parse_smaps(text, 0x7f00_0000_0000, 0x7f00_0040_0000);
        assert_eq!(usage, Usage { resident: (2048 + 2048 + 8) << 10, huge: 4096 << 10 });
        assert_eq!(parse_smaps(text, 0x1000, 0x2000), Usage::default());
    }
}
