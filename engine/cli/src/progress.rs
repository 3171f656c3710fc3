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
    /// Starts counting towards `total` units; 0 stands for as many as there will be.
    pub(crate) fn start(label: &'static str, total: usize) -> Self {
        let length = Some(total as u64).filter(|&total| total > 0);
        let bar = ProgressBar::with_draw_target(length, ProgressDrawTarget::hidden());
        let template = match length {
            Some(_) => {
                "  {prefix:<10} {bar:32} {percent:>3} %  {human_pos}/{human_len}  {per_sec}  {eta} left"
            }
            None => "  {prefix:<10} {human_pos}  {per_sec}",
        };
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
            // A closed standard error leaves nobody to tell.
            let _ = writeln!(std::io::stderr(), "{}", log_line(self.label, done, self.total, elapsed));
        }
    }

    /// Ends the work, clears the bar and returns the seconds it took.
    pub(crate) fn finish(self) -> f64 {
        self.bar.finish_and_clear();
        self.started.elapsed().as_secs_f64()
    }
}

/// A line of a log: how far the work is.
fn log_line(label: &str, done: u64, total: u64, elapsed: Duration) -> String {
    let rate = output::rate(done as usize, elapsed.as_secs_f64());
    if total == 0 {
        return format!("{label}: {}, {rate}/s", output::count(done));
    }
    let left = elapsed.as_secs_f64() * total.saturating_sub(done) as f64 / done.max(1) as f64;
    let (done, total) = (output::count(done), output::count(total));
    format!("{label}: {done} of {total}, {rate}/s, {} left", output::seconds(left))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_told_where_it_is_known() {
        let line = |total| log_line("importing", 2000, total, Duration::from_secs(20));
        assert_eq!(line(8000), format!("importing: 2,000 of 8,000, 100/s, {} left", output::seconds(60.0)));
        assert_eq!(line(0), "importing: 2,000, 100/s");
    }
}
