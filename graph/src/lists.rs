//! Neighbor lists: one atomic head per list, immutable blocks behind it.
//!
//! A list is a *slot* (a node's level-0 list, or one of its upper lists). Its head names the block that
//! holds it. To change a list, a writer fills a fresh block and swaps the head by compare-and-swap; the
//! old block is retired (see [`reclaim`](crate::reclaim)). Readers load the head once and read a block
//! that nobody writes: they never wait and never retry. A writer whose swap fails lost to another writer
//! that made progress, and starts again from the newer list.
//!
//! * **L1** A block is written only by the thread that took it from the free list, before its index is
//!   stored in a head, and never after.
//! * **L2** A block returns to the free list only when no pin that could have seen it is left.
//! * **L3** A list's words are ids packed from the front; the rest are [`EMPTY`]. Bit 31 of an id's word
//!   is the anchor mark ([`ANCHORED`]).
//! * **L4** Behind the ids a block may carry bytes that only the [`Space`](crate::Space) understands. They are
//!   filled in before the block is published, like the ids.
//!
//! * **L5** Bit 31 of a head, [`FROZEN`], says that the list's node was removed: from then on only the one
//!   maintainer (see [`remove`](crate::remove)) replaces the list. The bit is set once and stays until the
//!   slot is reclaimed.
//!
//! * **L6** The list in slot `s` is *at home* in block `s`: there lists are while a graph is as it was opened or rewritten. How many
//!   are not is counted, so that a reader knows whether it may ask for a list's block before it read the head. A hint: the
//!   count is off by what is being replaced.
//!
//! Block heads count from 1: zero-filled memory is a table of lists that do not exist yet.

// A count that hints alone hang on: loom has nothing to find in it.
use std::sync::atomic::{AtomicU32 as Tally, Ordering::Relaxed};

use crossbeam_epoch::Guard;

use crate::NodeId;
use crate::memory::{Memory, MemoryError};
use crate::reclaim::{self, FreeStack};
use crate::sync::{Arc, AtomicTable, AtomicU32, BlockShape, BlockTable, Ordering};

/// A place of a list that holds no neighbor.
pub(crate) const EMPTY: u32 = u32::MAX;

/// Marks an edge that pruning must keep (see [`anchor`](crate::anchor)).
pub(crate) const ANCHORED: u32 = 1 << 31;

/// Marks a head whose list no writer may replace any more (L5).
const FROZEN: u32 = 1 << 31;

/// The neighbor that a word names.
#[inline(always)]
pub(crate) fn node_of(word: u32) -> NodeId {
    word & !ANCHORED
}

/// Whether one of the words names `node`.
#[inline]
pub(crate) fn names(words: &[u32], node: NodeId) -> bool {
    words.iter().any(|&word| node_of(word) == node)
}

/// Whether a word is an anchored edge.
#[inline(always)]
pub(crate) fn is_anchored(word: u32) -> bool {
    word & ANCHORED != 0 && word != EMPTY
}

/// A list as one reader saw it.
#[derive(Clone, Copy)]
pub(crate) struct ListRef<'g> {
    head: u32,
    words: &'g [u32],
}

impl<'g> ListRef<'g> {
    /// Whether only the maintainer may replace it (L5).
    pub(crate) fn is_frozen(&self) -> bool {
        self.head & FROZEN != 0
    }

    fn block(&self) -> u32 {
        (self.head & !FROZEN) - 1
    }

    /// All words, the empty places included.
    #[inline(always)]
    pub(crate) fn padded_words(&self) -> &'g [u32] {
        self.words
    }

    /// The words up to the first empty place.
    pub(crate) fn words(&self) -> &'g [u32] {
        let length = self.words.iter().position(|&word| word == EMPTY).unwrap_or(self.words.len());
        &self.words[..length]
    }
}

/// Why a list was not replaced.
#[derive(Debug)]
pub(crate) enum PublishError {
    /// Another writer replaced it first.
    Lost,
    /// The list's node was removed (L5).
    Frozen,
    /// There is no memory for another block.
    Memory(MemoryError),
}

impl From<MemoryError> for PublishError {
    fn from(error: MemoryError) -> Self {
        Self::Memory(error)
    }
}

/// Who replaces a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Power {
    /// Any thread.
    Writer,
    /// The one thread that is the maintainer, which may also replace frozen lists (L5).
    Maintainer,
}

/// Most blocks: a head has 31 bits for them, and counts from 1.
const MAX_BLOCKS: u32 = FROZEN - 2;

/// Lists of one width.
pub(crate) struct Lists {
    heads: AtomicTable,
    blocks: BlockTable,
    free: FreeStack,
    links: AtomicTable,
    /// Blocks from here on were never used.
    fresh: AtomicU32,
    /// Lists that lie in another block than that of their slot's number (L6).
    away: Tally,
}

impl Lists {
    /// Tables over the given memory, of which the first `blocks_in_use` blocks are already lists
    /// (named by their heads).
    pub(crate) fn new(
        shape: BlockShape,
        heads: Box<dyn Memory>,
        blocks: Box<dyn Memory>,
        links: Box<dyn Memory>,
        blocks_in_use: u32,
    ) -> Self {
        Self {
            heads: AtomicTable::new(heads),
            blocks: BlockTable::new(shape, blocks),
            free: FreeStack::new(),
            links: AtomicTable::new(links),
            fresh: AtomicU32::new(blocks_in_use),
            away: Tally::new(0),
        }
    }

    /// Makes the slots `0..count` usable.
    pub(crate) fn ensure_slots(&self, count: usize) -> Result<(), MemoryError> {
        self.heads.ensure(count)
    }

    /// Makes the blocks `0..count` usable (for the blocks of a saved graph).
    pub(crate) fn ensure_blocks(&self, count: usize) -> Result<(), MemoryError> {
        self.blocks.ensure(count)?;
        self.links.ensure(count)
    }

    /// The shape of a block.
    pub(crate) fn shape(&self) -> BlockShape {
        self.blocks.shape()
    }

    /// The bytes behind the ids of a list that was loaded from here (L4).
    #[inline(always)]
    pub(crate) fn payload<'g>(&'g self, list: ListRef<'g>) -> &'g [u8] {
        // SAFETY: a `ListRef` names a published block that is not reclaimed while `'g` lasts (L1, L2).
        unsafe { self.blocks.payload(list.block()) }
    }

    /// The list in `slot`, or `None` when it was never published.
    ///
    /// # Safety
    /// `slot` was granted by `ensure_slots`.
    #[inline(always)]
    pub(crate) unsafe fn load<'g>(&'g self, slot: usize, _guard: &'g Guard) -> Option<ListRef<'g>> {
        // SAFETY: the caller's promise.
        let head = unsafe { self.heads.at(slot) };
        // OBSERVE: pairs with PUBLISH in `replace`: the block's words are seen whole.
        let head = head.load(Ordering::Acquire);
        let number = head & !FROZEN;
        if number == 0 {
            return None;
        }
        // SAFETY: a head names a published block (L1), and the guard was pinned before the head was
        // read, so the block is not reclaimed while `'g` lasts (L2).
        Some(ListRef { head, words: unsafe { self.blocks.read(number - 1) } })
    }

    /// The raw words of the list in `slot`, `EMPTY` places included; nothing for a missing list.
    ///
    /// # Safety
    /// As [`load`](Self::load).
    #[inline(always)]
    pub(crate) unsafe fn words<'g>(&'g self, slot: usize, guard: &'g Guard) -> &'g [u32] {
        // SAFETY: the caller's promise.
        unsafe { self.load(slot, guard) }.map_or(&[], |list| list.words)
    }

    /// Asks the cache for the list in `slot`: a hint.
    ///
    /// # Safety
    /// As [`load`](Self::load).
    #[inline(always)]
    pub(crate) unsafe fn prefetch(&self, slot: usize) {
        // SAFETY: the caller's promise.
        let head = unsafe { self.heads.at(slot) };
        // Relaxed: the block is only hinted at, not read.
        self.blocks.prefetch((head.load(Ordering::Relaxed) & !FROZEN).wrapping_sub(1));
    }

    /// Counts a list that leaves its home or comes back (L6).
    #[inline]
    fn moved(&self, slot: usize, from: Option<u32>, to: Option<u32>) {
        let is_away = |block: u32| block as usize != slot;
        // Under steady change lists go from one foreign block to another, and nothing is written here.
        match (from.is_some_and(is_away), to.is_some_and(is_away)) {
            (false, true) => _ = self.away.fetch_add(1, Relaxed),
            (true, false) => _ = self.away.fetch_sub(1, Relaxed),
            _ => {}
        }
    }

    /// How many lists are not at home (L6).
    #[cfg(not(loom))]
    pub(crate) fn away(&self) -> usize {
        self.away.load(Relaxed) as usize
    }

    /// Where the list in `slot` lies while it is at home, and how many bytes it has: for hints alone.
    #[cfg(not(loom))]
    #[inline(always)]
    pub(crate) fn home(&self, slot: usize) -> (*const u8, usize) {
        self.blocks.place(slot as u32)
    }

    /// Replaces the list in `slot`, which was `old`, by `words`. `fill` writes the payload of the new block (L4),
    /// given its id words and the old block's ids and payload; it is not called where there is none.
    ///
    /// A frozen list stays as it is, except where `power` is the maintainer's (L5).
    ///
    /// # Safety
    /// `slot` was granted by `ensure_slots`; `old` was loaded from it under `guard`.
    pub(crate) unsafe fn replace(
        self: &Arc<Self>,
        slot: usize,
        old: Option<ListRef<'_>>,
        words: &[u32],
        fill: impl FnOnce(&[u32], Option<(&[u32], &[u8])>, &mut [u8]),
        power: Power,
        guard: &Guard,
    ) -> Result<(), PublishError> {
        let before = old.map_or(0, |list| list.head);
        let frozen = before & FROZEN;
        if frozen != 0 && power == Power::Writer {
            return Err(PublishError::Frozen);
        }
        let block = self.take_block()?;
        // SAFETY: `take_block` made this thread the block's only owner (L1) and granted its bytes.
        unsafe { self.blocks.write(block, words, EMPTY) };
        if self.blocks.shape().payload > 0 {
            // SAFETY: as above; the ids are written and only read from here on.
            let (ids, payload) = unsafe { (self.blocks.read(block), self.blocks.payload_mut(block)) };
            fill(ids, old.map(|old| (old.words, self.payload(old))), payload);
        }
        // SAFETY: the caller's promise.
        let head = unsafe { self.heads.at(slot) };
        // PUBLISH: pairs with OBSERVE in `load`. A head that still equals `before` still means the same
        // block: under our pin it cannot have been reclaimed and reused meanwhile.
        match head.compare_exchange(before, frozen | (block + 1), Ordering::AcqRel, Ordering::Relaxed) {
            Ok(_) => {
                self.moved(slot, old.map(|old| old.block()), Some(block));
                if let Some(old) = old {
                    reclaim::retire(self, old.block(), guard);
                }
                Ok(())
            }
            Err(_) => {
                // Never published, so nobody else can have seen it.
                self.give_back(block);
                Err(PublishError::Lost)
            }
        }
    }

    /// Fills the payload of the list in `slot`, which was published without: for a graph that nobody has yet. `fill` gets the
    /// list's id words.
    ///
    /// # Safety
    /// `slot` was granted by `ensure_slots`, and nobody else reads or writes its list meanwhile.
    pub(crate) unsafe fn fill_in(&self, slot: usize, fill: impl FnOnce(&[u32], &mut [u8])) {
        // SAFETY: the caller's promise.
        let number = unsafe { self.heads.at(slot) }.load(Ordering::Acquire) & !FROZEN;
        if number != 0 {
            // SAFETY: a head names a block that was granted (L1), which the caller has to himself; ids are only read.
            let (ids, payload) =
                unsafe { (self.blocks.read(number - 1), self.blocks.payload_mut(number - 1)) };
            fill(ids, payload);
        }
    }

    /// Takes back the list of a node that never became visible.
    ///
    /// # Safety
    /// `slot` was granted by `ensure_slots`, and no other thread can reach its node.
    pub(crate) unsafe fn withdraw(self: &Arc<Self>, slot: usize, guard: &Guard) {
        // SAFETY: the caller's promise.
        let head = unsafe { self.heads.at(slot) };
        let block = head.swap(0, Ordering::AcqRel) & !FROZEN;
        if block != 0 {
            self.moved(slot, Some(block - 1), None);
            reclaim::retire(self, block - 1, guard);
        }
    }

    /// Freezes the list in `slot` (L5). What it holds afterwards is what the maintainer leaves in it.
    ///
    /// # Safety
    /// `slot` was granted by `ensure_slots`.
    pub(crate) unsafe fn freeze(&self, slot: usize) {
        // SAFETY: the caller's promise.
        let head = unsafe { self.heads.at(slot) };
        // A writer's swap either came before, and its list is the frozen one, or fails.
        head.fetch_or(FROZEN, Ordering::AcqRel);
    }

    /// Empties `slot` and frees its block. Only [`reclaim`](crate::reclaim) may call this.
    ///
    /// # Safety
    /// `slot` was granted by `ensure_slots`, and no pin that could have seen its node is left.
    pub(crate) unsafe fn clear(&self, slot: usize) {
        // SAFETY: the caller's promise.
        let block = unsafe { self.heads.at(slot) }.swap(0, Ordering::AcqRel) & !FROZEN;
        if block != 0 {
            self.moved(slot, Some(block - 1), None);
            self.give_back(block - 1);
        }
    }

    /// The head of a slot.
    ///
    /// # Safety
    /// `slot` was granted by `ensure_slots`.
    pub(crate) unsafe fn head_word(&self, slot: usize) -> &AtomicU32 {
        // SAFETY: the caller's promise.
        unsafe { self.heads.at(slot) }
    }

    /// All words of the first `blocks` blocks, payloads included.
    ///
    /// # Safety
    /// The blocks were granted by `ensure_blocks`, and nobody writes them while the slice lives.
    pub(crate) unsafe fn all_words(&self, blocks: usize) -> &[u32] {
        // SAFETY: the caller's promise.
        unsafe { self.blocks.read_many(blocks) }
    }

    /// Breaks L1, for a model that must notice.
    #[cfg(loom)]
    pub(crate) fn overwrite_in_place(&self, slot: usize, word: u32) {
        // SAFETY: none; that is the point.
        unsafe { self.blocks.write(self.head_word(slot).load(Ordering::Acquire) - 1, &[word; 4], EMPTY) };
    }

    /// Breaks L2, for a model that must notice: unlinks the list and frees its block at once.
    #[cfg(loom)]
    pub(crate) fn free_at_once(&self, slot: usize) {
        // SAFETY: none; that is the point.
        let block = unsafe { self.head_word(slot) }.swap(0, Ordering::AcqRel);
        self.give_back(block - 1);
    }

    /// Gives a block to the free list. Only [`reclaim`](crate::reclaim) may call this.
    pub(crate) fn give_back(&self, block: u32) {
        // SAFETY: blocks are taken after `take_block` ensured their links.
        unsafe { self.free.push(&self.links, block) };
    }

    /// Makes sure that `count` more blocks can be taken, while nobody else takes any.
    #[cfg(not(loom))]
    pub(crate) fn reserve(&self, count: usize) -> Result<(), MemoryError> {
        let blocks = self.fresh.load(Ordering::Relaxed) as usize + count;
        if blocks > MAX_BLOCKS as usize {
            let bytes = |blocks: usize| blocks * self.blocks.shape().stride * 4;
            return Err(MemoryError { asked: bytes(blocks), capacity: bytes(MAX_BLOCKS as usize) });
        }
        self.ensure_blocks(blocks)
    }

    /// A block that belongs to the caller alone.
    fn take_block(&self) -> Result<u32, MemoryError> {
        // SAFETY: only blocks whose links were ensured are ever pushed.
        if let Some(block) = unsafe { self.free.pop(&self.links) } {
            return Ok(block);
        }
        // Relaxed: the counter only hands out distinct numbers.
        let block = self.fresh.fetch_add(1, Ordering::Relaxed);
        if block >= MAX_BLOCKS {
            // Keeps the counter from wrapping, however often this is tried.
            self.fresh.fetch_sub(1, Ordering::Relaxed);
            let bytes = |blocks: u32| blocks as usize * self.blocks.shape().stride * 4;
            return Err(MemoryError { asked: bytes(block), capacity: bytes(MAX_BLOCKS) });
        }
        // On failure the number is lost; the next caller meets the same limit.
        self.ensure_blocks(block as usize + 1)?;
        Ok(block)
    }
}
