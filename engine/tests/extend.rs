//! Rows that come many at once: the same index on any threads, whole, and found.

mod support;

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use orthant_engine::{BulkPhase, BulkWatch, Index, Key, Metric, Quantization};
use proptest::prelude::*;
use support::{bytes, random};

fn empty(dim: usize, metric: Metric, threads: usize) -> Index {
    Index::builder(dim, metric).m(8).ef_construction(60).threads(threads).build().unwrap()
}

fn recall(index: &Index, queries: &[f32], ef: usize) -> f64 {
    let (mut found, mut asked) = (0, 0);
    for query in queries.chunks(index.dim()) {
        let exact = index.search_exact(query, 10).unwrap().nodes;
        let hits = index.search(query, 10, ef).unwrap();
        found +=
            hits.iter().filter(|hit| index.id(&hit.key).is_some_and(|row| exact.contains(&row.node))).count();
        asked += exact.len();
    }
    found as f64 / asked as f64
}

#[test]
fn one_and_two_and_three_threads_make_the_same_file() {
    for metric in [Metric::L2, Metric::InnerProduct] {
        let rows = random(3000 * 12, 1);
        let made = [1, 2, 3].map(|threads| {
            let mut index = empty(12, metric, threads);
            // Made anew, then taken in by parts.
            for part in [&rows[..2000 * 12], &rows[2000 * 12..2600 * 12], &rows[2600 * 12..]] {
                index.extend(part, None).unwrap();
            }
            assert_eq!(index.len(), 3000);
            assert!(index.validate().is_ok(), "{metric}: {}", index.validate());
            assert!(recall(&index, &random(50 * 12, 2), 64) > 0.95, "{metric}");
            bytes(&index)
        });
        assert!(made[0] == made[1] && made[0] == made[2], "{metric}");
    }
}

#[test]
fn it_finds_as_much_as_inserts_do() {
    let (rows, queries) = (random(6000 * 16, 3), random(200 * 16, 4));
    let mut both = [true, false].map(|at_once| {
        let mut index = empty(16, Metric::L2, 2);
        index.insert_batch(&rows[..4000 * 16], None).unwrap();
        // Fewer than make a build of all rows worth it.
        for part in rows[4000 * 16..].chunks(1000 * 16) {
            if at_once { index.extend(part, None) } else { index.insert_batch(part, None) }.unwrap();
        }
        assert!(index.validate().is_ok(), "{}", index.validate());
        recall(&index, &queries, 32)
    });
    both.iter_mut().for_each(|recall| *recall = (*recall * 1e3).round());
    assert!(both[0] >= both[1] - 20.0, "in thousandths: {both:?}");
}

#[test]
fn rows_far_from_all_others_find_each_other() {
    let mut rows = random(4000 * 8, 5);
    let far: Vec<f32> = random(1500 * 8, 6).iter().map(|value| value + 40.0).collect();
    let mut index = empty(8, Metric::L1, 2);
    index.extend(&rows, None).unwrap();
    index.extend(&far, None).unwrap();
    rows.extend(&far);
    assert!(index.validate().is_ok(), "{}", index.validate());
    let queries: Vec<f32> = random(100 * 8, 7).iter().map(|value| value + 40.0).collect();
    assert!(recall(&index, &queries, 64) > 0.95, "{}", recall(&index, &queries, 64));
}

#[test]
fn places_of_removed_rows_and_given_keys() {
    let rows = random(2500 * 6, 8);
    let keys: Vec<Key> = (0..2500u64).map(|key| Key::from(key * 3)).collect();
    let mut index = empty(6, Metric::L2, 2);
    index.extend(&rows[..2000 * 6], Some(&keys[..2000])).unwrap();
    for key in &keys[..300] {
        assert!(index.remove(key));
    }
    // A place comes back once no reader, of any test beside this one, can stand on it.
    let came_back = |_: &usize| {
        let row = index.insert(Key::from("spare"), &rows[..6]).unwrap();
        std::thread::yield_now();
        index.remove(&Key::from("spare")) && row.generation > 0
    };
    assert_eq!((0..1_000_000).filter(came_back).take(8).count(), 8, "places come back");
    let ids = index.extend(&rows[2000 * 6..], Some(&keys[2000..])).unwrap();
    assert_eq!((ids.len(), index.len()), (500, 2200));
    assert!(ids.iter().any(|row| row.generation > 0), "places were used again");
    assert!(index.validate().is_ok(), "{}", index.validate());
    for (row, key) in rows.chunks(6).zip(&keys).skip(300) {
        assert_eq!(index.row(key).as_deref(), Some(row));
    }
    // A key twice is found before anything is inserted, and the index goes on.
    assert!(index.extend(&rows[..12], Some(&[Key::from(1u64), keys[400].clone()])).is_err());
    assert_eq!(index.len(), 2200);
    index.extend(&rows[..12], Some(&[Key::from(1u64), Key::from(2u64)])).unwrap();
    // Rows that came before may be made anew only while all places are fresh.
    index
        .extend(
            &random(2000 * 6, 9),
            Some(&(0..2000u64).map(|key| Key::from(key + 100_000)).collect::<Vec<_>>()),
        )
        .unwrap();
    assert_eq!(index.len(), 4202);
    assert!(index.validate().is_ok(), "{}", index.validate());
}

#[test]
fn equal_rows_and_few_rows() {
    for metric in [Metric::L2, Metric::L1] {
        for count in [0, 1, 31, 32, 33, 3000] {
            let mut index = empty(3, metric, 2);
            index.extend(&vec![0.25; count * 3], None).unwrap();
            index.extend(&vec![0.25; count / 3 * 3], None).unwrap();
            let all = count + count / 3;
            assert_eq!(index.len(), all);
            assert!(index.validate().is_ok(), "{metric}, {count}: {}", index.validate());
            assert_eq!(index.search(&[0.25; 3], 5, 16).unwrap().len(), all.min(5));
        }
    }
}

#[test]
fn what_lists_carry_is_current() {
    let rows = random(3000 * 32, 10);
    for (quantization, bits) in [(Quantization::Sq8, 0), (Quantization::Blocks, 2)] {
        let found = [true, false].map(|at_once| {
            let builder = Index::builder(32, Metric::L2).m(8).threads(2).quantization(quantization);
            let mut index = builder.block_bits(bits).build().unwrap();
            index.extend(&rows[..2000 * 32], None).unwrap();
            index.train().unwrap();
            let more = &rows[2000 * 32..];
            if at_once { index.extend(more, None) } else { index.insert_batch(more, None) }.unwrap();
            assert!(index.validate().is_ok(), "{quantization}: {}", index.validate());
            let itself = |(row, key): &(&[f32], u64)| {
                index.search(row, 1, 48).unwrap().first().is_some_and(|hit| hit.key == Key::Int(*key))
            };
            rows.chunks(32).zip(0u64..).filter(itself).count()
        });
        // Inserts by two threads differ from run to run by a few.
        assert!(found[0] + 60 >= found[1], "{quantization}: {found:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// A beam as wide as the index finds what the flat scan finds, whatever came how.
    #[test]
    fn a_wide_beam_finds_what_the_scan_finds(
        dim in 1usize..6,
        parts in prop::collection::vec(1usize..120, 1..5),
        removed in 0usize..40,
        values in 1u8..30,
        seed in any::<u64>(),
        metric in prop::sample::select(vec![Metric::L2, Metric::Cosine, Metric::InnerProduct, Metric::L1]),
    ) {
        // Few values: many rows are equal.
        let value = |value: &f32| (value * f32::from(values)).round();
        let mut index = Index::builder(dim, metric).m(3).ef_construction(10).threads(2).build().unwrap();
        let mut count = 0;
        for (turn, &part) in parts.iter().enumerate() {
            let rows: Vec<f32> = random(part * dim, seed ^ turn as u64).iter().map(value).collect();
            index.extend(&rows, None).unwrap();
            count += part;
            for key in 0..removed.min(part / 2) as u64 {
                index.remove(&Key::Int(key * 2 + turn as u64));
            }
        }
        prop_assert!(index.validate().is_ok(), "{}", index.validate());
        for query in random(4 * dim, seed ^ 99).iter().map(value).collect::<Vec<_>>().chunks(dim) {
            let exact = index.search_exact(query, 10).unwrap();
            let found = index.search(query, 10, 2 * count).unwrap();
            let rows = exact.nodes.iter().filter(|&&node| node != orthant_engine::Batch::MISSING).count();
            prop_assert_eq!(found.len(), rows);
            for (hit, &distance) in found.iter().zip(&exact.distances) {
                prop_assert!((hit.distance - distance).abs() <= 1e-4 * (1.0 + distance.abs()));
            }
        }
    }
}

/// Says stop when it was asked so many times.
struct StopAfter(usize, AtomicUsize);

impl BulkWatch for StopAfter {
    fn is_cancelled(&self) -> bool {
        self.1.fetch_add(1, Ordering::Relaxed) >= self.0
    }
}

#[test]
fn cancelled_it_loses_nothing_and_the_rest_can_come_again() {
    let rows = random(1400 * 8, 21);
    let keys: Vec<Key> = (0..1400).map(|key| Key::from(format!("row {key}"))).collect();
    // The new rows are linked in parts behind 1,100 rows, and together with 300 anew.
    for old in [1100, 300] {
        let mut parts_in = 0;
        for asks in [0, 1, 30, 200, 500, usize::MAX] {
            let mut index = empty(8, Metric::L2, 2);
            index.insert_batch(&rows[..old * 8], Some(&keys[..old])).unwrap();
            let before: Vec<_> =
                rows[..100 * 8].chunks(8).map(|row| index.search(row, 5, 64).unwrap()).collect();
            let watch = StopAfter(asks, AtomicUsize::new(0));
            let ids = index.extend_watched(&rows[old * 8..], Some(&keys[old..]), &watch).unwrap();
            assert!(index.validate().is_ok(), "{old}, {asks}: {}", index.validate());
            let taken = ids.iter().flatten().count();
            assert_eq!((ids.len(), index.len()), (1400 - old, old + taken), "{old}, {asks}");
            assert!(asks > 0 || taken == 0, "{old}: {taken}");
            assert!(asks < usize::MAX || taken == 1400 - old, "{old}: {taken}");
            parts_in += usize::from(taken > 0 && taken < 1400 - old);
            if taken == 0 {
                let after = rows[..100 * 8].chunks(8).map(|row| index.search(row, 5, 64).unwrap());
                assert!(after.eq(before), "{old}, {asks}: what was in is found as it was");
            }
            let (mut left, mut left_keys) = (Vec::new(), Vec::new());
            for (at, id) in (old..).zip(ids) {
                assert_eq!(index.id(&keys[at]), id, "{old}, {asks}: row {at}");
                if id.is_none() {
                    left.extend_from_slice(&rows[at * 8..][..8]);
                    left_keys.push(keys[at].clone());
                }
            }
            index.extend(&left, Some(&left_keys)).unwrap();
            assert!(index.validate().is_ok() && index.len() == 1400, "{old}, {asks}: {}", index.validate());
            for at in (0..1400).step_by(50) {
                assert_eq!(
                    index.search(&rows[at * 8..][..8], 1, 64).unwrap()[0].key,
                    keys[at],
                    "{old}, {asks}"
                );
            }
        }
        // Anew is all or nothing.
        assert_eq!(parts_in > 0, old == 1100, "{old}");
    }
}

#[test]
fn it_says_how_far_it_is() {
    struct Heard(Mutex<Vec<(BulkPhase, usize, usize)>>);
    impl BulkWatch for Heard {
        fn progress(&self, phase: BulkPhase, done: usize, total: usize) {
            self.0.lock().unwrap().push((phase, done, total));
        }
    }
    let rows = random(1000 * 8, 22);
    let mut index = empty(8, Metric::L2, 2);
    index.extend(&rows[..800 * 8], None).unwrap();
    let heard = Heard(Mutex::new(Vec::new()));
    index.extend_watched(&rows[800 * 8..], None, &heard).unwrap();
    let heard = heard.0.into_inner().unwrap();
    assert_eq!(heard.first(), Some(&(BulkPhase::Inserting, 0, 200)));
    assert_eq!(heard.last(), Some(&(BulkPhase::Inserting, 200, 200)));
    assert!(heard.len() > 3 && heard.is_sorted_by_key(|&(_, done, _)| done), "{heard:?}");
}
