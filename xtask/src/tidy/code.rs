//! Rust source without its comments and strings, so that rules look at code only.

/// The lines of `text` with everything inside comments, strings and characters replaced by spaces.
pub(crate) fn code_lines(text: &str) -> Vec<String> {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => block_comment(rest),
            '"' => quoted(rest, 1),
            'r' | 'b' | 'c' if !ends_in_word(&code) => literal(rest).unwrap_or(0),
            '\'' => character(rest).unwrap_or(0),
            _ => 0,
        };
        if length == 0 {
            code.push(first);
            rest = &rest[first.len_utf8()..];
        } else {
            code.extend(rest[..length].chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
            rest = &rest[length..];
        }
    }
    code.lines().map(str::to_owned).collect()
}

fn ends_in_word(code: &str) -> bool {
    code.ends_with(|c: char| c.is_alphanumeric() || c == '_')
}

/// The length of the block comment at the start of `text`; they nest.
fn block_comment(text: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < text.len() {
        let rest = &text.as_bytes()[at..];
        if rest.starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    text.len()
}

/// The length of a string whose content begins at `start`.
fn quoted(text: &str, start: usize) -> usize {
    let mut is_escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(start) {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = true,
            b'"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// The length of a string or byte with a prefix (`b`, `c`, `r`, `br`, `cr`), if there is one.
fn literal(text: &str) -> Option<usize> {
    let raw = text.strip_prefix(['b', 'c']).unwrap_or(text);
    if let Some(body) = raw.strip_prefix('r') {
        let hashes = body.len() - body.trim_start_matches('#').len();
        let start = text.len() - body.len() + hashes;
        if text[start..].starts_with('"') {
            let end = format!("\"{}", "#".repeat(hashes));
            return Some(text[start + 1..].find(&end).map_or(text.len(), |at| start + 1 + at + end.len()));
        }
        return None;
    }
    let prefix = text.len() - raw.len();
    match raw.as_bytes().first()? {
        b'"' => Some(quoted(text, prefix + 1)),
        b'\'' => character(raw).map(|length| prefix + length),
        _ => None,
    }
}

/// The length of a character literal; `None` for a lifetime.
fn character(text: &str) -> Option<usize> {
    let body = &text[1..];
    if body.starts_with('\\') {
        return body[2..].find('\'').map(|at| 1 + 2 + at + 1);
    }
    let first = body.chars().next()?;
    body[first.len_utf8()..].starts_with('\'').then(|| 1 + first.len_utf8() + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is left of `text`, with the blanks that were made shown as `_`.
    fn code(text: &str) -> String {
        let lines = code_lines(text).join("\n");
        lines.chars().zip(text.chars()).map(|(left, was)| if left == was { left } else { '_' }).collect()
    }

    #[test]
    fn comments_and_strings_are_blank_and_lines_stay() {
        assert_eq!(code("a//b\nc"), "a___\nc");
        assert_eq!(code("a/*b/*c*/d*/e"), "a___________e");
        assert_eq!(code(r#"f("x\"y",z)"#), "f(______,z)");
        assert_eq!(code("\"a\nb\"c"), "__\n__c");
        assert_eq!(code("r#\"a\"b\"#c"), "________c");
        assert_eq!(code("b\"a\"br\"c\"d"), "_________d");
    }

    #[test]
    fn lifetimes_are_code_and_characters_are_not() {
        assert_eq!(code("fn f<'a>(x: &'a str)"), "fn f<'a>(x: &'a str)");
        assert_eq!(code(r"x=='\''&&y=='z'"), "x==____&&y==___");
        assert_eq!(code("for b in bar"), "for b in bar");
    }
}
