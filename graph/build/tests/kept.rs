//! Builds that go on from steps that were kept make the lists that a build at one go makes.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use orthant_build::{BuildError, Codes, Grid, Keep, Lists, Params, Rows, Step, Watch, build, build_kept};
use orthant_quant::{Executor, Serial};

const DIM: usize = 4;

/// The name of the build, and the parts.
type Steps = HashMap<Step, (u64, Vec<Vec<u8>>)>;

/// Keeps every step in memory, and says stop when it has kept so many.
struct Shelf {
    steps: Mutex<Steps>,
    stop_after: usize,
    kept: AtomicUsize,
    used: AtomicUsize,
    is_stopped: AtomicBool,
}

impl Shelf {
    fn of(steps: Steps, stop_after: usize) -> Self {
        let [kept, used] = [0, 0].map(AtomicUsize::new);
        Self { steps: Mutex::new(steps), stop_after, kept, used, is_stopped: AtomicBool::new(false) }
    }
}

impl Keep for Shelf {
    fn is_worth(&self, _bytes: usize) -> bool {
        true
    }

    fn keep(&self, step: Step, name: u64, parts: &[&[u8]]) -> bool {
        let parts = parts.iter().map(|part| part.to_vec()).collect();
        self.steps.lock().unwrap().insert(step, (name, parts));
        if self.kept.fetch_add(1, Ordering::Relaxed) + 1 == self.stop_after {
            self.is_stopped.store(true, Ordering::Relaxed);
        }
        true
    }

    fn find(&self, step: Step, name: u64, take: &mut dyn FnMut(&[&[u8]]) -> bool) {
        let steps = self.steps.lock().unwrap();
        if let Some((_, parts)) = steps.get(&step).filter(|(of, _)| *of == name) {
            let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
            self.used.fetch_add(usize::from(take(&parts)), Ordering::Relaxed);
        }
    }

    fn forget(&self, step: Step) {
        self.steps.lock().unwrap().remove(&step);
    }
}

impl Watch for Shelf {
    fn is_cancelled(&self) -> bool {
        self.is_stopped.load(Ordering::Relaxed)
    }
}

/// Tasks on two threads.
struct Two;

impl Executor for Two {
    fn run(&self, count: usize, task: &(dyn Fn(usize) + Sync)) {
        std::thread::scope(|scope| {
            scope.spawn(|| (0..count).filter(|at| at % 2 == 0).for_each(task));
            (0..count).filter(|at| at % 2 == 1).for_each(task);
        });
    }
}

fn codes(rows: usize, seed: u64) -> Codes {
    let mut state = seed | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1 << 24) as f32
    };
    let values: Vec<f32> = (0..rows * DIM).map(|_| next()).collect();
    let rows = Rows { values: &values, stride: DIM, count: rows, dim: DIM };
    Codes::encode(&Grid::fit(rows, &Serial), rows, &Serial)
}

fn params() -> Params {
    Params { leaf: 100, reservoir: 12, breadth: 4, memberships: 2, joins: 2, ..Params::new(6) }
}

fn run(codes: &Codes, params: &Params, shelf: &Shelf) -> Result<Lists, BuildError> {
    let mut arranged = codes.clone();
    let lists = build_kept(&mut arranged, params, &Two, shelf, shelf);
    assert!(arranged == *codes, "codes are as they were");
    lists
}

#[test]
fn stopped_after_any_step_it_goes_on_to_the_same_lists() {
    let (codes, params) = (codes(900, 1), params());
    let expected = build(&mut codes.clone(), &params, &Serial, &()).unwrap();
    let whole = Shelf::of(Steps::new(), 0);
    assert_eq!(run(&codes, &params, &whole), Ok(expected.clone()));
    let steps = whole.kept.load(Ordering::Relaxed);
    let left: Vec<Step> = whole.steps.lock().unwrap().keys().copied().collect();
    assert_eq!(left, [Step::Lists], "what is not needed any more is forgotten");
    // Scales of 225 rows and more, balls, leaves ball by ball, two rounds of joins, choices, lists.
    assert!(steps > 12, "{steps} steps");
    for stop_after in 1..=steps {
        let stopped = Shelf::of(Steps::new(), stop_after);
        let result = run(&codes, &params, &stopped);
        // Nothing looks at the watch any more once choices are linked.
        assert!(result == Err(BuildError::Cancelled) || result == Ok(expected.clone()), "{stop_after}");
        let resumed = Shelf::of(stopped.steps.into_inner().unwrap(), 0);
        assert_eq!(run(&codes, &params, &resumed), Ok(expected.clone()), "{stop_after}");
        assert!(resumed.used.load(Ordering::Relaxed) > 0, "{stop_after}: it did not start anew");
    }
}

#[test]
fn stopped_again_and_again_it_comes_to_an_end() {
    let (codes, params) = (codes(700, 2), params());
    let expected = build(&mut codes.clone(), &params, &Serial, &()).unwrap();
    let mut steps = Steps::new();
    for _ in 0..100 {
        let shelf = Shelf::of(steps, 1);
        match run(&codes, &params, &shelf) {
            Ok(lists) => return assert_eq!(lists, expected),
            Err(_) => steps = shelf.steps.into_inner().unwrap(),
        }
    }
    panic!("each round finishes a step");
}

#[test]
fn steps_of_other_rows_and_parameters_are_not_used() {
    let params = params();
    let (one, other) = (codes(600, 3), codes(600, 4));
    let stopped = Shelf::of(Steps::new(), 8);
    assert_eq!(run(&one, &params, &stopped), Err(BuildError::Cancelled));
    let steps = stopped.steps.into_inner().unwrap();
    for (codes, params) in [(&other, params), (&one, Params { seed: 7, ..params })] {
        let shelf = Shelf::of(steps.clone(), 0);
        assert_eq!(run(codes, &params, &shelf), build(&mut codes.clone(), &params, &Serial, &()));
        assert_eq!(shelf.used.load(Ordering::Relaxed), 0);
    }
}

/// A keeper's word is that bytes are whole; where it is not kept, lengths and rows that do not fit are seen.
#[test]
fn parts_that_do_not_fit_are_passed_over() {
    let (codes, params) = (codes(500, 5), params());
    let expected = build(&mut codes.clone(), &params, &Serial, &()).unwrap();
    for stop_after in 1..20 {
        let stopped = Shelf::of(Steps::new(), stop_after);
        let _ = run(&codes, &params, &stopped);
        let steps = stopped.steps.into_inner().unwrap();
        for chosen in 0..4 {
            let mut damaged = steps.clone();
            let cut = damaged.values_mut().filter_map(|(_, parts)| parts.get_mut(chosen));
            let cut = cut.map(|part| part.truncate(part.len() - 1)).count();
            let shelf = Shelf::of(damaged, 0);
            assert!(run(&codes, &params, &shelf).unwrap() == expected, "{stop_after}, part {chosen}");
            assert!(shelf.used.load(Ordering::Relaxed) <= steps.len() - cut, "{stop_after}, part {chosen}");
        }
    }
}
