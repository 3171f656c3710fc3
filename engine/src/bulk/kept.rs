//! Finished steps in files of a folder, for a build that goes on where another one stopped.
//!
//! Every file is written beside its place and renamed, so a process that is killed leaves it whole or not at all. It is not flushed:
//! a machine that goes down may tear it, which its checksums tell. What is damaged, or was made of other rows or
//! parameters, is passed over, and the step is done anew.
//!
//! * **R1** What comes of a build does not depend on what the folder holds ([`orthant_build::Keep`]).
//! * **R2** Only files by the names given here are written and removed.
//!
//! Cost: a step is written once the work that would be lost without it took so many times as long as writing takes.

use std::fmt::Write;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use orthant_build::{Keep, Step};
use orthant_storage::persist::{FileWriter, MappedFile, OpenError, SaveError, Verify};

use super::BulkReport;

/// The kind of file that a step lies in.
const KIND: [u8; 8] = *b"orstep\0\0";

/// How names of such files end.
const ENDING: &str = ".step";

const NAME: [u8; 8] = *b"name\0\0\0\0";

/// Bytes written per second, until it is known: what a slow disk takes.
const FIRST_RATE: f64 = 200e6;

/// Where a bulk build keeps finished steps, and how much of its time may go into that.
#[derive(Debug, Clone, PartialEq)]
pub struct Resume {
    /// The folder, which is made when there is something to keep. It takes up to about 600 bytes per row, of builds with the default
    /// `m`. Whoever saved the index calls [`discard`](Self::discard).
    pub folder: PathBuf,
    /// The share of the build's time: a step is kept when writing it takes no more than this part of the time since the
    /// last one was. 0.02; infinite: every step is kept, however short.
    pub share: f64,
}

impl Resume {
    /// In this folder.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into(), share: 0.02 }
    }

    /// Removes the steps, and the folder if nothing else lies in it. What cannot be removed stays.
    pub fn discard(&self) {
        let Ok(files) = std::fs::read_dir(&self.folder) else { return };
        for file in files.flatten() {
            // Those that were being written when a process was killed too.
            if file.file_name().to_string_lossy().contains(ENDING) {
                let _ = std::fs::remove_file(file.path());
            }
        }
        let _ = std::fs::remove_dir(&self.folder);
    }
}

/// The folder of one build.
pub(crate) struct Folder {
    path: PathBuf,
    share: f64,
    pace: Mutex<Pace>,
    resumed: AtomicUsize,
    passed_over: AtomicUsize,
    unwritten: AtomicUsize,
}

/// What writing takes.
struct Pace {
    /// When the last step was kept, or the build began.
    since: Instant,
    /// Bytes per second.
    rate: f64,
}

impl Folder {
    pub(crate) fn new(resume: &Resume) -> Self {
        let [resumed, passed_over, unwritten] = [0; 3].map(AtomicUsize::new);
        let pace = Mutex::new(Pace { since: Instant::now(), rate: FIRST_RATE });
        Self { path: resume.folder.clone(), share: resume.share, pace, resumed, passed_over, unwritten }
    }

    /// For the lists of a level.
    pub(crate) fn of_level(&self, level: u8) -> OfLevel<'_> {
        OfLevel { folder: self, level }
    }

    /// Says in `report` what was done.
    pub(crate) fn tell(&self, report: &mut BulkReport) {
        report.resumed = self.resumed.load(Ordering::Relaxed);
        report.passed_over = self.passed_over.load(Ordering::Relaxed);
        report.unwritten = self.unwritten.load(Ordering::Relaxed);
    }

    fn write(&self, path: &Path, name: u64, parts: &[&[u8]]) -> Result<(), SaveError> {
        // If there is no folder in the end, the file cannot be made, which says why.
        let _ = std::fs::create_dir(&self.path);
        let mut writer = FileWriter::create(path, KIND, 1)?;
        writer.write_section(NAME, &name.to_le_bytes())?;
        for (at, part) in parts.iter().enumerate() {
            writer.write_section(part_tag(at), part)?;
        }
        writer.finish_unflushed()
    }
}

/// The name of a part's section.
fn part_tag(at: usize) -> [u8; 8] {
    let mut tag = *b"part0\0\0\0";
    tag[4] += at as u8;
    tag
}

/// Whether there is no file, or no folder where it could be.
fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// The lists of one level.
pub(crate) struct OfLevel<'a> {
    folder: &'a Folder,
    level: u8,
}

impl OfLevel<'_> {
    fn path(&self, step: Step) -> PathBuf {
        let mut name = String::new();
        // Strings take all that is written.
        let _ = write!(name, "level-{}-{step}{ENDING}", self.level);
        self.folder.path.join(name)
    }
}

impl Keep for OfLevel<'_> {
    fn is_worth(&self, bytes: usize) -> bool {
        let pace = self.folder.pace.lock().unwrap_or_else(PoisonError::into_inner);
        self.folder.share == f64::INFINITY
            || bytes as f64 / pace.rate <= pace.since.elapsed().as_secs_f64() * self.folder.share
    }

    fn keep(&self, step: Step, name: u64, parts: &[&[u8]]) -> bool {
        let mut pace = self.folder.pace.lock().unwrap_or_else(PoisonError::into_inner);
        let start = Instant::now();
        let written = self.folder.write(&self.path(step), name, parts);
        let took = start.elapsed().max(Duration::from_micros(1)).as_secs_f64();
        let bytes: usize = parts.iter().map(|part| part.len()).sum();
        pace.since = Instant::now();
        pace.rate = bytes as f64 / took;
        self.folder.unwritten.fetch_add(usize::from(written.is_err()), Ordering::Relaxed);
        written.is_ok()
    }

    fn find(&self, step: Step, name: u64, take: &mut dyn FnMut(&[&[u8]]) -> bool) {
        let is_used = match MappedFile::open(self.path(step), KIND, 1, Verify::Full) {
            Ok(file) if file.bytes(NAME) == Some(&name.to_le_bytes()) => {
                let parts: Vec<&[u8]> = (0..).map_while(|at| file.bytes(part_tag(at))).collect();
                take(&parts)
            }
            Err(OpenError::Io { source, .. }) if is_absent(&source) => return,
            _ => false,
        };
        let count = if is_used { &self.folder.resumed } else { &self.folder.passed_over };
        count.fetch_add(1, Ordering::Relaxed);
    }

    fn forget(&self, step: Step) {
        // It may not be there; and what cannot be removed is in nobody's way.
        let _ = std::fs::remove_file(self.path(step));
    }
}
