//! Unsafe code: every block says why it is sound, and the dangerous operations have one home per crate.

use super::{Finding, SourceFile, code::code_lines};

/// How far above a block its comment may begin.
const COMMENT_REACH: usize = 14;

/// An operation that only some files may contain.
struct Home {
    /// Files under this folder are looked at,
    within: &'static str,
    /// except those under one of these.
    except: &'static [&'static str],
    operations: &'static [&'static str],
    why: &'static str,
}

const HOMES: &[Home] = &[
    Home {
        within: "graph/src/",
        // memory.rs owns whole tables and gives them back when it is dropped, exclusively held.
        except: &["graph/src/reclaim.rs", "graph/src/memory.rs"],
        operations: &["Box::from_raw", "dealloc(", "defer_destroy", "defer_unchecked", "drop_in_place"],
        why: "frees shared memory: that belongs in reclaim.rs",
    },
    Home {
        within: "storage/src/",
        except: &["storage/src/os/"],
        operations: &["libc::"],
        why: "calls the system: that belongs in os/",
    },
];

pub(crate) fn check(file: &SourceFile) -> Vec<Finding> {
    if !file.is_rust() {
        return Vec::new();
    }
    let code = code_lines(&file.text);
    let text: Vec<&str> = file.text.lines().collect();
    let mut findings = uncommented(&file.path, &code, &text);
    for home in HOMES {
        let is_home = home.except.iter().any(|except| file.path.starts_with(except));
        if !file.path.starts_with(home.within) || is_home {
            continue;
        }
        for (number, line) in code.iter().enumerate() {
            for operation in home.operations.iter().filter(|operation| line.contains(**operation)) {
                findings.push(Finding::at_line(&file.path, number, format!("`{operation}` {}", home.why)));
            }
        }
    }
    findings
}

/// Unsafe blocks and impls without a comment that says SAFETY in the lines above.
fn uncommented(path: &str, code: &[String], text: &[&str]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (number, line) in code.iter().enumerate() {
        if !has_unsafe_block(line) {
            continue;
        }
        let is_commented = text[number.saturating_sub(COMMENT_REACH)..=number]
            .iter()
            .any(|line| line.contains("// SAFETY:") || line.contains("/// # Safety"));
        if !is_commented {
            findings.push(Finding::at_line(path, number, "an unsafe block without a `// SAFETY:` comment"));
        }
    }
    findings
}

/// Whether a block or an impl begins here; `unsafe fn` says its terms in its documentation.
fn has_unsafe_block(line: &str) -> bool {
    line.match_indices("unsafe").any(|(at, word)| {
        let is_word = !line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
        let rest = line[at + word.len()..].trim_start();
        is_word && (rest.starts_with('{') || rest.starts_with("impl"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::file;

    #[test]
    fn blocks_and_impls_need_a_comment() {
        for block in ["let x = unsafe { f() };", "unsafe impl Send for X {}", "unsafe { f() }"] {
            assert_eq!(check(&file("a.rs", block)).len(), 1, "{block}");
            assert_eq!(check(&file("a.rs", &format!("// SAFETY: f is sound here.\n{block}"))), []);
            let far = format!("// SAFETY: f is sound here.\n{}{block}", "g();\n".repeat(COMMENT_REACH));
            assert_eq!(check(&file("a.rs", &far)).len(), 1, "too far away");
            assert_eq!(check(&file("a.rs", &format!("// {block}"))), []);
        }
        assert_eq!(check(&file("a.rs", "unsafe fn f() {}")), []);
    }

    #[test]
    fn the_graph_frees_in_one_file() {
        let free = "let b = f(Box::from_raw);";
        assert_eq!(check(&file("graph/src/insert.rs", free)).len(), 1);
        assert_eq!(check(&file("graph/src/reclaim.rs", free)), []);
        assert_eq!(check(&file("pool/src/task.rs", free)), []);
        assert_eq!(check(&file("graph/src/insert.rs", "// Box::from_raw is elsewhere")), []);
    }

    #[test]
    fn storage_calls_the_system_in_one_folder() {
        let call = "let n = libc::getpagesize();";
        assert_eq!(check(&file("storage/src/arena.rs", call)).len(), 1);
        assert_eq!(check(&file("storage/src/os/linux.rs", call)), []);
    }
}
