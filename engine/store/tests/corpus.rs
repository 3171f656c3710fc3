//! The fuzzer's corpus, without the fuzzer.

#[path = "../fuzz/checks.rs"]
mod checks;

fn each(name: &str, check: fn(&[u8])) {
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
    let mut count = 0;
    for entry in std::fs::read_dir(&dir).unwrap() {
        check(&std::fs::read(entry.unwrap().path()).unwrap());
        count += 1;
    }
    assert!(count > 0, "{} is empty", dir.display());
}

#[test]
fn filters() {
    each("filter", checks::filter);
}

#[test]
fn payloads() {
    each("payload", checks::payload);
}

#[test]
fn files() {
    each("files", checks::files);
}

#[test]
fn exports() {
    each("export", checks::export);
}

#[test]
fn graphs() {
    each("graph", checks::graph);
}
