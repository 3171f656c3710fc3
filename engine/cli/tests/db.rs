//! `orthant db` by running it.

mod support;

use std::process::Command;

use serde_json::Value;
use support::{Folder, Ran};

fn orthant(folder: &Folder, words: &[&str]) -> Ran {
    folder.run(Command::new(env!("CARGO_BIN_EXE_orthant")).args(words))
}

/// Vectors on a line and their payloads.
fn files(folder: &Folder) {
    let values: Vec<f32> = (0..30).flat_map(|n| [n as f32, 1.0]).collect();
    folder.write_fbin("v.fbin", 2, &values);
    let line = |n: u32| {
        format!("{{\"id\": \"k{n}\", \"size\": {n}, \"section\": \"s{}\", \"who\": \"t{}\"}}\n", n % 3, n % 2)
    };
    folder.write("p.jsonl", (0..30).map(line).collect::<String>().as_bytes());
    let line = |n: u32| format!("k{n},{n},s{}\n", n % 3);
    folder
        .write("p.csv", ("id,size,section\n".to_owned() + &(0..30).map(line).collect::<String>()).as_bytes());
}

fn keys(object: &Value, list: &str) -> Vec<String> {
    object[list].as_array().unwrap().iter().map(|row| row["key"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_collection_from_beginning_to_end() {
    let folder = Folder::new();
    files(&folder);
    let db = "db";
    let run = |words: &[&str]| orthant(&folder, &[&["db"], words, &["--json"]].concat()).json();
    for name in ["a", "b"] {
        let fields = ["--field", "size:integer", "--field", "section:keyword"];
        run(&[&["create", db, name, "--dim", "2", "--metric", "l2"], &fields[..]].concat());
    }
    let from = ["--vectors", "v.fbin", "--key", "id", "--batch", "7"];
    let one = run(&[&["import", db, "a", "--payload", "p.csv"], &from[..]].concat());
    assert_eq!(one["rows"], 30);
    let tenants = ["--payload", "p.jsonl", "--tenant-field", "who"];
    run(&[&["import", db, "b"], &tenants[..], &from[..]].concat());

    let filter = "section = 's1' AND size BETWEEN 5 AND 20";
    let found = run(&["search", db, "a", "--vector", "6.2,1", "-k", "3", "--filter", filter]);
    assert_eq!(keys(&found, "found"), ["k7", "k10", "k13"]);
    let found = run(&["search", db, "b", "--tenant", "t1", "--vector", "6.2,1", "-k", "2"]);
    assert_eq!(keys(&found, "found"), ["k7", "k5"]);
    let found = run(&["search", db, "a", "--like", "k4", "--unlike", "k3", "-k", "1"]);
    assert_eq!(keys(&found, "found"), ["k5"]);

    let found = run(&[
        "search",
        db,
        "a",
        "--vector",
        "6.2,1",
        "-k",
        "2",
        "--group-by",
        "section",
        "--group-size",
        "2",
    ]);
    let groups: Vec<_> =
        found["groups"].as_array().unwrap().iter().map(|group| keys(group, "found")).collect();
    assert_eq!(groups, [["k6", "k9"], ["k7", "k4"]]);
    assert_eq!(found["groups"][1]["value"], "s1");

    run(&["snapshot", db, "a", "create", "before"]);
    assert_eq!(run(&["delete", db, "a", "--filter", "size >= 3"])["rows"], 27);
    run(&["upsert", db, "a", "--key", "new", "--vector", "-1,1", "--payload", "{\"size\": 99}"]);
    let page = run(&["scroll", db, "a", "--limit", "2"]);
    assert_eq!((keys(&page, "rows"), &page["next"]), (vec!["k0".to_owned(), "k1".to_owned()], &"k1".into()));
    assert_eq!(keys(&run(&["scroll", db, "a", "--after", "k1"]), "rows"), ["k2", "new"]);
    let found = run(&["search", db, "a", "--vector", "20,1", "-k", "1", "--at", "before"]);
    assert_eq!(keys(&found, "found"), ["k20"]);
    run(&["snapshot", db, "a", "rollback", "before"]);
    assert_eq!(run(&["stats", db])["collections"]["a"]["stats"]["rows"], 30);
    let exported = run(&["export", db, "a", "a.parquet"]);
    assert_eq!((&exported["rows"], &exported["collection"]), (&30.into(), &"a".into()));
    assert_eq!(run(&["import", "other", "c", "--from", "a.parquet"])["rows"], 30);
    let found = run(&["search", "other", "c", "--vector", "6.2,1", "-k", "3", "--filter", filter]);
    assert_eq!(keys(&found, "found"), ["k7", "k10", "k13"]);
    // Any Parquet file is a file of payloads, one column of which may be the vector.
    run(&["create", "other", "d", "--dim", "2", "--metric", "l2"]);
    let columns = ["--payload", "a.parquet", "--vector-column", "vector:vector", "--key", "text"];
    assert_eq!(run(&[&["import", "other", "d"], &columns[..]].concat())["rows"], 30);
    let found = run(&["search", "other", "d", "--vector", "6.2,1", "-k", "1"]);
    assert_eq!(keys(&found, "found"), ["k6"]);
    run(&["compact", db]);
    assert_eq!(run(&["check", db])["damages"], 0);
    assert_eq!(run(&["repair", db])["deleted"], 0);
}

#[test]
fn errors_name_what_is_wrong() {
    let folder = Folder::new();
    let db = "db";
    let fails = |words: &[&str]| {
        let ran = orthant(&folder, &[&["db"], words].concat());
        assert_eq!(ran.code, Some(2), "{}", ran.stderr);
        ran.stderr
    };
    assert!(fails(&["stats", db]).contains("no database"));
    let made = orthant(&folder, &["db", "create", db, "a", "--dim", "2", "--field", "size:integer"]);
    assert_eq!(made.code, Some(0));
    assert!(fails(&["create", db, "a", "--dim", "2"]).contains("taken"));
    assert!(fails(&["search", db, "b", "--vector", "1,2"]).contains("there are: a"));
    let error = fails(&["search", db, "a", "--vector", "1,2", "--filter", "colour = 'red'"]);
    assert!(error.contains("line 1, column 1") && error.contains("colour"), "{error}");
    let error =
        fails(&["upsert", db, "a", "--key", "1", "--vector", "1,2", "--payload", "{\"size\": \"x\"}"]);
    assert!(error.contains("size"), "{error}");
}

/// What is easily got wrong, and used to go wrong without a word.
#[test]
fn what_is_not_there_is_said() {
    let folder = Folder::new();
    files(&folder);
    let run = |words: &[&str]| orthant(&folder, &[&["db"], words].concat());
    run(&["create", "db", "a", "--dim", "2", "--metric", "l2", "--field", "size:integer"]).ok();
    run(&["create", "db", "b", "--dim", "2", "--metric", "l2"]).ok();
    let tenants = ["--payload", "p.jsonl", "--tenant-field", "who", "--vectors", "v.fbin"];
    run(&[&["import", "db", "a"], &tenants[..]].concat()).ok();
    for words in [
        &["search", "db", "a", "--vector", "1,1"][..],
        &["scroll", "db", "a"],
        &["delete", "db", "a", "--key", "1"],
    ] {
        let ran = run(words);
        let expected = "tenant \"default\" has no rows; there are (--tenant): \"t0\", \"t1\"";
        assert!(ran.code == Some(0) && ran.stderr.contains(expected), "{words:?}: {}", ran.stderr);
    }
    let ran = run(&["scroll", "db", "a", "--tenant", "t1", "--filter", "size > 1000"]);
    assert!(!ran.stderr.contains("has no rows"), "{}", ran.stderr);
    let ran = run(&["stats", "db", "c"]);
    assert!(ran.code == Some(2) && ran.stderr.contains("there are: a, b"), "{}", ran.stderr);
    let done = run(&["compact", "db", "--json"]).json();
    assert_eq!(
        (&done["collections"]["a"]["moved_rows"], &done["collections"]["b"]["removed_files"]),
        (&0.into(), &0.into())
    );
}

#[test]
fn keys_that_look_like_numbers_stay_apart() {
    let folder = Folder::new();
    let run = |words: &[&str]| orthant(&folder, &[&["db"], words, &["--json"]].concat()).json();
    run(&["create", "db", "a", "--dim", "2", "--metric", "l2"]);
    for key in ["7", "007", "+7"] {
        run(&["upsert", "db", "a", "--key", key, "--vector", "1,1"]);
    }
    let mut found = keys(&run(&["scroll", "db", "a"]), "rows");
    found.sort();
    assert_eq!(found, ["+7", "007", "7"]);
    assert_eq!(run(&["delete", "db", "a", "--key", "007"])["rows"], 1);
    assert_eq!(keys(&run(&["scroll", "db", "a", "--limit", "1"]), "rows"), ["7"]);
}

#[test]
fn an_import_says_what_it_wrote() {
    let folder = Folder::new();
    files(&folder);
    let run = |words: &[&str]| orthant(&folder, &[&["db"], words].concat());
    run(&["create", "db", "a", "--dim", "2", "--metric", "l2"]).ok();
    let line = |n: u32| format!("{{\"id\": {n}, \"at\": [{n}, 1]}}\n{}", ["", "\n"][n as usize % 2]);
    let lines: String = (0..20).map(line).collect();
    folder.write("good.jsonl", lines.as_bytes());
    folder.write("bad.jsonl", (lines + "{\"id\": 20, \"at\": [1]}\n").as_bytes());
    let columns = ["--vector-column", "at", "--key", "id", "--batch", "8"];
    let done =
        run(&[&["import", "db", "a", "--payload", "good.jsonl", "--json"], &columns[..]].concat()).json();
    assert_eq!(done["rows"], 20, "blank lines are no rows");
    let ran = run(&[&["import", "db", "a", "--payload", "bad.jsonl"], &columns[..]].concat());
    assert_eq!(ran.code, Some(2));
    assert!(ran.stderr.contains("the first 16 rows are written"), "{}", ran.stderr);
}

#[test]
fn tenants_and_agents_are_measured() {
    let folder = Folder::new();
    let object = orthant(&folder, &["bench", "tenants", "--tenants", "50", "--dim", "4", "--json"]).json();
    assert_eq!((&object["tenants"], &object["rows"]), (&50.into(), &3.into()));
    let words =
        ["bench", "agents", "--rows", "300", "--dim", "8", "--agents", "3", "--minutes", "0.02", "--json"];
    let object = orthant(&folder, &words).json();
    assert_eq!(object["errors"], 0);
    assert!(object["searches"].as_u64() > object["writes"].as_u64());
}

#[test]
fn a_writer_is_killed_and_loses_nothing() {
    let object = orthant(&Folder::new(), &["bench", "crash", "--kills", "4", "--json"]).json();
    assert_eq!(
        (&object["lost"], &object["phantom"], &object["validate"]),
        (&0.into(), &0.into(), &true.into())
    );
}
