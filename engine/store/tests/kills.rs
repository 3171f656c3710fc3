//! A writing process is killed again and again: nothing acknowledged is lost.
//!
//! 20 kills; `ORTHANT_KILLS=200` for more, and `orthant bench crash --kills 2000` outside of the tests.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use orthant_store::Flush;
use orthant_store::trial::{Ledger, write_for_ever};

const DIR: &str = "ORTHANT_TRIAL_DIR";
const SEED: &str = "ORTHANT_TRIAL_SEED";
const FLUSH: &str = "ORTHANT_TRIAL_FLUSH";

fn flush(name: &str) -> Flush {
    match name {
        "always" => Flush::Always,
        "interval" => Flush::Interval(Duration::from_millis(10)),
        _ => Flush::Os,
    }
}

/// The writing process: this test, run by the other one with the variables set.
#[test]
fn writer() {
    let Some(dir) = std::env::var_os(DIR) else { return };
    let seed = std::env::var(SEED).unwrap().parse().unwrap();
    write_for_ever(dir.as_ref(), seed, flush(&std::env::var(FLUSH).unwrap())).unwrap();
}

#[test]
fn kills_lose_nothing() {
    if std::env::var_os(DIR).is_some() {
        return;
    }
    let kills: u64 = std::env::var("ORTHANT_KILLS").map_or(20, |kills| kills.parse().unwrap());
    let dir = tempfile::tempdir().unwrap();
    let mut ledgers = [Ledger::default(), Ledger::default(), Ledger::default()];
    for kill in 0..kills {
        let which = (kill % 3) as usize;
        let name = ["always", "interval", "os"][which];
        let dir = dir.path().join(name);
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "writer", "--nocapture"])
            .env(DIR, &dir)
            .env(SEED, (kill + 1).to_string())
            .env(FLUSH, name)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let ledger = &mut ledgers[which];
        // Killed after some lines, or, for one in four, a moment after it began.
        let most = if kill % 4 == 3 { 1 } else { 40 + kill * 37 % 900 };
        let mut seen = 0;
        for line in lines.by_ref() {
            let line = line.unwrap();
            ledger.note(&line);
            seen += u64::from(line.starts_with(['A', 'R']));
            if seen >= most {
                break;
            }
        }
        child.kill().unwrap();
        lines.map_while(Result::ok).for_each(|line| ledger.note(&line));
        child.wait().unwrap();
        let verdict = ledger.verify(&dir, flush(name)).unwrap();
        assert_eq!(
            (verdict.lost, verdict.phantom, verdict.is_valid),
            (0, 0, true),
            "kill {kill}, {name}: {verdict:?}"
        );
        assert!(verdict.reopen_s < 5.0, "{verdict:?}");
    }
    assert!(ledgers.iter().all(|ledger| ledger.acknowledged > 0));
}
