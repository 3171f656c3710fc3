//! Searching by blocks, one query after the other or several in turn.
//!
//! A search is a walk over blocks and then an exact look at the best rows it met. Both wait for memory, so in a batch a
//! thread has [`IN_TURN`] of them under way: it expands one node of one, asking meanwhile for the block that the one before
//! goes on with, and goes on to the next query.
//!
//! * **V1** What a query finds does not depend on what else is under way: each has its own memory, and no step looks at
//!   the clock or at another query.

use std::ops::Range;

use orthant_graph::{BlockSearch, BlockWalk, Graph, Neighbor, NodeId, Pin};

use super::{BlockQuery, Blocks, STARTS};
use crate::builder::Quantization;
use crate::index::Index;
use crate::search::{BatchRows, SearchError, SearchParams, SearchScratch};
use crate::space::{Margin, RowSpace};

/// Queries that a thread works on in turn. Of 2, 3, 4, 5, 6 and 8 the fastest on text-384, by little.
pub(crate) const IN_TURN: usize = 3;

/// How many times `k` a beam over blocks is widened to before rows are searched instead.
const MOST_WIDENED: usize = 8;

/// What a search by blocks reuses.
#[derive(Default)]
pub(crate) struct BlockScratch {
    query: BlockQuery,
    starts: Vec<Neighbor>,
    walk: BlockWalk,
    ef: usize,
    without: Option<NodeId>,
    /// Whether distances come from inner products because a zero row, or the query, has no direction.
    has_zero_row: bool,
}

impl BlockScratch {
    /// Nodes that the last search expanded.
    pub(crate) fn expanded(&self) -> usize {
        self.walk.expanded()
    }
}

impl BlockScratch {
    /// Adds the nodes that a beam of `ef` from `node` itself, whose row this is, finds in `graph` to `out`.
    pub(crate) fn near(
        &mut self,
        graph: &Graph,
        blocks: &Blocks,
        (node, row): (NodeId, &[f32]),
        ef: usize,
        out: &mut Vec<NodeId>,
    ) {
        blocks.prepare_query(row, &mut self.query);
        let search = BlockSearch { ef, k: ef, keep: ef, slack: f32::INFINITY, margin: 0.0, without: None };
        let pin = graph.pin();
        graph.begin_walk(&[Neighbor { node, distance: 0.0 }], search, &mut self.walk, &pin);
        let scorer = blocks.from(&self.query);
        graph.finish_walk(&scorer, &mut self.walk, &pin);
        out.extend(graph.end_walk(&scorer, &mut self.walk, &pin).iter().map(|found| found.node));
    }
}

/// What is to be done with a walk that came to its end.
enum Ended {
    /// It goes on, wider.
    Widened,
    /// Its best rows are to be compared at full precision.
    Found,
    /// It found nowhere to begin.
    Nothing,
}

impl Index {
    /// The blocks, where searches go by them.
    pub(crate) fn blocks_in_use(&self) -> Option<&Blocks> {
        // Those of a decision before the last may still be kept current.
        let is_chosen = self.choice.as_ref().is_none_or(|choice| matches!(choice.bits, 1 | 2 | 4));
        self.blocks.as_ref().filter(|_| self.quantization == Quantization::Blocks && is_chosen)
    }

    /// Searches by blocks; fills `scratch.nodes` with what is to be compared at full precision. False where there
    /// was nowhere to begin.
    pub(crate) fn search_in_blocks(
        &self,
        blocks: &Blocks,
        params: SearchParams,
        without: Option<NodeId>,
        pin: &Pin,
        scratch: &mut SearchScratch,
    ) -> bool {
        self.begin(blocks, params, without, pin, scratch);
        loop {
            let BlockScratch { query, walk, .. } = &mut scratch.block;
            self.graph.finish_walk(&blocks.from(query), walk, pin);
            match self.end(blocks, params, pin, scratch) {
                Ended::Widened => {}
                Ended::Found => {
                    self.ask_for_rows(&scratch.nodes);
                    return true;
                }
                Ended::Nothing => return false,
            }
        }
    }

    fn begin(
        &self,
        blocks: &Blocks,
        params: SearchParams,
        without: Option<NodeId>,
        pin: &Pin,
        scratch: &mut SearchScratch,
    ) {
        let SearchScratch { query: row, graph, block, .. } = scratch;
        let BlockScratch { query, starts, walk, ef, without: left_out, .. } = block;
        *left_out = without;
        let is_there =
            |node, generation| self.graph.is_live(node) && self.graph.generation(node) == generation;
        blocks.prepare(row, query, starts, is_there);
        if starts.len() < STARTS {
            // What was sampled is gone for the most part. Expanded first, whatever their distances.
            let led = self.graph.led_to(&self.space().from(row, Margin::NARROW_SEARCH), graph, pin);
            let entry = self.graph.entry().map(|(node, _)| node);
            let first = |node| Neighbor { node, distance: f32::NEG_INFINITY };
            starts.extend(led.into_iter().chain(entry).map(first));
        }
        // Codes are off: a beam of k would lose some of the k nearest to others.
        *ef = params.ef.max(params.k + params.k.div_ceil(4));
        self.graph.begin_walk(
            starts,
            BlockSearch { without: *left_out, ..beam(blocks, params, *ef) },
            walk,
            pin,
        );
    }

    fn end(&self, blocks: &Blocks, params: SearchParams, pin: &Pin, scratch: &mut SearchScratch) -> Ended {
        let BlockScratch { query, starts, walk, ef, without: left_out, .. } = &mut scratch.block;
        let found = self.graph.end_walk(&blocks.from(query), walk, pin);
        // Some nodes of a beam are hidden; a narrow one may end with too few.
        if found.len() < params.k.min(self.graph.len()) {
            if *ef >= MOST_WIDENED * params.k {
                return Ended::Nothing;
            }
            *ef *= 2;
            self.graph.begin_walk(
                starts,
                BlockSearch { without: *left_out, ..beam(blocks, params, *ef) },
                walk,
                pin,
            );
            return Ended::Widened;
        }
        // Behind the k-th by code, only what may be nearer in truth is compared again.
        let limit =
            found.get(params.k - 1).map_or(f32::INFINITY, |last| blocks.doubtful_below(last.distance));
        let is_worth = |&(place, found): &(usize, &Neighbor)| place < params.k || found.distance <= limit;
        scratch.nodes.clear();
        scratch.nodes.extend(found.iter().enumerate().take_while(is_worth).map(|(_, found)| found.node));
        Ended::Found
    }

    /// Searches for a range of the queries `[n × dim]`, [`IN_TURN`] at a time (V1).
    pub(crate) fn search_in_turn(
        &self,
        blocks: &Blocks,
        queries: &[f32],
        range: Range<usize>,
        params: SearchParams,
        lanes: &mut Vec<SearchScratch>,
        out: &BatchRows<'_>,
    ) -> Result<(), SearchError> {
        let pin = self.graph.pin();
        let mut waiting = range;
        lanes.resize_with(lanes.len().max(IN_TURN), SearchScratch::default);
        let mut stages = [Stage::Idle; IN_TURN];
        let mut busy = IN_TURN;
        // What the search before goes on with.
        let mut other = None;
        while busy > 0 {
            busy = 0;
            for (stage, scratch) in stages.iter_mut().zip(lanes.iter_mut()) {
                *stage = match *stage {
                    Stage::Idle => match waiting.next() {
                        None => continue,
                        Some(number) => {
                            let space = self.take_query(&queries[number * self.dim..][..self.dim], scratch);
                            scratch.block.has_zero_row = space.has_zero_row;
                            self.begin(blocks, params, None, &pin, scratch);
                            Stage::Walking(number)
                        }
                    },
                    Stage::Walking(number) => {
                        let BlockScratch { query, walk, .. } = &mut scratch.block;
                        if self.graph.step_walk(&blocks.from(query), walk, other.take(), &pin) {
                            other = self.graph.next_of_walk(walk);
                            Stage::Walking(number)
                        } else {
                            match self.end(blocks, params, &pin, scratch) {
                                Ended::Widened => Stage::Walking(number),
                                Ended::Nothing => Stage::Lost(number),
                                Ended::Found => {
                                    self.ask_for_rows(&scratch.nodes);
                                    Stage::Ranking(number)
                                }
                            }
                        }
                    }
                    Stage::Ranking(number) => {
                        let has_zero_row = scratch.block.has_zero_row;
                        self.rank(RowSpace { has_zero_row, ..self.space() }, params.k, scratch);
                        self.show(scratch);
                        // SAFETY: every query is in one range, and taken from it once.
                        unsafe { out.set(number, &scratch.hits) };
                        Stage::Idle
                    }
                    Stage::Lost(number) => {
                        let query = &queries[number * self.dim..][..self.dim];
                        let hits = self.search_with(query, params, scratch)?;
                        // SAFETY: as above.
                        unsafe { out.set(number, hits) };
                        Stage::Idle
                    }
                };
                busy += 1;
            }
        }
        Ok(())
    }

    /// Asks for rows that are read soon.
    fn ask_for_rows(&self, nodes: &[NodeId]) {
        if let Some(halves) = self.halves_in_use() {
            return halves.ask_for(nodes);
        }
        for &node in nodes {
            let row = self.rows.as_ptr().wrapping_add(node as usize * self.rows.layout().stride());
            // The first lines; what lies behind them comes by itself.
            for line in 0..(self.dim * 4).div_ceil(64).min(ROW_LINES) {
                orthant_kernels::prefetch::line(row.wrapping_add(line * 16));
            }
        }
    }
}

/// Lines of a row that are asked for.
const ROW_LINES: usize = 8;

fn beam(blocks: &Blocks, params: SearchParams, ef: usize) -> BlockSearch {
    let (ef, slack) = blocks.tuning().beam(ef);
    BlockSearch {
        ef,
        k: params.k,
        keep: params.rerank.max(params.k),
        slack,
        margin: blocks.margin,
        without: None,
    }
}

/// Where one of the queries in turn stands.
#[derive(Clone, Copy)]
enum Stage {
    Idle,
    Walking(usize),
    Ranking(usize),
    /// There was nowhere to begin.
    Lost(usize),
}
