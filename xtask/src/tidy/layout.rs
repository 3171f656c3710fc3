//! Layout: the top level has these folders and no others. Folders with a dot are the tools' own.

use std::collections::BTreeSet;

use super::{Finding, SourceFile};

const FOLDERS: &[&str] = &["benches", "engine", "graph", "kernels", "pool", "quant", "storage", "xtask"];

pub(crate) fn check(files: &[SourceFile]) -> Vec<Finding> {
    let folders: BTreeSet<&str> =
        files.iter().filter_map(|file| Some(file.path.split_once('/')?.0)).collect();
    folders
        .into_iter()
        .filter(|folder| !folder.starts_with('.') && !FOLDERS.contains(folder))
        .map(|folder| Finding::at(folder, "is a new folder at the top: nest it in the crate it belongs to"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::file;

    #[test]
    fn only_new_folders_are_found() {
        let known = [file("README.md", ""), file("pool/src/lib.rs", ""), file(".ci/run", "")];
        assert_eq!(check(&known), []);
        let new = [file("common/src/lib.rs", ""), file("common/src/math.rs", "")];
        assert_eq!(check(&new).len(), 1);
        assert_eq!(check(&new)[0].place, "common");
    }
}
