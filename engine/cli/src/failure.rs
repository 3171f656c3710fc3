//! What went wrong, for the person who asked: one line, a cause chain, an exit code.
//!
//! * **F1** Exit code 2 is the default: nearly everything that fails here was handed to us (a file, a
//!   flag, a full disk). Only what is wrapped in [`Internal`], and a panic, exits with 1.
//! * **F2** A closed pipe (`orthant … | head`) is not a failure: it exits with 0 and says nothing.

use std::fmt;

use anyhow::Error;

/// Marks an error as a fault of orthant rather than of its input.
#[derive(Debug)]
pub(crate) struct Internal(pub(crate) &'static str);

impl fmt::Display for Internal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "internal fault: {}", self.0)
    }
}

impl std::error::Error for Internal {}

/// A sentence on what to do about an error, printed on its own line.
#[derive(Debug)]
struct Hint(String);

impl fmt::Display for Hint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Standard output was closed by its reader.
#[derive(Debug)]
pub(crate) struct ClosedPipe;

impl fmt::Display for ClosedPipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("standard output was closed")
    }
}

impl std::error::Error for ClosedPipe {}

/// Adds a hint to an error.
pub(crate) trait WithHint<T> {
    /// Attaches `hint`; only the outermost one of a chain is printed.
    fn hint(self, hint: impl Into<String>) -> anyhow::Result<T>;
}

impl<T, E: Into<Error>> WithHint<T> for Result<T, E> {
    fn hint(self, hint: impl Into<String>) -> anyhow::Result<T> {
        self.map_err(|error| error.into().context(Hint(hint.into())))
    }
}

/// The line (and the hint) that `error` deserves. Causes already quoted by what wraps them are left out.
pub(crate) fn describe(error: &Error) -> String {
    let hint = error.downcast_ref::<Hint>().map(|hint| hint.0.as_str());
    let mut line = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if Some(cause.as_str()) == hint || line.contains(&cause) {
            continue;
        }
        line += if line.is_empty() { "error: " } else { ": " };
        line += cause.trim_end().replace('\n', " ").as_str();
    }
    if let Some(hint) = hint {
        line = line + "\nhint: " + hint;
    }
    line
}

/// The exit code that `error` deserves (F1, F2).
pub(crate) fn exit_code(error: &Error) -> u8 {
    if error.is::<ClosedPipe>() {
        0
    } else if error.is::<Internal>() {
        1
    } else {
        2
    }
}

#[cfg(test)]
mod tests {
    use anyhow::{Context, anyhow};

    use super::*;

    #[test]
    fn one_line_with_causes_and_a_hint() {
        let error =
            Err::<(), _>(anyhow!("row 3\nis odd")).context("a.fbin").hint("look at row 3").unwrap_err();
        assert_eq!(describe(&error), "error: a.fbin: row 3 is odd\nhint: look at row 3");
        assert_eq!(exit_code(&error), 2);
    }

    #[test]
    fn a_quoted_cause_is_not_repeated() {
        let error = Err::<(), _>(anyhow!("no space")).context("cannot write x: no space").unwrap_err();
        assert_eq!(describe(&error), "error: cannot write x: no space");
    }

    #[test]
    fn codes() {
        assert_eq!(exit_code(&anyhow!(ClosedPipe).context("writing")), 0);
        assert_eq!(exit_code(&anyhow!("x").context(Internal("the index fails its own check"))), 1);
    }
}
