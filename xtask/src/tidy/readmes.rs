//! READMEs: every package has one.

use std::path::Path;

use super::{Finding, SourceFile, arrows::Package};

pub(crate) fn check(packages: &[Package], files: &[SourceFile], root: &Path) -> Vec<Finding> {
    packages
        .iter()
        .filter_map(|package| {
            let folder = package.folder().strip_prefix(root).ok()?.to_str()?.replace('\\', "/");
            let readme = format!("{folder}/README.md");
            let is_there = files.iter().any(|file| file.path == readme && !file.text.trim().is_empty());
            (!is_there).then(|| Finding::at(&readme, "is missing or empty"))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::{arrows::packages, file};

    #[test]
    fn a_package_without_a_readme_is_found() {
        let metadata =
            r#"{"packages": [{"name": "p", "manifest_path": "/x/pool/Cargo.toml", "dependencies": []}]}"#;
        let packages = packages(metadata).unwrap();
        let root = Path::new("/x");
        assert_eq!(check(&packages, &[file("pool/README.md", "Worker threads.")], root), []);
        assert_eq!(check(&packages, &[file("pool/README.md", "\n")], root).len(), 1);
        assert_eq!(check(&packages, &[file("README.md", "Orthant")], root).len(), 1);
    }
}
