//! Memory that grows in place: address space is reserved once, pages follow as they are needed.
//!
//! A [`Region`] never moves, so a pointer into it stays good for as long as the region lives, also
//! while other threads make it larger.
//!
//! * **P1** `0..committed` may be read and written, starts at a fixed address and is zero where
//!   nobody wrote (or holds the section of the file it was mapped from).
//! * **P2** `committed` only grows, and never past `capacity`.
//! * **P3** What is committed beyond a mapped file has been paid for in the budget first.
//!
//! Cost: see [`Region`]. The slow path of growing takes a mutex: the kernel changes an address space
//! under a lock of its own, so a lock-free one would only move the waiting.

use crate::numa::Placement;
use crate::os::{self, HUGE_PAGE, Reservation};
use crate::sync::{AtomicUsize, Ordering};
use std::fs::File;
use std::sync::{Arc, Mutex, PoisonError};

/// The smallest growth: enough that a region of a few thousand rows grows a handful of times.
const FIRST_STEP: usize = 64 << 10;
/// The largest growth: at 2 GB/s of page clearing this is work for 30 ms, so the system call per
/// step is lost in it, while at most 64 MiB are committed (not used) ahead of need.
const LAST_STEP: usize = 64 << 20;
/// Address space below which a refused reservation is an error instead of being halved once more.
const RESERVE_FLOOR: usize = 64 << 20;

/// How much memory a [`Region`] may take, and from which pages.
#[derive(Debug, Clone)]
pub struct MemoryOptions {
    /// Hard cap in bytes, and the address space that is reserved. `None`: physical memory, or the
    /// limit of the control group if that is less. Only address space is taken up front.
    pub max_bytes: Option<usize>,
    /// Bytes that will probably be used. `None`: unknown. A hint for the choice of pages; it
    /// neither limits nor commits (except from a pool of huge pages set aside for the purpose).
    pub expected_bytes: Option<usize>,
    /// Ask for 2 MiB pages. Default `true`.
    pub huge_pages: bool,
    /// A cap shared with other regions. `None`: no shared cap.
    pub budget: Option<Arc<MemoryBudget>>,
    /// Which memory nodes to take the memory from. Default: no wish.
    pub placement: Placement,
}

impl Default for MemoryOptions {
    fn default() -> Self {
        MemoryOptions {
            max_bytes: None,
            expected_bytes: None,
            huge_pages: true,
            budget: None,
            placement: Placement::Any,
        }
    }
}

/// A number of bytes that several regions share. What they commit together never exceeds it.
///
/// # Examples
/// ```
/// use orthant_storage::{MemoryBudget, MemoryOptions, Region};
///
/// let budget = MemoryBudget::new(1 << 20);
/// let options = MemoryOptions { budget: Some(budget.clone()), ..MemoryOptions::default() };
/// let (first, second) = (Region::reserve(&options)?, Region::reserve(&options)?);
/// first.ensure(700_000)?;
/// assert!(second.ensure(700_000).is_err());
/// drop(first);
/// second.ensure(700_000)?;
/// # Ok::<(), orthant_storage::RegionError>(())
/// ```
#[derive(Debug)]
pub struct MemoryBudget {
    limit: usize,
    used: std::sync::atomic::AtomicUsize,
}

impl MemoryBudget {
    /// A budget of `limit` bytes, nothing of it used.
    pub fn new(limit: usize) -> Arc<MemoryBudget> {
        Arc::new(MemoryBudget { limit, used: std::sync::atomic::AtomicUsize::new(0) })
    }

    /// Bytes that may be committed in all.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Bytes that are committed now.
    pub fn used(&self) -> usize {
        // A count that orders nothing: whoever reads it learns a number, not the state of memory.
        self.used.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// Takes between `needed` and `wanted` bytes, as many as there are left; returns how many.
    fn take(&self, needed: usize, wanted: usize) -> Result<usize, RegionError> {
        use std::sync::atomic::Ordering::Relaxed;
        let mut used = self.used.load(Relaxed);
        loop {
            let left = self.limit.saturating_sub(used);
            if left < needed {
                return Err(RegionError::OverBudget { requested: needed, used, limit: self.limit });
            }
            // Whole pages are committed, so a page that is only partly left is not used.
            let grant = wanted.min(left / os::page_size() * os::page_size()).max(needed);
            match self.used.compare_exchange_weak(used, used + grant, Relaxed, Relaxed) {
                Ok(_) => return Ok(grant),
                Err(now) => used = now,
            }
        }
    }

    fn give_back(&self, bytes: usize) {
        self.used.fetch_sub(bytes, std::sync::atomic::Ordering::Relaxed);
    }
}

/// Why a region could not be reserved or grown. What it held before is untouched.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RegionError {
    /// More than the region's own cap was asked for.
    #[error("{requested} bytes exceed the capacity of {capacity} bytes")]
    Full {
        /// Bytes asked for in all.
        requested: usize,
        /// The cap.
        capacity: usize,
    },
    /// More was asked for than the shared budget has left.
    #[error("{requested} more bytes exceed the memory budget: {used} of {limit} bytes are in use")]
    OverBudget {
        /// Bytes asked for on top of what the region has.
        requested: usize,
        /// Bytes in use by all regions of the budget.
        used: usize,
        /// The budget.
        limit: usize,
    },
    /// The operating system refused.
    #[error("the operating system refused {bytes} bytes: {}", std::io::Error::from_raw_os_error(*.errno))]
    Refused {
        /// Bytes asked for.
        bytes: usize,
        /// The system's error number.
        errno: i32,
    },
}

/// Which pages a region asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PageKind {
    /// The system's small pages, 4 KiB on x86-64.
    Small,
    /// Transparent huge pages: small ones where no huge one can be had.
    Transparent,
    /// Pages of the pool the administrator set aside, for the expected bytes; transparent ones
    /// beyond them.
    Pool,
}

/// What a region asked for and what it was granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct PageReport {
    /// What was asked for. `Small` also where the system refused to hear of anything else.
    pub asked: PageKind,
    /// Bytes that can be used without asking the system again.
    pub committed_bytes: usize,
    /// Bytes that are backed by memory now. 0 where the system does not tell.
    pub resident_bytes: usize,
    /// Of these, bytes on huge pages.
    pub huge_bytes: usize,
    /// Whether the system heeds the placement asked for; `true` if there was no wish.
    pub is_placed: bool,
}

/// Growable bytes at a stable address.
///
/// # Which pages
/// With `huge_pages` (the default) everything from 2 MiB on asks for transparent huge pages. The
/// first 2 MiB do so from the start only if `expected_bytes` says that at least half of them will be
/// used: otherwise the first byte of every small region would cost 2 MiB. A region that grows past
/// 2 MiB has its first 2 MiB collapsed into a huge page then (one call of up to 10 ms, which
/// `expected_bytes` saves). If the administrator has set huge pages aside (`vm.nr_hugepages`) and
/// enough of them are free, the whole huge pages of `expected_bytes` come from there. What was
/// granted in the end is in [`PageReport`].
///
/// # Cost
/// [`ensure`](Self::ensure) is one atomic load while there is room. Growing takes a mutex and one or
/// two system calls per step; steps double from 64 KiB up to 64 MiB, and are a sixteenth of what there
/// is under a shared budget.
///
/// # Examples
/// ```
/// use orthant_storage::{MemoryOptions, Region};
///
/// let region = Region::reserve(&MemoryOptions { max_bytes: Some(1 << 30), ..Default::default() })?;
/// let address = region.as_ptr();
/// region.ensure(10_000_000)?;
/// assert!(region.committed() >= 10_000_000);
/// assert_eq!(region.as_ptr(), address);
/// assert!(region.ensure((1 << 30) + 1).is_err());
/// # Ok::<(), orthant_storage::RegionError>(())
/// ```
pub struct Region {
    reservation: Reservation,
    capacity: usize,
    committed: AtomicUsize,
    /// Held while the region grows. Guards nothing but the order of growing.
    growth: Mutex<Growth>,
    asked: PageKind,
    is_placed: bool,
    budget: Option<Arc<MemoryBudget>>,
}

/// What only the thread that grows a region looks at.
struct Growth {
    /// Bytes taken from the budget.
    paid: usize,
    /// The first 2 MiB are on small pages and to be collapsed when the region outgrows them.
    is_start_small: bool,
}

impl Region {
    /// Reserves address space. No memory is used before it is touched.
    ///
    /// If the system refuses the size, half of it is tried, down to the larger of 64 MiB and
    /// `expected_bytes` (or to `max_bytes`, where that is less): see [`capacity`](Region::capacity)
    /// for what it came to.
    ///
    /// # Errors
    /// [`RegionError::Refused`] if not even that can be had.
    pub fn reserve(options: &MemoryOptions) -> Result<Region, RegionError> {
        let (reservation, capacity) = reserve_halving(options, 0)?;
        let mut region = Region {
            reservation,
            capacity,
            committed: AtomicUsize::new(0),
            growth: Mutex::new(Growth { paid: 0, is_start_small: false }),
            asked: PageKind::Small,
            is_placed: true,
            budget: options.budget.clone(),
        };
        region.is_placed = region.place(&options.placement, 0);
        if options.huge_pages {
            region.ask_for_huge_pages(options);
        }
        if os::IS_OPEN_FROM_START && region.budget.is_none() {
            // There is nothing left to commit; under a budget it is still paid for step by step.
            region.committed = AtomicUsize::new(region.capacity);
        }
        Ok(region)
    }

    /// Chooses the pages of an empty region; see the module text for the rule.
    fn ask_for_huge_pages(&mut self, options: &MemoryOptions) {
        let expected = options.expected_bytes.unwrap_or(0).min(self.capacity);
        let from_pool = expected / HUGE_PAGE * HUGE_PAGE;
        // Pages of the pool are counted for the machine, not per node: bound to a node that has none,
        // the first touch would end the process.
        let is_anywhere = options.placement == Placement::Any;
        if from_pool > 0 && is_anywhere && os::has_free_hugetlb(from_pool) {
            let paid = match &self.budget {
                Some(budget) => budget.take(from_pool, from_pool),
                None => Ok(0),
            };
            if let Ok(paid) = paid
                && !self.take_from_pool(options, from_pool, paid)
                && let Some(budget) = &self.budget
            {
                budget.give_back(paid);
            }
        }
        let mapped = round_up(self.capacity, os::page_size());
        if self.asked == PageKind::Pool {
            self.reservation.advise_huge(from_pool.min(mapped), mapped);
            return;
        }
        let is_start_huge = expected >= HUGE_PAGE / 2;
        let from = if is_start_huge { 0 } else { HUGE_PAGE.min(mapped) };
        if self.reservation.advise_huge(from, mapped) {
            self.asked = PageKind::Transparent;
            self.growth = Mutex::new(Growth { paid: 0, is_start_small: !is_start_huge });
        }
    }

    /// Replaces the empty reservation by one whose first `bytes` are pages of the pool; `false` if
    /// that cannot be done, for instance because another process was faster.
    fn take_from_pool(&mut self, options: &MemoryOptions, bytes: usize, paid: usize) -> bool {
        // A failure gives the reservation up, so it is a spare one that is tried with.
        let Ok((spare, capacity)) = reserve_halving(options, bytes) else { return false };
        let Ok(reservation) = spare.with_hugetlb(bytes) else { return false };
        self.reservation = reservation;
        self.capacity = capacity;
        self.committed = AtomicUsize::new(bytes);
        self.growth = Mutex::new(Growth { paid, is_start_small: false });
        self.asked = PageKind::Pool;
        true
    }

    /// A region that starts with `bytes` of `file` from `offset`, mapped privately: what is written
    /// there is not written to the file. Growth behind it is ordinary memory.
    ///
    /// `offset` must be a multiple of the page size. The mapped bytes are not charged to the budget:
    /// they are the system's cache, which it can drop at any time.
    pub(crate) fn map(
        file: &File,
        offset: u64,
        bytes: usize,
        options: &MemoryOptions,
    ) -> Result<Region, RegionError> {
        let (reservation, capacity) = reserve_halving(options, bytes)?;
        let mapped = round_up(bytes, os::page_size());
        let refused = |errno| RegionError::Refused { bytes, errno };
        let reservation = if mapped > 0 {
            reservation.map_file(file, offset, mapped).map_err(refused)?
        } else {
            reservation
        };
        let end = round_up(capacity, os::page_size());
        let huge_from = round_up(mapped, HUGE_PAGE).min(end);
        let is_huge = options.huge_pages && reservation.advise_huge(huge_from, end);
        if mapped > bytes {
            // SAFETY: `bytes..mapped` was just mapped for writing (inside the reservation, which is
            // at least `mapped` long) and nobody else knows the address yet. P1 wants zeros there.
            unsafe { reservation.base().as_ptr().add(bytes).write_bytes(0, mapped - bytes) };
        }
        let mut region = Region {
            reservation,
            capacity,
            committed: AtomicUsize::new(mapped.min(capacity)),
            growth: Mutex::new(Growth { paid: 0, is_start_small: false }),
            asked: if is_huge { PageKind::Transparent } else { PageKind::Small },
            is_placed: true,
            budget: options.budget.clone(),
        };
        region.is_placed = region.place(&options.placement, mapped);
        Ok(region)
    }

    /// Passes a placement on for everything from byte `from` on; whether it was accepted.
    fn place(&self, placement: &Placement, from: usize) -> bool {
        let to = round_up(self.capacity, os::page_size());
        *placement == Placement::Any || from >= to || self.reservation.place(from, to, placement)
    }

    /// The memory node that the page with byte `offset` lies on; `None` if the page has not been
    /// touched or the system does not say.
    ///
    /// # Panics
    /// If `offset` is not committed.
    pub fn node_at(&self, offset: usize) -> Option<u32> {
        assert!(offset < self.committed(), "byte {offset} is not committed");
        self.reservation.node_at(offset)
    }

    /// The first byte. Stays the same for as long as the region lives; aligned to 2 MiB on Linux
    /// and to 4 KiB elsewhere. Bytes from [`committed`](Region::committed) on must not be touched.
    ///
    /// The region hands out a pointer and no slice, since it cannot know who writes where.
    pub fn as_ptr(&self) -> *mut u8 {
        self.reservation.base().as_ptr()
    }

    /// The shared budget, if the region has one.
    pub(crate) fn budget(&self) -> Option<Arc<MemoryBudget>> {
        self.budget.clone()
    }

    /// Bytes that may be used now.
    #[inline]
    pub fn committed(&self) -> usize {
        // OBSERVE: pairs with COMMIT in `grow`, so that the pages are open before they are used.
        self.committed.load(Ordering::Acquire)
    }

    /// The hard cap in bytes: `max_bytes`, or less if the system refused that much address space.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Makes at least `bytes` usable, counted from the start of the region. Any thread may call it
    /// at any time; new bytes are zero.
    ///
    /// # Errors
    /// [`RegionError::Full`] past the capacity, [`RegionError::OverBudget`] past the shared budget,
    /// [`RegionError::Refused`] if the system has no memory to commit. The region stays as it was.
    #[inline]
    pub fn ensure(&self, bytes: usize) -> Result<(), RegionError> {
        if bytes <= self.committed() { Ok(()) } else { self.grow(bytes) }
    }

    #[cold]
    fn grow(&self, bytes: usize) -> Result<(), RegionError> {
        if bytes > self.capacity {
            return Err(RegionError::Full { requested: bytes, capacity: self.capacity });
        }
        let mut growth = self.growth.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.committed();
        if bytes <= now {
            return Ok(());
        }
        let page = os::page_size();
        let end = round_up(self.capacity, page);
        let from = round_up(now, page);
        let needed = round_up(bytes, page);
        // Under a shared budget what one region holds ahead of need another lacks, so steps are
        // smaller there: with a sixteenth the budget is used to 90 % and more before it refuses.
        let ahead = if self.budget.is_some() { from / 16 } else { from };
        let wanted = next_step(from, needed, ahead, self.is_huge(&growth)).min(end);
        let paid = match &self.budget {
            Some(budget) => budget.take(needed - from, wanted - from)?,
            None => wanted - from,
        };
        let to = from + paid;
        if let Err(errno) = self.reservation.commit(from, to) {
            if let Some(budget) = &self.budget {
                budget.give_back(paid);
            }
            return Err(RegionError::Refused { bytes: to - from, errno });
        }
        growth.paid += if self.budget.is_some() { paid } else { 0 };
        if growth.is_start_small && to > HUGE_PAGE {
            self.reservation.advise_huge(0, HUGE_PAGE);
            if now > 0 {
                self.reservation.collapse(0, HUGE_PAGE);
            }
            growth.is_start_small = false;
        }
        // COMMIT: pairs with OBSERVE in `committed`.
        self.committed.store(to.min(self.capacity), Ordering::Release);
        Ok(())
    }

    /// Gives the system back the memory behind `range` (bytes), as far as whole pages go. The bytes stay
    /// committed: they read as zeros, or in a mapped region as the file, until they are written again.
    ///
    /// # Safety
    /// Nobody needs what the bytes hold, and nobody reads or writes them during the call.
    pub unsafe fn discard(&self, range: std::ops::Range<usize>) {
        let page = os::page_size();
        let from = round_up(range.start, page);
        let to = range.end.min(self.committed()) / page * page;
        if from < to {
            self.reservation.discard(from, to);
        }
    }

    /// Whether the next step should be a whole number of huge pages also at the very start.
    fn is_huge(&self, growth: &Growth) -> bool {
        self.asked != PageKind::Small && !growth.is_start_small
    }

    /// What was asked for and what is there. Reads `/proc/self/smaps`, so it is for reports, not for
    /// every query: some 10 us per thousand mappings of the process.
    pub fn pages(&self) -> PageReport {
        let committed = self.committed();
        let usage = self.reservation.usage(round_up(committed, os::page_size())).unwrap_or_default();
        PageReport {
            asked: self.asked,
            committed_bytes: committed,
            resident_bytes: usage.resident,
            huge_bytes: usage.huge,
            is_placed: self.is_placed,
        }
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        if let Some(budget) = &self.budget {
            let growth = self.growth.get_mut().unwrap_or_else(PoisonError::into_inner);
            budget.give_back(growth.paid);
        }
    }
}

impl std::fmt::Debug for Region {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Region")
            .field("committed", &self.committed())
            .field("capacity", &self.capacity)
            .field("asked", &self.asked)
            .finish_non_exhaustive()
    }
}

/// Where to grow to from `from`, when `needed` is the least: `ahead` more than there is, within the
/// limits on a step, and whole huge pages from the first of them on.
fn next_step(from: usize, needed: usize, ahead: usize, is_start_huge: bool) -> usize {
    let step = ahead.clamp(FIRST_STEP, LAST_STEP);
    let to = needed.max(from.saturating_add(step));
    if is_start_huge || to > HUGE_PAGE { to.checked_next_multiple_of(HUGE_PAGE).unwrap_or(to) } else { to }
}

/// Reserves what the options ask for, or half of it, and so on; `least` bytes must fit.
fn reserve_halving(options: &MemoryOptions, least: usize) -> Result<(Reservation, usize), RegionError> {
    let page = os::page_size();
    let mut capacity = options.max_bytes.unwrap_or_else(|| os::memory_limit().max(least));
    if capacity < least {
        return Err(RegionError::Full { requested: least, capacity });
    }
    let floor = RESERVE_FLOOR.max(options.expected_bytes.unwrap_or(0)).max(least);
    loop {
        // A reservation of nothing is not a mapping: round up to a page.
        let errno = match Reservation::new(round_up(capacity.max(1), page)) {
            Ok(reservation) => return Ok((reservation, capacity)),
            Err(errno) => errno,
        };
        if capacity / 2 < floor {
            return Err(RegionError::Refused { bytes: capacity, errno });
        }
        capacity /= 2;
    }
}

/// `bytes` rounded up to whole units; the largest whole number of units where that overflows.
pub(crate) fn round_up(bytes: usize, unit: usize) -> usize {
    bytes.checked_next_multiple_of(unit).unwrap_or(usize::MAX / unit * unit)
}
