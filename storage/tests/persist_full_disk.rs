//! A disk that fills up while a file is written: an error with the place, and the old file stands.
//!
//! The limit on file size (`RLIMIT_FSIZE`) stands for the full disk: the system refuses the write in
//! the same place and the same way. It holds for the whole process, so this file has one test.
#![cfg(target_os = "linux")]

use orthant_storage::log::{LogError, Recovery, RowLog};
use orthant_storage::persist::{FileWriter, MappedFile, SaveError, Verify};

const KIND: [u8; 8] = *b"TEST\0\0\0\0";
const DATA: [u8; 8] = *b"data\0\0\0\0";

/// Lets files grow to `bytes` at most.
fn limit_files_to(bytes: u64) {
    // SAFETY: ignoring a signal runs no handler.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a valid place for the answer.
    assert_eq!(unsafe { libc::getrlimit(libc::RLIMIT_FSIZE, &mut limit) }, 0);
    limit.rlim_cur = bytes.min(limit.rlim_max);
    // SAFETY: `limit` is a valid limit; it only makes writes fail.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_FSIZE, &limit) }, 0);
}

#[test]
fn a_full_disk_is_an_error_wherever_it_strikes() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("file");
    let write = |bytes: &[u8]| -> Result<(), SaveError> {
        let mut writer = FileWriter::create(&path, KIND, 1)?;
        writer.write_section(DATA, bytes)?;
        writer.finish()
    };
    write(b"old").expect("room");
    let new = vec![5u8; 2_500_000];
    let whole = 4096 + 2_500_000_u64.next_multiple_of(4096) + 24 + 3 * 8;
    // In the header, in the first chunk, between chunks, in the last chunk, in the table.
    for limit in [0, 100, 4096, 500_000, 4096 + (1 << 20), 2_400_000, whole - 40, whole - 1] {
        limit_files_to(limit);
        let result = write(&new);
        limit_files_to(u64::MAX);
        match result {
            Err(error @ SaveError::Write { .. }) => {
                let source = std::error::Error::source(&error).expect("the system's answer");
                assert!(source.to_string().contains("too large"), "{source}");
            }
            other => panic!("limit {limit}: {other:?}"),
        }
        let names = std::fs::read_dir(directory.path()).expect("the directory").count();
        assert_eq!(names, 1, "limit {limit}: the temporary file was left behind");
        let old = MappedFile::open(&path, KIND, 1, Verify::Full).expect("the old file");
        assert_eq!(old.bytes(DATA), Some(&b"old"[..]), "limit {limit}");
    }
    limit_files_to(whole);
    let result = write(&new);
    limit_files_to(u64::MAX);
    result.expect("exactly enough room");
    let file = MappedFile::open(&path, KIND, 1, Verify::Full).expect("the new file");
    assert_eq!(file.bytes(DATA), Some(&new[..]));

    // A log keeps the rows it could not write, and what was half written is overwritten.
    let path = directory.path().join("rows.log");
    let mut log = RowLog::<u64>::create(&path, 7).expect("room");
    for number in 0..10 {
        log.append(&[number; 7]).expect("the buffer");
    }
    limit_files_to(4096 + 64 * 5 / 2);
    let result = log.sync();
    limit_files_to(u64::MAX);
    assert!(matches!(result, Err(LogError::Io { .. })), "{result:?}");
    assert_eq!(log.rows(), 10);
    assert_eq!(log.sync().expect("room"), 10);
    drop(log);
    let (_, recovery) = RowLog::<u64>::open(&path, 7, 10).expect("ten rows");
    assert_eq!(recovery, Recovery { rows: 10, cut_bytes: 0 });
}
