//! Paths: nothing in the project depends on where somebody keeps it.

use super::{Finding, SourceFile};

/// How absolute paths of somebody's machine begin. Written in two parts, so as not to find themselves.
const PLACES: &[&str] =
    &[concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/ho", "me/"), concat!("/Use", "rs/")];

pub(crate) fn check(file: &SourceFile) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (number, line) in file.text.lines().enumerate() {
        for place in PLACES {
            let is_absolute = line.match_indices(place).any(|(at, _)| {
                // `github.com/work/x` and `~/work/x` are no absolute paths.
                !line[..at].ends_with(|c: char| {
                    c.is_alphanumeric() || matches!(c, '.' | '_' | '-' | '~' | '/' | '}')
                })
            });
            if is_absolute {
                findings.push(Finding::at_line(&file.path, number, format!("names a path under {place}")));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::file;

    #[test]
    fn absolute_paths_are_found() {
        for place in PLACES {
            assert_eq!(check(&file("a.md", &format!("see {place}x"))).len(), 1);
            assert_eq!(
                check(&file("a.sh", &format!("\ncd \"{place}x\""))),
                check(&file("a.sh", &format!("\n{place}")))
            );
            assert_eq!(check(&file("a.md", &format!("https://example.org{place}x and ~{place}x"))), []);
        }
    }
}
