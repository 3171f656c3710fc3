//! What the demo runs on when nobody names a folder: the checkout it is started in, else the docs
//! compiled into the binary.

use std::path::PathBuf;

/// Questions whose answers a person can look up in Orthant's own docs and sources.
pub(super) const QUESTIONS: [&str; 3] = [
    "How are replaced neighbor lists freed while readers still search them?",
    "What happens to a torn or corrupted index file?",
    "How is recall measured, and do ties count?",
];

/// The docs of a release, for a binary that is started outside a checkout.
pub(super) const DOCS: [(&str, &str); 11] = [
    ("README.md", include_str!("../../../../README.md")),
    ("ARCHITECTURE.md", include_str!("../../../../ARCHITECTURE.md")),
    ("kernels/README.md", include_str!("../../../../kernels/README.md")),
    ("storage/README.md", include_str!("../../../../storage/README.md")),
    ("storage/formats/README.md", include_str!("../../../../storage/formats/README.md")),
    ("graph/README.md", include_str!("../../../../graph/README.md")),
    ("pool/README.md", include_str!("../../../../pool/README.md")),
    ("quant/README.md", include_str!("../../../../quant/README.md")),
    ("engine/README.md", include_str!("../../../README.md")),
    ("engine/cli/README.md", include_str!("../../README.md")),
    ("CHANGELOG.md", include_str!("../../../../CHANGELOG.md")),
];

/// The checkout that holds the current folder, if there is one.
pub(super) fn checkout() -> Option<PathBuf> {
    let here = std::env::current_dir().ok()?;
    let is_checkout = |folder: &&std::path::Path| {
        ["engine/cli/Cargo.toml", "kernels/Cargo.toml", "graph/Cargo.toml"]
            .iter()
            .all(|file| folder.join(file).is_file())
    };
    here.ancestors().find(is_checkout).map(PathBuf::from)
}
