//! Standard output: lines for people, or one JSON object for programs; never a panic on a closed pipe.

use std::fmt::Arguments;
use std::io::{self, IsTerminal, Write};

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use serde::Serialize;

use crate::failure::ClosedPipe;

/// Where a command's results go.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    json: bool,
    is_terminal: bool,
    has_color: bool,
}

impl Output {
    /// Standard output; in `json` mode the lines meant for people are dropped.
    pub(crate) fn new(json: bool) -> Self {
        let is_terminal = io::stdout().is_terminal();
        Self { json, is_terminal, has_color: is_terminal && std::env::var_os("NO_COLOR").is_none() }
    }

    /// Whether a program reads the result.
    pub(crate) fn is_json(self) -> bool {
        self.json
    }

    /// Whether a person reads the result as it is printed.
    pub(crate) fn is_terminal(self) -> bool {
        self.is_terminal
    }

    /// One line for people; dropped in JSON mode.
    pub(crate) fn line(self, text: Arguments<'_>) -> anyhow::Result<()> {
        if self.json { Ok(()) } else { write_line(&text) }
    }

    /// A table for people, indented by two; dropped in JSON mode.
    pub(crate) fn table(self, header: &[&str], rows: &[Vec<String>]) -> anyhow::Result<()> {
        if self.json {
            return Ok(());
        }
        for line in table(header, rows).lines() {
            write_line(&format_args!("  {}", line.trim_end()))?;
        }
        Ok(())
    }

    /// One object on one line. Printed in either mode: callers decide when a program wants it.
    pub(crate) fn object(self, object: &impl Serialize) -> anyhow::Result<()> {
        write_line(&format_args!("{}", serde_json::to_string(object)?))
    }

    /// `text` in bold on a terminal; between `«` and `»` elsewhere, so that it stays visible.
    pub(crate) fn mark(self, text: &str) -> String {
        if self.has_color { format!("\x1b[1;33m{text}\x1b[0m") } else { format!("«{text}»") }
    }

    /// `text` in bold on a terminal; as it is elsewhere.
    pub(crate) fn bold(self, text: &str) -> String {
        if self.has_color { format!("\x1b[1m{text}\x1b[0m") } else { text.to_owned() }
    }
}

fn write_line(text: &dyn std::fmt::Display) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    match writeln!(stdout, "{text}").and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(ClosedPipe.into()),
        other => Ok(other?),
    }
}

/// Columns without borders: the first left-aligned when it holds words, numbers to the right.
fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(header.iter().copied());
    table.add_rows(rows);
    for (at, column) in table.column_iter_mut().enumerate() {
        let is_number =
            |text: &String| text.starts_with(|c: char| c.is_ascii_digit() || c == '-' || c == '.');
        if rows.iter().all(|row| is_number(&row[at])) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        column.set_padding((0, 2));
    }
    table.to_string()
}

/// A note on standard error: something was done differently from what was asked.
pub(crate) fn note(text: Arguments<'_>) {
    // A closed standard error leaves nobody to tell.
    let _ = writeln!(io::stderr(), "note: {text}");
}

/// `1234567` as `1,234,567`.
pub(crate) fn count(number: impl TryInto<u64>) -> String {
    let digits = number.try_into().unwrap_or(u64::MAX).to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `things` in `seconds` as a whole number per second.
pub(crate) fn rate(things: usize, seconds: f64) -> String {
    count((things as f64 / seconds.max(1e-9)) as u64)
}

/// A count with the noun that fits it.
pub(crate) fn plural(number: usize, one: &str, many: &str) -> String {
    format!("{} {}", count(number as u64), if number == 1 { one } else { many })
}

/// Bytes as people say them: powers of 1024 with one decimal.
pub(crate) fn bytes(number: u64) -> String {
    let mut size = number as f64;
    let mut unit = "B";
    for next in ["KiB", "MiB", "GiB", "TiB"] {
        if size < 1024.0 {
            break;
        }
        size /= 1024.0;
        unit = next;
    }
    if unit == "B" { format!("{number} B") } else { format!("{size:.1} {unit}") }
}

/// Seconds as people say them.
pub(crate) fn seconds(seconds: f64) -> String {
    match seconds {
        s if s < 1e-3 => format!("{:.0} us", s * 1e6),
        s if s < 1.0 => format!("{:.0} ms", s * 1e3),
        s if s < 120.0 => format!("{s:.1} s"),
        s => format!("{:.0} min {:02.0} s", (s / 60.0).floor(), s % 60.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!([count(0_u64), count(999_u64), count(1_000_u64)], ["0", "999", "1,000"]);
        assert_eq!(count(1_234_567_u64), "1,234,567");
        assert_eq!([bytes(12), bytes(2048), bytes(5 << 30)], ["12 B", "2.0 KiB", "5.0 GiB"]);
        assert_eq!([seconds(0.000_02), seconds(0.25), seconds(3.0)], ["20 us", "250 ms", "3.0 s"]);
        assert_eq!(seconds(150.0), "2 min 30 s");
        assert_eq!(plural(1, "file", "files"), "1 file");
    }

    #[test]
    fn numbers_are_aligned_to_the_right() {
        let text = table(&["ef", "name"], &[vec!["8".into(), "a".into()], vec!["1024".into(), "b".into()]]);
        let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
        assert_eq!(lines, ["  ef  name", "   8  a", "1024  b"]);
    }
}
