//! `cargo xtask tidy`: the rules of this project that no compiler checks.
//!
//! Each rule is a function from what it looks at to findings, in a file of its own with the cases that must
//! fail. The whole check also runs as a test of this package, so `cargo test` is enough to hear of it.

mod arrows;
mod benches;
mod code;
mod layout;
mod paths;
mod readmes;
mod sizes;
mod unfinished;
mod unsafe_code;

use std::{fmt, fs, path::Path, process::Command};

use anyhow::{Context, Result};

use crate::cargo::{cargo, output, root};

/// Something that is not as it should be.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    /// Where, as `path` or `path:line`.
    place: String,
    what: String,
}

impl Finding {
    fn at(path: &str, what: impl Into<String>) -> Self {
        Self { place: path.into(), what: what.into() }
    }

    /// At a line, counted from 0.
    fn at_line(path: &str, line: usize, what: impl Into<String>) -> Self {
        Self::at(&format!("{path}:{}", line + 1), what)
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.what)
    }
}

/// A file that belongs to the project.
#[derive(Debug)]
pub(crate) struct SourceFile {
    /// From the workspace's folder, with `/`.
    path: String,
    /// What it says; empty for a file that is not text.
    text: String,
}

impl SourceFile {
    fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// Whether the file is made of tests only.
    fn is_test(&self) -> bool {
        self.path.split('/').any(|part| part == "tests" || part == "tests.rs")
    }
}

/// Runs the check. True when there is nothing to find.
pub(crate) fn run() -> Result<bool> {
    let findings = check()?;
    for finding in &findings {
        println!("{finding}");
    }
    println!("tidy: {} findings", findings.len());
    Ok(findings.is_empty())
}

fn check() -> Result<Vec<Finding>> {
    let files = files(root())?;
    let metadata = output(&mut cargo(["metadata", "--format-version", "1", "--no-deps"]))?;
    let packages = arrows::packages(&metadata)?;
    let mut findings = arrows::check(&packages);
    findings.extend(readmes::check(&packages, &files, root()));
    findings.extend(layout::check(&files));
    findings.extend(benches::check(&files));
    for rule in [sizes::check, unsafe_code::check, unfinished::check, paths::check] {
        findings.extend(files.iter().flat_map(rule));
    }
    Ok(findings)
}

/// The files git knows of, as they are on disk now.
fn files(root: &Path) -> Result<Vec<SourceFile>> {
    let list =
        output(Command::new("git").args(["-c", "safe.directory=*", "ls-files", "-z"]).current_dir(root))
            .context("tidy checks the files git knows of")?;
    list.split('\0')
        .filter(|path| !path.is_empty() && root.join(path).is_file())
        .map(|path| {
            let bytes = fs::read(root.join(path)).with_context(|| path.to_owned())?;
            Ok(SourceFile { path: path.to_owned(), text: String::from_utf8(bytes).unwrap_or_default() })
        })
        .collect()
}

#[cfg(test)]
pub(crate) fn file(path: &str, text: &str) -> SourceFile {
    SourceFile { path: path.into(), text: text.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_project_is_tidy() {
        let findings: Vec<String> = check().unwrap().iter().map(Finding::to_string).collect();
        assert!(findings.is_empty(), "\n{}", findings.join("\n"));
    }
}
