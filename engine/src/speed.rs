//! From an index of rows and lists to one of blocks.
//!
//! * **T1** Row ids, keys and levels stay what they were; lists of level 0 are chosen anew and made full.
//! * **T2** On an error the index is as it was.
//!
//! Cost: a search over blocks per row, and writing all codes three times: once to search by, the rest for the gate. While it
//! runs there are up to three graphs in memory. All of it on the threads of the index.

use std::ops::Range;
use std::sync::OnceLock;

use orthant_graph::{Graph, NodeId, Scorer, Scratch, Space};
use orthant_kernels::{Metric, f16};
use orthant_pool::{CancelToken, Pool};
use orthant_quant::Sq8;
use orthant_storage::MemoryOptions;

use crate::blocks::{BlockScratch, Blocks, block_metric};
use crate::builder::Quantization;
use crate::drift::Drift;
use crate::exam::{Exam, K};
use crate::gate::{CODE_BITS, Choice, Trial, may_four_pay};
use crate::halves::{Halves, half_stride, scale_for};
use crate::index::{Index, InsertError, Workers};
use crate::memory::graph_memory;
use crate::mode::Mode;

/// Rows that the mean is taken from at least, if there are as many: its error is then a hundredth of the spread of the
/// rows, and it need not be exact.
const MEAN_ROWS: usize = 10_000;

/// Lists whose edges are measured.
const MEASURED_LISTS: usize = 1_000;

/// The beam that a depth of comparing again is learned with where none was found to reach a target: what most ask for.
const GIVEN_BEAM: usize = 64;

/// Bits per dimension, at least, of the lists that are searched for what lists are chosen among. With one bit text-384 finds as much
/// afterwards; two are right for fewer dimensions too.
const SEARCHED_BITS: usize = 2;

/// What lists were chosen among.
#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    /// What searches by codes find.
    Codes,
    /// What searches by rows find, which is to be asked now.
    RowsNow,
    /// The same, asked before.
    Rows,
}

/// Which codes are tried, on which lists. The third are tried where the first two say that they may pay; those behind cost more to
/// make, and come where nothing before them reached the target.
const TRIED: [(usize, By); 5] =
    [(1, By::Codes), (2, By::Codes), (4, By::Codes), (2, By::RowsNow), (4, By::Rows)];

/// Results that rows at half precision may miss of those that whole rows found when an exam is sat: chance.
const CHANCE: f32 = 1.5;

/// Nodes per turn of a thread.
const CHUNK: usize = 256;

/// What codes of any size are made from.
struct Trained {
    metric: Metric,
    own: Sq8,
    mean: Vec<f32>,
    unit: f32,
    lists: Vec<u32>,
}

impl Index {
    /// Chooses the lists anew, decides what they carry (see [`gate`](crate::gate)) and writes it into them.
    pub(crate) fn make_blocks(&mut self) -> Result<(), InsertError> {
        // While candidates are tried, nothing else is to answer for them.
        let before = (self.blocks.take(), self.codes.take(), self.choice.take(), self.halves.take());
        let made = self.decide();
        if made.is_err() || self.blocks.is_none() {
            // What lists carry is kept current, whether it is read or not (B1).
            self.blocks = before.0;
        }
        if made.is_err() {
            (self.codes, self.choice, self.halves) = (before.1, before.2, before.3);
        }
        made
    }

    /// Decides again what [`train`](Self::train) decided, on the rows of today, however few came since; lists that carry codes are
    /// chosen anew, which brings back what many inserts and removals took from them. Trains what was not trained.
    ///
    /// # Errors
    /// [`InsertError`]; the index is then as it was.
    pub fn retrain(&mut self) -> Result<(), InsertError> {
        if self.quantization == Quantization::Blocks && self.choice.is_some() {
            self.overwrite_dead_rows();
            return self.make_blocks();
        }
        self.train()
    }

    /// Tries what was decided on the rows of today; decides and writes anew where it does not do any more.
    pub(crate) fn decide_again(&mut self) -> Result<(), InsertError> {
        let Some(bits) = self.choice.as_ref().map(|choice| choice.bits) else { return self.make_blocks() };
        if let Some(exam) = self.exam()
            && self.blocks_in_use().is_some()
            && !exam.has_heaps()
        {
            let trial = self.sit(&exam, self.target_recall);
            if trial.recall >= self.target_recall {
                self.learn(&exam, trial.ef);
                let (target, points) = (self.target_recall, exam.points());
                self.choice = Some(Choice { bits, target, points, trials: vec![trial] });
                self.drift = Drift::new(self.len() as u64, 0);
                if self.are_to_be_halved() && self.halves_in_use().is_none() {
                    // Some row did not fit.
                    self.halve_rows(Some(&exam), trial.ef);
                }
                return Ok(());
            }
        }
        self.make_blocks()
    }

    fn decide(&mut self) -> Result<(), InsertError> {
        let Some(metric) = block_metric(self.metric) else { return Ok(()) };
        let (count, layout) = (self.rows.len(), self.rows.layout());
        let own = Sq8::train(self.rows.rows(), layout.stride(), count, self.dim)?;
        let lists = self.present_lists();
        let unit = self.edge_unit(&lists);
        let mut trained = Trained { metric, own, mean: self.mean(), unit, lists };
        let coded_lists = self.coded(self.block_bits.max(SEARCHED_BITS), &trained)?;
        self.choose_lists(coded_lists, &mut trained)?;
        let mut choice = Choice::given(if self.block_bits == 0 { 1 } else { self.block_bits });
        let mut coded = None;
        let exam = self.exam();
        if let (Some(exam), 0) = (&exam, self.block_bits) {
            (choice.target, choice.points) = (self.target_recall, exam.points());
            choice.trials.push(self.sit(exam, self.target_recall));
            for (bits, by) in TRIED {
                let is_reached = |trial: &Trial| trial.bits > 0 && trial.recall >= self.target_recall;
                if by != By::Codes && choice.trials.iter().any(is_reached) {
                    break;
                }
                if (bits, by) == (4, By::Codes) && !self.may_four_pay(&choice.trials, &trained)? {
                    continue;
                }
                if by == By::RowsNow {
                    self.choose_lists(None, &mut trained)?;
                }
                let Some((graph, blocks)) = self.coded(bits, &trained)? else { break };
                let plain = std::mem::replace(&mut self.graph, graph);
                self.blocks = Some(blocks);
                choice.trials.retain(|trial| trial.bits != bits);
                choice.trials.push(self.sit(exam, self.target_recall));
                let graph = std::mem::replace(&mut self.graph, plain);
                coded = self.blocks.take().map(|blocks| (graph, blocks));
            }
            let is_reached = |trial: &Trial| trial.bits > 0 && trial.recall >= self.target_recall;
            if !choice.trials.iter().any(is_reached) {
                self.codes = Some(self.make_codes()?);
                choice.trials.push(self.sit(exam, self.target_recall));
            }
            choice.decide();
            if exam.has_heaps() {
                choice.bits = 0;
            }
            self.codes = self.codes.take().filter(|_| choice.bits == CODE_BITS);
        }
        if matches!(choice.bits, 1 | 2 | 4) {
            coded = match coded.take().filter(|(_, blocks)| blocks.bits() == choice.bits) {
                Some(coded) => Some(coded),
                None => self.coded(choice.bits, &trained)?,
            };
            if let Some((graph, blocks)) = coded {
                self.graph = graph;
                self.blocks = Some(blocks);
            }
            if let Some(exam) = &exam {
                let trial = choice.trials.iter().find(|trial| trial.bits == choice.bits);
                self.learn(exam, trial.map_or(GIVEN_BEAM, |trial| trial.ef));
            }
        }
        let ef =
            choice.trials.iter().find(|trial| trial.bits == choice.bits).map_or(GIVEN_BEAM, |trial| trial.ef);
        self.choice = Some(choice);
        self.drift = Drift::new(self.len() as u64, 0);
        if self.blocks_in_use().is_some() && self.are_to_be_halved() {
            self.halve_rows(exam.as_ref(), ef);
        }
        Ok(())
    }

    /// Whether lists with four bits per dimension are worth a trial.
    fn may_four_pay(&self, trials: &[Trial], trained: &Trained) -> Result<bool, InsertError> {
        let blocks = Blocks::new(trained.metric, trained.own.clone(), &trained.mean, (trained.unit, 4))?;
        let ids = self.graph.config().m0().next_multiple_of(16) * 4;
        let bytes = ids + blocks.payload_bytes().next_multiple_of(64);
        Ok(may_four_pay(trials, self.target_recall, bytes))
    }

    /// Whether rows are to be kept at half precision too.
    fn are_to_be_halved(&self) -> bool {
        self.half_rows.unwrap_or(self.mode == Some(Mode::Speed))
    }

    /// Keeps rows at half precision too, unless searches find less with them. Without memory for them whole rows are compared: what
    /// was decided holds all the same (T2).
    fn halve_rows(&mut self, exam: Option<&Exam>, ef: usize) {
        self.halves = None;
        let Ok(mut halves) = self.half_rows_of_all() else { return };
        let Some(exam) = exam else {
            self.halves = Some(halves);
            return;
        };
        let recall_whole = self.recall_in(exam, ef);
        halves.evidence.points = exam.points();
        self.halves = Some(halves);
        let recall_half = self.recall_in(exam, ef);
        if let Some(halves) = &mut self.halves {
            (halves.evidence.recall_whole, halves.evidence.recall_half) = (recall_whole, recall_half);
        }
        let is_given = self.half_rows == Some(true);
        // One result more or less is chance.
        let lost = (recall_whole - recall_half) * (K * exam.points()) as f32;
        self.halves = self.halves.take().filter(|_| is_given || lost <= CHANCE);
    }

    /// All rows at half precision.
    fn half_rows_of_all(&self) -> Result<Halves, InsertError> {
        let nodes = 0..self.rows.len() as NodeId;
        let of =
            |largest: f32, row: &[f32]| row.iter().fold(largest, |largest, value| largest.max(value.abs()));
        let largest = nodes.clone().filter_map(|node| self.rows.row(node)).fold(0.0, of);
        let halves = self.new_halves(scale_for(largest), self.rows.len())?;
        for node in nodes {
            if let Some(row) = self.rows.row(node) {
                // SAFETY: nobody else knows these halves.
                unsafe { halves.encode(node, row) }?;
            }
        }
        Ok(halves)
    }

    /// Halves of no rows yet, with room for `rows`.
    pub(crate) fn new_halves(&self, scale: f32, rows: usize) -> Result<Halves, InsertError> {
        let bytes = rows * half_stride(self.dim) * size_of::<f16>();
        let options = MemoryOptions { expected_bytes: Some(bytes), ..self.memory.clone() };
        Ok(Halves::new(self.kernels.whole().metric(), self.dim, scale, &options)?)
    }

    /// The graph with the lists of `trained`, which carry codes of `bits`; none where they do not fit a list.
    fn coded(&mut self, bits: usize, trained: &Trained) -> Result<Option<(Graph, Blocks)>, InsertError> {
        self.start_threads()?;
        let Trained { metric, own, mean, unit, lists } = trained;
        let mut blocks = Blocks::new(*metric, own.clone(), mean, (*unit, bits))?;
        let nodes = self.live_generations();
        // SAFETY: live rows are whole, and `self` is borrowed mutably.
        blocks.set_entries(&nodes, |node| unsafe { self.rows.row_unchecked(node) });
        // A full list costs a search over blocks no more than a short one.
        let config = self.graph.config().with_keep_pruned(true);
        let Ok(config) = config.with_payload_bytes(blocks.payload_bytes()) else { return Ok(None) };
        let bytes = self.rows.len()
            * (config.m0().next_multiple_of(16) * 4 + config.payload_bytes().next_multiple_of(64));
        let options = MemoryOptions { expected_bytes: Some(bytes), ..self.memory.clone() };
        let space = crate::space::RowSpace { blocks: Some(&blocks), ..space_of(&self.kernels, &self.rows) };
        let run = runner(&self.pool, &self.workers, CHUNK);
        let graph = self.graph.relisted(config, graph_memory(&options)?, lists, &space, &run)?;
        Ok(Some((graph, blocks)))
    }

    /// Sets the rows that searches begin at anew: after the nodes got other numbers.
    pub(crate) fn refresh_entries(&mut self) {
        let nodes = self.live_generations();
        if let Some(blocks) = &mut self.blocks {
            // SAFETY: as above.
            blocks.set_entries(&nodes, |node| unsafe { self.rows.row_unchecked(node) });
        }
    }

    fn live_generations(&self) -> Vec<(NodeId, u32)> {
        self.live_nodes().map(|node| (node, self.graph.generation(node))).collect()
    }

    pub(crate) fn live_nodes(&self) -> impl Iterator<Item = NodeId> + '_ {
        (0..self.graph.node_bound() as NodeId).filter(|&node| self.graph.is_live(node))
    }

    /// Starts the threads, where there are to be several, before the graph is borrowed.
    pub(crate) fn start_threads(&self) -> Result<(), InsertError> {
        if !self.workers.are_one() {
            self.pool()?;
        }
        Ok(())
    }

    /// Lists of level 0 as they are, with what marks anchored edges, of live nodes alone.
    fn present_lists(&self) -> Vec<u32> {
        let m0 = self.graph.config().m0();
        let mut lists = vec![u32::MAX; self.graph.node_bound() * m0];
        let pin = self.graph.pin();
        for (node, list) in lists.chunks_exact_mut(m0).enumerate() {
            if let Some((words, _)) = self.graph.read_block(node as NodeId, &pin) {
                // A list may name what was removed for a while.
                let is_live = |&&word: &&u32| word != u32::MAX && self.graph.is_live(word & !(1 << 31));
                list.iter_mut().zip(words.iter().filter(is_live)).for_each(|(place, &word)| *place = word);
            }
        }
        lists
    }

    /// Chooses full lists among what searches for every row find: over `coded` lists, or over rows.
    fn choose_lists(
        &mut self,
        coded: Option<(Graph, Blocks)>,
        trained: &mut Trained,
    ) -> Result<(), InsertError> {
        let ef = self.graph.config().ef_construction();
        self.start_threads()?;
        let run = runner(&self.pool, &self.workers, CHUNK);
        let (space, rows) = (space_of(&self.kernels, &self.rows), &self.rows);
        trained.lists = match &coded {
            Some((coded, blocks)) => {
                let near = |_: &Graph, node, memory: &mut BlockScratch, out: &mut Vec<NodeId>| {
                    // SAFETY: live rows are whole, and nobody writes.
                    let row = unsafe { rows.row_unchecked(node) };
                    memory.near(coded, blocks, (node, row), ef, out);
                };
                self.graph.refined_lists(&space, &run, near)
            }
            None => self.graph.refined_lists(&space, &run, |graph, node, scratch: &mut Scratch, out| {
                graph.near(node, ef, &space, scratch, out);
            }),
        };
        trained.unit = self.edge_unit(&trained.lists);
        Ok(())
    }

    /// The mean squared length of some edges.
    fn edge_unit(&self, lists: &[u32]) -> f32 {
        let m0 = self.graph.config().m0();
        let space = self.space();
        let step = (lists.len() / m0).div_ceil(MEASURED_LISTS).max(1);
        let (mut sum, mut count) = (0.0f64, 0u32);
        for (node, list) in lists.chunks_exact(m0).enumerate().step_by(step) {
            let ids: Vec<NodeId> =
                list.iter().take_while(|&&word| word != u32::MAX).map(|word| word & !(1 << 31)).collect();
            if ids.is_empty() {
                continue;
            }
            let mut distances = vec![0.0; ids.len()];
            space.scorer(node as NodeId).score_batch(&ids, &mut distances);
            // Inner products say nothing about lengths but their size, which will do.
            sum += distances.iter().map(|&distance| f64::from(distance.abs())).sum::<f64>();
            count += ids.len() as u32;
        }
        let mean = (sum / f64::from(count.max(1))) as f32;
        if mean.is_finite() && mean > 0.0 { mean } else { 1.0 }
    }

    fn mean(&self) -> Vec<f32> {
        let step = (self.rows.len() / MEAN_ROWS).max(1);
        let mut mean = vec![0.0f64; self.dim];
        let mut count = 0u32;
        for node in self.live_nodes().step_by(step) {
            // SAFETY: live rows are whole, and `self` is borrowed mutably by the caller.
            let row = unsafe { self.rows.row_unchecked(node) };
            mean.iter_mut().zip(row).for_each(|(sum, &value)| *sum += f64::from(value));
            count += 1;
        }
        mean.iter().map(|sum| (sum / f64::from(count.max(1))) as f32).collect()
    }
}

/// Runs work on the threads of an index, `chunk` at a time; they were started before if there are several.
pub(crate) fn runner<'a>(
    pool: &'a OnceLock<Pool>,
    workers: &Workers,
    chunk: usize,
) -> impl Fn(usize, &(dyn Fn(Range<usize>) + Sync)) + 'a {
    let pool = pool.get().filter(|_| !workers.are_one());
    move |count, work| match pool {
        // Nobody cancels it.
        Some(pool) if count > chunk => {
            _ = pool.for_each_chunk_until(count, chunk, &CancelToken::new(), |_, range| work(range));
        }
        _ => (0..count).step_by(chunk).for_each(|start| work(start..(start + chunk).min(count))),
    }
}

/// The rows without codes. Zero rows need no care where only lists are chosen.
fn space_of<'a>(
    kernels: &'a crate::space::RowKernels,
    rows: &'a orthant_storage::RowArena<f32>,
) -> crate::space::RowSpace<'a> {
    crate::space::RowSpace { kernels, rows, has_zero_row: false, blocks: None }
}
