//! Lists are sound for any rows, and the same whoever runs the tasks.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use orthant_build::{BuildError, Codes, Grid, Lists, Params, Phase, Rows, Watch, build};
use orthant_quant::{Executor, Serial};
use proptest::prelude::*;

/// Tasks on two threads, from both ends.
struct Two;

impl Executor for Two {
    fn run(&self, count: usize, task: &(dyn Fn(usize) + Sync)) {
        std::thread::scope(|scope| {
            scope.spawn(|| (0..count).rev().filter(|at| at % 2 == 0).for_each(task));
            (0..count).filter(|at| at % 2 == 1).for_each(task);
        });
    }
}

/// Small sizes, so that few rows see every phase, and balls that are cut more than once.
fn small(degree: usize, seed: u64) -> Params {
    Params { leaf: 24, reservoir: 12, breadth: 4, memberships: 3, seed, ..Params::new(degree) }
}

fn codes(values: &[f32], dim: usize, executor: &dyn Executor) -> Codes {
    let rows = Rows { values, stride: dim, count: values.len() / dim, dim };
    Codes::encode(&Grid::fit(rows, executor), rows, executor)
}

fn random(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1 << 24) as f32
    };
    (0..count).map(|_| next()).collect()
}

fn check(lists: &Lists, rows: usize) {
    assert_eq!(lists.words().len(), rows * lists.degree());
    for row in 0..rows {
        let list = lists.of(row);
        assert!(list.iter().all(|&id| (id as usize) < rows && id as usize != row), "row {row}: {list:?}");
        assert!((1..list.len()).all(|at| !list[..at].contains(&list[at])), "row {row} repeats: {list:?}");
        let places = &lists.words()[row * lists.degree()..][list.len()..lists.degree()];
        assert!(places.iter().all(|&id| id == Lists::EMPTY), "empty places are last");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_rows_give_sound_lists_on_any_threads(
        rows in 0usize..300,
        dim in 1usize..9,
        levels in 1u32..40,
        degree in 1usize..12,
        seed: u64,
    ) {
        // Few levels per dimension make many equal rows.
        let values: Vec<f32> =
            random(rows * dim, seed).iter().map(|value| (value * levels as f32).floor() / 3.0).collect();
        let params = small(degree, seed);
        let lists = build(&mut codes(&values, dim, &Serial), &params, &Serial, &()).unwrap();
        check(&lists, rows);
        prop_assert_eq!(build(&mut codes(&values, dim, &Two), &params, &Two, &()).unwrap(), lists);
    }
}

#[test]
fn none_one_two_and_equal_rows() {
    for rows in [0, 1, 2, 3, 2000] {
        let values = vec![0.25; rows * 3];
        let lists = build(&mut codes(&values, 3, &Serial), &small(4, 1), &Serial, &()).unwrap();
        check(&lists, rows);
        let least = usize::from(rows > 1);
        assert!((0..rows).all(|row| lists.of(row).len() >= least), "{rows} rows: everyone has a neighbor");
    }
}

#[test]
fn the_nearest_row_is_nearly_always_a_neighbor() {
    let (rows, dim) = (3000, 6);
    let values = random(rows * dim, 5);
    let params = Params { leaf: 256, ..Params::new(16) };
    let lists = build(&mut codes(&values, dim, &Serial), &params, &Serial, &()).unwrap();
    let row = |at: usize| &values[at * dim..][..dim];
    let apart = |a: usize, b: usize| row(a).iter().zip(row(b)).map(|(x, y)| (x - y).powi(2)).sum::<f32>();
    let found = (0..rows).step_by(7).filter(|&at| {
        let others = (0..rows).filter(|&other| other != at);
        let nearest = others.min_by(|&a, &b| apart(at, a).total_cmp(&apart(at, b))).unwrap();
        // On the grid another row may be as near.
        lists.of(at).iter().any(|&id| apart(at, id as usize) <= apart(at, nearest) * 1.05 + 1e-4)
    });
    let (found, asked) = (found.count(), rows.div_ceil(7));
    assert!(found * 100 >= asked * 97, "{found} of {asked}");
}

#[test]
fn integers_are_coded_without_loss_and_others_to_half_a_step() {
    let integers: Vec<f32> = (0..300u32).map(|i| (i * 7 % 256) as f32 - 40.0).collect();
    let rows = |values| Rows { values, stride: 3, count: 100, dim: 3 };
    let grid = Grid::fit(rows(&integers), &Serial);
    assert!(grid.is_lossless() && grid.step() == 1.0);
    let others: Vec<f32> = integers.iter().map(|value| value * 1.5).collect();
    let grid = Grid::fit(rows(&others), &Serial);
    assert!(!grid.is_lossless());
    let (mut a, mut b) = ([0; 3], [0; 3]);
    for pair in others.chunks(3).collect::<Vec<_>>().windows(2) {
        grid.encode(pair[0], &mut a);
        grid.encode(pair[1], &mut b);
        for d in 0..3 {
            let coded = (f32::from(a[d]) - f32::from(b[d])) * grid.step();
            assert!((coded - (pair[0][d] - pair[1][d])).abs() <= grid.step() * 1.001);
        }
    }
}

/// Says stop once a phase has begun, and checks what it is told.
struct StopAt(Option<Phase>, AtomicBool, AtomicUsize);

impl Watch for StopAt {
    fn progress(&self, phase: Phase, done: usize, total: usize) {
        assert!(done <= total, "{phase:?}: {done} of {total}");
        self.2.fetch_add(1, Ordering::Relaxed);
        if self.0 == Some(phase) {
            self.1.store(true, Ordering::Relaxed);
        }
    }

    fn is_cancelled(&self) -> bool {
        self.1.load(Ordering::Relaxed)
    }
}

#[test]
fn a_build_stops_in_every_phase() {
    let values = random(900 * 4, 3);
    let codes = codes(&values, 4, &Serial);
    let run = |at| {
        let watch = StopAt(at, AtomicBool::new(false), AtomicUsize::new(0));
        let built = build(&mut codes.clone(), &small(6, 1), &Two, &watch);
        assert!(watch.2.load(Ordering::Relaxed) > 0);
        built
    };
    for phase in [Phase::Partition, Phase::Distances, Phase::Joining, Phase::Selection, Phase::Linking] {
        assert_eq!(run(Some(phase)), Err(BuildError::Cancelled), "{phase:?}");
    }
    assert!(run(None).is_ok());
}

#[test]
fn codes_are_as_they_were_after_a_build_and_after_a_stop() {
    let values = random(900 * 4, 4);
    let codes = codes(&values, 4, &Serial);
    for at in [None, Some(Phase::Distances), Some(Phase::Linking)] {
        let watch = StopAt(at, AtomicBool::new(false), AtomicUsize::new(0));
        let mut arranged = codes.clone();
        assert_eq!(build(&mut arranged, &small(6, 1), &Two, &watch).is_ok(), at.is_none());
        assert!(arranged == codes, "stopped at {at:?}");
    }
}
