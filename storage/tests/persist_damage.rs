//! Every changed byte, every missing byte and every added one is found, and the error says where.

use orthant_storage::persist::{FileWriter, MappedFile, OpenError, Verify};
use orthant_storage::{Column, MemoryOptions, RowArena, RowLayout};
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;

const KIND: [u8; 8] = *b"TEST\0\0\0\0";
const ROWS: [u8; 8] = *b"rows\0\0\0\0";
const NAMES: [u8; 8] = *b"names\0\0\0";

fn write(path: &Path, version: u32, rows: &[u8]) {
    let mut writer = FileWriter::create(path, KIND, version).expect("a temporary directory");
    writer.write_section(ROWS, rows).expect("room");
    writer.write_section(*b"empty\0\0\0", &[]).expect("room");
    writer.write_section(NAMES, b"some names").expect("room");
    writer.finish().expect("room");
}

fn open(path: &Path) -> Result<MappedFile, OpenError> {
    MappedFile::open(path, KIND, 1, Verify::Full)
}

#[test]
fn every_flipped_byte_is_found() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("small");
    write(&path, 1, &[7; 300]);
    let sound = std::fs::read(&path).expect("the file");
    open(&path).expect("a sound file");
    let file = std::fs::OpenOptions::new().write(true).open(&path).expect("the file");
    let put = |at: usize, byte: u8| {
        (&file).seek(SeekFrom::Start(at as u64)).expect("a file");
        (&file).write_all(&[byte]).expect("room");
    };
    for (at, &byte) in sound.iter().enumerate() {
        for bit in [0x01, 0x80, 0xff] {
            put(at, byte ^ bit);
            let error = match open(&path) {
                Err(error) => error,
                Ok(_) => panic!("byte {at} changed by {bit:02x} went unseen"),
            };
            let is_right = match &error {
                OpenError::NotOurs { .. } => at < 8,
                OpenError::HeaderDamaged { part: "header", .. } => (8..4096).contains(&at),
                OpenError::ChunkDamaged { offset, bytes, .. } => {
                    (*offset..offset + bytes).contains(&(at as u64))
                }
                OpenError::HeaderDamaged { part: "section table", offset, .. } => at as u64 >= *offset,
                _ => false,
            };
            assert!(is_right, "byte {at} changed by {bit:02x} gave: {error}");
        }
        put(at, byte);
    }
}

#[test]
fn every_truncation_and_every_added_byte_is_found() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("small");
    write(&path, 1, &[7; 300]);
    let sound = std::fs::read(&path).expect("the file");
    for verify in [Verify::Full, Verify::HeaderOnly] {
        std::fs::write(&path, &sound).expect("room");
        let file = std::fs::OpenOptions::new().write(true).open(&path).expect("the file");
        for length in (0..sound.len()).rev() {
            file.set_len(length as u64).expect("a file");
            match MappedFile::open(&path, KIND, 1, verify) {
                Err(OpenError::WrongLength { found, .. }) => assert_eq!(found, length as u64),
                other => panic!("cut to {length} bytes: {other:?}"),
            }
        }
        for extra in [1, 8, 4096] {
            let mut longer = sound.clone();
            longer.resize(sound.len() + extra, 0);
            std::fs::write(&path, &longer).expect("room");
            let result = MappedFile::open(&path, KIND, 1, verify);
            assert!(matches!(result, Err(OpenError::WrongLength { .. })), "{extra} more: {result:?}");
        }
    }
}

#[test]
fn damage_in_a_file_checked_by_two_threads_is_found_on_either_half() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("large");
    write(&path, 1, &vec![3; 20 << 20]);
    open(&path).expect("a sound file");
    let sound = std::fs::read(&path).expect("the file");
    let places =
        [4096, (5 << 20) + 1, (10 << 20) + 4095, (15 << 20) + 77, (20 << 20) + 4096, sound.len() - 9];
    for at in places {
        let mut damaged = sound.clone();
        damaged[at] ^= 4;
        std::fs::write(&path, &damaged).expect("room");
        match open(&path) {
            Err(OpenError::ChunkDamaged { section, offset, bytes, .. }) => {
                assert!((offset..offset + bytes).contains(&(at as u64)), "{at} outside {offset}+{bytes}");
                let expected = if at < (20 << 20) + 4096 { "rows" } else { "names" };
                assert_eq!(section.to_string(), expected, "at {at}");
            }
            Err(OpenError::HeaderDamaged { part: "section table", .. }) => assert_eq!(at, sound.len() - 9),
            other => panic!("{other:?}"),
        }
    }
    // Of two damages the first is named.
    let mut damaged = sound;
    damaged[17 << 20] ^= 1;
    damaged[9000] ^= 1;
    std::fs::write(&path, &damaged).expect("room");
    assert!(matches!(open(&path), Err(OpenError::ChunkDamaged { offset: 4096, .. })));
}

#[test]
fn kind_version_and_strangers_are_told_apart() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("file");
    write(&path, 3, b"x");
    match open(&path) {
        Err(error @ OpenError::TooNew { found: 3, supported: 1, .. }) => {
            assert!(error.to_string().ends_with("file: has version 3; up to 1 can be read"), "{error}");
        }
        other => panic!("{other:?}"),
    }
    let opened = MappedFile::open(&path, KIND, 3, Verify::Full).expect("version 3 is supported");
    assert_eq!(opened.version(), 3);
    match MappedFile::open(&path, *b"OTHER\0\0\0", 3, Verify::Full) {
        Err(error @ OpenError::WrongKind { .. }) => {
            assert!(error.to_string().ends_with("holds TEST, expected OTHER"), "{error}");
        }
        other => panic!("{other:?}"),
    }
    std::fs::write(&path, vec![b'!'; 10_000]).expect("room");
    assert!(matches!(open(&path), Err(OpenError::NotOurs { .. })));
    assert!(matches!(open(&directory.path().join("none")), Err(OpenError::Io { .. })));
    assert!(open(directory.path()).is_err(), "a directory is no file");
}

#[test]
fn sections_come_back_and_regions_grow_behind_them() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("file");
    let layout = RowLayout::new::<f32>(20);
    let arena = RowArena::<f32>::new(layout, &MemoryOptions::default()).expect("memory");
    for row in 0..1000 {
        arena.push(&[row as f32; 20]).expect("memory");
    }
    write(&path, 1, bytemuck::cast_slice(arena.rows()));
    let before = std::fs::read(&path).expect("the file");

    let file = open(&path).expect("a sound file");
    let tags: Vec<String> = file.sections().iter().map(|section| section.tag.to_string()).collect();
    assert_eq!(tags, ["rows", "empty", "names"]);
    assert_eq!(file.bytes(NAMES), Some(&b"some names"[..]));
    assert_eq!(file.bytes(*b"empty\0\0\0"), Some(&[][..]));
    assert_eq!(file.bytes(*b"none\0\0\0\0"), None);
    assert!(matches!(
        file.region(*b"none\0\0\0\0", &MemoryOptions::default()),
        Err(OpenError::NoSection { .. })
    ));

    for is_copied in [false, true] {
        let options = MemoryOptions { max_bytes: Some(64 << 20), ..MemoryOptions::default() };
        let region = if is_copied { file.region_copied(ROWS, &options) } else { file.region(ROWS, &options) };
        let mapped = RowArena::<f32>::from_region(layout, region.expect("memory"), 1000).expect("1000 rows");
        assert_eq!(mapped.rows(), arena.rows());
        let address = mapped.as_ptr();
        for row in 1000..50_000 {
            assert_eq!(mapped.push(&[row as f32; 20]), Ok(row as u32));
        }
        assert_eq!(mapped.as_ptr(), address);
        assert_eq!(mapped.len(), 50_000);
        for row in [0, 999, 1000, 1023, 1024, 49_999] {
            assert_eq!(mapped.row(row), Some(&[row as f32; 20][..]));
        }
        // A row of the file's own last page: written privately.
        let region = mapped.region();
        // SAFETY: byte 0 is committed, and this thread has no reference to it now.
        unsafe { region.as_ptr().write(0xee) };
    }
    drop(file);
    assert_eq!(std::fs::read(&path).expect("the file"), before, "a private mapping wrote to the file");

    let file = open(&path).expect("a sound file");
    let too_small = MemoryOptions { max_bytes: Some(1000), ..MemoryOptions::default() };
    assert!(matches!(file.region(ROWS, &too_small), Err(OpenError::Memory { .. })));
    let region = file.region(NAMES, &MemoryOptions::default()).expect("memory");
    assert!(RowArena::<f32>::from_region(layout, region, 1_000).is_err(), "10 bytes are not 1000 rows");
    // What lies behind a section in its last page reads as zero, as a column expects.
    let column = Column::<u8>::from_region(1, file.region(NAMES, &MemoryOptions::default()).expect("memory"));
    column.ensure(100_000).expect("memory");
    // SAFETY: rows 9..100 000 were ensured, nobody writes.
    let values = (9..100_000).map(|id| unsafe { column.at(id) }[0]);
    assert_eq!(values.map(u64::from).sum::<u64>(), u64::from(b's'));
}

#[test]
fn the_same_sections_give_the_same_bytes() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (first, second) = (directory.path().join("a"), directory.path().join("b"));
    let rows: Vec<u8> = (0..3_000_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    write(&first, 1, &rows);
    // In pieces, and over an older file.
    std::fs::write(&second, "old").expect("room");
    let mut writer = FileWriter::create(&second, KIND, 1).expect("a temporary directory");
    writer
        .section(ROWS, |out| rows.chunks(777_777).try_for_each(|piece| out.write_all(piece)))
        .expect("room");
    writer.write_section(*b"empty\0\0\0", &[]).expect("room");
    writer.write_section(NAMES, b"some names").expect("room");
    writer.finish().expect("room");
    assert!(std::fs::read(&first).expect("a") == std::fs::read(&second).expect("b"));
    open(&second).expect("a sound file");
}
