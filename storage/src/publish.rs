//! Handing out row numbers and saying how many rows are whole: the protocol under every arena.
//!
//! A writer *claims* the next row, fills it and *publishes* it. `len` counts the whole rows from the
//! start: it never covers a row that is still being written. A writer that finishes before an
//! earlier one leaves a ready mark and goes; whoever closes the gap moves `len` over all of them.
//!
//! * **R1** A row is claimed once, and ready once, by the thread that claimed it.
//! * **R2** `len <= claimed`, both only grow, and every row below `len` is ready.
//! * **R3** When no writer is between claim and publish, `len == claimed`: no mark is left behind.
//!
//! R3 needs the two fences. Writer A marks row a and looks at `len`; writer B moves `len` to a and
//! looks at the mark of a. Each writes one word and reads the other's, so without a total order both
//! could read the old value, and row a would wait for the next publish. With MARK FENCE (after the
//! mark) and MOVE FENCE (after the move; the same line, reached by the loop) one of them comes
//! first, and the other sees it.
//!
//! Nobody waits: a failed exchange means that another thread moved the same counter. Cost of a row:
//! one exchange to claim, one `fetch_or` to mark, two fences and one exchange to move `len`. Readers
//! pay one load. Memory: one bit per row.

use crate::pages::{MemoryOptions, RegionError};
use crate::sync::{AtomicU32, Ordering, Padded, fence};

/// Row numbers are below this: the top bit of an id is left to those who store ids.
pub(crate) const MAX_ROWS: u32 = 1 << 31;

/// Counters and ready marks of one arena.
pub(crate) struct Publication {
    /// Rows handed out. On a line apart from `len`, which readers poll.
    claimed: Padded<AtomicU32>,
    /// Whole rows.
    len: Padded<AtomicU32>,
    ready: ReadyMarks,
    max_rows: u32,
}

impl Publication {
    /// `already` rows are whole; up to `max_rows` may follow.
    pub(crate) fn new(
        already: u32,
        max_rows: usize,
        options: &MemoryOptions,
    ) -> Result<Publication, RegionError> {
        let max_rows = u32::try_from(max_rows).unwrap_or(u32::MAX).min(MAX_ROWS).max(already);
        Ok(Publication {
            claimed: Padded(AtomicU32::new(already)),
            len: Padded(AtomicU32::new(already)),
            ready: ReadyMarks::new(max_rows, options)?,
            max_rows,
        })
    }

    /// Whole rows from the start. Their bytes may be read.
    #[inline]
    pub(crate) fn len(&self) -> u32 {
        // OBSERVE: pairs with PUBLISH in `publish`.
        self.len.0.load(Ordering::Acquire)
    }

    /// Rows handed out, whole or not.
    pub(crate) fn claimed(&self) -> u32 {
        self.claimed.0.load(Ordering::Relaxed)
    }

    /// Takes the next row for the caller alone. `make_room` is called with the number of rows that
    /// must fit *before* the row is taken, so a refusal leaves no hole. `None`: no row number is
    /// left.
    pub(crate) fn claim<E: From<RegionError>>(
        &self,
        make_room: impl Fn(u32) -> Result<(), E>,
    ) -> Result<Option<u32>, E> {
        loop {
            // Relaxed: the number is all that is passed on; the row's bytes are untouched.
            let row = self.claimed.0.load(Ordering::Relaxed);
            if row >= self.max_rows {
                return Ok(None);
            }
            make_room(row + 1)?;
            self.ready.ensure(row + 1)?;
            if self
                .claimed
                .0
                .compare_exchange_weak(row, row + 1, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
            {
                return Ok(Some(row));
            }
        }
    }

    /// Says that `row`, claimed by the caller, is whole, and moves `len` as far as it goes.
    pub(crate) fn publish(&self, row: u32) {
        self.ready.mark(row);
        loop {
            // MARK FENCE on the first turn, MOVE FENCE on the later ones: see the module text.
            fence(Ordering::SeqCst);
            let len = self.len.0.load(Ordering::Relaxed);
            let run = self.ready.run(len, self.max_rows);
            if run == 0 {
                return;
            }
            // PUBLISH: pairs with OBSERVE in `len`. The rows' bytes were written before their marks,
            // which `run` acquired; a failure means that somebody else moved `len`.
            let _ = self.len.0.compare_exchange(len, len + run, Ordering::Release, Ordering::Relaxed);
        }
    }
}

/// One bit per row: set once the row is whole.
#[cfg(not(loom))]
struct ReadyMarks {
    region: crate::pages::Region,
}

#[cfg(not(loom))]
impl ReadyMarks {
    fn new(max_rows: u32, options: &MemoryOptions) -> Result<ReadyMarks, RegionError> {
        // Huge pages are not worth it: 2 MiB of marks are 16 million rows.
        let options = MemoryOptions {
            max_bytes: Some(mark_bytes(max_rows)),
            expected_bytes: None,
            huge_pages: false,
            ..options.clone()
        };
        Ok(ReadyMarks { region: crate::pages::Region::reserve(&options)? })
    }

    #[inline]
    fn ensure(&self, rows: u32) -> Result<(), RegionError> {
        self.region.ensure(mark_bytes(rows))
    }

    /// The word that holds the mark of `row`, if there is one yet.
    #[inline]
    fn word(&self, row: u32) -> Option<&crate::sync::AtomicU64> {
        let index = row as usize / 64;
        if (index + 1) * 8 > self.region.committed() {
            return None;
        }
        let words = self.region.as_ptr().cast::<crate::sync::AtomicU64>();
        // SAFETY: the word lies below `committed` (P1), checked above, so the pointer stays inside
        // the region.
        let word = unsafe { words.add(index) };
        // SAFETY: aligned (the region starts on a page), zero or written through this type only, and
        // alive as long as the region, which `self` owns.
        Some(unsafe { &*word })
    }

    #[inline]
    fn mark(&self, row: u32) {
        let word = self.word(row).expect("room for the mark was made when the row was claimed");
        // READY: pairs with the Acquire in `run`. A read-modify-write, so it also carries on the
        // release of the marks set before in the same word.
        word.fetch_or(1 << (row % 64), Ordering::Release);
    }

    /// How many rows from `row` on are ready, without a gap; stops at the end of a word.
    #[inline]
    fn run(&self, row: u32, max_rows: u32) -> u32 {
        if row >= max_rows {
            return 0;
        }
        let Some(word) = self.word(row) else { return 0 };
        (word.load(Ordering::Acquire) >> (row % 64)).trailing_ones()
    }
}

/// Bytes of whole words for `rows` marks.
#[cfg(not(loom))]
pub(crate) fn mark_bytes(rows: u32) -> usize {
    (rows as usize).div_ceil(64) * 8
}

/// In a model every mark has a word of its own: the hard case, which the bits of one word hide.
#[cfg(loom)]
struct ReadyMarks(Vec<AtomicU32>);

#[cfg(loom)]
impl ReadyMarks {
    fn new(_max_rows: u32, _options: &MemoryOptions) -> Result<ReadyMarks, RegionError> {
        Ok(ReadyMarks((0..crate::sync::MODEL_ROWS).map(|_| AtomicU32::new(0)).collect()))
    }

    fn ensure(&self, rows: u32) -> Result<(), RegionError> {
        assert!(rows as usize <= self.0.len(), "a model uses at most {} rows", self.0.len());
        Ok(())
    }

    fn mark(&self, row: u32) {
        self.0[row as usize].fetch_or(1, Ordering::Release);
    }

    fn run(&self, row: u32, max_rows: u32) -> u32 {
        if row >= max_rows {
            return 0;
        }
        self.0.get(row as usize).map_or(0, |word| word.load(Ordering::Acquire))
    }
}
