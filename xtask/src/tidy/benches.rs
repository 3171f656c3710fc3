//! Benchmarks: each file is run by criterion. Without its entry in the manifest, cargo would hand it to libtest,
//! which finds no tests in it and says that all is well.

use super::{Finding, SourceFile};

const MANIFEST: &str = "benches/Cargo.toml";
const FOLDER: &str = "benches/benches/";

pub(crate) fn check(files: &[SourceFile]) -> Vec<Finding> {
    let manifest = files.iter().find(|file| file.path == MANIFEST).map_or("", |file| &file.text);
    files
        .iter()
        .filter_map(|file| {
            let name =
                file.path.strip_prefix(FOLDER)?.strip_suffix(".rs").filter(|name| !name.contains('/'))?;
            let entry = format!("[[bench]]\nname = \"{name}\"\nharness = false\n");
            let what = format!("has no `[[bench]]` with `harness = false` in {MANIFEST}");
            (!manifest.contains(&entry)).then(|| Finding::at(&file.path, what))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::file;

    #[test]
    fn a_benchmark_that_nobody_runs_is_found() {
        let bench = || file("benches/benches/pool_join.rs", "");
        let listed = file(MANIFEST, "[[bench]]\nname = \"pool_join\"\nharness = false\n");
        assert_eq!(check(&[listed, bench()]), []);
        let by_libtest = file(MANIFEST, "[[bench]]\nname = \"pool_join\"\n");
        assert_eq!(check(&[by_libtest, bench()]).len(), 1);
        assert_eq!(check(&[file("benches/benches/support/mod.rs", ""), file("pool/src/lib.rs", "")]), []);
    }
}
