//! The gate: on data that few bits do not fit, an index with blocks finds what one without does.

use orthant_engine::{Index, Metric, OpenOptions, Quantization, SearchParams};

mod support;
use support::{clustered, recall};

fn built(dim: usize, metric: Metric, rows: &[f32], quantization: Quantization) -> Index {
    let builder = Index::builder(dim, metric).m(8).ef_construction(80).threads(1);
    let mut index = builder.quantization(quantization).build().unwrap();
    index.insert_batch(rows, None).unwrap();
    index.train().unwrap();
    index
}

/// Rows that are hard on codes, by name.
fn hard(count: usize, seed: u64) -> Vec<(&'static str, usize, Vec<f32>)> {
    let flat = clustered(count, 2, seed);
    let wide = clustered(count, 24, seed);
    let mut far: Vec<f32> = wide.iter().map(|value| 1e6 + value).collect();
    far.iter_mut().step_by(24).for_each(|value| *value *= 3.0);
    // One dimension counts a hundred times as much as all others.
    let mut lopsided = wide.clone();
    lopsided.iter_mut().step_by(24).for_each(|value| *value *= 1e4);
    // A few rows have norms beyond all others.
    let mut spiked = wide.clone();
    spiked.chunks_exact_mut(24).step_by(97).for_each(|row| row.iter_mut().for_each(|value| *value *= 1e12));
    // Every other row is the same.
    let mut equal = wide.clone();
    let first = wide[..24].to_vec();
    equal.chunks_exact_mut(24).step_by(2).for_each(|row| row.copy_from_slice(&first));
    vec![
        ("two dimensions", 2, flat),
        ("far from the origin", 24, far),
        ("lopsided", 24, lopsided),
        ("spiked", 24, spiked),
        ("equal", 24, equal),
        ("well-behaved", 24, wide),
    ]
}

#[test]
fn what_codes_cannot_do_is_not_left_to_them() {
    for ((name, dim, rows), (_, _, queries)) in hard(2000, 1).into_iter().zip(hard(60, 2)) {
        for metric in [Metric::L2, Metric::Cosine] {
            let blocks = built(dim, metric, &rows, Quantization::Blocks);
            let plain = built(dim, metric, &rows, Quantization::None);
            let choice = blocks.info().choice.expect("it was trained");
            let (coded, whole) = (recall(&blocks, &queries, 128), recall(&plain, &queries, 128));
            // What was asked for, or what whole rows do, less the error of the points.
            assert!(
                coded >= whole.min(0.95) - 0.02,
                "{name} {metric}: {coded} with {choice:?}, {whole} without codes"
            );
        }
    }
}

#[test]
fn the_choice_and_its_evidence_are_saved() {
    let rows = clustered(1500, 32, 5);
    let index = built(32, Metric::L2, &rows, Quantization::Blocks);
    let choice = index.info().choice.unwrap();
    assert!(choice.points > 100 && choice.trials.len() >= 3, "{choice:?}");
    assert!(choice.bits > 0 && choice.target == 0.95, "{choice:?}");
    let path = std::env::temp_dir().join(format!("orthant-gate-{}.idx", std::process::id()));
    index.save(&path).unwrap();
    let opened = Index::open(&path, &OpenOptions::default()).unwrap();
    std::fs::remove_file(&path).unwrap();
    assert_eq!(opened.info().choice, Some(choice));
    let queries = clustered(40, 32, 6);
    let params = SearchParams::new(10, 40);
    assert_eq!(index.search_batch(&queries, params).unwrap(), opened.search_batch(&queries, params).unwrap());
}

#[test]
fn bits_can_be_fixed() {
    let rows = clustered(800, 20, 7);
    let mut sizes = Vec::new();
    for bits in [1, 2, 4] {
        let builder = Index::builder(20, Metric::L2).threads(1).quantization(Quantization::Blocks);
        let mut index = builder.block_bits(bits).build().unwrap();
        index.insert_batch(&rows, None).unwrap();
        index.train().unwrap();
        let info = index.info();
        let choice = info.choice.unwrap();
        assert_eq!((choice.bits, choice.points), (bits, 0));
        sizes.push(info.memory.list_bytes);
        assert!(recall(&index, &rows[..20 * 50], 64) > 0.9, "{bits}");
    }
    assert!(sizes.is_sorted() && sizes[0] < sizes[2]);
    let builder = Index::builder(20, Metric::L2).quantization(Quantization::Blocks).block_bits(3);
    assert!(builder.build().is_err());
}

#[test]
fn what_was_decided_is_asked_again_as_rows_change() {
    let dim = 24;
    let first = clustered(1200, dim, 11);
    let mut index = built(dim, Metric::L2, &first, Quantization::Blocks);
    let info = index.info();
    assert_eq!((info.decided_rows, info.inserted_since), (1200, 0));
    index.train().unwrap();
    assert_eq!(index.info().choice, info.choice, "nothing came since");

    // Rows of another kind: ten times as far apart, and elsewhere.
    let later: Vec<f32> = clustered(700, dim, 12).iter().map(|value| 40.0 + 10.0 * value).collect();
    index.insert_batch(&later[..500 * dim], None).unwrap();
    index.train().unwrap();
    assert_eq!((index.info().decided_rows, index.info().inserted_since), (1200, 500), "not yet");
    index.insert_batch(&later[500 * dim..], None).unwrap();
    let path = std::env::temp_dir().join(format!("orthant-drift-{}.idx", std::process::id()));
    index.save(&path).unwrap();
    let mut index = Index::open(&path, &OpenOptions::default()).unwrap();
    std::fs::remove_file(&path).unwrap();
    assert_eq!((index.info().decided_rows, index.info().inserted_since), (1200, 700));
    index.train().unwrap();
    let info = index.info();
    assert_eq!((info.decided_rows, info.inserted_since), (1900, 0));
    let choice = info.choice.unwrap();
    assert!(choice.points > 100 && choice.trials.iter().any(|trial| trial.bits == choice.bits), "{choice:?}");
    assert!(index.validate().is_ok(), "{}", index.validate());
    let queries = [&first[..40 * dim], &later[..40 * dim]].concat();
    let found = recall(&index, &queries, 128);
    assert!(found >= 0.93, "{found} {choice:?}");
    index.insert(5000, &first[..dim]).unwrap_err();
    index.insert_batch(&first[..dim], None).unwrap();
    assert_eq!(index.info().inserted_since, 1);

    // Rows that come together ask by themselves, once it is due.
    let mut index = built(dim, Metric::L2, &first, Quantization::Blocks);
    index.extend(&later[..500 * dim], None).unwrap();
    assert_eq!((index.info().decided_rows, index.info().inserted_since), (1200, 500), "not yet");
    index.extend(&later[500 * dim..], None).unwrap();
    assert_eq!((index.info().decided_rows, index.info().inserted_since), (1900, 0));
    assert!(recall(&index, &queries, 128) >= 0.93);
}
