//! A warm searcher allocates nothing.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use orthant_engine::{FilterMode, Index, Metric, Quantization, SearchParams};

mod support;
use support::clustered;

/// Counts allocations of the whole process; this test is alone in its binary.
struct Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: passes everything on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

#[test]
fn a_warm_search_allocates_nothing() {
    let dim = 200; // wide enough for rows to be screened
    let (rows, queries) = (clustered(2000, dim, 1), clustered(50, dim, 2));
    for (quantization, are_half) in [
        (Quantization::None, false),
        (Quantization::Sq8, false),
        (Quantization::Blocks, false),
        (Quantization::Blocks, true),
    ] {
        let mut index = Index::builder(dim, Metric::L2)
            .quantization(quantization)
            .half_rows(are_half)
            .threads(1)
            .ef_construction(40)
            .build()
            .unwrap();
        index.insert_batch(&rows, None).unwrap();
        index.train().unwrap();
        assert_eq!(index.info().half_rows.is_some(), are_half);
        let mut searcher = index.searcher();
        let mut run = || {
            for query in queries.chunks_exact(dim) {
                for ef in [64, 10] {
                    searcher.search(query, SearchParams::new(10, ef)).unwrap();
                    for mode in [FilterMode::Plain, FilterMode::Pool, FilterMode::OneHop, FilterMode::TwoHop]
                    {
                        let params = SearchParams::new(10, ef);
                        searcher.search_filtered(query, params, mode, |node| node % 9 == 0).unwrap();
                        searcher.search_filtered(query, params, mode, |node| node % 999 == 0).unwrap();
                    }
                }
            }
        };
        run();
        let before = ALLOCATIONS.load(Ordering::Relaxed);
        run();
        assert_eq!(ALLOCATIONS.load(Ordering::Relaxed) - before, 0, "{quantization}");
    }
}
