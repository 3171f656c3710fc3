//! See `checks::graph`. `cargo +nightly fuzz run graph` in `engine/store/`.
#![no_main]
#[path = "../checks.rs"]
#[allow(dead_code, reason = "each target uses its own part")]
mod checks;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| checks::graph(bytes));
