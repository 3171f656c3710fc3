//! Pairs of vectors for every metric and element type that we share with a rival, and calls into all of them.

use std::sync::OnceLock;

use orthant_kernels::{Against, BitKernel, BitMetric, Element, Kernel, Metric, bf16, f16};

/// The dimensions of the table.
pub const DIMS: [usize; 11] = [96, 100, 128, 256, 384, 512, 768, 960, 1024, 1536, 3072];

/// One way to compute one distance, ready to be called.
pub struct Contender {
    /// Who computes it.
    pub name: &'static str,
    /// Computes it once and returns it, so that it cannot be left out.
    pub run: Box<dyn Fn() -> f64>,
}

/// One row of the table: the same distance by everyone who offers it. Ours is first.
pub struct Case {
    /// The metric.
    pub metric: &'static str,
    /// The element type.
    pub element: &'static str,
    /// The dimension, in elements.
    pub dim: usize,
    /// Everyone.
    pub contenders: Vec<Contender>,
}

/// Elements on a boundary of 64 bytes, so that everyone reads whole cache lines.
struct Aligned<T> {
    elements: Vec<T>,
    lead: usize,
    dim: usize,
}

impl<T: Copy> Aligned<T> {
    fn new(dim: usize, make: impl Fn(usize) -> T) -> &'static [T] {
        let per_line = 64 / size_of::<T>();
        let elements: Vec<T> = (0..dim + per_line).map(|_| make(0)).collect();
        let lead = elements.as_ptr().align_offset(64);
        let mut aligned = Self { elements, lead, dim };
        for at in 0..dim {
            aligned.elements[aligned.lead + at] = make(at);
        }
        // A table is made once per process.
        let leaked: &'static Self = Box::leak(Box::new(aligned));
        &leaked.elements[leaked.lead..][..leaked.dim]
    }
}

fn wave(at: usize, step: f32) -> f32 {
    (at as f32 * step).sin()
}

type Faiss = unsafe extern "C" fn(*const f32, *const f32, usize) -> f32;

/// The pair functions of faiss, if `FAISS_LIB` names a `libfaiss.so` (one comes with `pip install faiss-cpu`).
fn faiss(symbol: &'static str) -> Option<Faiss> {
    static LIBRARY: OnceLock<Option<libloading::Library>> = OnceLock::new();
    let library = LIBRARY.get_or_init(|| {
        let path = std::env::var_os("FAISS_LIB")?;
        // SAFETY: the user names a library to be run.
        Some(unsafe { libloading::Library::new(path) }.expect("FAISS_LIB must name a loadable libfaiss.so"))
    });
    // SAFETY: the symbols asked for have this type in every faiss since 1.5.
    let function = unsafe { library.as_ref()?.get::<Faiss>(symbol.as_bytes()) };
    Some(*function.expect("FAISS_LIB must export the distances of faiss"))
}

fn contender(name: &'static str, run: impl Fn() -> f64 + 'static) -> Contender {
    Contender { name, run: Box::new(run) }
}

/// Ours and those of a rival whose slices can be made from ours.
macro_rules! spatial {
    ($cases:ident, $element:ty, $make:expr, simsimd: $simsimd:ty, numkong: $numkong:ty) => {
        for dim in DIMS {
            let (a, b) = (Aligned::new(dim, |at| $make(at, 0.37)), Aligned::new(dim, |at| $make(at, 0.73)));
            for metric in [Metric::L2, Metric::InnerProduct, Metric::Cosine] {
                let mut contenders = vec![ours::<$element>(metric, a, b)];
                {
                    use simsimd::SpatialSimilarity as Rival;
                    let (a, b) = (recast::<$element, $simsimd>(a), recast::<$element, $simsimd>(b));
                    contenders.push(contender("SimSIMD", move || {
                        match metric {
                            Metric::L2 => <$simsimd as Rival>::sqeuclidean(a, b),
                            Metric::InnerProduct => <$simsimd as Rival>::dot(a, b),
                            _ => <$simsimd as Rival>::cosine(a, b),
                        }
                        .unwrap() as f64
                    }));
                }
                {
                    let (a, b) = (recast::<$element, $numkong>(a), recast::<$element, $numkong>(b));
                    contenders.push(contender("NumKong", move || match metric {
                        Metric::L2 => <$numkong as numkong::Euclidean>::sqeuclidean(a, b).unwrap() as f64,
                        Metric::InnerProduct => <$numkong as numkong::Dot>::dot(a, b).unwrap() as f64,
                        _ => <$numkong as numkong::Angular>::angular(a, b).unwrap() as f64,
                    }));
                }
                $cases.push(Case { metric: metric.name(), element: <$element>::NAME, dim, contenders });
            }
        }
    };
}

fn ours<E: Against<E>>(metric: Metric, a: &'static [E], b: &'static [E]) -> Contender {
    let kernel = Kernel::<E>::between(metric, a.len()).expect("the path that is forced must be there");
    contender("ours", move || f64::from(kernel.pair(a, b)))
}

/// The same bytes as elements of a type with the same layout.
fn recast<T, U>(elements: &'static [T]) -> &'static [U] {
    assert_eq!((size_of::<T>(), align_of::<T>()), (size_of::<U>(), align_of::<U>()));
    // SAFETY: both are plain numbers of the same size and alignment (asserted); every bit pattern is one.
    unsafe { std::slice::from_raw_parts(elements.as_ptr().cast(), elements.len()) }
}

/// Every case.
pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    spatial!(cases, f32, wave, simsimd: f32, numkong: f32);
    spatial!(cases, f16, |at, step| f16::from_f32(wave(at, step)), simsimd: simsimd::f16, numkong: numkong::f16);
    spatial!(cases, bf16, |at, step| bf16::from_f32(wave(at, step)), simsimd: simsimd::bf16, numkong: numkong::bf16);
    spatial!(cases, i8, |at, step| (wave(at, step) * 127.0) as i8, simsimd: i8, numkong: i8);
    u8_cases(&mut cases);
    faiss_cases(&mut cases);
    bit_cases(&mut cases);
    cases
}

/// `u8`, which SimSIMD does not offer in Rust.
fn u8_cases(cases: &mut Vec<Case>) {
    for dim in DIMS {
        let make = |step: f32| Aligned::new(dim, |at| ((wave(at, step) + 1.0) * 127.0) as u8);
        let (a, b) = (make(0.37), make(0.73));
        for metric in [Metric::L2, Metric::InnerProduct, Metric::Cosine] {
            let rival = contender("NumKong", move || match metric {
                Metric::L2 => <u8 as numkong::Euclidean>::sqeuclidean(a, b).unwrap() as f64,
                Metric::InnerProduct => <u8 as numkong::Dot>::dot(a, b).unwrap() as f64,
                _ => <u8 as numkong::Angular>::angular(a, b).unwrap() as f64,
            });
            let contenders = vec![ours::<u8>(metric, a, b), rival];
            cases.push(Case { metric: metric.name(), element: "u8", dim, contenders });
        }
    }
}

/// faiss has pairs of `f32` only. Its distances join the cases that are there; L1 is its own.
fn faiss_cases(cases: &mut Vec<Case>) {
    let symbols = [
        (Metric::L2, "_ZN5faiss10fvec_L2sqrEPKfS1_m"),
        (Metric::InnerProduct, "_ZN5faiss18fvec_inner_productEPKfS1_m"),
        (Metric::L1, "_ZN5faiss7fvec_L1EPKfS1_m"),
    ];
    for (metric, symbol) in symbols {
        let Some(function) = faiss(symbol) else { continue };
        for dim in DIMS {
            let (a, b) = (Aligned::new(dim, |at| wave(at, 0.37)), Aligned::new(dim, |at| wave(at, 0.73)));
            // SAFETY: both have `dim` elements.
            let rival =
                contender("faiss", move || f64::from(unsafe { function(a.as_ptr(), b.as_ptr(), dim) }));
            let is_same =
                |case: &&mut Case| (case.metric, case.element, case.dim) == (metric.name(), "f32", dim);
            match cases.iter_mut().find(is_same) {
                Some(case) => case.contenders.push(rival),
                None => cases.push(Case {
                    metric: metric.name(),
                    element: "f32",
                    dim,
                    contenders: vec![ours::<f32>(metric, a, b), rival],
                }),
            }
        }
    }
}

/// Bits: the dimension is in bits, rounded down to whole bytes.
fn bit_cases(cases: &mut Vec<Case>) {
    for dim in DIMS {
        let make = |step: f32| Aligned::new(dim / 8, |at| (wave(at, step) * 12345.6) as i32 as u8);
        let (a, b) = (make(0.37), make(0.73));
        for metric in BitMetric::ALL {
            let kernel = BitKernel::new(metric, a.len()).expect("the path that is forced must be there");
            let (c, d) = (recast::<u8, numkong::u1x8>(a), recast::<u8, numkong::u1x8>(b));
            let contenders = vec![
                contender("ours", move || f64::from(kernel.pair(a, b))),
                contender("SimSIMD", move || {
                    use simsimd::BinarySimilarity as Rival;
                    match metric {
                        BitMetric::Hamming => <u8 as Rival>::hamming(a, b),
                        BitMetric::Jaccard => <u8 as Rival>::jaccard(a, b),
                    }
                    .unwrap()
                }),
                contender("NumKong", move || match metric {
                    BitMetric::Hamming => <numkong::u1x8 as numkong::Hamming>::hamming(c, d).unwrap() as f64,
                    BitMetric::Jaccard => <numkong::u1x8 as numkong::Jaccard>::jaccard(c, d).unwrap() as f64,
                }),
            ];
            cases.push(Case { metric: metric.name(), element: "bits", dim: dim / 8 * 8, contenders });
        }
    }
}
