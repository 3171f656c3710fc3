use std::sync::Arc;

use super::*;
use crate::files::Simulated;
use crate::rows::RowFile;

/// Seeded numbers in -1 … 1 (splitmix64, Steele et al. 2014).
fn numbers(seed: u64) -> impl FnMut() -> f32 {
    let mut state = seed;
    move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = state;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed >> 40) as f32 / (1 << 23) as f32 - 1.0
    }
}

/// A row file of 6,000 rows around a few centers, those `from` the place on in a second file.
fn file(dim: usize, change: impl Fn(usize, f32) -> f32) -> (RowFile, Vec<u32>) {
    let rows = RowFile::open(Arc::new(Simulated::new()), "/rows".into(), dim).unwrap();
    let mut draw = numbers(dim as u64);
    let centers: Vec<f32> = (0..7 * dim).map(|_| 3.0 * draw()).collect();
    let all: Vec<f32> = (0..6000)
        .flat_map(|row| (0..dim).map(move |at| (row, at)))
        .map(|(row, at)| change(row, centers[row * 31 % 7 * dim + at] + draw()))
        .collect();
    let start = SEGMENT_ROWS as u32 - 5000;
    rows.write(start, &all).unwrap();
    (rows, (start..start + 6000).collect())
}

fn encoded(rows: &RowFile, metric: Metric, named: &[u32]) -> Arc<Codes> {
    let named: RoaringBitmap = named.iter().copied().collect();
    while rows.encode(metric, &named) {}
    rows.codes()
}

/// The nearest `k`, by comparing all of `among`.
fn nearest(rows: &RowFile, metric: Metric, query: &[f32], among: &[u32], k: usize) -> Vec<(u32, f32)> {
    let kernel = Kernel::new(metric, query.len()).unwrap();
    let mut found = Vec::new();
    rows.distances(
        &kernel,
        query,
        among.iter().copied(),
        |row, distance| found.push((row, distance)),
        |_| (),
    );
    found.sort_by(|a, b| a.1.total_cmp(&b.1).then(a.0.cmp(&b.0)));
    found.truncate(k);
    found
}

/// Candidates hold the nearest, and are few.
fn check(rows: &RowFile, codes: &Codes, metric: Metric, dim: usize, few: usize) {
    let mut draw = numbers(99);
    let coded: Vec<u32> = codes.coded().iter().collect();
    for turn in 0..40u32 {
        let query: Vec<f32> = (0..dim).map(|_| 4.0 * draw()).collect();
        let among: Vec<u32> =
            coded.iter().copied().filter(|row| row.wrapping_mul(2_654_435_761) >> 30 >= turn % 4).collect();
        for k in [1, 10] {
            let near = codes.candidates(metric, &query, &among, k).unwrap().unwrap();
            assert!(near.is_sorted());
            let expected = nearest(rows, metric, &query, &among, k);
            assert_eq!(nearest(rows, metric, &query, &near, k), expected, "{metric} {dim}");
            assert!(near.len() <= few * k, "{metric} {dim}: {} candidates for {k}", near.len());
        }
    }
}

#[test]
fn candidates_hold_the_nearest() {
    for metric in Metric::ALL {
        for dim in [3, 33, 128] {
            let (rows, all) = file(dim, |_, value| value);
            // Files of fewer rows get none.
            let codes = encoded(&rows, metric, &all);
            assert_eq!(codes.coded().len(), 5000, "{metric}");
            check(&rows, &codes, metric, dim, 100);
        }
    }
}

#[test]
fn whole_numbers_lose_nothing() {
    let (rows, all) = file(64, |_, value| (value * 30.0).round() + 120.0);
    let codes = encoded(&rows, Metric::L2, &all);
    assert!(codes.parts.values().all(|file| file.step == 1.0 && file.slack < 1e-2));
    check(&rows, &codes, Metric::L2, 64, 20);
}

#[test]
fn rows_far_from_the_others_cost_time_not_truth() {
    let (rows, all) = file(16, |row, value| if row == 77 { value * 1e4 } else { value });
    let codes = encoded(&rows, Metric::L2, &all);
    check(&rows, &codes, Metric::L2, 16, usize::MAX / 100);
    // Too large for sums: none.
    let (rows, all) = file(16, |row, value| if row == 77 { value * 1e19 } else { value });
    assert!(encoded(&rows, Metric::L2, &all).coded().is_empty());
}

#[test]
fn what_cannot_be_coded_is_asked_for_once() {
    let (rows, all) = file(8, |row, value| if row % 2 == 0 { 0.0 } else { value });
    let codes = encoded(&rows, Metric::Cosine, &all);
    assert_eq!(
        (codes.coded().len(), codes.asked().len()),
        (2500, 5000),
        "rows of length zero have no direction"
    );
    check(&rows, &codes, Metric::Cosine, 8, 100);
    assert_eq!(codes.candidates(Metric::Cosine, &[0.0; 8], &[all[1]], 1), Ok(None));
    assert!(!rows.encode(Metric::Cosine, &all.iter().copied().collect()));
}

#[test]
fn a_file_is_coded_again_as_it_fills() {
    let (rows, all) = file(8, |_, value| value);
    let first = encoded(&rows, Metric::L2, &all[..4200]);
    assert_eq!(first.coded().len(), 4200);
    assert_eq!(encoded(&rows, Metric::L2, &all[..4600]).coded().len(), 4200, "few more");
    assert_eq!(encoded(&rows, Metric::L2, &all).coded().len(), 5000);
    assert_eq!(first.coded().len(), 4200, "who holds the old codes has them");
    rows.remove_segment(0).unwrap();
    assert!(rows.codes().coded().is_empty() && rows.codes().asked().is_empty());
}
