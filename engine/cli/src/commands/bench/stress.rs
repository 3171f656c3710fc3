//! `orthant bench stress`: everything at once, from five threads, then a check of all that was promised.
//!
//! * **S1** A row's state is a count that only grows: 0, 4, 8 … it is out, 1 it is being inserted, 2 in, 3 being
//!   removed. Who counts it up from 0 or 2 is the one that writes the row.
//! * **S2** When a row goes out the time is noted first: a search that began later must not return it.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use orthant_engine::{Index, Key, KeyRef, SearchParams};
use serde_json::json;

use super::churn::{Data, finds};
use super::live::Draw;
use crate::args::StressArgs;
use crate::failure::Internal;
use crate::output::{Output, count, plural, seconds};
use crate::progress::Progress;
use crate::vectors::Vectors;
use crate::{generated, machine};

const INSERTERS: usize = 2;
const SEARCHERS: usize = 2;
/// One write in this many of an inserter exchanges a live row.
const UPDATE_EVERY: usize = 8;
/// Searches of the quality check, and the most by which recall may lie below the twin's.
const QUERIES: usize = 5000;
const MOST_LOST: f64 = 0.002;
/// Two standard errors of the difference of two recalls near 0.997 on so many queries: what is beyond the two together is
/// no chance. With 1,000 queries runs of 12 seconds differed by 0.09 to 0.27 points from their twins.
const CHANCE: f64 = 0.001;
const EF: usize = 64;
const K: usize = 10;

/// What the threads share.
struct Shared<'a> {
    data: &'a Data<'a>,
    index: &'a Index,
    states: Vec<AtomicU32>,
    /// Nanoseconds since `start` when the row last went out (S2).
    gone: Vec<AtomicU64>,
    start: Instant,
    is_over: AtomicBool,
    live: AtomicUsize,
    inserted: AtomicU64,
    updated: AtomicU64,
    removed: AtomicU64,
    searched: AtomicU64,
    self_searched: AtomicU64,
    self_missed: AtomicU64,
}

/// Runs the command.
pub(super) fn run(args: &StressArgs) -> anyhow::Result<()> {
    let output = Output::new(args.json);
    ensure!(args.minutes > 0.0, "--minutes {}: not a time", args.minutes);
    let metric = match &args.data {
        Some(folder) => super::metric(folder, args.metric)?,
        None => args.metric.map_or(orthant_engine::Metric::L2, Into::into),
    };
    let (base, made);
    let (rows, dim, queries) = match &args.data {
        Some(folder) => {
            let most = if args.limit == 0 { usize::MAX } else { args.limit };
            base = Vectors::open_first(&super::find(folder, "base")?, most, 0)?;
            let queries = Vectors::open_first(&super::find(folder, "query")?, QUERIES, 0)?;
            queries.expect_dim(base.dim(), base.path())?;
            (base.values(), base.dim(), queries.values().to_vec())
        }
        None => {
            made = generated::rows(args.graph.seed, 0, args.rows + QUERIES, args.dim, 0);
            let (rows, queries) = made.split_at(args.rows * args.dim);
            (rows, args.dim, queries.to_vec())
        }
    };
    let data = Data { metric, dim, rows, queries: &queries };
    let count_of_rows = data.rows.len() / dim;
    let mut index = data.empty(&args.graph, 0)?;
    let first: Vec<u32> = (0..count_of_rows as u32 / 2).collect();
    data.insert(&index, &first)?;
    index.train()?;

    let shared = Shared {
        data: &data,
        index: &index,
        states: (0..count_of_rows).map(|row| AtomicU32::new(if row < first.len() { 2 } else { 0 })).collect(),
        gone: (0..count_of_rows).map(|_| AtomicU64::new(0)).collect(),
        start: Instant::now(),
        is_over: AtomicBool::new(false),
        live: AtomicUsize::new(first.len()),
        inserted: AtomicU64::new(0),
        updated: AtomicU64::new(0),
        removed: AtomicU64::new(0),
        searched: AtomicU64::new(0),
        self_searched: AtomicU64::new(0),
        self_missed: AtomicU64::new(0),
    };
    let before = machine::anonymous_bytes();
    shared.run(Duration::from_secs_f64(args.minutes * 60.0), args.graph.seed)?;
    let grown = machine::anonymous_bytes().zip(before).map(|(after, before)| after as i64 - before as i64);

    let live: Vec<u32> = (0..)
        .zip(&shared.states)
        .filter(|(_, s)| s.load(Ordering::Relaxed) % 4 == 2)
        .map(|(row, _)| row)
        .collect();
    let fault = |what: String| Err(anyhow::anyhow!(what)).context(Internal("the index broke under stress"));
    let report = index.validate();
    let validate = if report.is_ok() { "ok".to_owned() } else { report.to_string() };
    if index.len() != live.len() {
        return fault(format!("{} rows are in, {} should be", index.len(), live.len()));
    }
    let params = SearchParams::new(K, EF);
    let recall = data.recall(&index, &live, params)?;
    let self_found = data.self_found(&index, &live)?;
    let mut twin = data.empty(&args.graph, 1)?;
    data.insert(&twin, &live)?;
    twin.train()?;
    let recall_twin = data.recall(&twin, &live, params)?;

    let counts = [&shared.inserted, &shared.updated, &shared.removed, &shared.searched];
    let [inserted, updated, removed, searched] = counts.map(|count| count.load(Ordering::Relaxed));
    let missed = shared.self_missed.load(Ordering::Relaxed) as f64;
    let self_found_meanwhile = 1.0 - missed / shared.self_searched.load(Ordering::Relaxed).max(1) as f64;
    output.line(format_args!(
        "{} inserted, {} exchanged, {} removed and {} searched for in {}",
        plural(inserted as usize, "row", "rows"),
        count(updated),
        count(removed),
        count(searched),
        seconds(args.minutes * 60.0),
    ))?;
    output.line(format_args!(
        "{} left: validate {validate}, recall@{K} {recall:.4} (one thread's twin: {recall_twin:.4}), {self_found:.5} find \
         themselves ({self_found_meanwhile:.5} meanwhile)",
        plural(live.len(), "row is", "rows are"),
    ))?;
    if args.json {
        output.object(&json!({
            "type": "stress", "n": count_of_rows, "d": dim, "metric": metric.to_string(), "minutes": args.minutes,
            "inserted": inserted, "updated": updated, "removed": removed, "searched": searched, "live": live.len(),
            "recall": recall, "recall_twin": recall_twin, "self_found": self_found,
            "self_found_meanwhile": self_found_meanwhile, "memory_grown_bytes": grown, "validate": validate,
        }))?;
    }
    if validate != "ok" {
        return fault(validate);
    }
    if recall < recall_twin - MOST_LOST - CHANCE {
        return fault(format!("recall@{K} is {recall:.4}, that of an index by one thread {recall_twin:.4}"));
    }
    Ok(())
}

impl Shared<'_> {
    fn run(&self, time: Duration, seed: u64) -> anyhow::Result<()> {
        let progress = Progress::start("stressing", time.as_secs() as usize);
        std::thread::scope(|scope| {
            let mut threads = Vec::new();
            for number in 0..INSERTERS as u64 {
                threads.push(scope.spawn(move || self.insert(Draw::new(seed ^ (number + 1) << 32))));
            }
            threads.push(scope.spawn(move || self.remove(Draw::new(seed ^ 1 << 40))));
            for number in 0..SEARCHERS as u64 {
                threads.push(scope.spawn(move || self.search(Draw::new(seed ^ (number + 1) << 48))));
            }
            while self.start.elapsed() < time && !threads.iter().any(|thread| thread.is_finished()) {
                std::thread::sleep(Duration::from_millis(50));
                progress.set(self.start.elapsed().as_secs() as usize);
            }
            self.is_over.store(true, Ordering::Relaxed);
            for thread in threads {
                thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            }
            progress.finish();
            Ok(())
        })
    }

    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    fn now(&self) -> u64 {
        self.start.elapsed().as_nanos() as u64
    }

    /// Counts the state of a random row up if it is `from` modulo 4 (S1).
    fn take(&self, draw: &mut Draw, from: u32) -> Option<u32> {
        let row = draw.below(self.states.len());
        let state = self.states[row].load(Ordering::Acquire);
        let is_taken = state % 4 == from
            && self.states[row]
                .compare_exchange(state, state + 1, Ordering::AcqRel, Ordering::Relaxed)
                .is_ok();
        is_taken.then_some(row as u32)
    }

    fn set(&self, row: u32, by: i32) {
        self.states[row as usize].fetch_add(by as u32, Ordering::AcqRel);
    }

    fn insert(&self, mut draw: Draw) -> anyhow::Result<()> {
        while !self.is_over() {
            if draw.below(UPDATE_EVERY) == 0 {
                // Held as if it were removed, so that nobody else writes it; it is in all the while.
                let Some(row) = self.take(&mut draw, 2) else { continue };
                let vector = self.data.row(row);
                if draw.below(2) == 0 {
                    self.index.upsert(u64::from(row), vector)?;
                } else {
                    let found = self.index.update(&Key::Int(u64::from(row)), vector)?;
                    ensure!(found.is_some(), Internal("a live row could not be exchanged"));
                }
                // Four on: in again, and seen to have been written.
                self.set(row, 3);
                self.updated.fetch_add(1, Ordering::Relaxed);
            } else if self.live.load(Ordering::Relaxed) > self.states.len() * 6 / 10 {
                std::thread::yield_now();
            } else if let Some(row) = self.take(&mut draw, 0) {
                self.index.insert(u64::from(row), self.data.row(row))?;
                self.live.fetch_add(1, Ordering::Relaxed);
                self.set(row, 1);
                self.inserted.fetch_add(1, Ordering::Relaxed);
            }
        }
        Ok(())
    }

    fn remove(&self, mut draw: Draw) -> anyhow::Result<()> {
        while !self.is_over() {
            if self.live.load(Ordering::Relaxed) < self.states.len() * 4 / 10 {
                std::thread::yield_now();
                continue;
            }
            let Some(row) = self.take(&mut draw, 2) else { continue };
            let is_removed = self.index.remove(&Key::Int(u64::from(row)));
            ensure!(is_removed, Internal("a live row could not be removed"));
            self.live.fetch_sub(1, Ordering::Relaxed);
            // S2.
            self.gone[row as usize].store(self.now(), Ordering::Release);
            self.set(row, 1);
            self.removed.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    fn search(&self, mut draw: Draw) -> anyhow::Result<()> {
        let mut searcher = self.index.searcher();
        let mut numbers = Vec::new();
        while !self.is_over() {
            let row = draw.below(self.states.len());
            let before = self.states[row].load(Ordering::Acquire);
            let vector = self.data.row(row as u32);
            if before % 4 == 2 {
                let is_found = finds(self.index, &mut searcher, row as u32, vector)?;
                // In from before the search to after it, by nobody written.
                if self.states[row].load(Ordering::Acquire) == before {
                    self.self_searched.fetch_add(1, Ordering::Relaxed);
                    self.self_missed.fetch_add(u64::from(!is_found), Ordering::Relaxed);
                }
            }
            let began = self.now();
            let found = self.index.search(vector, K, EF)?;
            ensure!(found.len() == K, Internal("a search returned too few rows"));
            ensure!(
                found.windows(2).all(|pair| pair[0].distance <= pair[1].distance),
                Internal("results are out of order")
            );
            numbers.clear();
            for matched in &found {
                let KeyRef::Int(number) = matched.key.as_ref() else {
                    return Err(Internal("a key that nobody gave was found").into());
                };
                numbers.push(number);
                let state = self.states[number as usize].load(Ordering::Acquire);
                let is_stale =
                    state.is_multiple_of(4) && self.gone[number as usize].load(Ordering::Acquire) < began;
                ensure!(!is_stale, Internal("a row was found that had been removed before the search"));
            }
            numbers.sort_unstable();
            numbers.dedup();
            ensure!(numbers.len() == K, Internal("a row was found twice"));
            self.searched.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }
}
