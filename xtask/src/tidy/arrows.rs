//! Arrows: which crate of ours may depend on which. Anything else is a new edge in the design.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Deserialize;

use super::Finding;

/// Every package of the workspace and those of ours it may use. A package that is not listed is a finding.
const ALLOWED: &[(&str, &[&str])] = &[
    ("orthant-kernels", &[]),
    ("orthant-storage", &[]),
    ("orthant-formats", &[]),
    ("orthant-graph", &[]),
    ("orthant-pool", &[]),
    ("xtask", &[]),
    ("orthant-quant", &["orthant-kernels"]),
    ("orthant-build", &["orthant-kernels", "orthant-quant"]),
    ("orthant-covertree", &["orthant-kernels", "orthant-pool"]),
    ("orthant-gpu", &["orthant-kernels"]),
    (
        "orthant-engine",
        &[
            "orthant-kernels",
            "orthant-storage",
            "orthant-graph",
            "orthant-build",
            "orthant-pool",
            "orthant-quant",
        ],
    ),
    ("orthant-store", &["orthant-engine"]),
    ("orthant-cli", TOP),
    ("orthant-server", TOP),
    ("orthant-python", TOP),
    (
        "orthant-benches",
        &[
            "orthant-kernels",
            "orthant-storage",
            "orthant-formats",
            "orthant-graph",
            "orthant-build",
            "orthant-pool",
            "orthant-quant",
            "orthant-engine",
            "orthant-store",
            "orthant-covertree",
            "orthant-gpu",
        ],
    ),
];

/// What the programs on top may use.
const TOP: &[&str] = &["orthant-engine", "orthant-store", "orthant-formats", "orthant-covertree"];

/// A package as `cargo metadata` describes it.
#[derive(Debug, Deserialize)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) manifest_path: PathBuf,
    dependencies: Vec<Dependency>,
}

#[derive(Debug, Deserialize)]
struct Dependency {
    name: String,
    /// `dev`, `build`, or nothing for a plain dependency.
    kind: Option<String>,
    /// The version asked for; `*` when none is.
    req: String,
    /// The folder, for a dependency by path.
    path: Option<PathBuf>,
}

/// The packages of the workspace.
pub(crate) fn packages(metadata: &str) -> Result<Vec<Package>> {
    #[derive(Deserialize)]
    struct Metadata {
        packages: Vec<Package>,
    }
    let metadata: Metadata = serde_json::from_str(metadata).context("cargo metadata is not what it was")?;
    Ok(metadata.packages)
}

pub(crate) fn check(packages: &[Package]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for package in packages {
        let Some((_, allowed)) = ALLOWED.iter().find(|(name, _)| *name == package.name) else {
            findings.push(Finding::at(&package.name, "has no line in the table of arrows"));
            continue;
        };
        let ours = |name: &str| packages.iter().any(|package| package.name == name);
        for dependency in package.dependencies.iter().filter(|dependency| ours(&dependency.name)) {
            if dependency.kind.as_deref() == Some("dev") {
                // With a version, neither of two crates that test each other could be published first.
                if dependency.path.is_none() || dependency.req != "*" {
                    let what =
                        format!("dev-dependency {} must be by path, without a version", dependency.name);
                    findings.push(Finding::at(&package.name, what));
                }
            } else if !allowed.contains(&dependency.name.as_str()) {
                findings.push(Finding::at(&package.name, format!("must not depend on {}", dependency.name)));
            }
        }
    }
    findings
}

impl Package {
    /// The package's folder.
    pub(crate) fn folder(&self) -> &Path {
        self.manifest_path.parent().unwrap_or(Path::new(""))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(package: &str, dependency: &str) -> Vec<Finding> {
        let metadata = format!(
            r#"{{"packages": [
                {{"name": "orthant-kernels", "manifest_path": "/x/kernels/Cargo.toml", "dependencies": []}},
                {{"name": "{package}", "manifest_path": "/x/y/Cargo.toml", "dependencies": [{dependency}]}}
            ]}}"#
        );
        check(&packages(&metadata).unwrap())
    }

    const PLAIN: &str = r#"{"name": "orthant-kernels", "kind": null, "req": "^0.1.0", "path": "/x/kernels"}"#;
    const DEV: &str = r#"{"name": "orthant-kernels", "kind": "dev", "req": "*", "path": "/x/kernels"}"#;
    const DEV_VERSION: &str =
        r#"{"name": "orthant-kernels", "kind": "dev", "req": "^0.1.0", "path": "/x/kernels"}"#;
    const BUILD: &str = r#"{"name": "orthant-kernels", "kind": "build", "req": "*", "path": "/x/kernels"}"#;

    #[test]
    fn listed_arrows_pass() {
        assert_eq!(found("orthant-quant", PLAIN), []);
        assert_eq!(
            found("orthant-pool", r#"{"name": "libc", "kind": null, "req": "^0.2", "path": null}"#),
            []
        );
    }

    #[test]
    fn other_arrows_do_not() {
        assert_eq!(
            found("orthant-pool", PLAIN),
            [Finding::at("orthant-pool", "must not depend on orthant-kernels")]
        );
        assert_eq!(found("orthant-pool", BUILD).len(), 1);
        assert_eq!(
            found("orthant-new", ""),
            [Finding::at("orthant-new", "has no line in the table of arrows")]
        );
    }

    #[test]
    fn tests_may_use_any_crate_by_path_only() {
        assert_eq!(found("orthant-pool", DEV), []);
        assert_eq!(found("orthant-pool", DEV_VERSION).len(), 1);
    }
}
