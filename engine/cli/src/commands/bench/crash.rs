//! `orthant bench crash`: a writing process is killed again and again, and what it had been promised is looked for.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, anyhow};
use orthant_store::Flush;
use orthant_store::trial::{Ledger, Verdict, write_for_ever};
use serde_json::json;

use crate::args::{CrashArgs, FlushName};
use crate::failure::Internal;
use crate::output::{Output, count, plural, seconds};
use crate::progress::Progress;

pub(super) fn flush(name: FlushName) -> Flush {
    match name {
        FlushName::Always => Flush::Always,
        FlushName::Interval => Flush::Interval(Duration::from_millis(100)),
        FlushName::Os => Flush::Os,
    }
}

/// The policies take turns: a kill must lose nothing under any of them.
const POLICIES: [(FlushName, &str); 3] =
    [(FlushName::Always, "always"), (FlushName::Interval, "interval"), (FlushName::Os, "os")];

/// Runs the command.
pub(super) fn run(args: &CrashArgs) -> anyhow::Result<()> {
    if let Some(dir) = &args.writer {
        return write_for_ever(dir, args.seed, flush(args.flush)).map_err(|error| anyhow!(error));
    }
    let output = Output::new(args.json);
    let made = tempfile::tempdir().context("no temporary folder")?;
    let dir = args.dir.as_deref().unwrap_or(made.path());
    let mut ledgers: Vec<Ledger> = POLICIES.iter().map(|_| Ledger::default()).collect();
    let (mut lost, mut phantom, mut reopen_s, mut is_valid) = (0, 0, 0f64, true);
    let progress = Progress::start("killing", args.kills as usize);
    for kill in 0..args.kills {
        let which = (kill % POLICIES.len() as u64) as usize;
        let (name, folder) = POLICIES[which];
        let verdict = round(args, kill, name, &dir.join(folder), &mut ledgers[which])?;
        lost += verdict.lost;
        phantom += verdict.phantom;
        reopen_s = reopen_s.max(verdict.reopen_s);
        is_valid &= verdict.is_valid;
        progress.set(kill as usize + 1);
    }
    progress.finish();
    let acknowledged: u64 = ledgers.iter().map(|ledger| ledger.acknowledged).sum();
    output.line(format_args!(
        "{}: {} acknowledged, {lost} lost, {phantom} phantom, opened again in at most {}",
        plural(args.kills as usize, "kill", "kills"),
        count(acknowledged),
        seconds(reopen_s)
    ))?;
    if args.json {
        output.object(&json!({
            "kills": args.kills, "acknowledged": acknowledged, "lost": lost, "phantom": phantom,
            "reopen_s_max": reopen_s, "validate": is_valid,
        }))?;
    }
    if lost + phantom > 0 || !is_valid {
        return Err(anyhow!("{lost} writes lost, {phantom} phantoms"))
            .context(Internal("a crash lost or made up writes"));
    }
    Ok(())
}

fn round(
    args: &CrashArgs,
    kill: u64,
    name: FlushName,
    dir: &Path,
    ledger: &mut Ledger,
) -> anyhow::Result<Verdict> {
    let seed = args.seed + kill;
    let policy = POLICIES.iter().find(|(other, _)| *other == name).map_or("always", |(_, text)| text);
    let mut child = Command::new(std::env::current_exe()?)
        .args(["bench", "crash", "--flush", policy, "--seed", &seed.to_string(), "--writer"])
        .arg(dir)
        .stdout(Stdio::piped())
        .spawn()
        .context("the writing process did not start")?;
    let Some(lines) = child.stdout.take() else { return Err(anyhow!("no lines from the writing process")) };
    let mut lines = BufReader::new(lines).lines();
    // Some are killed while they open, most somewhere in their first thousand writes.
    let most = if kill % 4 == 3 { kill % 3 } else { 20 + seed.wrapping_mul(0x9e37_79b9) % 1200 };
    let mut seen = 0;
    while seen < most {
        let Some(line) = lines.next() else { break };
        let line = line?;
        ledger.note(&line);
        seen += u64::from(line.starts_with(['A', 'R']));
    }
    child.kill()?;
    // What it had said before it was killed.
    lines.map_while(Result::ok).for_each(|line| ledger.note(&line));
    child.wait()?;
    ledger.verify(dir, flush(name)).map_err(|error| anyhow!(error)).with_context(|| format!("kill {kill}"))
}
