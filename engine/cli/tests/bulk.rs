//! `--method bulk` on the command line: killed, started again, in little memory.

mod support;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use support::{Folder, noise};

/// Builds `rows` of `dim`, kills the build `kills` times at points drawn over its length, and looks at what is there.
fn kill_and_restart(rows: usize, dim: usize, kills: usize) {
    let folder = Folder::new();
    folder.write_fbin("base.fbin", dim, &noise(3, rows * dim));
    let build = |name: &str, threads: usize| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_orthant"));
        command
            .args(["build", "--method", "bulk", "--floor", "0", "--metric", "l2", "--data"])
            .arg(folder.file("base.fbin"));
        command.args(["--threads", &threads.to_string(), "-o"]).arg(folder.file(name));
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command
    };
    let started = Instant::now();
    assert!(build("one.orthant", 1).status().unwrap().success());
    let expected = fs::read(folder.file("one.orthant")).unwrap();
    assert!(build("two.orthant", 2).status().unwrap().success());
    let length = started.elapsed() / 2;
    assert!(fs::read(folder.file("two.orthant")).unwrap() == expected, "two threads make another file");

    let path = folder.file("killed.orthant");
    let whole = |path: &Path| match fs::read(path) {
        Ok(bytes) => {
            assert!(bytes == expected, "a file that is not whole");
            true
        }
        Err(error) => {
            assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
            false
        }
    };
    let mut state = 0x9E37_79B9_7F4A_7C15u64;
    let (mut cut_short, mut with_steps) = (0, 0);
    for _ in 0..kills {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        let point = (state >> 40) as f64 / (1u64 << 24) as f64;
        let mut child = build("killed.orthant", 2).spawn().unwrap();
        std::thread::sleep(Duration::from_secs_f64(length.as_secs_f64() * point));
        child.kill().unwrap();
        child.wait().unwrap();
        cut_short += usize::from(!whole(&path));
        let steps = folder.file("killed.orthant.building");
        with_steps += usize::from(steps.exists());
        // Started again, it comes to the same end, whatever was left lying.
        assert!(build("killed.orthant", 2).status().unwrap().success());
        assert!(whole(&path) && !steps.exists());
        fs::remove_file(&path).unwrap();
    }
    println!("{cut_short} of {kills} builds ended before there was a file; {with_steps} had kept steps");
}

/// Few and small by default; `ORTHANT_KILLS=20 ORTHANT_KILLED_ROWS=100000` before `cargo test --release` makes it long.
#[test]
fn a_killed_build_leaves_nothing_or_all_and_can_be_started_again() {
    let asked = |name, default| {
        std::env::var(name).map_or(default, |count| count.parse().expect("a count in the environment"))
    };
    kill_and_restart(asked("ORTHANT_KILLED_ROWS", 4000), 16, asked("ORTHANT_KILLS", 4));
}

#[test]
fn steps_lie_beside_the_index_until_it_is_there() {
    let folder = Folder::new();
    folder.write_fbin("base.fbin", 16, &noise(8, 6000 * 16));
    let line = |more: &str| format!("build --data base.fbin --metric l2 --method bulk --floor 0 {more}");
    folder.orthant(&line("-o free.orthant --no-resume")).ok();
    let steps = folder.file("tight.orthant.building");
    fs::create_dir(&steps).unwrap();
    fs::write(steps.join("level-0-balls.step"), "not a step").unwrap();
    let ran = folder.orthant(&line("-o tight.orthant"));
    assert!(ran.stderr.contains("1 file in") && ran.stderr.contains("passed over"), "{}", ran.stderr);
    ran.ok();
    assert_eq!(folder.names(), ["base.fbin", "free.orthant", "tight.orthant"], "steps are gone");
    let [free, tight] = ["free.orthant", "tight.orthant"].map(|name| fs::read(folder.file(name)).unwrap());
    assert!(free == tight);
    // Nothing is looked at where that is asked for.
    fs::create_dir(&steps).unwrap();
    fs::write(steps.join("level-0-balls.step"), "not a step").unwrap();
    let ran = folder.orthant(&line("-o tight.orthant --no-resume"));
    assert!(!ran.stderr.contains("passed over") && steps.exists(), "{}", ran.stderr);
}

#[test]
fn rows_that_do_not_fit_stay_in_a_file_and_the_index_is_the_same() {
    let folder = Folder::new();
    // Most of what the build takes are rows.
    let (rows, dim) = (4000, 1024);
    folder.write_fbin("base.fbin", dim, &noise(4, rows * dim));
    // Rows without any order are found badly; that is not what is looked at.
    let build = |more: &str| {
        let line = format!("build --data base.fbin --metric cosine --method bulk --floor 0 {more}");
        let ran = folder.orthant(&line);
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        ran.stderr
    };
    assert!(!build("-o free.orthant").contains("in a file"));
    assert!(build("--max-memory 30M -o tight.orthant").contains("in a file"));
    let [free, tight] = ["free.orthant", "tight.orthant"].map(|name| fs::read(folder.file(name)).unwrap());
    assert!(free == tight, "rows on disk make another index");
    assert_eq!(folder.names(), ["base.fbin", "free.orthant", "tight.orthant"], "the file of rows is gone");
}

#[test]
fn too_little_memory_is_refused_before_anything_is_read() {
    let folder = Folder::new();
    folder.write_fbin("base.fbin", 64, &noise(5, 2000 * 64));
    let tight = "build --data base.fbin --metric l2 --method bulk --max-memory 1M -o i.orthant";
    folder.orthant(tight).refused(&["--max-memory 1.0 MiB", "rows on disk"]);
    assert_eq!(folder.names(), ["base.fbin"]);
    let inserted = "build --data base.fbin --metric l2 --max-memory 1G -o i.orthant";
    folder.orthant(inserted).refused(&["--method bulk"]);
}

#[test]
fn tune_compares_builds() {
    let folder = Folder::new();
    folder.write_fbin("base.fbin", 16, &noise(6, 3000 * 16));
    let tuned = folder.orthant("tune --data base.fbin --metric l2 --sample 2000 --efc 20,60 --json").json();
    let builds = tuned["builds"].as_array().unwrap();
    let methods: Vec<&str> = builds.iter().map(|build| build["method"].as_str().unwrap()).collect();
    assert_eq!(methods, ["bulk", "insert 20", "insert 60"]);
    assert_eq!((&tuned["n"], &tuned["d"]), (&2000.into(), &16.into()));
    for build in builds {
        assert!(
            build["recall"].as_f64().unwrap() > 0.8 && build["build_vps"].as_f64().unwrap() > 0.0,
            "{build}"
        );
    }
    assert!(methods.contains(&tuned["chosen"].as_str().unwrap()));
    let text = folder.orthant("tune --data base.fbin --metric ip --sample 500 --efc 20").ok();
    assert!(text.contains("insert 20") && !text.contains("bulk "), "{text}");
}
