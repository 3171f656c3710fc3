//! Any other system: one zeroed allocation of the whole capacity, opened all at once.
//!
//! A large zeroed allocation is taken from the system as untouched pages, so what is not used costs
//! address space only (on Windows it counts against the commit limit). The default capacity is
//! therefore a fixed 1 GiB here, not the size of physical memory.

use super::Usage;
use crate::numa::Placement;
use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::ptr::NonNull;

/// Alignment of a reservation here. Asking the allocator for it would make it clear the memory by
/// hand, so we ask for this much more and align ourselves.
const ALIGN: usize = 4096;

/// Whether a new reservation is open for use as a whole.
pub(crate) const IS_OPEN_FROM_START: bool = true;

/// Errno of a refused allocation, the same number on every Unix.
const ENOMEM: i32 = 12;
/// Errno of a failed read.
const EIO: i32 = 5;

/// Does nothing: other allocators are left to themselves.
pub(crate) fn trim_heap() {}

/// Bytes in a page, as far as this module is concerned.
pub(crate) fn page_size() -> usize {
    ALIGN
}

/// The default capacity of a region.
pub(crate) fn memory_limit() -> usize {
    1 << 30
}

/// A zeroed allocation, freed on drop.
pub(crate) struct Reservation {
    raw: NonNull<u8>,
    layout: Layout,
    base: NonNull<u8>,
    bytes: usize,
}

// SAFETY: the allocation is owned by this value; what is done with the bytes is the business of
// `Region`.
unsafe impl Send for Reservation {}
// SAFETY: as above.
unsafe impl Sync for Reservation {}

impl Reservation {
    pub(crate) fn new(bytes: usize) -> Result<Reservation, i32> {
        let total = bytes.checked_add(ALIGN).ok_or(ENOMEM)?;
        let layout = Layout::from_size_align(total, 16).map_err(|_| ENOMEM)?;
        // SAFETY: the layout has a size, since ALIGN > 0.
        let raw = NonNull::new(unsafe { alloc_zeroed(layout) }).ok_or(ENOMEM)?;
        let skip = raw.as_ptr().align_offset(ALIGN);
        let base = NonNull::new(raw.as_ptr().wrapping_add(skip)).ok_or(ENOMEM)?;
        Ok(Reservation { raw, layout, base, bytes })
    }

    pub(crate) fn base(&self) -> NonNull<u8> {
        self.base
    }

    pub(crate) fn commit(&self, _from: usize, _to: usize) -> Result<(), i32> {
        Ok(())
    }

    pub(crate) fn advise_huge(&self, _from: usize, _to: usize) -> bool {
        false
    }

    pub(crate) fn collapse(&self, _from: usize, _to: usize) {}

    pub(crate) fn discard(&self, _from: usize, _to: usize) {}

    pub(crate) fn with_hugetlb(self, _bytes: usize) -> Result<Reservation, i32> {
        Err(ENOMEM)
    }

    pub(crate) fn map_file(self, file: &File, offset: u64, bytes: usize) -> Result<Reservation, i32> {
        assert!(bytes <= self.bytes, "{bytes} bytes leave the reservation");
        // SAFETY: the allocation holds `bytes` initialised bytes at `base`, and `self` by value
        // says that nobody else has seen them.
        let target = unsafe { std::slice::from_raw_parts_mut(self.base.as_ptr(), bytes) };
        // Whole pages were asked for, and the file may end inside the last: what is not there is zero.
        let mut file = file;
        let read = || -> io::Result<()> {
            file.seek(SeekFrom::Start(offset))?;
            let mut rest = target;
            loop {
                match file.read(rest) {
                    Ok(0) => return Ok(()),
                    Ok(taken) => rest = &mut rest[taken..],
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
        };
        read().map_err(|error| error.raw_os_error().unwrap_or(EIO))?;
        Ok(self)
    }

    pub(crate) fn place(&self, _from: usize, _to: usize, placement: &Placement) -> bool {
        *placement == Placement::Any
    }

    pub(crate) fn node_at(&self, _offset: usize) -> Option<u32> {
        None
    }

    pub(crate) fn usage(&self, _to: usize) -> Option<Usage> {
        None
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        // SAFETY: `raw` came from `alloc_zeroed` with this layout and is freed once.
        unsafe { dealloc(self.raw.as_ptr(), self.layout) };
    }
}

pub(crate) fn has_free_hugetlb(_bytes: usize) -> bool {
    false
}

/// A whole file, read into memory.
pub(crate) struct ReadMap(Vec<u8>);

impl ReadMap {
    pub(crate) fn new(mut file: &File, bytes: usize) -> io::Result<ReadMap> {
        let mut all = Vec::with_capacity(bytes);
        file.seek(SeekFrom::Start(0))?;
        file.take(bytes as u64).read_to_end(&mut all)?;
        if all.len() < bytes {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(ReadMap(all))
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

pub(crate) fn pin_to_cores(_cores: &[u32]) -> bool {
    false
}

/// Directories cannot be flushed here; the rename itself is atomic.
pub(crate) fn sync_directory(_directory: &std::path::Path) -> io::Result<()> {
    Ok(())
}
