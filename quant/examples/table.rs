//! What every kind of code costs and loses on a data set: the table of the README.
//!
//! `cargo run --release -p orthant-quant --example table -- --data DIR [--rows N] [--queries N]`, or `ORTHANT_DATA=DIR`.
//! DIR holds `base.fbin`, `query.fbin` and `metric` (`l2`, `ip` or `cosine`; cosine is done as L2 of unit rows).

use std::error::Error;
use std::hint::black_box;
use std::path::PathBuf;
use std::time::Instant;

use orthant_formats::VectorFile;
use orthant_kernels::Metric;
use orthant_quant::{
    BlockQuery, EdgeConfig, KMeansConfig, MinMax, PcaConfig, Pq, PqBlockQuery, PqBlocks, PqConfig,
    PqRotation, Probe, Quantizer, Rabitq, RabitqBlocks, Rotation, Scalar, ScalarConfig, Serial, kmeans,
};

const OVERSAMPLE: [f32; 3] = [1.0, 2.0, 4.0];

struct Set {
    metric: Metric,
    dim: usize,
    rows: Vec<f32>,
    queries: Vec<f32>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let (mut data, mut rows, mut queries) =
        (std::env::var_os("ORTHANT_DATA").map(PathBuf::from), 20_000, 100);
    let mut arguments = std::env::args().skip(1);
    while let Some(flag) = arguments.next() {
        let value = arguments.next().ok_or("a flag needs a value")?;
        match flag.as_str() {
            "--data" => data = Some(value.into()),
            "--rows" => rows = value.parse()?,
            "--queries" => queries = value.parse()?,
            _ => return Err(format!("unknown flag {flag}").into()),
        }
    }
    let set = load(data.ok_or("say where the data are: --data DIR or ORTHANT_DATA=DIR")?, rows, queries)?;
    let dim = set.dim;
    let count = set.rows.len() / dim;
    let probe = Probe::new(set.metric, dim, &set.rows, &set.queries, 10)?;
    println!(
        "{count} rows of {dim} dimensions, {}, recall@10 of {} queries",
        set.metric,
        set.queries.len() / dim
    );
    println!(
        "| code | bytes | error | recall at 1x | 2x | 4x | ns per vector |\n|---|---|---|---|---|---|---|"
    );

    for bits in [16, 8, 4] {
        for is_uniform in [false, true] {
            let config = ScalarConfig { is_uniform, ..ScalarConfig::new(bits) };
            let quantizer = Scalar::train(&set.rows, dim, count, dim, &config)?;
            show(&set, &probe, &format!("SQ{bits}{}", if is_uniform { " uniform" } else { "" }), &quantizer);
        }
    }
    for bits in [8, 4] {
        show(&set, &probe, &format!("min-max {bits}"), &MinMax::new(dim, bits)?);
    }
    let mut mean = vec![0.0; dim];
    for row in set.rows.chunks_exact(dim) {
        mean.iter_mut().zip(row).for_each(|(mean, value)| *mean += value / count as f32);
    }
    let rotation = Rotation::hadamard(dim, 1)?;
    let centered = if set.metric == Metric::L2 { rotation.with_mean(&mean) } else { rotation };
    for bits in [8, 4, 2, 1] {
        show(&set, &probe, &format!("RaBitQ {bits}"), &Rabitq::new(centered.clone(), bits)?);
    }
    for bits in [2, 1] {
        let config = EdgeConfig { bits, unit: 1.0, ..EdgeConfig::new(set.metric, 0) };
        let config = EdgeConfig { factors: orthant_quant::EdgeFactors::F32, ..config };
        let mut blocks = RabitqBlocks::new(centered.clone(), config)?;
        set.rows.chunks_exact(dim).for_each(|row| blocks.push(row));
        let mut query = BlockQuery::default();
        let bytes = blocks.bytes() / count;
        show_scan(&set, &probe, &format!("RaBitQ {bits}, blocks"), bytes, None, |question, out| {
            blocks.prepare(question, &mut query);
            blocks.distances(&query, out);
        });
    }
    let out_dim = (dim / 2).next_multiple_of(16);
    let config = PcaConfig { out_dim, is_centered: set.metric == Metric::L2, is_mixed: true, seed: 1 };
    let (pca, kept) = Rotation::pca(&set.rows, dim, count, dim, &config)?;
    let name = format!("PCA {out_dim} ({:.0} % kept), RaBitQ 4", 100.0 * kept);
    show(&set, &probe, &name, &Rabitq::new(pca, 4)?);
    for (subspaces, bits) in [(dim / 2, 8), (dim / 4, 8), (dim / 2, 4)] {
        for rotation in [PqRotation::None, PqRotation::Random, PqRotation::Opq] {
            let config = PqConfig { rotation, passes: 6, sample: 8000, ..PqConfig::new(subspaces, bits, 1) };
            let quantizer = Pq::train(&set.rows, dim, count, dim, &config, &Serial, &|| false)?;
            let name = format!("PQ {subspaces} x {bits}, {rotation:?}");
            show(&set, &probe, &name, &quantizer);
            if bits == 4 {
                let blocks = PqBlocks::new(&quantizer, &set.rows, dim, count);
                let (mut query, mut tables) = (Default::default(), PqBlockQuery::default());
                let bytes = quantizer.code_bytes();
                show_scan(&set, &probe, &format!("{name}, blocks"), bytes, None, |question, out| {
                    quantizer.prepare(set.metric, question, &mut query);
                    blocks.prepare(&query, &mut tables);
                    blocks.distances(&tables, out);
                });
            }
        }
    }
    let clusters = kmeans(&set.rows, dim, count, dim, &KMeansConfig::new(16, 1), &Serial, &|| false)?;
    println!("k-means, 16 centroids: mean squared error {:.4}", clusters.error);
    Ok(())
}

fn load(folder: PathBuf, rows: usize, queries: usize) -> Result<Set, Box<dyn Error>> {
    let name = std::fs::read_to_string(folder.join("metric"))?;
    let metric: Metric = name.trim().parse()?;
    let read = |file: &str, most: usize| -> Result<(usize, Vec<f32>), Box<dyn Error>> {
        let file = VectorFile::open(folder.join(file))?;
        let (count, dim) = (file.rows().min(most), file.dim());
        let mut values = vec![0.0; count * dim];
        file.read_rows(0..count, &mut values)?;
        if metric == Metric::Cosine {
            for row in values.chunks_exact_mut(dim) {
                let norm = row.iter().map(|value| value * value).sum::<f32>().sqrt().max(f32::MIN_POSITIVE);
                row.iter_mut().for_each(|value| *value /= norm);
            }
        }
        Ok((dim, values))
    };
    let (dim, rows) = read("base.fbin", rows)?;
    let (_, queries) = read("query.fbin", queries)?;
    let metric = if metric == Metric::Cosine { Metric::L2 } else { metric };
    Ok(Set { metric, dim, rows, queries })
}

/// A line for codes of single rows.
fn show<Q: Quantizer>(set: &Set, probe: &Probe, name: &str, quantizer: &Q) {
    let count = set.rows.len() / set.dim;
    let codes = quantizer.encode_rows(&set.rows, set.dim, count);
    let report = quantizer.report(&set.rows, set.dim, count.min(2000));
    let mut query = Q::Query::default();
    show_scan(set, probe, name, quantizer.code_bytes(), Some(report.relative_error()), |question, out| {
        quantizer.prepare(set.metric, question, &mut query);
        quantizer.distances(&query, &codes, out);
    });
}

/// A line for any scan of all rows. The time includes preparing the query.
fn show_scan(
    set: &Set,
    probe: &Probe,
    name: &str,
    bytes: usize,
    error: Option<f64>,
    mut scan: impl FnMut(&[f32], &mut [f32]),
) {
    let recalls = probe.recall_of(&OVERSAMPLE, &mut scan);
    let count = set.rows.len() / set.dim;
    let mut out = vec![0.0; count];
    let time = (0..10).map(|_| {
        let start = Instant::now();
        scan(black_box(&set.queries[..set.dim]), &mut out);
        black_box(&out);
        start.elapsed().as_nanos() as f64 / count as f64
    });
    let time = time.fold(f64::INFINITY, f64::min);
    let error = error.map_or("".to_string(), |error| format!("{error:.5}"));
    println!(
        "| {name} | {bytes} | {error} | {:.3} | {:.3} | {:.3} | {time:.1} |",
        recalls[0], recalls[1], recalls[2]
    );
}
