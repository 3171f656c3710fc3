//! Steps: run one after the other, all of them, with a summary that a machine can read.

use std::time::Instant;

use anyhow::Result;

/// Something to run, and what it is called.
pub(crate) struct Step {
    name: &'static str,
    run: Box<dyn Fn() -> Result<bool>>,
}

impl Step {
    pub(crate) fn new(name: &'static str, run: impl Fn() -> Result<bool> + 'static) -> Self {
        Self { name, run: Box::new(run) }
    }
}

/// Runs all `steps`, failed ones notwithstanding. The last line printed is `N passed, N failed`.
pub(crate) fn run(steps: &[Step]) -> bool {
    let start = Instant::now();
    let mut lines = Vec::new();
    let mut failed = 0;
    for (index, step) in steps.iter().enumerate() {
        println!("\n== [{}/{}] {}", index + 1, steps.len(), step.name);
        let begun = Instant::now();
        let is_ok = (step.run)().unwrap_or_else(|error| {
            println!("{error:#}");
            false
        });
        failed += usize::from(!is_ok);
        let word = if is_ok { "ok" } else { "FAILED" };
        let seconds = begun.elapsed().as_secs_f64();
        println!("== {word}: {} ({seconds:.1} s)", step.name);
        lines.push(format!("{word:<6} {seconds:>7.1} s  {}", step.name));
    }
    println!("\n{}\n{:>14.1} s  altogether", lines.join("\n"), start.elapsed().as_secs_f64());
    print_summary(steps.len() - failed, failed);
    failed == 0
}

/// The line that test runners look for.
pub(crate) fn print_summary(passed: usize, failed: usize) {
    println!("{passed} passed, {failed} failed");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_failed_step_fails_the_run_and_the_rest_still_runs() {
        let ran = std::rc::Rc::new(std::cell::Cell::new(0));
        let count = |outcome: fn() -> Result<bool>| {
            let ran = ran.clone();
            Step::new("step", move || {
                ran.set(ran.get() + 1);
                outcome()
            })
        };
        assert!(run(&[count(|| Ok(true))]));
        assert!(!run(&[count(|| Ok(false)), count(|| Ok(true))]));
        assert!(!run(&[count(|| anyhow::bail!("no")), count(|| Ok(true))]));
        assert_eq!(ran.get(), 5);
    }
}
