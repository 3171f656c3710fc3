//! A trial of durability: a process that writes, is killed at any moment, and what must be there afterwards.
//!
//! The writer announces each write before it does it and confirms it when it is acknowledged, one line each, written at once. Whoever
//! reads the lines knows after a kill what was acknowledged, and of each of the writer's threads the one write that may or may not be
//! there. The tests and `orthant bench crash` are the two who do.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::{
    Database, FieldType, Flush, GraphChoices, Key, Metric, OpenError, Options, Row, Schema, ScrollRequest,
    SearchRequest,
};

/// Elements of the trial's vectors.
pub const DIM: usize = 16;

/// Keys that each thread writes to, again and again.
pub const KEYS: u64 = 700;

/// Threads that write.
pub const THREADS: u64 = 2;

const COLLECTION: &str = "trial";
const TENANTS: u64 = 3;

/// How the trial opens its database: checkpoints often, so that kills meet them.
pub fn options(flush: Flush) -> Options {
    Options {
        flush,
        journal_bytes: 200 << 10,
        checkpoint_every: Duration::from_millis(400),
        ..Options::default()
    }
}

/// The vector that belongs to a write.
pub fn vector(key: u64, count: u64) -> Vec<f32> {
    (0..DIM as u64).map(|at| ((key * 31 + count * 7 + at * 13) % 97) as f32 / 97.0).collect()
}

fn tenant_of(key: u64) -> String {
    format!("t{}", key % TENANTS)
}

/// A seeded sequence (splitmix64, Steele et al. 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }
}

/// Opens or makes the trial's database.
fn open(dir: &Path, flush: Flush) -> Result<Database, Box<dyn std::error::Error + Send + Sync>> {
    let database = match Database::open(dir, options(flush)) {
        Err(OpenError::Missing { .. }) => Database::create(dir, options(flush))?,
        other => other?,
    };
    if database.collection(COLLECTION).is_none() {
        // A graph soon, so that kills meet its linking and saving.
        let choices = GraphChoices { from_rows: 200, ef_construction: 32, m: 8 };
        let schema = Schema::new(DIM, Metric::L2).with_field("count", FieldType::Integer).with_graph(choices);
        database.create_collection(COLLECTION, schema)?;
    }
    Ok(database)
}

/// Writes until it is killed, or fails. Lines: `B thread key count` before a write, count 0 for a delete; `A thread` after.
///
/// # Errors
/// Whatever the database, or the output, says.
pub fn write_for_ever(
    dir: &Path,
    seed: u64,
    flush: Flush,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let database = open(dir, flush)?;
    let collection = database.collection(COLLECTION).ok_or("the collection is missing")?;
    let say = |line: String| std::io::stdout().lock().write_all(line.as_bytes());
    say("R\n".to_owned())?;
    std::thread::scope(|scope| {
        let mut threads = Vec::new();
        for thread in 0..THREADS {
            let collection = &collection;
            threads.push(scope.spawn(move || -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
                let mut random = Random(seed * THREADS + thread);
                let mut count = seed << 24;
                loop {
                    let key = random.next() % KEYS * THREADS + thread;
                    let tenant = collection.tenant(&tenant_of(key))?;
                    count += 1;
                    if random.next().is_multiple_of(10) {
                        say(format!("B {thread} {key} 0\n"))?;
                        tenant.delete(key)?;
                    } else {
                        say(format!("B {thread} {key} {count}\n"))?;
                        let row = Row::new(key, vector(key, count));
                        tenant.upsert(row.with_payload(json!({"count": count, "text": "x".repeat(40)}))?)?;
                    }
                    say(format!("A {thread}\n"))?;
                }
            }));
        }
        // Everything else that happens to a database, all the time.
        let upkeep = || -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
            let mut random = Random(!seed);
            loop {
                std::thread::sleep(Duration::from_millis(random.next() % 40));
                match random.next() % 4 {
                    0 => database.flush()?,
                    1 => drop(collection.compact()?),
                    2 => match collection.snapshots().first() {
                        Some(snapshot) => collection.drop_snapshot(&snapshot.name)?,
                        None => drop(collection.create_snapshot("s")?),
                    },
                    _ => {
                        let tenant = collection.tenant(&tenant_of(random.next()))?;
                        tenant.search(&SearchRequest::new(vector(1, random.next() % 1000), 5))?;
                    }
                }
            }
        };
        let failed = upkeep();
        for thread in threads {
            thread.join().map_err(|_| "a writer panicked")??;
        }
        failed
    })
}

/// What must be there: the newest acknowledged write per key, and the writes under way.
#[derive(Debug, Default, Clone)]
pub struct Ledger {
    rows: BTreeMap<u64, u64>,
    pending: BTreeMap<u64, (u64, u64)>,
    /// Writes that were acknowledged.
    pub acknowledged: u64,
}

/// What was found after a kill.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Verdict {
    /// Acknowledged writes that are not there.
    pub lost: u64,
    /// Rows that nobody wrote, or that are not whole.
    pub phantom: u64,
    /// Seconds that opening took.
    pub reopen_s: f64,
    /// Whether every checksum matched, nothing was cut off that had been safe, and each row was found by its own vector.
    pub is_valid: bool,
}

impl Ledger {
    /// Takes note of a line of the writer.
    pub fn note(&mut self, line: &str) {
        let mut words = line.split(' ');
        let kind = words.next();
        let mut number = || words.next().and_then(|word| word.parse::<u64>().ok());
        match (kind, number(), number(), number()) {
            (Some("B"), Some(thread), Some(key), Some(count)) => {
                self.pending.extend([(thread, (key, count))])
            }
            (Some("A"), Some(thread), ..) => {
                if let Some((key, count)) = self.pending.remove(&thread) {
                    self.acknowledged += 1;
                    self.settle(key, count);
                }
            }
            _ => {}
        }
    }

    fn settle(&mut self, key: u64, count: u64) {
        if count == 0 {
            self.rows.remove(&key);
        } else {
            self.rows.insert(key, count);
        }
    }

    /// Opens the database and compares; what is there of the writes under way is noted for the next round.
    ///
    /// # Errors
    /// Whatever the database says when it is opened or read.
    pub fn verify(
        &mut self,
        dir: &Path,
        flush: Flush,
    ) -> Result<Verdict, Box<dyn std::error::Error + Send + Sync>> {
        let started = Instant::now();
        let database = open(dir, flush)?;
        let mut verdict = Verdict { reopen_s: started.elapsed().as_secs_f64(), ..Verdict::default() };
        let recovery = database.recovery();
        let collection = database.collection(COLLECTION).ok_or("the collection is missing")?;
        verdict.is_valid = recovery.damaged_rows == 0
            && recovery.journal_damaged_at.is_none()
            && recovery.lost_commits == 0
            && collection.check()?.damages.is_empty();
        let mut found = BTreeMap::new();
        for tenant in 0..TENANTS {
            let tenant = collection.tenant(&tenant_of(tenant))?;
            let request = ScrollRequest { limit: usize::MAX, with_vectors: true, ..Default::default() };
            let rows = tenant.scroll(&request)?.rows;
            verdict.is_valid &= tenant.len()? == rows.len() as u64;
            for row in &rows {
                let count = row.payload.get("count").and_then(serde_json::Value::as_u64).unwrap_or(0);
                let Key::Int(key) = row.key else {
                    verdict.phantom += 1;
                    continue;
                };
                let is_whole = row.vectors.len() == 1 && row.vectors[0].1 == vector(key, count);
                verdict.phantom += u64::from(!is_whole);
                found.insert(key, count);
            }
            for row in rows.iter().step_by(17) {
                let hits = tenant.search(&SearchRequest::new(row.vectors[0].1.clone(), 10))?;
                // Vectors may repeat: at distance 0 is enough.
                verdict.is_valid &= hits.first().is_some_and(|hit| hit.distance == 0.0);
            }
        }
        for (key, count) in std::mem::take(&mut self.pending).into_values() {
            let is_done = found.get(&key).copied().unwrap_or(0) == count;
            if is_done {
                self.settle(key, count);
            }
        }
        for (key, count) in &self.rows {
            verdict.lost += u64::from(found.get(key) != Some(count));
        }
        // A row with another write than the newest acknowledged one is a lost write, counted above.
        verdict.phantom += found.keys().filter(|key| !self.rows.contains_key(key)).count() as u64;
        drop(collection);
        database.close()?;
        Ok(verdict)
    }
}
