//! Bulk builds for people: progress by phase, and where the time went.
//!
//! * **B1** Time is counted to the phase that reported last; a phase that comes again adds to what it took before.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use orthant_engine::{BulkError, BulkOptions, BulkPhase, BulkWatch, Index, IndexBuilder, Resume};

use crate::args::GraphArgs;
use crate::output::{self, plural};
use crate::progress::Progress;

/// Builds an index in bulk. Returns the seconds it took as well.
pub(crate) fn build<E: std::error::Error + Send + Sync + 'static>(
    builder: IndexBuilder,
    count: usize,
    read: impl FnMut(usize, &mut [f32]) -> Result<(), E>,
    graph: &GraphArgs,
    output: Option<&Path>,
) -> anyhow::Result<(Index, f64)> {
    let started = Instant::now();
    let watch = Phases(Mutex::new(State { taken: Vec::new(), now: None }));
    let options = BulkOptions {
        floor: graph.floor,
        max_memory: graph.max_memory,
        rows_file: output.map(rows_file),
        resume: output.filter(|_| !graph.no_resume).map(resume),
        ..BulkOptions::default()
    };
    let built = builder.build_bulk_from(count, read, &options, &watch);
    let (index, report) = built.map_err(|error| match error {
        BulkError::Memory { needed, least, max } => over(needed, least, max),
        error => error.into(),
    })?;
    let seconds = started.elapsed().as_secs_f64();
    let taken = watch.end();
    let mut to = std::io::stderr().lock();
    // A closed standard error leaves nobody to tell.
    if report.inserted {
        let why = match report.recall {
            Some(recall) => format!("a sample had recall {recall:.3}, below {:.3}", graph.floor),
            None => "the metric is not built in bulk".to_owned(),
        };
        let _ = writeln!(to, "rows were inserted one by one: {why}");
    }
    if let Some(Resume { folder, .. }) = &options.resume {
        let folder = folder.display();
        if report.resumed > 0 {
            let steps = plural(report.resumed, "step", "steps");
            let _ = writeln!(to, "went on from {steps} kept in {folder}");
        }
        if report.passed_over > 0 {
            let files = plural(report.passed_over, "file", "files");
            let _ = writeln!(to, "{files} in {folder} passed over: damaged, or of another build");
        }
        if report.unwritten > 0 {
            let steps = plural(report.unwritten, "step", "steps");
            let _ = writeln!(to, "{steps} could not be kept in {folder}");
        }
    }
    if report.on_disk {
        let _ = writeln!(to, "rows were kept in a file: memory has no room for them");
    }
    if graph.profile {
        let total = taken.iter().map(|(_, time)| time.as_secs_f64()).sum::<f64>().max(1e-9);
        for (phase, time) in taken {
            let (name, time) = (phase.name(), time.as_secs_f64());
            let _ = writeln!(to, "{name:<10} {:>9}  {:>4.1} %", output::seconds(time), 100.0 * time / total);
        }
        if let Some(recall) = report.recall {
            let worst = report.worst.unwrap_or(recall);
            let _ = writeln!(
                to,
                "recall@10 of the sample at ef {}: {recall:.4}; of the quarter of rows where it is least: {worst:.4}",
                options.ef
            );
        }
    }
    Ok((index, seconds))
}

/// The file of rows of an index that is to stand at `output`. Two builds to one place are two processes.
fn rows_file(output: &Path) -> PathBuf {
    let mut name = output.as_os_str().to_owned();
    name.push(format!(".{}.rows", std::process::id()));
    name.into()
}

/// Where steps of an index that is to stand at `output` are kept.
pub(crate) fn resume(output: &Path) -> Resume {
    let mut name = output.as_os_str().to_owned();
    name.push(".building");
    Resume::new(name)
}

/// An error with sizes that people read.
fn over(needed: usize, least: usize, max: usize) -> anyhow::Error {
    let [needed, least, max] = [needed, least, max].map(|bytes| output::bytes(bytes as u64));
    anyhow::anyhow!("the build takes about {needed} at its peak, {least} with rows on disk: more than {max}")
        .context(format!("--max-memory {max} is too little"))
}

struct State {
    /// In the order in which phases first came.
    taken: Vec<(BulkPhase, Duration)>,
    now: Option<(BulkPhase, Instant, Progress)>,
}

/// Times phases and shows their progress.
struct Phases(Mutex<State>);

impl Phases {
    fn end(self) -> Vec<(BulkPhase, Duration)> {
        let mut state = self.0.into_inner().unwrap_or_else(PoisonError::into_inner);
        state.close();
        state.taken
    }
}

impl State {
    fn close(&mut self) {
        let Some((phase, since, progress)) = self.now.take() else { return };
        progress.finish();
        match self.taken.iter_mut().find(|(known, _)| *known == phase) {
            Some((_, time)) => *time += since.elapsed(),
            None => self.taken.push((phase, since.elapsed())),
        }
    }
}

impl BulkWatch for Phases {
    fn progress(&self, phase: BulkPhase, done: usize, total: usize) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.now.as_ref().is_none_or(|(now, ..)| *now != phase) {
            state.close();
            state.now = Some((phase, Instant::now(), Progress::start(phase.name(), total)));
        }
        if let Some((_, _, progress)) = &state.now {
            progress.set(done);
        }
    }
}
