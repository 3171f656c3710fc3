//! Named modes: what they choose, that they are kept, and what they find.

use orthant_engine::{Index, Metric, Mode, OpenOptions, Quantization, SearchParams};

mod support;
use support::{clustered, recall};

const DIM: usize = 48;

fn built(mode: Mode, rows: &[f32]) -> Index {
    let mut index =
        Index::builder(DIM, Metric::Cosine).ef_construction(80).threads(1).mode(mode).build().unwrap();
    index.insert_batch(rows, None).unwrap();
    index.train().unwrap();
    index
}

#[test]
fn a_mode_is_kept_and_finds_what_it_says() {
    let (rows, queries) = (clustered(3000, DIM, 1), clustered(60, DIM, 2));
    for (mode, quantization) in [
        (Mode::Speed, Quantization::Blocks),
        (Mode::Balanced, Quantization::Sq8),
        (Mode::Memory, Quantization::Sq8),
    ] {
        let index = built(mode, &rows);
        let info = index.info();
        assert_eq!((info.mode, info.quantization, info.is_trained), (Some(mode), quantization, true));
        // What it costs in recall beside whole rows was measured.
        let choice = info.choice.expect("decided");
        assert!(
            choice.points > 100 && choice.trials.iter().any(|trial| trial.bits == 0),
            "{mode}: {choice:?}"
        );
        assert!(choice.trials.iter().any(|trial| trial.bits == choice.bits), "{mode}: {choice:?}");
        assert!(recall(&index, &queries, 64) > 0.95, "{mode}");

        let path = std::env::temp_dir().join(format!("orthant-mode-{mode}-{}.idx", std::process::id()));
        index.save(&path).unwrap();
        let opened = Index::open(&path, &OpenOptions { load: true, ..OpenOptions::default() }).unwrap();
        std::fs::remove_file(&path).unwrap();
        let info = opened.info();
        assert_eq!((info.mode, info.choice), (Some(mode), Some(choice)));
        let params = SearchParams::new(10, 40);
        assert_eq!(
            index.search_batch(&queries, params).unwrap(),
            opened.search_batch(&queries, params).unwrap()
        );
        // It goes on to take rows, behind those that lie in the file.
        opened.insert_batch(&queries, None).unwrap();
        assert_eq!(opened.search(&queries[..DIM], 1, 64).unwrap()[0].key.to_string(), "3000");
    }
}

#[test]
fn another_quantization_ends_the_mode() {
    let rows = clustered(500, DIM, 3);
    let mut index = built(Mode::Balanced, &rows);
    index.set_quantization(Quantization::Blocks);
    assert_eq!((index.info().mode, index.info().is_trained), (None, false));
    index.train().unwrap();
    assert!(index.info().choice.is_some_and(|choice| choice.bits != 8));
}
