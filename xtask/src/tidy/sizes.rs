//! Sizes: one concept per file. A file that has to be longer says why.

use super::{Finding, SourceFile};

/// Beyond this many lines a file most often holds two concepts.
const LONGEST: usize = 800;
const REASON: &str = "// tidy: long because ";

pub(crate) fn check(file: &SourceFile) -> Vec<Finding> {
    let lines = file.text.lines().count();
    let is_explained = file.text.lines().any(|line| line.len() > REASON.len() && line.starts_with(REASON));
    if !file.is_rust() || lines <= LONGEST || is_explained {
        return Vec::new();
    }
    let what = format!("{lines} lines: cut it in two, or add a line `{REASON}…`");
    vec![Finding::at(&file.path, what)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::file;

    #[test]
    fn long_files_need_a_reason() {
        let lines = |n: usize| "let x = 1;\n".repeat(n);
        assert_eq!(check(&file("a.rs", &lines(800))), []);
        assert_eq!(check(&file("a.rs", &lines(801))).len(), 1);
        assert_eq!(check(&file("a.rs", &(lines(801) + REASON + "\n"))).len(), 1, "a reason has words");
        assert_eq!(check(&file("a.rs", &(lines(801) + REASON + "it is one table\n"))), []);
        assert_eq!(check(&file("a.md", &lines(801))), []);
    }
}
