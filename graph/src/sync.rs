//! The seam between the standard library and loom, and the two tables that everything shared lives in.
//!
//! * [`AtomicTable`]: words that are only ever touched atomically (list heads, towers, anchors, free links).
//! * [`BlockTable`]: blocks of words that are written by their one owner and then published, never changed.
//!
//! Under `--cfg loom` both are built of loom's own cells, so that a model sees every access. Outside it
//! they are views of a [`Memory`](crate::Memory), which keeps them at one address while they grow.

// A count that nobody reads: loom has nothing to find in it.
pub(crate) use std::sync::Arc;

#[cfg(not(loom))]
pub(crate) use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

pub(crate) use table::{AtomicTable, BlockTable};

/// Where the parts of a block lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BlockShape {
    /// Words of ids, from the block's start: whole cache lines.
    pub(crate) ids: usize,
    /// Bytes of payload behind them.
    pub(crate) payload: usize,
    /// Words from block to block: whole cache lines.
    pub(crate) stride: usize,
}

impl BlockShape {
    /// Room for `limit` ids and `payload` bytes.
    pub(crate) fn new(limit: usize, payload: usize) -> Self {
        let ids = limit.next_multiple_of(16);
        Self { ids, payload, stride: ids + payload.div_ceil(64) * 16 }
    }
}

#[cfg(not(loom))]
mod table {
    use super::{AtomicU32, BlockShape};
    use crate::memory::{Memory, MemoryError};

    /// Atomic words, zero until first stored.
    pub(crate) struct AtomicTable {
        base: *const AtomicU32,
        memory: Box<dyn Memory>,
    }

    // SAFETY: the words behind `base` are atomics, and `Memory` is itself `Send + Sync`.
    unsafe impl Send for AtomicTable {}
    // SAFETY: as above.
    unsafe impl Sync for AtomicTable {}

    impl AtomicTable {
        pub(crate) fn new(memory: Box<dyn Memory>) -> Self {
            Self { base: memory.base().cast(), memory }
        }

        /// Makes the words `0..count` usable.
        pub(crate) fn ensure(&self, count: usize) -> Result<(), MemoryError> {
            self.memory.ensure(count * size_of::<AtomicU32>())
        }

        /// # Safety
        /// `index` lies below a `count` that `ensure` granted.
        #[inline(always)]
        pub(crate) unsafe fn at(&self, index: usize) -> &AtomicU32 {
            // SAFETY: the caller's promise keeps the offset inside the granted bytes.
            let word = unsafe { self.base.add(index) };
            // SAFETY: granted bytes are zero-filled, 64-byte aligned, at a stable address for the life
            // of `memory`, and this table is their only user (contract of `Memory`).
            unsafe { &*word }
        }
    }

    /// Blocks of `stride` words each. Whoever holds a block's index alone may write it; once published
    /// it is only read, until it was retired and reclaimed.
    pub(crate) struct BlockTable {
        base: *mut u32,
        shape: BlockShape,
        memory: Box<dyn Memory>,
    }

    // SAFETY: access to the blocks follows the ownership protocol of `Lists` (invariants L1, L2).
    unsafe impl Send for BlockTable {}
    // SAFETY: as above.
    unsafe impl Sync for BlockTable {}

    impl BlockTable {
        pub(crate) fn new(shape: BlockShape, memory: Box<dyn Memory>) -> Self {
            Self { base: memory.base().cast(), shape, memory }
        }

        pub(crate) fn shape(&self) -> BlockShape {
            self.shape
        }

        /// Makes the blocks `0..count` usable.
        pub(crate) fn ensure(&self, count: usize) -> Result<(), MemoryError> {
            self.memory.ensure(count * self.shape.stride * size_of::<u32>())
        }

        /// The id words of a block.
        ///
        /// # Safety
        /// `block` was granted by `ensure`, is published, and cannot be reclaimed while the returned
        /// slice lives (the caller holds a pin from before it learned of the block, or owns it).
        #[inline(always)]
        pub(crate) unsafe fn read(&self, block: u32) -> &[u32] {
            // SAFETY: inside the granted bytes, by the caller's promise.
            let start = unsafe { self.base.add(block as usize * self.shape.stride) };
            // SAFETY: a published block is whole and not written again before it is reclaimed.
            unsafe { std::slice::from_raw_parts(start, self.shape.ids) }
        }

        /// The payload of a block, 64-byte aligned.
        ///
        /// # Safety
        /// As [`read`](Self::read).
        #[inline(always)]
        pub(crate) unsafe fn payload(&self, block: u32) -> &[u8] {
            // SAFETY: inside the granted bytes, by the caller's promise.
            let start = unsafe { self.base.add(block as usize * self.shape.stride + self.shape.ids) };
            // SAFETY: as in `read`; the payload lies between the ids and the next block.
            unsafe { std::slice::from_raw_parts(start.cast(), self.shape.payload) }
        }

        /// The payload of a block, to be filled.
        ///
        /// # Safety
        /// As [`write`](Self::write); no other reference to the payload lives.
        #[allow(clippy::mut_from_ref)] // the block belongs to the caller, by the contract
        pub(crate) unsafe fn payload_mut(&self, block: u32) -> &mut [u8] {
            // SAFETY: inside the granted bytes, by the caller's promise.
            let start = unsafe { self.base.add(block as usize * self.shape.stride + self.shape.ids) };
            // SAFETY: nobody else reads or writes the block, by the caller's promise.
            unsafe { std::slice::from_raw_parts_mut(start.cast(), self.shape.payload) }
        }

        /// All words of the blocks `0..count`, payloads included.
        ///
        /// # Safety
        /// Granted by `ensure`; nobody writes them while the slice lives.
        pub(crate) unsafe fn read_many(&self, count: usize) -> &[u32] {
            // SAFETY: granted bytes, initialised (zero-filled or loaded), by the caller's promise.
            unsafe { std::slice::from_raw_parts(self.base, count * self.shape.stride) }
        }

        /// Fills the id words of a block: `words`, then `fill`.
        ///
        /// # Safety
        /// `block` was granted by `ensure` and belongs to the caller alone.
        pub(crate) unsafe fn write(&self, block: u32, words: &[u32], fill: u32) {
            debug_assert!(words.len() <= self.shape.ids);
            // SAFETY: inside the granted bytes, by the caller's promise.
            let start = unsafe { self.base.add(block as usize * self.shape.stride) };
            // SAFETY: nobody else reads or writes the block, by the caller's promise.
            let target = unsafe { std::slice::from_raw_parts_mut(start, self.shape.ids) };
            let (head, tail) = target.split_at_mut(words.len());
            head.copy_from_slice(words);
            tail.fill(fill);
        }

        /// Where a block lies, and how many bytes it has: for hints, any index will do.
        #[inline(always)]
        pub(crate) fn place(&self, block: u32) -> (*const u8, usize) {
            let start = self.base.wrapping_add(block as usize * self.shape.stride);
            (start.cast(), self.shape.ids * size_of::<u32>() + self.shape.payload)
        }

        /// Asks the cache for the first two lines of a block: a hint, any index will do.
        #[inline(always)]
        pub(crate) fn prefetch(&self, block: u32) {
            let start = self.base.wrapping_add(block as usize * self.shape.stride);
            crate::prefetch::line(start);
            crate::prefetch::line(start.wrapping_add(16));
        }
    }
}

#[cfg(loom)]
mod table {
    use super::{AtomicU32, BlockShape};
    use crate::memory::{Memory, MemoryError};
    use loom::cell::UnsafeCell;

    /// Words and blocks that one model has at its disposal: loom tracks each one, so few.
    const CAPACITY: usize = 6;
    const STRIDE: usize = 4;

    /// The words, and how many were granted. The latter is no atomic of loom's: that a word is asked for before it
    /// was granted shows in one of the interleavings, and other models do not grow by it.
    pub(crate) struct AtomicTable(Vec<AtomicU32>, std::sync::atomic::AtomicUsize);

    impl AtomicTable {
        pub(crate) fn new(_memory: Box<dyn Memory>) -> Self {
            Self((0..CAPACITY).map(|_| AtomicU32::new(0)).collect(), Default::default())
        }

        pub(crate) fn ensure(&self, count: usize) -> Result<(), MemoryError> {
            // A write, as far as loom knows: so it tries what happens when a reader comes before.
            self.0[0].fetch_or(0, super::Ordering::Relaxed);
            self.1.fetch_max(count, std::sync::atomic::Ordering::Relaxed);
            (count <= CAPACITY).then_some(()).ok_or(MemoryError { asked: count, capacity: CAPACITY })
        }

        pub(crate) unsafe fn at(&self, index: usize) -> &AtomicU32 {
            assert!(
                index < self.1.load(std::sync::atomic::Ordering::Relaxed),
                "word {index} was not granted"
            );
            &self.0[index]
        }
    }

    pub(crate) struct BlockTable(Vec<UnsafeCell<[u32; STRIDE]>>);

    // SAFETY: loom checks every access to the cells.
    unsafe impl Send for BlockTable {}
    // SAFETY: as above.
    unsafe impl Sync for BlockTable {}

    impl BlockTable {
        pub(crate) fn new(_shape: BlockShape, _memory: Box<dyn Memory>) -> Self {
            Self((0..CAPACITY).map(|_| UnsafeCell::new([0; STRIDE])).collect())
        }

        pub(crate) fn shape(&self) -> BlockShape {
            BlockShape { ids: STRIDE, payload: 0, stride: STRIDE }
        }

        pub(crate) fn ensure(&self, count: usize) -> Result<(), MemoryError> {
            (count <= CAPACITY).then_some(()).ok_or(MemoryError { asked: count, capacity: CAPACITY })
        }

        pub(crate) unsafe fn read(&self, block: u32) -> &[u32] {
            // SAFETY: loom reports this read if a write is not ordered with it.
            self.0[block as usize].with(|words| unsafe { &*words as &[u32] })
        }

        pub(crate) unsafe fn payload(&self, _block: u32) -> &[u8] {
            &[]
        }

        #[allow(clippy::mut_from_ref)]
        pub(crate) unsafe fn payload_mut(&self, _block: u32) -> &mut [u8] {
            &mut []
        }

        pub(crate) unsafe fn read_many(&self, _count: usize) -> &[u32] {
            unreachable!("models do not open saved graphs")
        }

        pub(crate) unsafe fn write(&self, block: u32, words: &[u32], fill: u32) {
            self.0[block as usize].with_mut(|target| {
                // SAFETY: loom reports this write if any other access is not ordered with it.
                let target = unsafe { &mut *target };
                target[..words.len()].copy_from_slice(words);
                target[words.len()..].fill(fill);
            });
        }

        pub(crate) fn prefetch(&self, _block: u32) {}
    }
}
