//! Bulk builds that go on from kept steps: the same index, whatever the folder holds.

use std::convert::Infallible;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use orthant_engine::{BulkError, BulkOptions, BulkPhase, BulkReport, BulkWatch, Index, Metric, Resume};

const DIM: usize = 8;

/// More than one leaf holds.
const ROWS: usize = 3300;

fn random(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1 << 24) as f32 - 0.5
    };
    (0..count).map(|_| next()).collect()
}

/// Says stop the `n`-th time that it is told of a phase that has just begun.
struct StopAt(usize, AtomicUsize);

impl BulkWatch for StopAt {
    fn progress(&self, _phase: BulkPhase, done: usize, _total: usize) {
        self.1.fetch_add(usize::from(done == 0), Ordering::Relaxed);
    }

    fn is_cancelled(&self) -> bool {
        self.1.load(Ordering::Relaxed) >= self.0
    }
}

type Built = Result<(Index, BulkReport), BulkError<Infallible>>;

fn build(rows: &[f32], seed: u64, folder: Option<&Path>, watch: &dyn BulkWatch) -> Built {
    let read = |row: usize, out: &mut [f32]| {
        out.copy_from_slice(&rows[row * DIM..][..DIM]);
        Ok(())
    };
    let resume = folder.map(|folder| Resume { share: f64::INFINITY, ..Resume::new(folder) });
    let options = BulkOptions { resume, ..BulkOptions::default() };
    Index::builder(DIM, Metric::L2).m(2).seed(seed).threads(2).build_bulk_from(
        rows.len() / DIM,
        read,
        &options,
        watch,
    )
}

fn bytes(index: &Index) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("index");
    index.save(&path).unwrap();
    fs::read(path).unwrap()
}

fn names(folder: &Path) -> Vec<String> {
    let Ok(files) = fs::read_dir(folder) else { return Vec::new() };
    let mut names: Vec<String> =
        files.map(|file| file.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[test]
fn a_build_that_is_stopped_goes_on_and_makes_the_same_index() {
    let rows = random(ROWS * DIM, 1);
    let expected = bytes(&build(&rows, 1, None, &()).unwrap().0);
    let place = tempfile::tempdir().unwrap();
    let mut resumed_in_all = 0;
    // Reading, coding, then phases of scales, of the rows, and of two levels above them.
    for stop in 1..40 {
        let folder = place.path().join(stop.to_string());
        match build(&rows, 1, Some(&folder), &StopAt(stop, AtomicUsize::new(0))) {
            Err(BulkError::Cancelled) => {}
            Ok((index, _)) => {
                assert!(stop > 12 && bytes(&index) == expected, "{stop}");
                break;
            }
            Err(error) => panic!("{stop}: {error}"),
        }
        let left = names(&folder);
        let (index, report) = build(&rows, 1, Some(&folder), &()).unwrap();
        assert!(bytes(&index) == expected, "stopped at phase {stop}");
        assert_eq!((report.resumed > 0, report.passed_over), (!left.is_empty(), 0), "{stop}: {left:?}");
        resumed_in_all += report.resumed;
        // Lists of levels are left, and stay until they are discarded.
        assert!(names(&folder).iter().all(|name| name.ends_with("-lists.step")), "{:?}", names(&folder));
        Resume::new(&folder).discard();
        assert!(!folder.exists());
    }
    assert!(resumed_in_all > 10, "{resumed_in_all}");
}

#[test]
fn lists_of_upper_levels_are_kept_too() {
    // Half of the rows are on level 1: still more than one leaf holds.
    let rows = random(6600 * DIM, 6);
    let place = tempfile::tempdir().unwrap();
    let (index, first) = build(&rows, 1, Some(place.path()), &()).unwrap();
    assert_eq!(names(place.path()), ["level-0-lists.step", "level-1-lists.step"]);
    let (again, second) = build(&rows, 1, Some(place.path()), &()).unwrap();
    assert_eq!((first.resumed, second.resumed), (0, 2));
    assert!(bytes(&index) == bytes(&again));
}

#[test]
fn damaged_and_foreign_steps_are_passed_over() {
    let rows = random(ROWS * DIM, 2);
    let expected = bytes(&build(&rows, 1, None, &()).unwrap().0);
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("steps");
    // In the phase that chooses: balls and reservoirs are there.
    let stop = |rows: &[f32], seed| {
        for at in 1.. {
            Resume::new(&folder).discard();
            let stopped = build(rows, seed, Some(&folder), &StopAt(at, AtomicUsize::new(0)));
            assert!(matches!(stopped, Err(BulkError::Cancelled)));
            if names(&folder).iter().any(|name| name == "level-0-near.step") {
                return names(&folder);
            }
        }
        unreachable!()
    };
    let same = |what: &str, passed_over: usize| {
        let (index, report) = build(&rows, 1, Some(&folder), &()).unwrap();
        assert!(bytes(&index) == expected, "{what}");
        assert_eq!((report.passed_over, report.unwritten), (passed_over, 0), "{what}: {report:?}");
        report.resumed
    };
    let files = stop(&rows, 1);
    assert_eq!(same("as it was left", 0), files.len());

    // One byte in each, at places from the first to the last.
    for part in 0..5 {
        let files = stop(&rows, 1);
        for name in &files {
            let path = folder.join(name);
            let mut file = fs::read(&path).unwrap();
            let at = (file.len() - 1) * part / 4;
            file[at] ^= 1 << part;
            fs::write(&path, file).unwrap();
        }
        assert_eq!(same("a byte was changed", files.len()), 0);
    }
    // Cut off, empty, and a text.
    for damage in [&|file: &[u8]| file[..file.len() / 2].to_vec(), &|_| Vec::new(), &|_| b"notes".to_vec()]
        as [&dyn Fn(&[u8]) -> Vec<u8>; 3]
    {
        let files = stop(&rows, 1);
        for name in &files {
            let path = folder.join(name);
            fs::write(&path, damage(&fs::read(&path).unwrap())).unwrap();
        }
        assert_eq!(same("torn", files.len()), 0);
    }
    // Steps of other rows, and of the same under another seed.
    let other = random(ROWS * DIM, 7);
    for (rows, seed) in [(&other, 1), (&rows, 2)] {
        let files = stop(rows, seed);
        assert_eq!(same("of another build", files.len()), 0);
    }
    // A build at one go beside the lists of another.
    build(&other, 1, Some(&folder), &()).unwrap();
    assert!(same("after another build", 1) == 0);
}

#[test]
fn what_is_not_ours_stays_and_a_folder_that_takes_nothing_is_told_of() {
    let rows = random(4000 * DIM, 4);
    let expected = bytes(&build(&rows, 1, None, &()).unwrap().0);
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("steps");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("notes.txt"), "mine").unwrap();
    assert!(bytes(&build(&rows, 1, Some(&folder), &()).unwrap().0) == expected);
    Resume::new(&folder).discard();
    assert_eq!(names(&folder), ["notes.txt"]);

    let no_folder = folder.join("notes.txt");
    let (index, report) = build(&rows, 1, Some(&no_folder), &()).unwrap();
    assert!(bytes(&index) == expected);
    assert!(report.resumed == 0 && report.unwritten > 0, "{report:?}");
    assert_eq!(fs::read(&no_folder).unwrap(), b"mine");
}

#[test]
fn small_builds_keep_nothing() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("steps");
    let (_, report) = build(&random(2000 * DIM, 5), 1, Some(&folder), &()).unwrap();
    assert!(!folder.exists() && report.unwritten == 0);
}
