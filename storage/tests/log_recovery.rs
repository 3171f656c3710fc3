//! A log gives back what was flushed, cuts off what was torn, and calls the rest damage.

use orthant_storage::log::{LogError, Recovery, RowLog};
use orthant_storage::{MemoryOptions, RowArena};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

const DIM: usize = 5;
/// 5 floats and a checksum fit 64 bytes.
const STRIDE: usize = 64;

fn row(number: u64) -> [f32; DIM] {
    std::array::from_fn(|d| number as f32 * 10.0 + d as f32)
}

fn write_log(path: &Path, rows: u64) {
    let mut log = RowLog::<f32>::create(path, DIM).expect("a new file");
    for number in 0..rows {
        assert_eq!(log.append(&row(number)).expect("room"), number);
    }
    assert_eq!(log.sync().expect("room"), rows);
}

fn open(path: &Path, flushed: u64) -> Result<(RowLog<f32>, Recovery), LogError> {
    RowLog::open(path, DIM, flushed)
}

/// The rows of the log are `row(0)..row(rows)`.
fn assert_rows(log: &RowLog<f32>, rows: u64) {
    assert_eq!(log.rows(), rows);
    let region = log.region(&MemoryOptions::default()).expect("address space");
    let arena = RowArena::<f32>::from_region(log.layout(), region, rows as u32).expect("whole rows");
    for number in 0..rows {
        assert_eq!(arena.row(number as u32), Some(&row(number)[..]));
    }
    arena.push(&row(rows)).expect("room behind the mapped rows");
    assert_eq!(arena.row(rows as u32), Some(&row(rows)[..]));
}

struct Fixture {
    _directory: tempfile::TempDir,
    path: PathBuf,
}

fn fixture() -> Fixture {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("rows.log");
    Fixture { _directory: directory, path }
}

#[test]
fn rows_come_back_and_appending_goes_on() {
    let fixture = fixture();
    write_log(&fixture.path, 3);
    let (mut log, recovery) = open(&fixture.path, 3).expect("a sound log");
    assert_eq!(recovery, Recovery { rows: 3, cut_bytes: 0 });
    assert_rows(&log, 3);
    // More than one buffer.
    for number in 3..40_000 {
        log.append(&row(number)).expect("room");
    }
    assert_eq!(log.rows(), 40_000);
    assert_eq!(log.sync().expect("room"), 40_000);
    assert_rows(&log, 40_000);
    drop(log);
    let (log, recovery) = open(&fixture.path, 40_000).expect("a sound log");
    assert_eq!(recovery, Recovery { rows: 40_000, cut_bytes: 0 });
    assert_rows(&log, 40_000);
}

#[test]
fn every_flipped_byte_is_damage_below_the_flushed_rows_and_a_cut_above() {
    let fixture = fixture();
    write_log(&fixture.path, 2);
    let sound = std::fs::read(&fixture.path).expect("the log");
    assert_eq!(sound.len(), 4096 + 2 * STRIDE);
    let mut file = std::fs::OpenOptions::new().write(true).open(&fixture.path).expect("the log");
    let mut put = |at: usize, byte: u8| {
        file.seek(SeekFrom::Start(at as u64)).expect("a file");
        file.write_all(&[byte]).expect("room");
    };
    for (at, &byte) in sound[..4096].iter().enumerate() {
        put(at, byte ^ 0x10);
        let result = open(&fixture.path, 2);
        assert!(matches!(result, Err(LogError::HeaderDamaged { .. })), "byte {at}: {result:?}");
        put(at, byte);
    }
    for at in 4096..sound.len() {
        let mut damaged = sound.clone();
        damaged[at] ^= 0x10;
        for flushed in [2, 1] {
            std::fs::write(&fixture.path, &damaged).expect("room");
            let result = open(&fixture.path, flushed);
            let bad = ((at - 4096) / STRIDE) as u64;
            match result {
                Err(LogError::RowDamaged { row, offset, flushed: said, .. }) => {
                    assert!(bad < flushed, "byte {at}: row {bad} was never flushed");
                    assert_eq!((row, offset, said), (bad, 4096 + bad * STRIDE as u64, flushed));
                    let kept = std::fs::read(&fixture.path).expect("the log");
                    assert!(kept == damaged, "a damaged log was changed");
                }
                Ok((log, recovery)) => {
                    assert!(bad >= flushed, "byte {at}: damage to flushed row {bad} went unseen");
                    let cut_bytes = (2 - bad) * STRIDE as u64;
                    assert_eq!(recovery, Recovery { rows: bad, cut_bytes });
                    assert_rows(&log, bad);
                }
                other => panic!("byte {at}: {other:?}"),
            }
        }
    }
}

#[test]
fn every_truncation_is_damage_below_the_flushed_rows_and_a_cut_above() {
    let fixture = fixture();
    write_log(&fixture.path, 2);
    let sound = std::fs::read(&fixture.path).expect("the log");
    let file = std::fs::OpenOptions::new().write(true).open(&fixture.path).expect("the log");
    for length in (0..4096).rev() {
        file.set_len(length).expect("a file");
        let result = open(&fixture.path, 2);
        assert!(matches!(result, Err(LogError::HeaderDamaged { .. })), "{length}: {result:?}");
    }
    for length in 4096..sound.len() {
        for flushed in [2, 1] {
            std::fs::write(&fixture.path, &sound[..length]).expect("room");
            let result = open(&fixture.path, flushed);
            let whole = ((length - 4096) / STRIDE) as u64;
            match result {
                Err(LogError::RowDamaged { row, .. }) => assert!(row == whole && whole < flushed),
                Ok((mut log, recovery)) => {
                    assert!(whole >= flushed, "{length} bytes: a missing row went unseen");
                    assert_eq!(recovery.rows, whole);
                    assert_eq!(recovery.cut_bytes, ((length - 4096) % STRIDE) as u64);
                    // What follows takes the place of the torn row.
                    assert_eq!(log.append(&row(whole)).expect("room"), whole);
                    assert_eq!(log.sync().expect("room"), whole + 1);
                    drop(log);
                    assert_rows(&open(&fixture.path, whole + 1).expect("a sound log").0, whole + 1);
                }
                other => panic!("{length} bytes: {other:?}"),
            }
        }
    }
}

#[test]
fn rows_in_the_wrong_place_and_holes_are_found() {
    let fixture = fixture();
    write_log(&fixture.path, 4);
    let sound = std::fs::read(&fixture.path).expect("the log");
    // Rows 1 and 2 change places: each still matches its own bytes.
    let mut swapped = sound.clone();
    let (one, two) = (4096 + STRIDE, 4096 + 2 * STRIDE);
    swapped[one..two].copy_from_slice(&sound[two..two + STRIDE]);
    swapped[two..two + STRIDE].copy_from_slice(&sound[one..two]);
    std::fs::write(&fixture.path, &swapped).expect("room");
    assert!(matches!(open(&fixture.path, 4), Err(LogError::RowDamaged { row: 1, .. })));
    // The file grew, but its pages never reached the disk.
    let mut hole = sound.clone();
    hole.resize(sound.len() + 10 * STRIDE, 0);
    std::fs::write(&fixture.path, &hole).expect("room");
    let (log, recovery) = open(&fixture.path, 4).expect("four flushed rows");
    assert_eq!(recovery, Recovery { rows: 4, cut_bytes: 10 * STRIDE as u64 });
    assert_rows(&log, 4);
}

#[test]
fn shape_lock_and_names_are_guarded() {
    let fixture = fixture();
    write_log(&fixture.path, 1);
    match RowLog::<f32>::open(&fixture.path, 7, 0) {
        Err(error @ LogError::WrongShape { found_dim: 5, found_bytes: 4, dim: 7, bytes: 4, .. }) => {
            assert!(
                error.to_string().ends_with("rows are 5 elements of 4 bytes, expected 7 of 4"),
                "{error}"
            );
        }
        other => panic!("{other:?}"),
    }
    assert!(matches!(RowLog::<u8>::open(&fixture.path, DIM, 0), Err(LogError::WrongShape { .. })));
    assert!(matches!(RowLog::<f32>::create(&fixture.path, DIM), Err(LogError::Io { .. })), "it exists");
    let first = open(&fixture.path, 1).expect("a sound log");
    assert!(matches!(open(&fixture.path, 1), Err(LogError::Locked { .. })));
    drop(first);
    open(&fixture.path, 1).expect("unlocked again");
    let missing = fixture.path.with_file_name("none.log");
    assert!(matches!(open(&missing, 0), Err(LogError::Io { .. })));
}

#[test]
fn dims_around_the_padding_keep_room_for_the_checksum() {
    for dim in [1, 13, 14, 15, 16, 17, 128, 384] {
        let fixture = fixture();
        let values = vec![1.5f32; dim];
        let mut log = RowLog::create(&fixture.path, dim).expect("a new file");
        assert_eq!(log.layout().row_bytes::<f32>() % 64, 0);
        assert!(log.layout().row_bytes::<f32>() >= dim * 4 + 8);
        log.append(&values).expect("room");
        log.sync().expect("room");
        drop(log);
        let (log, _) = RowLog::<f32>::open(&fixture.path, dim, 1).expect("a sound log");
        let region = log.region(&MemoryOptions::default()).expect("address space");
        let arena = RowArena::<f32>::from_region(log.layout(), region, 1).expect("a row");
        assert_eq!(arena.row(0), Some(&values[..]));
    }
}
