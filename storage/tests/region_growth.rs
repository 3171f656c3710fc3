//! Regions grow in place, are zero, keep to their caps and get the pages they were meant to.

use orthant_storage::{
    ArenaError, MemoryBudget, MemoryOptions, PageKind, Region, RegionError, RowArena, RowLayout,
};

const MIB: usize = 1 << 20;

/// Whether memory is taken from Linux page by page, or all at once as elsewhere.
const IS_LINUX: bool = cfg!(all(target_os = "linux", not(feature = "portable")));

fn capped(bytes: usize) -> MemoryOptions {
    MemoryOptions { max_bytes: Some(bytes), ..MemoryOptions::default() }
}

#[test]
fn a_region_grows_in_place_and_is_zero() {
    let region = Region::reserve(&capped(200 * MIB)).expect("address space");
    let address = region.as_ptr();
    for bytes in [1, 4096, 4097, 100_000, 3 * MIB, 3 * MIB + 1, 70 * MIB, 200 * MIB] {
        region.ensure(bytes).expect("memory");
        assert!(region.committed() >= bytes && region.committed() <= 200 * MIB);
        assert_eq!(region.as_ptr(), address);
        // SAFETY: `bytes - 1` is committed, and only this thread touches the region.
        let last = unsafe { region.as_ptr().add(bytes - 1) };
        // SAFETY: as above.
        assert_eq!(unsafe { last.read() }, 0, "byte {} was never written", bytes - 1);
        // SAFETY: as above.
        unsafe { last.write(1) };
    }
    assert_eq!(address.addr() % if IS_LINUX { 2 * MIB } else { 4096 }, 0);
}

#[test]
fn the_cap_is_an_error_and_the_region_goes_on() {
    let region = Region::reserve(&capped(100_001)).expect("address space");
    assert_eq!(region.capacity(), 100_001);
    region.ensure(100_001).expect("exactly the cap");
    assert_eq!(region.ensure(100_002), Err(RegionError::Full { requested: 100_002, capacity: 100_001 }));
    assert_eq!(region.committed(), 100_001);
    region.ensure(5).expect("still usable");

    let nothing = Region::reserve(&capped(0)).expect("an empty region");
    nothing.ensure(0).expect("nothing");
    assert!(nothing.ensure(1).is_err());
}

#[test]
fn a_full_arena_is_an_error_without_a_hole() {
    let layout = RowLayout::new::<f32>(16);
    let arena = RowArena::<f32>::new(layout, &capped(10 * 64)).expect("address space");
    for row in 0..10 {
        assert_eq!(arena.push(&[1.0; 16]), Ok(row));
    }
    for _ in 0..3 {
        match arena.push(&[1.0; 16]) {
            Err(ArenaError::Memory(RegionError::Full { requested: 704, capacity: 640 })) => {}
            other => panic!("{other:?}"),
        }
        assert_eq!(arena.len(), 10);
    }
}

#[test]
fn more_address_space_than_there_is_is_halved_until_it_fits() {
    // 2^46 bytes and a little fit once into the 47 bits of an x86-64 process, not twice.
    let first = Region::reserve(&capped(1 << 46)).expect("address space");
    let second = Region::reserve(&capped(1 << 46)).expect("half of it");
    let third = Region::reserve(&capped(1 << 46)).expect("a part of it");
    assert!(third.capacity() <= 1 << 46 && third.capacity() >= 64 * MIB);
    for region in [first, second, third] {
        region.ensure(MIB).expect("memory");
    }
    let impossible = MemoryOptions { expected_bytes: Some(1 << 60), ..capped(1 << 60) };
    assert!(matches!(Region::reserve(&impossible), Err(RegionError::Refused { .. })));
}

#[test]
fn a_budget_is_shared_kept_to_and_given_back() {
    let budget = MemoryBudget::new(100 * MIB);
    let options = MemoryOptions { budget: Some(budget.clone()), ..capped(1000 * MIB) };
    let arenas: Vec<RowArena<u8>> =
        (0..3).map(|_| RowArena::new(RowLayout::new::<u8>(1024), &options).expect("address space")).collect();
    let refusal = (0..)
        .find_map(|turn: usize| {
            let result = arenas[turn % 3].push(&[1; 1024]);
            assert!(budget.used() <= budget.limit());
            result.err()
        })
        .expect("a budget of 100 MiB has an end");
    assert!(
        matches!(refusal, ArenaError::Memory(RegionError::OverBudget { limit: 104_857_600, .. })),
        "{refusal}"
    );
    // The last refusal came with little left over, in spite of growth in steps.
    let rows: usize = arenas.iter().map(RowArena::len).sum();
    assert!(rows * 1024 > 90 * MIB, "only {rows} rows of 1 KiB fit into 100 MiB");
    // What one gives back, another gets.
    let mut arenas = arenas;
    arenas.pop();
    assert!(budget.used() < 80 * MIB);
    arenas[0].push(&[1; 1024]).expect("room again");
    drop(arenas);
    assert_eq!(budget.used(), 0);
}

/// Whether this system gives out transparent huge pages on request at all.
fn has_huge_pages() -> bool {
    std::fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled")
        .is_ok_and(|text| !text.contains("[never]"))
}

#[test]
fn small_regions_stay_small_and_large_ones_get_huge_pages() {
    let touch = |region: &Region, bytes: usize| {
        region.ensure(bytes).expect("memory");
        for at in (0..bytes).step_by(4096) {
            // SAFETY: `at < bytes`, which are committed; only this thread touches the region.
            unsafe { region.as_ptr().add(at).write(1) };
        }
        region.pages()
    };
    if !IS_LINUX || !has_huge_pages() {
        let report = touch(&Region::reserve(&capped(64 * MIB)).expect("address space"), MIB);
        assert_eq!(report.huge_bytes, 0);
        return;
    }
    let small = touch(&Region::reserve(&capped(64 * MIB)).expect("address space"), 10_000);
    assert_eq!(small.asked, PageKind::Transparent);
    assert_eq!((small.resident_bytes, small.huge_bytes), (12_288, 0));

    // The system may be out of huge pages, so only the upper bounds are certain.
    let region = Region::reserve(&capped(64 * MIB)).expect("address space");
    touch(&region, MIB);
    let grown = touch(&region, 20 * MIB);
    assert!(grown.huge_bytes <= 20 * MIB && grown.resident_bytes == 20 * MIB, "{grown:?}");

    let options = MemoryOptions { expected_bytes: Some(20 * MIB), ..capped(64 * MIB) };
    let expected = touch(&Region::reserve(&options).expect("address space"), 100);
    assert!(expected.resident_bytes == expected.huge_bytes.max(4096), "{expected:?}");

    let options = MemoryOptions { huge_pages: false, ..capped(64 * MIB) };
    let plain = touch(&Region::reserve(&options).expect("address space"), 20 * MIB);
    assert_eq!((plain.asked, plain.huge_bytes), (PageKind::Small, 0));
}

#[test]
fn pages_of_the_pool_are_used_where_enough_are_free() {
    let free = || {
        let text = std::fs::read_to_string("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages");
        text.ok().and_then(|text| text.trim().parse::<usize>().ok()).unwrap_or(0)
    };
    let budget = MemoryBudget::new(9 * MIB);
    let options =
        MemoryOptions { expected_bytes: Some(5 * MIB), budget: Some(budget.clone()), ..capped(64 * MIB) };
    let before = free();
    let region = Region::reserve(&options).expect("address space");
    match region.pages().asked {
        PageKind::Pool => {
            assert!(IS_LINUX && before >= 2);
            // Two whole huge pages of the five MiB, paid for and usable at once.
            assert_eq!((region.committed(), budget.used()), (4 * MIB, 4 * MIB));
        }
        _ => assert!(before < 2 || free() < before || !IS_LINUX, "{before} pages lay idle"),
    }
    region.ensure(6 * MIB).expect("memory");
    // SAFETY: 6 MiB are committed, and only this thread touches the region.
    unsafe { region.as_ptr().write_bytes(1, 6 * MIB) };
    assert!(budget.used() >= 6 * MIB);
    drop(region);
    assert_eq!(budget.used(), 0);
}

#[test]
fn an_estimate_is_within_a_tenth_of_what_is_used() {
    if !IS_LINUX {
        return; // nobody says what is used
    }
    for (rows, dim) in [(500, 128), (3000, 96), (20_000, 100), (60_000, 384)] {
        for huge_pages in [false, true] {
            let layout = RowLayout::new::<f32>(dim);
            let bytes = rows * layout.row_bytes::<f32>();
            for expected_bytes in [None, Some(bytes)] {
                let options = MemoryOptions { huge_pages, expected_bytes, ..MemoryOptions::default() };
                let estimate = RowArena::<f32>::estimate(rows, layout, &options);
                let arena = RowArena::<f32>::new(layout, &options).expect("address space");
                let row = vec![1.0; dim];
                for _ in 0..rows {
                    arena.push(&row).expect("memory");
                }
                let pages = arena.pages();
                if huge_pages && pages.huge_bytes + 4 * MIB < pages.resident_bytes {
                    continue; // the system is out of huge pages
                }
                let used = pages.resident_bytes as f64;
                let off = (estimate as f64 - used).abs() / used;
                assert!(off < 0.1, "{rows} x {dim}, {options:?}: estimated {estimate}, used {pages:?}");
            }
        }
    }
}

#[test]
fn discarded_bytes_are_given_back_and_stay_usable() {
    let region = Region::reserve(&MemoryOptions { huge_pages: false, ..capped(MIB) }).expect("address space");
    region.ensure(MIB).expect("memory");
    // SAFETY: committed, and only this thread touches the region.
    let bytes = unsafe { std::slice::from_raw_parts_mut(region.as_ptr(), MIB) };
    bytes.fill(7);
    let before = region.pages().resident_bytes;
    // SAFETY: nobody needs them, nobody else has the region.
    unsafe { region.discard(5000..900_000) };
    // SAFETY: as above.
    let bytes = unsafe { std::slice::from_raw_parts_mut(region.as_ptr(), MIB) };
    assert!(bytes[..5000].iter().chain(&bytes[900_000..]).all(|&byte| byte == 7), "only whole pages go");
    if IS_LINUX {
        assert!(region.pages().resident_bytes + 800_000 < before, "{before} before");
        assert_eq!(bytes[450_000], 0);
    }
    bytes[450_000] = 9;
    assert_eq!(bytes[450_000], 9);
}
