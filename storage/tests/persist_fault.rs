//! What can go wrong while a file is written leaves the old file as it was and no litter.

use orthant_storage::persist::{FileWriter, MappedFile, SaveError, Verify};
use std::io;
use std::path::Path;

const KIND: [u8; 8] = *b"TEST\0\0\0\0";
const DATA: [u8; 8] = *b"data\0\0\0\0";

fn write(path: &Path, bytes: &[u8]) -> Result<(), SaveError> {
    let mut writer = FileWriter::create(path, KIND, 1)?;
    writer.write_section(DATA, bytes)?;
    writer.finish()
}

/// The one file of the directory holds `bytes`.
fn assert_only(path: &Path, bytes: &[u8]) {
    let names: Vec<_> = std::fs::read_dir(path.parent().expect("a parent"))
        .expect("the directory")
        .map(|entry| entry.expect("an entry").file_name())
        .collect();
    assert_eq!(names, [path.file_name().expect("a name")], "something was left behind");
    let file = MappedFile::open(path, KIND, 1, Verify::Full).expect("the old file");
    assert_eq!(file.bytes(DATA), Some(bytes));
}

#[test]
fn a_failing_section_leaves_the_old_file() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("file");
    write(&path, b"old").expect("room");
    let mut writer = FileWriter::create(&path, KIND, 1).expect("a temporary directory");
    writer.write_section(*b"first\0\0\0", &[1; 5000]).expect("room");
    let result = writer.section(DATA, |out| {
        out.write_all(&[2; 3_000_000])?;
        Err(io::ErrorKind::StorageFull.into())
    });
    match result {
        Err(error @ SaveError::Write { offset: 3_012_288, .. }) => {
            assert!(error.to_string().ends_with("writing failed at byte 3012288"), "{error}");
        }
        other => panic!("{other:?}"),
    }
    drop(writer);
    assert_only(&path, b"old");
}

#[test]
fn a_writer_that_is_not_finished_leaves_the_old_file() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("file");
    write(&path, b"old").expect("room");
    let mut writer = FileWriter::create(&path, KIND, 1).expect("a temporary directory");
    writer.write_section(DATA, b"new").expect("room");
    drop(writer);
    assert_only(&path, b"old");
    write(&path, b"new").expect("room");
    assert_only(&path, b"new");
}

#[test]
fn a_mapping_outlives_the_replacement_of_its_file() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("file");
    write(&path, &[1; 100_000]).expect("room");
    let old = MappedFile::open(&path, KIND, 1, Verify::Full).expect("a sound file");
    write(&path, &[2; 10]).expect("room");
    assert_eq!(old.bytes(DATA), Some(&[1; 100_000][..]));
    assert_only(&path, &[2; 10]);
}

#[test]
fn a_section_written_twice_is_refused() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut writer = FileWriter::create(directory.path().join("file"), KIND, 1).expect("a directory");
    writer.write_section(DATA, b"x").expect("room");
    assert!(matches!(writer.write_section(DATA, b"y"), Err(SaveError::DuplicateSection { .. })));
}

#[test]
fn a_path_that_takes_no_file_is_named() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let missing = directory.path().join("no/such/directory/file");
    match FileWriter::create(&missing, KIND, 1) {
        Err(error @ SaveError::Create { .. }) => {
            assert!(error.to_string().contains("no/such/directory/file"), "{error}");
        }
        other => panic!("{other:?}"),
    }
    let file = directory.path().join("plain");
    std::fs::write(&file, "x").expect("room");
    assert!(matches!(FileWriter::create(file.join("below"), KIND, 1), Err(SaveError::Create { .. })));
    // A directory cannot be replaced by a file; the temporary file goes.
    let target = directory.path().join("a directory");
    std::fs::create_dir_all(target.join("with something in it")).expect("room");
    assert!(matches!(write(&target, b"x"), Err(SaveError::Replace { .. })));
    assert_eq!(std::fs::read_dir(directory.path()).expect("the directory").count(), 2);
}
