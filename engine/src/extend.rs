//! Many rows at once into an index that nobody else uses meanwhile.
//!
//! Where many come for those that are there, all lists are made anew, as a bulk build makes them: that is faster than
//! linking the new ones, and better. Otherwise, and where bulk builds do not go (blocks, other metrics, places that were used
//! before), the graph takes them in parts that double.
//!
//! * **E1** The index is the same for the same calls, on any number of threads.
//! * **E2** Lists made anew pass the same look at a sample as those of a bulk build, or the old graph is kept and the rows are
//!   linked to it.
//! * **E3** Cancelled, it leaves what was there as it was, and each new row in whole or not at all.
//! * **E4** What codes the lists carry is asked again once half as many rows came as it was decided on, here or one by one before.
//!
//! Cost: that of a bulk build of all rows, or about that of inserting the new ones (see `Graph::insert_batch`).

use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};

use orthant_graph::NodeId;
use orthant_kernels::Metric;

use crate::builder::Quantization;
use crate::bulk::{BulkError, BulkOptions, BulkPhase, BulkWatch};
use crate::ids::{Key, RowId};
use crate::index::{FillError, Index, InsertError};
use crate::space::RowSpace;
use crate::speed::runner;

/// Nodes per turn of a thread.
const CHUNK: usize = 32;

/// All lists are made anew from one new row for so many old ones on. Bulk builds take 0.29 of the time of an insert per row on
/// sift-128 and 0.23 on text-384, so this would pay from 0.42 and 0.31 new rows per old one on.
const OLD_PER_NEW: usize = 2;

impl Index {
    /// Inserts the rows `[n × dim]` as [`insert_batch`](Self::insert_batch) does, but as one: the index is then the same on
    /// any number of threads. Nobody else uses it meanwhile. Returns their ids in order.
    ///
    /// Half as many rows as there are, or more, are linked together with these anew, which takes a part of the time and
    /// about as much memory as building the whole index in bulk. Where codes were decided on ([`Quantization::Blocks`]) that is asked
    /// again when it is due, as [`train`](Self::train) does.
    ///
    /// # Errors
    /// As `insert_batch`.
    ///
    /// # Examples
    /// ```
    /// use orthant_engine::{Index, Metric};
    ///
    /// let rows: Vec<f32> = (0..2000).map(|i| (i as f32 * 0.7).sin()).collect();
    /// let mut index = Index::builder(2, Metric::L2).threads(2).build()?;
    /// index.extend(&rows[..1200], None)?;
    /// index.extend(&rows[1200..], None)?;
    /// assert_eq!(index.len(), 1000);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn extend(&mut self, rows: &[f32], keys: Option<&[Key]>) -> Result<Vec<RowId>, InsertError> {
        Ok(self.extend_watched(rows, keys, &())?.into_iter().flatten().collect())
    }

    /// As [`extend`](Self::extend), with somebody who is told how far it is (phase [`BulkPhase::Inserting`], or those of a bulk build)
    /// and may cancel it. Returns the id of each row in order; a row that was not linked when it was cancelled has none, and is
    /// not in: it and its key can come again. What was in stays, and finds what it found.
    ///
    /// Rows that are linked anew together with those there are in as a whole or not at all; others come in parts that double, of which the
    /// one under way is not in.
    ///
    /// # Errors
    /// As `extend`.
    ///
    /// # Examples
    /// ```
    /// use orthant_engine::{Index, Metric, pool::CancelToken};
    ///
    /// let rows: Vec<f32> = (0..200).map(|i| (i as f32 * 0.7).sin()).collect();
    /// let mut index = Index::builder(2, Metric::L2).build()?;
    /// index.extend(&rows[..100], None)?;
    /// // A clone of the token may be cancelled by another thread.
    /// let token = CancelToken::new();
    /// token.cancel();
    /// let ids = index.extend_watched(&rows[100..], None, &token)?;
    /// assert_eq!((index.len(), ids), (50, vec![None; 50]));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn extend_watched(
        &mut self,
        rows: &[f32],
        keys: Option<&[Key]>,
        watch: &dyn BulkWatch,
    ) -> Result<Vec<Option<RowId>>, InsertError> {
        drop(self.writes.begin());
        let ids = self.append_all(rows, keys)?;
        let linked = self.link_together(&ids, watch);
        self.settle_all(keys, &ids);
        linked?;
        self.ask_again(watch);
        Ok(self.live_of(ids))
    }

    /// Inserts `count` rows that `read` fills in one by one, under their numbers: what
    /// [`insert_from`](Self::insert_from) does, as one, and watched as [`extend_watched`](Self::extend_watched) is. Returns their ids
    /// in order; none of rows that were not in when it was cancelled.
    ///
    /// # Errors
    /// As `insert_from`.
    pub fn extend_from<E: Send>(
        &mut self,
        count: usize,
        mut read: impl FnMut(usize, &mut [f32]) -> Result<(), E>,
        watch: &dyn BulkWatch,
    ) -> Result<Vec<Option<RowId>>, FillError<E>> {
        drop(self.writes.begin());
        let ids = self.append_from(count, &mut read)?;
        self.link_together(&ids, watch)?;
        self.ask_again(watch);
        Ok(self.live_of(ids))
    }

    /// Decides again about codes that were decided about, if that is due (E4).
    fn ask_again(&mut self, watch: &dyn BulkWatch) {
        if self.choice.is_some() && !watch.is_cancelled() {
            // Without memory for it the rows are in all the same, and what was decided holds (speed T2).
            let _ = self.train();
        }
    }

    /// Those of `rows` that are in.
    fn live_of(&self, rows: Vec<RowId>) -> Vec<Option<RowId>> {
        rows.into_iter().map(|row| self.is_live(row).then_some(row)).collect()
    }

    /// Links published rows at once; after an error, and when told to stop, those not linked yet are given up.
    fn link_together(&mut self, rows: &[RowId], watch: &dyn BulkWatch) -> Result<(), InsertError> {
        if self.is_worth_a_build(rows.len()) && self.link_all_anew(watch) {
            return Ok(());
        }
        let nodes: Vec<(NodeId, u8)> =
            rows.iter().map(|row| (row.node, self.levels.level(row.node))).collect();
        let started = self.start_threads();
        let run = runner(&self.pool, &self.workers, CHUNK);
        let has_zero_row = self.has_zero_row.load(Ordering::Acquire);
        let (kernels, stored, blocks) = (&self.kernels, &self.rows, self.blocks.as_ref());
        let space = RowSpace { kernels, rows: stored, has_zero_row, blocks };
        let told = AtomicUsize::new(usize::MAX);
        let goes_on = |done: usize| {
            if told.swap(done, Ordering::Relaxed) != done {
                watch.progress(BulkPhase::Inserting, done, nodes.len());
            }
            !watch.is_cancelled()
        };
        let linked = started.and_then(|()| Ok(self.graph.insert_batch(&nodes, &space, &run, &goes_on)?));
        rows.iter().filter(|&&row| !self.is_live(row)).for_each(|&row| self.give_up(row));
        linked
    }

    /// Whether all lists may be made anew, and should be for `count` new rows.
    fn is_worth_a_build(&self, count: usize) -> bool {
        let (old, all) = (self.graph.len(), self.rows.len());
        let is_possible = matches!(self.metric, Metric::L2 | Metric::Cosine)
            && self.quantization != Quantization::Blocks
            && old + count == all;
        let is_new = |node| self.graph.generation(node) == 0;
        is_possible && count > 0 && count * OLD_PER_NEW >= old && (0..all as NodeId).all(is_new)
    }

    /// Makes all lists anew; whether they are good. If not, or cancelled, the graph is as before (E2, E3).
    fn link_all_anew(&mut self, watch: &dyn BulkWatch) -> bool {
        let options = BulkOptions::default();
        // Whatever fails, there is another way.
        let made: Result<_, BulkError<Infallible>> = self.link_in_bulk(options.ef, watch, None);
        let Ok((old, found)) = made else { return false };
        let is_good = found.reaches(options.floor);
        if !is_good {
            self.graph = old;
        }
        is_good
    }
}
