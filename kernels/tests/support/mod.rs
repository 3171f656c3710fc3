//! What the test files share: numbers, the bounds that the documentation promises, and element types.
#![allow(dead_code, reason = "each test file is a crate of its own and uses a part")]

use orthant_kernels::{Element, Isa, Metric, WITHOUT_VARIABLE, bf16, f16, reference};

/// A cheap generator, so that the values are the same on every machine.
pub(crate) struct Numbers(pub(crate) u64);

impl Numbers {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        self.0 >> 33
    }

    pub(crate) fn float(&mut self) -> f32 {
        (self.next() % 20001) as f32 / 10000.0 - 1.0
    }

    pub(crate) fn vector<E: Sample>(&mut self, count: usize) -> Vec<E> {
        (0..count).map(|_| E::sample(self)).collect()
    }
}

/// An element type with values to test on.
pub(crate) trait Sample: Element {
    fn sample(numbers: &mut Numbers) -> Self;
}

impl Sample for f32 {
    fn sample(numbers: &mut Numbers) -> Self {
        numbers.float()
    }
}

impl Sample for f16 {
    fn sample(numbers: &mut Numbers) -> Self {
        f16::from_f32(numbers.float())
    }
}

impl Sample for bf16 {
    fn sample(numbers: &mut Numbers) -> Self {
        bf16::from_f32(numbers.float())
    }
}

impl Sample for u8 {
    fn sample(numbers: &mut Numbers) -> Self {
        numbers.next() as u8
    }
}

impl Sample for i8 {
    fn sample(numbers: &mut Numbers) -> Self {
        numbers.next() as i8
    }
}

/// The same vector in `f32`.
pub(crate) fn widened<E: Element>(vector: &[E]) -> Vec<f32> {
    vector.iter().map(|element| element.to_f32()).collect()
}

/// What the documentation of `Kernel` promises.
pub(crate) fn bound(metric: Metric, a: &[f32], b: &[f32]) -> f64 {
    let epsilon = (a.len() + 4) as f64 * f64::from(f32::EPSILON);
    match metric {
        Metric::L2 | Metric::L1 => epsilon * reference::distance(metric, a, b),
        Metric::InnerProduct => {
            epsilon * a.iter().zip(b).map(|(&x, &y)| (f64::from(x) * f64::from(y)).abs()).sum::<f64>()
        }
        Metric::Cosine => epsilon,
    }
}

/// The command that runs this test binary. Where tests run under an emulator, `ORTHANT_TEST_RUNNER` has the words that
/// go before it.
pub(crate) fn this_test_again() -> std::process::Command {
    let runner = std::env::var("ORTHANT_TEST_RUNNER").unwrap_or_default();
    let binary = std::env::current_exe().unwrap().into_os_string();
    let mut words = runner.split_whitespace().map(std::ffi::OsString::from).chain([binary]);
    let mut command = std::process::Command::new(words.next().unwrap());
    command.args(words);
    command
}

/// Runs the tests of this binary whose names contain `name` where no dot products of bytes are used. It must be some.
pub(crate) fn without_dot_products(name: &str) {
    if std::env::var_os(WITHOUT_VARIABLE).is_some() {
        return; // This is the second run.
    }
    let output = this_test_again().arg(name).env(WITHOUT_VARIABLE, "avx512vnni,dotprod").output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && !text.contains("running 0 tests"), "{text}");
}

#[track_caller]
pub(crate) fn assert_close<Q: Element, R: Element>(metric: Metric, isa: Isa, a: &[Q], b: &[R], found: f32) {
    let (a, b) = (widened(a), widened(b));
    let expected = reference::distance(metric, &a, &b);
    let off = (f64::from(found) - expected).abs();
    assert!(
        off <= bound(metric, &a, &b),
        "{metric} of {} and {} on {isa}, dim {}: found {found}, expected {expected}",
        Q::NAME,
        R::NAME,
        a.len()
    );
}
