//! Properties of the kernels over random shapes and values, on every path the CPU has.

use orthant_kernels::{CodeKernel, Kernel, Metric, available_isas, reference};
use proptest::prelude::*;

/// Two vectors of one length, over forty binary orders of magnitude.
fn pair_of_vectors() -> impl Strategy<Value = (Vec<f32>, Vec<f32>)> {
    let element = prop_oneof![8 => -1e6f32..1e6, 1 => -1e-6f32..1e-6, 1 => Just(0.0)];
    (0usize..300).prop_flat_map(move |dim| {
        (prop::collection::vec(element.clone(), dim), prop::collection::vec(element.clone(), dim))
    })
}

proptest! {
    #[test]
    fn pairs_are_within_the_documented_bound((a, b) in pair_of_vectors()) {
        let epsilon = (a.len() + 4) as f64 * f64::from(f32::EPSILON);
        let weight: f64 = a.iter().zip(&b).map(|(&x, &y)| (f64::from(x) * f64::from(y)).abs()).sum();
        for isa in available_isas() {
            for metric in Metric::ALL {
                let found = f64::from(Kernel::with_isa(metric, a.len(), isa).unwrap().pair(&a, &b));
                let expected = reference::distance(metric, &a, &b);
                let bound = match metric {
                    Metric::L2 | Metric::L1 => epsilon * expected + 1e-40,
                    Metric::InnerProduct => epsilon * weight + 1e-40,
                    Metric::Cosine => epsilon,
                };
                prop_assert!((found - expected).abs() <= bound, "{metric} on {isa}: {found} is not {expected}");
            }
        }
    }

    #[test]
    fn pairs_are_symmetric((a, b) in pair_of_vectors()) {
        for isa in available_isas() {
            for metric in [Metric::L2, Metric::InnerProduct, Metric::L1] {
                let kernel = Kernel::with_isa(metric, a.len(), isa).unwrap();
                prop_assert_eq!(kernel.pair(&a, &b), kernel.pair(&b, &a));
            }
        }
    }

    #[test]
    fn code_sums_agree_on_every_path(
        (weights, code) in (0usize..300).prop_flat_map(|dim| {
            (prop::collection::vec(-7000i16..7000, dim), prop::collection::vec(any::<u8>(), dim))
        })
    ) {
        let expected = reference::code_dot(&weights, &code);
        for isa in available_isas() {
            let found = CodeKernel::with_isa(code.len(), isa).unwrap().pair(&weights, &code);
            prop_assert_eq!(i64::from(found), expected);
        }
    }
}
