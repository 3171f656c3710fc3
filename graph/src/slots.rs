//! The slots of nodes: how many edges lead to each, how it stands, and when it may be used again.
//!
//! Every node has one word: the number of lists that name it (once per list; one more while it is the entry
//! point, or while the maintainer works on it) and the flags below. Counting is exact: a writer *acquires* a node before it
//! publishes a list that names it, and *releases* it after it replaced the last such list of its own. Hence a
//! node that is closed to new edges and whose count is 0 can be met by no reader that pins from now on.
//!
//! * **C1** A list that is published, or about to be, holds one count of each node that it names.
//! * **C2** No count is taken of a closed node, so a closed count only falls.
//! * **C3** Whoever brings the count of a closed node to 0 hands the node to the maintainer, once; he releases what
//!   its lists name and retires the slot.
//! * **C4** `generations[node]` changes before a slot is used again, so (node, generation) names one row for ever.
//! * **C5** `changes` is raised before a node becomes hidden (and before a pending node can be met), so a search
//!   that sees no hidden node in it has met none.
//!
//! Cost: one atomic read-modify-write per edge that is added or dropped, nothing per edge that is read.

use crate::NodeId;
use crate::graph::TOWER_SLOT_BITS;
use crate::lists::Lists;
use crate::memory::{Memory, MemoryError};
use crate::reclaim::FreeStack;
use crate::sync::{Arc, AtomicTable, AtomicU32, AtomicU64, Ordering, fence};

/// An insert has taken the slot.
pub(crate) const PRESENT: u32 = 1 << 31;
/// The insert is done: the maintainer may take the node out.
pub(crate) const LINKED: u32 = 1 << 30;
/// Removed: in no result from now on.
pub(crate) const TOMBSTONE: u32 = 1 << 29;
/// No new edge may lead to the node (C2).
pub(crate) const CLOSED: u32 = 1 << 28;
/// The new node of an update: in no result until its partner, the old one, is removed.
pub(crate) const PENDING: u32 = 1 << 27;

/// The bits of the count.
const COUNT: u32 = PENDING - 1;

/// Counts from here on are refused to writers; the maintainer's own few fit above.
const FULL: u32 = COUNT - 1024;

/// The tables of the slots.
pub(crate) struct Slots {
    /// Flags and count per node.
    refs: AtomicTable,
    generations: AtomicTable,
    /// Two words per node: the old node of a pending one, and 1 + the new node of one that an update removed.
    partners: AtomicTable,
    /// Links of the stacks of nodes below; a node is on one of them at most.
    links: AtomicTable,
    /// Level << 28 | first upper slot.
    pub(crate) towers: AtomicTable,
    /// Links of `free_towers`.
    tower_links: AtomicTable,
    pub(crate) base: Arc<Lists>,
    pub(crate) upper: Arc<Lists>,
    /// Slots to be used again.
    free: FreeStack,
    /// Upper slots to be used again, by level.
    free_towers: [FreeStack; 16],
    /// Removed nodes that the maintainer has not taken out yet.
    pub(crate) pending: FreeStack,
    /// Nodes that he could not take out for lack of memory.
    pub(crate) stalled: FreeStack,
    /// Closed nodes whose count is 0.
    pub(crate) ripe: FreeStack,
    /// 1 while some thread is the maintainer.
    maintainer: AtomicU32,
    /// Where the maintainer's sweep goes on.
    pub(crate) cursor: AtomicU32,
    /// Times that a node became hidden or pending << 32 | how many are.
    changes: AtomicU64,
    /// Closed nodes that some list may still name.
    waiting: AtomicU32,
    /// Slots that wait for readers, and those that were reclaimed.
    pub(crate) retired: AtomicU64,
    pub(crate) reclaimed: AtomicU64,
}

/// The memories of [`Slots`].
pub(crate) struct SlotMemory {
    pub(crate) refs: Box<dyn Memory>,
    pub(crate) generations: Box<dyn Memory>,
    pub(crate) partners: Box<dyn Memory>,
    pub(crate) links: Box<dyn Memory>,
    pub(crate) towers: Box<dyn Memory>,
    pub(crate) tower_links: Box<dyn Memory>,
}

/// How many nodes are hidden, and whether that changed: what a search compares (C5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Changes(u64);

impl Changes {
    /// Whether no node is hidden.
    #[inline(always)]
    pub(crate) fn is_none(self) -> bool {
        self.0 as u32 == 0
    }

    /// Nodes that were hidden, or began to wait, from `before` up to this.
    pub(crate) fn since(self, before: Self) -> u32 {
        ((self.0 >> 32) as u32).wrapping_sub((before.0 >> 32) as u32)
    }

    /// Nodes that are hidden: removed, or waiting to replace another.
    pub(crate) fn hidden(self) -> usize {
        self.0 as u32 as usize
    }
}

impl Slots {
    pub(crate) fn new(memory: SlotMemory, base: Arc<Lists>, upper: Arc<Lists>) -> Self {
        Self {
            refs: AtomicTable::new(memory.refs),
            generations: AtomicTable::new(memory.generations),
            partners: AtomicTable::new(memory.partners),
            links: AtomicTable::new(memory.links),
            towers: AtomicTable::new(memory.towers),
            tower_links: AtomicTable::new(memory.tower_links),
            base,
            upper,
            free: FreeStack::new(),
            free_towers: std::array::from_fn(|_| FreeStack::new()),
            pending: FreeStack::new(),
            stalled: FreeStack::new(),
            ripe: FreeStack::new(),
            maintainer: AtomicU32::new(0),
            cursor: AtomicU32::new(0),
            changes: AtomicU64::new(0),
            waiting: AtomicU32::new(0),
            retired: AtomicU64::new(0),
            reclaimed: AtomicU64::new(0),
        }
    }

    /// Makes the words of the nodes `0..count` usable.
    pub(crate) fn ensure(&self, count: usize) -> Result<(), MemoryError> {
        self.partners.ensure(2 * count)?;
        let tables = [&self.refs, &self.generations, &self.links, &self.towers];
        tables.into_iter().try_for_each(|table| table.ensure(count))
    }

    /// Makes the upper slots `0..count` usable.
    pub(crate) fn ensure_upper(&self, count: usize) -> Result<(), MemoryError> {
        self.upper.ensure_slots(count)?;
        self.tower_links.ensure(count)
    }

    #[inline(always)]
    fn word(&self, node: NodeId) -> &AtomicU32 {
        // SAFETY: nodes come from lists or from callers that checked them against `node_bound`, below which
        // `ensure` granted every word.
        unsafe { self.refs.at(node as usize) }
    }

    /// Flags and count of a node.
    #[inline(always)]
    pub(crate) fn state(&self, node: NodeId) -> u32 {
        // OBSERVE: pairs with PUBLISH of the flags in `mark` and `hide`.
        self.word(node).load(Ordering::Acquire)
    }

    /// Takes one count of `node` for a list that will name it (C1). False when the node is closed (C2), or
    /// when 2^27 lists name it already.
    #[inline]
    pub(crate) fn acquire(&self, node: NodeId) -> bool {
        let word = self.word(node);
        let mut state = word.load(Ordering::Relaxed);
        loop {
            if state & CLOSED != 0 || state & COUNT >= FULL {
                return false;
            }
            // The swap fails when the node was closed meanwhile, which is what makes C2 hold.
            match word.compare_exchange_weak(state, state + 1, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(other) => state = other,
            }
        }
    }

    /// Takes one count of a node that the maintainer works on and has not closed yet, full or not.
    pub(crate) fn hold(&self, node: NodeId) {
        self.word(node).fetch_add(1, Ordering::AcqRel);
    }

    /// Gives back one count of `node`, and hands the node on if it was the last of a closed one (C3).
    #[inline]
    pub(crate) fn release(&self, node: NodeId) {
        // AcqRel: whoever sees the count at 0 also sees every list that was replaced before.
        let before = self.word(node).fetch_sub(1, Ordering::AcqRel);
        debug_assert!(before & COUNT > 0, "C1: node {node}");
        if before & COUNT == 1 && before & CLOSED != 0 {
            self.push(&self.ripe, node);
        }
    }

    /// Breaks C3, for a model that must notice: looks at the count in a second step.
    #[cfg(loom)]
    pub(crate) fn release_in_two_steps(&self, node: NodeId) {
        self.word(node).fetch_sub(1, Ordering::AcqRel);
        if self.is_ripe(node) {
            self.push(&self.ripe, node);
        }
    }

    /// Closes a node to new edges (C2). The caller holds a count of it. True for the call that did it.
    pub(crate) fn close(&self, node: NodeId) -> bool {
        let is_first = self.word(node).fetch_or(CLOSED, Ordering::AcqRel) & CLOSED == 0;
        if is_first {
            self.waiting.fetch_add(1, Ordering::Relaxed);
        }
        is_first
    }

    /// Whether no new edge may lead to the node.
    #[inline(always)]
    pub(crate) fn is_closed(&self, node: NodeId) -> bool {
        self.state(node) & CLOSED != 0
    }

    /// Whether the node was taken out for good: closed, and no list names it.
    pub(crate) fn is_ripe(&self, node: NodeId) -> bool {
        let state = self.state(node);
        state & CLOSED != 0 && state & COUNT == 0
    }

    /// How many lists name the node.
    pub(crate) fn count(&self, node: NodeId) -> u32 {
        self.state(node) & COUNT
    }

    /// Closed nodes that some list may still name.
    #[inline(always)]
    pub(crate) fn waiting(&self) -> u32 {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Takes an empty slot for a node that is to be inserted, with `flags` beside `PRESENT`. False when the
    /// node is in already.
    pub(crate) fn claim(&self, node: NodeId, flags: u32) -> bool {
        let word = self.word(node);
        // A count without flags is that of a saved graph's edge to nothing.
        let taken = word.fetch_update(Ordering::AcqRel, Ordering::Acquire, |state| {
            (state & !COUNT == 0).then_some(state | PRESENT | flags)
        });
        taken.is_ok()
    }

    /// Sets flags. Returns those that were there before.
    pub(crate) fn mark(&self, node: NodeId, flags: u32) -> u32 {
        // PUBLISH: pairs with OBSERVE in `state`.
        self.word(node).fetch_or(flags, Ordering::AcqRel)
    }

    /// Clears flags.
    pub(crate) fn unmark(&self, node: NodeId, flags: u32) {
        self.word(node).fetch_and(!flags, Ordering::AcqRel);
    }

    /// Hides a node from all results by its tombstone. Returns the state before, or `None` when there is no
    /// such node or it is hidden for good already.
    pub(crate) fn hide(&self, node: NodeId) -> Option<u32> {
        self.begin_change();
        // PUBLISH: pairs with OBSERVE in `state`.
        let hidden = self.word(node).fetch_update(Ordering::AcqRel, Ordering::Acquire, |state| {
            (state & PRESENT != 0 && state & TOMBSTONE == 0).then_some(state | TOMBSTONE)
        });
        if hidden.is_err() {
            self.end_change();
        }
        hidden.ok()
    }

    /// Takes the slot of a failed insert back: nothing leads to the node. Returns its last flags.
    pub(crate) fn unclaim(&self, node: NodeId) -> u32 {
        self.word(node).fetch_and(COUNT, Ordering::AcqRel) & !COUNT
    }

    /// Says that a node is about to be hidden, or pending (C5).
    pub(crate) fn begin_change(&self) {
        self.changes.fetch_add(1 << 32 | 1, Ordering::AcqRel);
    }

    /// Says that a hidden node can be met no more, or that a pending one is as any other.
    pub(crate) fn end_change(&self) {
        self.changes.fetch_sub(1, Ordering::AcqRel);
    }

    /// What is hidden now (C5).
    #[inline(always)]
    pub(crate) fn changes(&self) -> Changes {
        Changes(self.changes.load(Ordering::Acquire))
    }

    /// The old node that a pending one stands in for.
    pub(crate) fn partner(&self, node: NodeId) -> NodeId {
        // SAFETY: as in `word`.
        unsafe { self.partners.at(2 * node as usize) }.load(Ordering::Acquire)
    }

    /// Notes the old node of `node`, which nobody can meet yet.
    pub(crate) fn set_partner(&self, node: NodeId, old: NodeId) {
        // SAFETY: as in `word`.
        unsafe { self.partners.at(2 * node as usize) }.store(old, Ordering::Release);
    }

    /// The node that an update put in the place of `node`, which is removed.
    pub(crate) fn successor(&self, node: NodeId) -> Option<NodeId> {
        // SAFETY: as in `word`.
        unsafe { self.partners.at(2 * node as usize + 1) }.load(Ordering::Acquire).checked_sub(1)
    }

    /// Notes which linked node is about to take the place of `node`.
    pub(crate) fn set_successor(&self, node: NodeId, new: NodeId) {
        // SAFETY: as in `word`.
        unsafe { self.partners.at(2 * node as usize + 1) }.store(new + 1, Ordering::Release);
    }

    /// Sets how often the slot was used again, in a graph that nobody else has.
    #[cfg(not(loom))]
    pub(crate) fn set_generation(&self, node: NodeId, generation: u32) {
        // SAFETY: as in `word`.
        unsafe { self.generations.at(node as usize) }.store(generation, Ordering::Release);
    }

    /// How often the slot was used again.
    pub(crate) fn generation(&self, node: NodeId) -> u32 {
        // SAFETY: as in `word`.
        unsafe { self.generations.at(node as usize) }.load(Ordering::Acquire)
    }

    /// A slot that a removed node left, now the caller's, under a new generation (C4).
    pub(crate) fn take(&self) -> Option<NodeId> {
        // SAFETY: only nodes below an ensured bound are pushed.
        let node = unsafe { self.free.pop(&self.links) }?;
        // SAFETY: as in `word`. The slot is the caller's alone.
        unsafe { self.generations.at(node as usize) }.fetch_add(1, Ordering::AcqRel);
        Some(node)
    }

    /// Puts an empty slot that belongs to the caller among those to be used again.
    pub(crate) fn put(&self, node: NodeId) {
        self.push(&self.free, node);
    }

    /// Puts a node on one of the stacks.
    pub(crate) fn push(&self, stack: &FreeStack, node: NodeId) {
        // SAFETY: the node lies below `node_bound`, so its link was ensured. It is on no other stack: a node is
        // pending from its tombstone until the maintainer takes it out, ripe from its last count until
        // he retires it, and free after that.
        unsafe { stack.push(&self.links, node) };
    }

    /// Takes a node off one of the stacks.
    pub(crate) fn pop(&self, stack: &FreeStack) -> Option<NodeId> {
        // SAFETY: all stacks of nodes share these links.
        unsafe { stack.pop(&self.links) }
    }

    /// Whether there is something for a maintainer to do.
    #[inline]
    pub(crate) fn has_work(&self) -> bool {
        !self.pending.is_empty() || !self.ripe.is_empty()
    }

    /// Tries to become the maintainer. Who fails leaves what he pushed to the one who is: he looks again after he
    /// stepped down.
    pub(crate) fn become_maintainer(&self) -> bool {
        // Pairs with the fence in `step_down`: either this thread sees that nobody is the maintainer, or he sees
        // what it pushed.
        fence(Ordering::SeqCst);
        self.maintainer.compare_exchange(0, 1, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    /// Ends being the maintainer.
    pub(crate) fn step_down(&self) {
        self.maintainer.store(0, Ordering::Release);
        fence(Ordering::SeqCst);
    }

    /// A retired node is about to wait for its readers.
    pub(crate) fn count_retired(&self) {
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        self.retired.fetch_add(1, Ordering::Relaxed);
        self.end_change();
    }

    /// Upper slots for a node of `level` (at least 1) that another node left.
    pub(crate) fn take_tower(&self, level: u8) -> Option<u32> {
        // SAFETY: only first slots of towers are pushed, and all upper slots have links.
        unsafe { self.free_towers[level as usize].pop(&self.tower_links) }
    }

    /// Keeps the upper slots of a node that is gone for the next one of its level.
    pub(crate) fn put_tower(&self, level: u8, first: u32) {
        // SAFETY: upper slots are ensured with their links.
        unsafe { self.free_towers[level as usize].push(&self.tower_links, first) };
    }

    /// Empties the slot of a retired node and makes it free. Only [`reclaim`](crate::reclaim) calls this,
    /// when no pin that could have met the node is left.
    pub(crate) fn give_back(&self, node: NodeId) {
        // SAFETY: as in `word`; nobody else has the node any more.
        let tower = unsafe { self.towers.at(node as usize) }.load(Ordering::Acquire);
        let (level, first) = ((tower >> TOWER_SLOT_BITS) as u8, tower & ((1 << TOWER_SLOT_BITS) - 1));
        // SAFETY: the slot of a node that was in; no pin that could have seen it is left.
        unsafe { self.base.clear(node as usize) };
        if level > 0 {
            for slot in first..first + u32::from(level) {
                // SAFETY: as above.
                unsafe { self.upper.clear(slot as usize) };
            }
            self.put_tower(level, first);
        }
        // SAFETY: as above.
        unsafe { self.towers.at(node as usize) }.store(0, Ordering::Release);
        // SAFETY: as above.
        let successor = unsafe { self.partners.at(2 * node as usize + 1) };
        // Read first: the table of a graph without updates costs no memory.
        if successor.load(Ordering::Relaxed) != 0 {
            successor.store(0, Ordering::Release);
        }
        self.word(node).store(0, Ordering::Release);
        self.reclaimed.fetch_add(1, Ordering::Relaxed);
        self.put(node);
    }

    /// Puts the count and flags of a saved graph's node in place, before anybody else has the graph.
    pub(crate) fn restore(&self, node: NodeId, state: u32) {
        self.word(node).store(state, Ordering::Relaxed);
    }

    /// Adds to a count of a graph that nobody else has.
    pub(crate) fn recount(&self, node: NodeId) {
        let word = self.word(node);
        word.store(word.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }
}
