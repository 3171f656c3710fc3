//! `cargo xtask loom`: the models in `tests/loom_*.rs`, with every interleaving of a bounded kind.

use anyhow::{Result, bail};

use crate::{
    cargo::{Count, cargo, count_tests, target_dir},
    flags::LoomFlags,
    steps,
};

/// A crate with models, and what its build needs to be told.
struct Modelled {
    name: &'static str,
    rustflags: &'static str,
}

const MODELLED: &[Modelled] = &[
    Modelled { name: "storage", rustflags: "--cfg loom" },
    Modelled { name: "pool", rustflags: "--cfg loom" },
    // crossbeam-epoch has its own switch for running under loom.
    Modelled { name: "graph", rustflags: "--cfg loom --cfg crossbeam_loom" },
];

/// Runs the models. True when all passed.
pub(crate) fn run(flags: &LoomFlags) -> Result<bool> {
    let chosen: Vec<_> =
        MODELLED.iter().filter(|it| flags.only.as_deref().is_none_or(|name| name == it.name)).collect();
    if chosen.is_empty() {
        bail!("no models there; the crates with models are {}", names());
    }
    // Two preemptions find nearly every bug that is found at all (Musuvathi and Qadeer 2007), in seconds.
    let preemptions = if flags.all { "3" } else { "2" };
    let mut total = Count::default();
    for modelled in chosen {
        println!("\n== orthant-{} under loom, {preemptions} preemptions", modelled.name);
        let count = count_tests(
            cargo(["test", "--release", "--no-fail-fast"])
                .args(["--package", &format!("orthant-{}", modelled.name), "--test", "loom_*"])
                // Other flags, other artifacts: a folder of its own keeps the usual builds as they are.
                .env("CARGO_TARGET_DIR", target_dir().join("loom"))
                .env("RUSTFLAGS", modelled.rustflags)
                .env("LOOM_MAX_PREEMPTIONS", preemptions)
                // The models run for seconds; optimising across crates would take longer than that.
                .env("CARGO_PROFILE_RELEASE_LTO", "off")
                .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16"),
        )?;
        total = Count { passed: total.passed + count.passed, failed: total.failed + count.failed };
    }
    println!();
    steps::print_summary(total.passed, total.failed);
    Ok(total.failed == 0)
}

fn names() -> String {
    MODELLED.iter().map(|it| it.name).collect::<Vec<_>>().join(", ")
}
