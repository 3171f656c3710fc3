//! Whatever a user can hand over that does not fit: one error line that names file and place, exit code
//! 2, nothing written.

mod support;

use std::fs;
use std::process::Command;

use orthant_engine::storage::persist::FileWriter;
use support::{Folder, fbin, noise};

const DIM: usize = 8;
const ROWS: usize = 300;

/// A folder with `base.fbin` and `query.fbin`.
fn folder() -> Folder {
    let folder = Folder::new();
    folder.write_fbin("base.fbin", DIM, &noise(1, ROWS * DIM));
    folder.write_fbin("query.fbin", DIM, &noise(2, 5 * DIM));
    folder
}

/// The same, with `base.orthant`.
fn folder_with_index() -> Folder {
    let folder = folder();
    folder.orthant("build --data base.fbin --metric l2 -o base.orthant").ok();
    folder
}

/// Every command that reads a file of vectors refuses `file` and writes nothing.
#[track_caller]
fn refused_everywhere(folder: &Folder, file: &str, words: &[&str]) {
    let before = folder.names();
    for line in [
        format!("build --data {file} --metric l2 -o new.orthant"),
        format!("convert {file} new.fvecs"),
        format!("exact --data {file} --queries query.fbin --metric l2 -o new.ibin"),
        format!("exact --data base.fbin --queries {file} --metric l2 -o new.ibin"),
    ] {
        folder.orthant(&line).refused(words);
        assert_eq!(folder.names(), before, "{line}");
    }
}

#[test]
fn missing_file() {
    let folder = folder();
    refused_everywhere(&folder, "nowhere.fbin", &["nowhere.fbin", "no such file"]);
    folder.orthant("search nowhere.orthant query.fbin").refused(&["nowhere.orthant", "no such file"]);
    folder.orthant("info nowhere.orthant").refused(&["nowhere.orthant", "no such file"]);
    folder.orthant("bench --data nowhere").refused(&["nowhere", "no such file"]);
    folder.orthant("demo nowhere").refused(&["nowhere", "no such file"]);
}

#[test]
fn a_folder_is_no_file() {
    let folder = folder();
    fs::create_dir(folder.file("sub.fbin")).unwrap();
    refused_everywhere(&folder, "sub.fbin", &["sub.fbin"]);
}

#[test]
fn unknown_extension() {
    let folder = folder();
    folder.write("base.parquet", b"PAR1");
    refused_everywhere(&folder, "base.parquet", &["base.parquet"]);
    folder.orthant("convert base.fbin base.txt").refused(&["base.txt"]);
}

#[test]
fn truncated_header() {
    let folder = folder();
    folder.write("short.fbin", &[1, 0, 0, 0, 2]);
    folder.write("short.npy", b"\x93NUMPY\x01\x00");
    folder.write("short.fvecs", &[8, 0]);
    folder.write("empty.fbin", b"");
    for file in ["short.fbin", "short.npy", "short.fvecs", "empty.fbin"] {
        refused_everywhere(&folder, file, &[file]);
    }
}

#[test]
fn wrong_magic() {
    let folder = folder();
    folder.write("wrong.npy", &[b"not numpy at all ", &[7; 200][..]].concat());
    refused_everywhere(&folder, "wrong.npy", &["wrong.npy"]);
    fs::copy(folder.file("base.fbin"), folder.file("base.orthant")).unwrap();
    folder.orthant("info base.orthant").refused(&["base.orthant", "not an Orthant file"]);
    folder.orthant("search base.orthant query.fbin").refused(&["base.orthant", "not an Orthant file"]);
}

#[test]
fn length_that_does_not_match_the_header() {
    let folder = folder();
    folder.write("long.fbin", &fbin(10, DIM, &noise(3, 11 * DIM)));
    folder.write("short.fbin", &fbin(10, DIM, &noise(3, 9 * DIM)));
    folder.write("huge.fbin", &fbin(u32::MAX as usize, u32::MAX as usize, &noise(3, DIM)));
    for file in ["long.fbin", "short.fbin", "huge.fbin"] {
        refused_everywhere(&folder, file, &[file]);
    }
}

#[test]
fn no_dimensions() {
    let folder = folder();
    folder.write("flat.fbin", &fbin(10, 0, &[]));
    refused_everywhere(&folder, "flat.fbin", &["flat.fbin", "dim"]);
}

#[test]
fn no_rows() {
    let folder = folder();
    folder.write("none.fbin", &fbin(0, DIM, &[]));
    for line in [
        "build --data none.fbin --metric l2 -o new.orthant",
        "exact --data none.fbin --queries query.fbin --metric l2 -o new.ibin",
        "exact --data base.fbin --queries none.fbin --metric l2 -o new.ibin",
    ] {
        folder.orthant(line).refused(&["none.fbin", "no rows"]);
    }
    assert_eq!(folder.names(), ["base.fbin", "none.fbin", "query.fbin"]);
    let folder = folder_with_index();
    folder.write("none.fbin", &fbin(0, DIM, &[]));
    folder.orthant("search base.orthant none.fbin").refused(&["none.fbin", "no rows"]);
}

#[test]
fn numbers_beyond_reason() {
    let folder = folder_with_index();
    folder.orthant("demo --generated 100000000000000 384").refused(&["--generated", "memory"]);
    folder.orthant("demo --generated 10 100000").refused(&["--generated", "65536"]);
    folder.orthant("demo --generated 0 4").refused(&["--generated"]);
    folder.orthant("demo --generated 100 4 --ef 0").refused(&["--ef 0"]);
    let object = folder.orthant("search base.orthant query.fbin --ef 18446744073709551615 --json").json();
    assert_eq!(object["ef"], 300);
}

#[test]
fn values_that_are_not_finite() {
    let folder = folder();
    for (name, bad) in
        [("nan.fbin", f32::NAN), ("inf.fbin", f32::INFINITY), ("minus.fbin", f32::NEG_INFINITY)]
    {
        let mut values = noise(4, 50 * DIM);
        values[37 * DIM + 5] = bad;
        values[41 * DIM] = bad;
        folder.write_fbin(name, DIM, &values);
        refused_everywhere(&folder, name, &[name, "row 37", "column 5"]);
    }
    let folder = folder_with_index();
    let mut values = noise(4, 2 * DIM);
    values[DIM] = f32::NAN;
    folder.write_fbin("nan.fbin", DIM, &values);
    folder.orthant("search base.orthant nan.fbin").refused(&["nan.fbin", "row 1", "column 0"]);
    folder.orthant("search base.orthant --row 0,1,2,3,4,5,NaN,7").refused(&["--row", "column 6"]);
}

#[test]
fn dimensions_that_differ() {
    let folder = folder_with_index();
    folder.write_fbin("wide.fbin", DIM + 1, &noise(5, 3 * (DIM + 1)));
    folder.orthant("search base.orthant wide.fbin").refused(&["wide.fbin", "base.orthant", "9", "8"]);
    folder.orthant("search base.orthant --row 1,2,3").refused(&["--row", "3", "base.orthant", "8"]);
    folder
        .orthant("exact --data base.fbin --queries wide.fbin --metric l2 -o gt.ibin")
        .refused(&["wide.fbin", "base.fbin"]);
    assert!(!folder.file("gt.ibin").exists());
}

#[test]
fn k_of_zero() {
    let folder = folder_with_index();
    folder.orthant("search base.orthant query.fbin -k 0 --out ids.ibin").refused(&["-k 0"]);
    folder
        .orthant("exact --data base.fbin --queries query.fbin --metric l2 -k 0 -o gt.ibin")
        .refused(&["-k 0"]);
    folder.orthant("bench --data . -k 0").refused(&["-k 0"]);
    assert_eq!(folder.names(), ["base.fbin", "base.orthant", "query.fbin"]);
}

#[test]
fn k_above_n_returns_n_and_ef_below_k_is_raised() {
    let folder = folder_with_index();
    let ran = folder.orthant("search base.orthant query.fbin -k 1000 --ef 5 --json");
    assert!(ran.stderr.contains("k = 300") && ran.stderr.contains("raised"), "{}", ran.stderr);
    let object = ran.json();
    assert_eq!((object["k"].as_u64(), object["ef"].as_u64()), (Some(300), Some(300)));
    assert_eq!(object["results"][0].as_array().map(Vec::len), Some(300));
    let ran =
        folder.orthant("exact --data base.fbin --queries query.fbin --metric l2 -k 1000 -o gt.ibin --json");
    assert!(ran.stderr.contains("k = 300"), "{}", ran.stderr);
    assert_eq!(ran.json()["k"], 300);
}

#[test]
fn parameters_that_do_not_fit() {
    let folder = folder();
    for flags in [
        "--m 0",
        "--m 1",
        "--m 100000",
        "--ef-construction 0",
        "--ef-construction 1000000000000",
        "--threads 1000000",
    ] {
        let line = format!("build --data base.fbin --metric l2 -o base.orthant {flags}");
        folder.orthant(&line).refused(&[]);
        assert!(!folder.file("base.orthant").exists(), "{flags}");
    }
    assert_eq!(folder.orthant("build --data base.fbin --metric hamming -o x").code, Some(2));
    assert_eq!(folder.orthant("fly").code, Some(2));
}

/// One flipped bit anywhere in an index is found when it is opened.
#[test]
fn corrupted_index() {
    let folder = folder_with_index();
    let good = fs::read(folder.file("base.orthant")).unwrap();
    let head = (0..64).step_by(5);
    let spread = (64..good.len()).step_by((good.len() / 60).max(1) | 1);
    let tail = good.len().saturating_sub(64)..good.len();
    for at in head.chain(spread).chain(tail.step_by(5)) {
        let mut bad = good.clone();
        bad[at] ^= 1 << (at % 8);
        folder.write("bad.orthant", &bad);
        let ran = folder.orthant("search bad.orthant query.fbin");
        assert_eq!(ran.code, Some(2), "byte {at} of {}: {}{}", good.len(), ran.stdout, ran.stderr);
        ran.refused(&["bad.orthant"]);
    }
}

#[test]
fn truncated_or_extended_index() {
    let folder = folder_with_index();
    let good = fs::read(folder.file("base.orthant")).unwrap();
    for length in [0, 1, 8, 12, 63, good.len() / 2, good.len() - 1] {
        folder.write("bad.orthant", &good[..length]);
        folder.orthant("info bad.orthant").refused(&["bad.orthant"]);
    }
    folder.write("bad.orthant", &[&good[..], b"x"].concat());
    folder.orthant("info bad.orthant").refused(&["bad.orthant"]);
}

#[test]
fn index_of_a_newer_version() {
    let folder = folder_with_index();
    let kind = fs::read(folder.file("base.orthant")).unwrap()[8..16].try_into().unwrap();
    let mut newer = FileWriter::create(folder.file("newer.orthant"), kind, 999).unwrap();
    newer.write_section(*b"unheard\0", b"of").unwrap();
    newer.finish().unwrap();
    folder.orthant("info newer.orthant").refused(&["newer.orthant", "999"]);
    folder.orthant("search newer.orthant query.fbin").refused(&["newer.orthant", "999"]);
}

/// The commands that write, with the file they write.
const WRITERS: [(&str, &str); 4] = [
    ("build --data base.fbin --metric l2 -o", "new.orthant"),
    ("exact --data base.fbin --queries query.fbin --metric l2 -o", "new.ibin"),
    ("convert base.fbin", "new.npy"),
    ("search base.orthant query.fbin -k 300 --out", "ids.ibin"),
];

#[test]
fn unwritable_path() {
    let folder = folder_with_index();
    folder.write("file", b"not a folder");
    fs::create_dir(folder.file("taken")).unwrap();
    for (line, name) in WRITERS {
        fs::create_dir_all(folder.file("taken").join(name)).unwrap();
        for target in [format!("no/such/folder/{name}"), format!("file/{name}"), format!("taken/{name}")] {
            let before = folder.names();
            folder.orthant(&format!("{line} {target}")).refused(&[name]);
            assert_eq!(folder.names(), before, "{target}");
        }
    }
}

/// A disk that is full, as far as a process can tell: no file may grow beyond a few blocks.
#[cfg(unix)]
#[test]
fn full_disk_leaves_the_old_file() {
    let folder = folder_with_index();
    // Large enough that no command's output fits under the limit.
    folder.write_fbin("base.fbin", DIM, &noise(1, 4000 * DIM));
    folder.write_fbin("query.fbin", DIM, &noise(2, 100 * DIM));
    for (line, name) in WRITERS {
        folder.write(name, b"what was there before");
        let before = folder.names();
        let script = "ulimit -f 8; trap '' XFSZ; exec \"$0\" \"$@\"";
        let mut command = Command::new("sh");
        command.args(["-c", script, env!("CARGO_BIN_EXE_orthant")]);
        folder.run(command.args(line.split_whitespace()).arg(name)).refused(&[name]);
        assert_eq!(fs::read(folder.file(name)).unwrap(), b"what was there before", "{line}");
        assert_eq!(folder.names(), before, "{line}: a temporary file was left");
    }
}

#[test]
fn values_that_do_not_fit_the_format() {
    let folder = folder();
    folder.write_fbin("large.fbin", 2, &[1.0, 2.0, 3.0, 300.0]);
    folder.orthant("convert large.fbin large.u8bin").refused(&["large", "row 1", "column 1"]);
    folder.orthant("convert large.fbin large.u8bin --element f32").refused(&["large.u8bin", "float32"]);
    assert!(!folder.file("large.u8bin").exists());
}

#[test]
fn ground_truth_of_other_queries() {
    let folder = folder_with_index();
    folder.orthant("exact --data base.fbin --queries base.fbin --metric l2 -k 5 -o gt.ibin").ok();
    folder.orthant("search base.orthant query.fbin -k 5 --gt gt.ibin").refused(&["gt.ibin", "300", "5"]);
    folder.orthant("exact --data base.fbin --queries query.fbin --metric l2 -k 5 -o gt.ibin").ok();
    folder.orthant("search base.orthant query.fbin -k 6 --gt gt.ibin").refused(&["gt.ibin", "5", "6"]);
}
