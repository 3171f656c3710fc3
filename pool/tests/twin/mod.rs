//! Broken twins: models that must fail, each in a process of its own.
//!
//! loom reports a failure by a panic that often meets a second one while its threads are torn down, and
//! then the process aborts. So a twin runs in a child: this very test, started again.

use std::{env, process::Command};

/// Says to a child which twin it is to run.
const TWIN: &str = "ORTHANT_TWIN";

/// Runs `model` in a child process and demands that it fails with `report` among what it prints.
///
/// `test` is the name of the calling test.
pub(crate) fn is_caught(test: &str, report: &str, model: fn()) {
    if env::var_os(TWIN).is_some_and(|twin| twin == test) {
        return model();
    }
    let output = Command::new(env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .env(TWIN, test)
        .env("RUST_BACKTRACE", "0")
        .output()
        .unwrap();
    let printed =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(!output.status.success(), "the broken twin {test} passed:\n{printed}");
    assert!(
        printed.contains(report),
        "the broken twin {test} failed for another reason than {report:?}:\n{printed}"
    );
}
