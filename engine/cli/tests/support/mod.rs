//! Running the built command in a folder of its own, and making small files for it.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// A folder that is removed with the test.
pub(crate) struct Folder(tempfile::TempDir);

/// What a run of the command gave.
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Folder {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary folder"))
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.file(name);
        fs::write(&path, bytes).expect("writing a small file");
        path
    }

    /// An `.fbin` file: u32 rows, u32 dim, f32 values.
    pub(crate) fn write_fbin(&self, name: &str, dim: usize, values: &[f32]) -> PathBuf {
        self.write(name, &fbin(values.len() / dim, dim, values))
    }

    /// The names in the folder, sorted.
    pub(crate) fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(self.path())
            .expect("the folder is there")
            .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    /// Runs `orthant` with words separated by spaces, in this folder.
    pub(crate) fn orthant(&self, line: &str) -> Ran {
        self.run(Command::new(env!("CARGO_BIN_EXE_orthant")).args(line.split_whitespace()))
    }

    /// Runs any command in this folder.
    pub(crate) fn run(&self, command: &mut Command) -> Ran {
        let Output { status, stdout, stderr } =
            command.current_dir(self.path()).stdin(Stdio::null()).output().expect("the command starts");
        Ran {
            code: status.code(),
            stdout: String::from_utf8_lossy(&stdout).into_owned(),
            stderr: String::from_utf8_lossy(&stderr).into_owned(),
        }
    }
}

impl Ran {
    /// Asserts that it worked and returns what it printed.
    #[track_caller]
    pub(crate) fn ok(self) -> String {
        assert_eq!(self.code, Some(0), "stdout: {}\nstderr: {}", self.stdout, self.stderr);
        self.stdout
    }

    /// Asserts that it worked and parses the object on its last line.
    #[track_caller]
    pub(crate) fn json(self) -> serde_json::Value {
        let stdout = self.ok();
        let last = stdout.lines().last().expect("a last line");
        serde_json::from_str(last).expect("one object on the last line")
    }

    /// Asserts exit code 2 and one error line that holds each of `words`.
    #[track_caller]
    pub(crate) fn refused(self, words: &[&str]) {
        assert_eq!(self.code, Some(2), "stdout: {}\nstderr: {}", self.stdout, self.stderr);
        let lines: Vec<&str> = self.stderr.lines().filter(|line| line.starts_with("error: ")).collect();
        assert_eq!(lines.len(), 1, "{}", self.stderr);
        for word in words {
            assert!(
                lines[0].to_lowercase().contains(&word.to_lowercase()),
                "no `{word}` in: {}",
                self.stderr
            );
        }
        assert!(!self.stderr.contains("panicked"), "{}", self.stderr);
        assert!(self.stdout.is_empty(), "{}", self.stdout);
    }
}

/// The bytes of an `.fbin` file whose header may disagree with what follows.
pub(crate) fn fbin(rows: usize, dim: usize, values: &[f32]) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend((rows as u32).to_le_bytes());
    bytes.extend((dim as u32).to_le_bytes());
    bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    bytes
}

/// `n` values between -1 and 1 that follow from `seed`.
pub(crate) fn noise(seed: u64, n: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut draw = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..n).map(|_| draw()).collect()
}
