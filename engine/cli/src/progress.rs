//! Progress with rate and time left, on a terminal, for work that lasts longer than a second.
//!
//! * **P1** Nothing is drawn in the first second, and nothing at all when standard error is not a
//!   terminal except one plain line every 20 seconds, so that a log shows the work is alive.
//! * **P2** `add` may be called from any thread; it costs an atomic addition and a clock read.

use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::output;

/// How long work may last before it is worth a bar: what a person waits for without wondering.
const PATIENCE: Duration = Duration::from_secs(1);
/// Seconds between the plain lines of a log.
const LOG_EVERY: u64 = 20;

/// A running piece of work.
pub(crate) struct Progress {
    label: &'static str,
    total: u64,
    done: AtomicU64,
    started: Instant,
    is_terminal: bool,
    is_drawn: AtomicBool,
    logged: AtomicU64,
    bar: ProgressBar,
}

impl Progress {
    /// Starts counting towards `total` units.
    pub(crate) fn start(label: &'static str, total: usize) -> Self {
        let bar = ProgressBar::with_draw_target(Some(total as u64), ProgressDrawTarget::hidden());
        let template =
            "  {prefix:<10} {bar:32} {percent:>3} %  {human_pos}/{human_len}  {per_sec}  {eta} left";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_prefix(label);
        Self {
            label,
            total: total as u64,
            done: AtomicU64::new(0),
            started: Instant::now(),
            is_terminal: std::io::stderr().is_terminal(),
            is_drawn: AtomicBool::new(false),
            logged: AtomicU64::new(0),
            bar,
        }
    }

    /// `more` units are done.
    pub(crate) fn add(&self, more: usize) {
        let done = self.done.fetch_add(more as u64, Ordering::Relaxed) + more as u64;
        self.show(done);
    }

    /// `done` units are done in all.
    pub(crate) fn set(&self, done: usize) {
        self.done.fetch_max(done as u64, Ordering::Relaxed);
        self.show(done as u64);
    }

    fn show(&self, done: u64) {
        let elapsed = self.started.elapsed();
        if elapsed < PATIENCE {
            return;
        }
        if self.is_terminal {
            if !self.is_drawn.swap(true, Ordering::Relaxed) {
                self.bar.set_draw_target(ProgressDrawTarget::stderr_with_hz(10));
            }
            self.bar.set_position(done);
            return;
        }
        let slot = elapsed.as_secs() / LOG_EVERY;
        if slot > 0 && self.logged.fetch_max(slot, Ordering::Relaxed) < slot {
            let rate = output::rate(done as usize, elapsed.as_secs_f64());
            let left = elapsed.as_secs_f64() * self.total.saturating_sub(done) as f64 / done.max(1) as f64;
            // A closed standard error leaves nobody to tell.
            let _ = writeln!(
                std::io::stderr(),
                "{}: {} of {}, {rate}/s, {} left",
                self.label,
                output::count(done),
                output::count(self.total),
                output::seconds(left)
            );
        }
    }

    /// Ends the work, clears the bar and returns the seconds it took.
    pub(crate) fn finish(self) -> f64 {
        self.bar.finish_and_clear();
        self.started.elapsed().as_secs_f64()
    }
}
