//! Unfinished work: no holes in what ships, and no test that is switched off in it.

use super::{Finding, SourceFile, code::code_lines};

const HOLES: &[&str] = &["todo!", "unimplemented!", "#[ignore"];

pub(crate) fn check(file: &SourceFile) -> Vec<Finding> {
    if !file.is_rust() || file.is_test() {
        return Vec::new();
    }
    let mut findings = Vec::new();
    for (number, line) in code_lines(&file.text).iter().enumerate() {
        for hole in HOLES.iter().filter(|hole| line.contains(**hole)) {
            findings.push(Finding::at_line(&file.path, number, format!("has `{hole}`")));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::file;

    #[test]
    fn holes_are_found_in_code_only() {
        for hole in ["todo!()", "unimplemented!(\"later\")", "#[ignore]", "#[ignore = \"slow\"]"] {
            assert_eq!(check(&file("src/a.rs", &format!("\n{hole}"))).len(), 1, "{hole}");
            assert_eq!(check(&file("src/a.rs", &format!("// {hole}"))), []);
            assert_eq!(check(&file("tests/a.rs", hole)), []);
        }
    }
}
