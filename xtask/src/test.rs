//! `cargo xtask test`: all tests of the workspace.

use std::process::Command;

use anyhow::Result;

use crate::{
    cargo::{Count, cargo, count_tests, root, test_programs},
    flags::TestFlags,
    steps,
};

mod foreign;

/// The variable that forces the kernels onto one instruction set; see the kernels' documentation.
const ISA: &str = "ORTHANT_ISA";

/// The folder of the crate that has a path for each instruction set.
const KERNELS: &str = "kernels";

/// Runs the tests. True when all passed.
pub(crate) fn run(flags: &TestFlags) -> Result<bool> {
    if let Some(target) = &flags.target {
        return foreign::run(target);
    }
    println!("== all crates");
    let mut total = count_tests(&mut cargo(["test", "--workspace", "--no-fail-fast"]))?;
    if !flags.one_isa {
        for isa in forced_isas() {
            println!("\n== orthant-kernels on {isa}");
            for program in test_programs(KERNELS)? {
                let count =
                    count_tests(Command::new(program).current_dir(root().join(KERNELS)).env(ISA, isa))?;
                total = Count { passed: total.passed + count.passed, failed: total.failed + count.failed };
            }
        }
    }
    println!();
    steps::print_summary(total.passed, total.failed);
    Ok(total.failed == 0)
}

/// The instruction sets this machine has, by the names the kernels know.
fn forced_isas() -> Vec<&'static str> {
    let mut isas = vec!["scalar"];
    #[cfg(target_arch = "x86_64")]
    {
        if std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma") {
            isas.push("avx2");
        }
        // What x86-64-v4 names.
        if std::arch::is_x86_feature_detected!("avx512f")
            && std::arch::is_x86_feature_detected!("avx512bw")
            && std::arch::is_x86_feature_detected!("avx512cd")
            && std::arch::is_x86_feature_detected!("avx512dq")
            && std::arch::is_x86_feature_detected!("avx512vl")
        {
            isas.push("avx512");
        }
    }
    #[cfg(target_arch = "aarch64")]
    isas.push("neon");
    isas
}
