//! `orthant bench agents`: many agents search one collection and write to it at once.
//!
//! Each agent has its own pace: an operation is due at a moment, and its time counts from that moment on, so that one that
//! waits behind another is not left out. Four of five are searches; the fifth replaces a row: as many live at the end as at the
//! beginning, so that memory may not grow.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, ensure};
use orthant_engine::Metric;
use orthant_store::{FieldType, Filter, Row, Schema, SearchRequest, Tenant, field};
use serde_json::json;

use super::kept::kept;
use crate::args::AgentsArgs;
use crate::failure::Internal;
use crate::output::{Output, bytes, count, seconds};
use crate::{generated, machine};

const K: usize = 10;

/// Vectors to search for and to write, drawn once.
const DRAWN: usize = 4096;

/// What one agent saw: microseconds of each operation, and what failed.
#[derive(Debug, Default)]
struct Seen {
    /// With the second that it was due in.
    searches: Vec<(u32, u32)>,
    writes: Vec<u32>,
    errors: Vec<String>,
}

/// Memory at a moment: seconds since the start, resident bytes, and those that are not a file's.
type Memory = (f64, u64, u64);

/// Runs the command.
pub(super) fn run(args: &AgentsArgs) -> anyhow::Result<()> {
    let output = Output::new(args.json);
    ensure!(args.rate > 0.0 && args.minutes > 0.0, "--rate and --minutes have to be more than 0");
    let made = tempfile::tempdir().context("no temporary folder")?;
    let dir = args.dir.as_deref().unwrap_or(made.path()).join("agents");
    let schema = Schema::new(args.dim, Metric::Cosine).with_field("n", FieldType::Integer);
    let (database, tenant) = kept(&dir, schema, args.rows, |numbers| {
        let elements = generated::rows(42, numbers.start, numbers.len(), args.dim, 0);
        elements.chunks_exact(args.dim).zip(numbers).map(|(elements, n)| row(n, elements)).collect()
    })?;
    let collection = database.collection("rows").context("the collection is gone")?;
    let drawn = generated::rows(7, 0, DRAWN, args.dim, 0);

    let start = Instant::now();
    let end = start + Duration::from_secs_f64(args.minutes * 60.0);
    let is_over = AtomicBool::new(false);
    let memory: Mutex<Vec<Memory>> = Mutex::default();
    // Rows that compaction has moved, second by second.
    let moved: Mutex<Vec<u64>> = Mutex::default();
    let seen: Vec<Seen> = std::thread::scope(|scope| {
        let agents: Vec<_> = (0..args.agents)
            .map(|agent| {
                let (tenant, drawn) = (&tenant, &drawn);
                scope.spawn(move || work(args, agent, tenant, drawn, start, end))
            })
            .collect();
        scope.spawn(|| {
            for second in 0.. {
                if is_over.load(Ordering::Relaxed) {
                    break;
                }
                if let Ok(mut moved) = moved.lock() {
                    moved.push(collection.compacted().moved_rows);
                }
                let bytes = machine::resident_bytes().zip(machine::anonymous_bytes());
                if let (Some((all, own)), Ok(mut memory)) = (bytes, memory.lock()) {
                    memory.push((start.elapsed().as_secs_f64(), all, own));
                }
                let next = start + Duration::from_secs(second + 1);
                std::thread::sleep(
                    next.saturating_duration_since(Instant::now()).min(Duration::from_secs(1)),
                );
            }
        });
        let seen = agents
            .into_iter()
            .map(|agent| agent.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        let seen = seen.collect();
        is_over.store(true, Ordering::Relaxed);
        seen
    });
    let memory = memory.into_inner().unwrap_or_default();
    ensure!(tenant.len()? == args.rows as u64, "rows were lost or made up");

    let sorted = |mut all: Vec<u32>| {
        all.sort_unstable();
        all
    };
    let writes = sorted(seen.iter().flat_map(|seen| seen.writes.iter().copied()).collect());
    let moved = moved.into_inner().unwrap_or_default();
    // Compaction moves rows in a second if there are more at its end, or in the one beside it, than at its beginning.
    let is_moving = |second: u32| {
        let at = |second: usize| moved.get(second.min(moved.len().saturating_sub(1))).copied().unwrap_or(0);
        at(second as usize + 2) > at((second as usize).saturating_sub(1))
    };
    let searched = |wanted: Option<bool>| {
        let all = seen.iter().flat_map(|seen| seen.searches.iter());
        let wanted = all.filter(|(second, _)| wanted.is_none_or(|wanted| is_moving(*second) == wanted));
        sorted(wanted.map(|(_, time)| *time).collect())
    };
    let searches = searched(None);
    let errors: Vec<&String> = seen.iter().flat_map(|seen| &seen.errors).collect();
    let at = |sorted: &[u32], share: f64| {
        let place = (sorted.len().saturating_sub(1) as f64 * share) as usize;
        f64::from(sorted.get(place).copied().unwrap_or(0)) / 1e3
    };
    // The first minute, or the first tenth of a shorter run, is for caches to fill.
    let settled = 60f64.min(args.minutes * 6.0);
    let mut later = memory.iter().filter(|(second, ..)| *second >= settled);
    let (first, last) = (later.next().copied(), memory.last().copied());
    let growth = |of: fn(&Memory) -> u64| {
        first.zip(last).map(|(first, last)| of(&last) as f64 / of(&first).max(1) as f64)
    };
    output.line(format_args!(
        "{} agents, {}: {} searches, p50 {:.2} ms, p99 {:.2} ms; {} writes, p50 {:.2} ms, p99 {:.2} ms; {} errors",
        args.agents,
        seconds(start.elapsed().as_secs_f64()),
        count(searches.len() as u64),
        at(&searches, 0.5),
        at(&searches, 0.99),
        count(writes.len() as u64),
        at(&writes, 0.5),
        at(&writes, 0.99),
        errors.len()
    ))?;
    let (moving, still, compacted) = (searched(Some(true)), searched(Some(false)), collection.compacted());
    if compacted.moved_rows > 0 {
        output.line(format_args!(
            "compaction moved {} rows and removed {} files; {} searches while it moved, p99 {:.2} ms, and {:.2} ms while not",
            count(compacted.moved_rows),
            compacted.removed_files,
            count(moving.len() as u64),
            at(&moving, 0.99),
            at(&still, 0.99)
        ))?;
    }
    if let Some((first, last)) = first.zip(last) {
        output.line(format_args!(
            "memory of its own {} after {}, {} at the end ({} for each of {} live rows); with mapped files {} and {}",
            bytes(first.2),
            seconds(first.0),
            bytes(last.2),
            bytes(last.2 / args.rows as u64),
            count(args.rows as u64),
            bytes(first.1),
            bytes(last.1)
        ))?;
    }
    if args.json {
        let minutes: Vec<_> = memory.iter().step_by(60).collect();
        output.object(&json!({
            "rows": args.rows, "dim": args.dim, "agents": args.agents, "rate": args.rate,
            "seconds": start.elapsed().as_secs_f64(), "searches": searches.len(), "writes": writes.len(),
            "errors": errors.len(), "search_p50_ms": at(&searches, 0.5), "search_p99_ms": at(&searches, 0.99),
            "moved_rows": compacted.moved_rows, "removed_files": compacted.removed_files,
            "searches_moving": moving.len(), "search_p99_moving_ms": at(&moving, 0.99),
            "search_p99_still_ms": at(&still, 0.99), "write_p50_ms": at(&writes, 0.5), "write_p99_ms": at(&writes, 0.99),
            "live_rows": args.rows, "anonymous_bytes_per_live_row": last.map(|last| last.2 / args.rows as u64),
            "anonymous_growth": growth(|memory| memory.2), "resident_growth": growth(|memory| memory.1),
            "memory_each_minute": minutes,
        }))?;
    }
    match errors.first() {
        Some(first) => Err(anyhow!("{first}")).context(Internal("an agent was refused or misled")),
        None => Ok(()),
    }
}

fn row(n: usize, elements: &[f32]) -> anyhow::Result<Row> {
    Ok(Row::new(n as u64, elements).with_payload(json!({"n": n}))?)
}

/// One agent, until the end.
fn work(
    args: &AgentsArgs,
    agent: usize,
    tenant: &Tenant,
    drawn: &[f32],
    start: Instant,
    end: Instant,
) -> Seen {
    let mut seen = Seen::default();
    let pace = Duration::from_secs_f64(1.0 / args.rate);
    // Agents do not march in step.
    let mut due = start + pace.mul_f64(agent as f64 / args.agents as f64);
    let half: Filter = field("n").lt(args.rows as i64 / 2);
    for turn in 0usize.. {
        if due >= end {
            break;
        }
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let place = (turn * args.agents + agent).wrapping_mul(2_654_435_761);
        let elements = &drawn[place % DRAWN * args.dim..][..args.dim];
        let outcome = if turn % 5 == 4 {
            row(place % args.rows, elements).and_then(|row| Ok(tenant.upsert(row).map(drop)?))
        } else {
            let mut request = SearchRequest::new(elements, K);
            if turn % 5 == 3 {
                request = request.filter(half.clone());
            }
            tenant.search(&request).map_err(Into::into).and_then(|found| {
                ensure!(found.len() == K.min(args.rows / 2), "a search found {} rows", found.len());
                Ok(())
            })
        };
        let time = due.elapsed().as_micros().min(u128::from(u32::MAX)) as u32;
        match turn % 5 {
            4 => seen.writes.push(time),
            _ => seen.searches.push((due.duration_since(start).as_secs() as u32, time)),
        }
        if let Err(error) = outcome {
            seen.errors.push(format!("{error:#}"));
        }
        due += pace;
    }
    seen
}
