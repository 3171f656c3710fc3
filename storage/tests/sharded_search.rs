//! Whatever the machine looks like and whoever runs the shards, the answer is the same.

use orthant_storage::numa::{Placement, Topology};
use orthant_storage::{Hit, MemoryOptions, Region, RowLayout, Shard, ShardedArena};
use proptest::prelude::*;

const DIM: usize = 3;

/// Squared L2 distance: written out once more, since this crate has no kernels.
fn l2(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum()
}

fn scan<'a>(query: &'a [f32]) -> impl Fn(&Shard<f32>, &mut Vec<Hit>) + Sync + 'a {
    move |shard, hits| {
        for id in 0..shard.arena().len() as u32 {
            let row = shard.arena().row(id).expect("below len");
            hits.push(Hit { distance: l2(query, row), id });
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_topology_and_executor_gives_the_exact_answer(
        nodes in 1u32..6,
        // Few different values, so that there are ties.
        rows in prop::collection::vec(prop::array::uniform3(0u8..4), 0..80),
        query in prop::array::uniform3(0u8..4),
        k in 0usize..20,
    ) {
        let layout = RowLayout::new::<f32>(DIM);
        let store = ShardedArena::<f32>::new(layout, &Topology::synthetic(nodes, 2), &MemoryOptions::default())?;
        let rows: Vec<[f32; DIM]> = rows.iter().map(|row| row.map(f32::from)).collect();
        for (id, row) in rows.iter().enumerate() {
            prop_assert_eq!(store.push(row)?, id as u32);
        }
        prop_assert_eq!(store.len(), rows.len());
        for (id, row) in rows.iter().enumerate() {
            prop_assert_eq!(store.row(id as u32), Some(&row[..]));
        }
        prop_assert_eq!(store.row(rows.len() as u32), None);

        let query = query.map(f32::from);
        let mut expected: Vec<Hit> =
            rows.iter().zip(0..).map(|(row, id)| Hit { distance: l2(&query, row), id }).collect();
        expected.sort_by(|a, b| a.distance.total_cmp(&b.distance).then(a.id.cmp(&b.id)));
        expected.truncate(k);

        let shards = store.shards().len();
        prop_assert_eq!(shards, nodes as usize);
        let in_order = store.search(k, |job| (0..shards).for_each(job), scan(&query));
        prop_assert_eq!(&in_order, &expected);
        let backwards = store.search(k, |job| (0..shards).rev().for_each(job), scan(&query));
        prop_assert_eq!(&backwards, &expected);
        prop_assert_eq!(&store.search_pinned(k, scan(&query)), &expected);
    }
}

#[test]
fn this_machine_is_searched_by_the_same_code() {
    let topology = Topology::detect();
    let store = ShardedArena::<f32>::new(RowLayout::new::<f32>(DIM), &topology, &MemoryOptions::default())
        .expect("address space");
    for x in 0..1000u16 {
        store.push(&[f32::from(x), 0.0, 0.0]).expect("memory");
    }
    let hits = store.search_pinned(5, scan(&[500.2, 0.0, 0.0]));
    assert_eq!(hits.iter().map(|hit| hit.id).collect::<Vec<_>>(), [500, 501, 499, 502, 498]);
    for shard in store.shards() {
        assert_eq!(topology.node_of_core(shard.cores()[0]), Some(shard.node()));
    }
}

#[test]
fn a_full_shard_passes_rows_on_and_a_full_store_is_an_error() {
    let options = MemoryOptions { max_bytes: Some(64 * 9), ..MemoryOptions::default() };
    let store = ShardedArena::<f32>::new(RowLayout::new::<f32>(16), &Topology::synthetic(3, 1), &options)
        .expect("address space");
    let ids: Vec<u32> = (0..9).map(|_| store.push(&[1.0; 16]).expect("room for nine")).collect();
    assert_eq!(ids, (0..9).collect::<Vec<_>>());
    store.push(&[1.0; 16]).expect_err("a tenth");
    assert_eq!(store.len(), 9);
}

#[test]
#[should_panic(expected = "the executor must run the job of every shard")]
fn an_executor_that_leaves_a_shard_out_is_found_out() {
    let store =
        ShardedArena::<f32>::new(RowLayout::new::<f32>(DIM), &Topology::synthetic(2, 1), &Default::default())
            .expect("address space");
    store.search(1, |job| job(0), |_, _| {});
}

#[test]
fn placements_are_heeded_or_reported() {
    let node = Topology::detect().nodes()[0].id;
    let touch = |placement: Placement| {
        let options = MemoryOptions { placement, ..MemoryOptions::default() };
        let region = Region::reserve(&options).expect("address space");
        region.ensure(100_000).expect("memory");
        // SAFETY: 100 000 bytes are committed, and only this thread touches the region.
        unsafe { region.as_ptr().write_bytes(1, 100_000) };
        region
    };
    let any = touch(Placement::Any);
    assert!(any.pages().is_placed, "no wish is no refusal");
    for placement in [Placement::Bind(node), Placement::Preferred(node), Placement::Interleave(vec![node])] {
        let region = touch(placement);
        // A container may forbid it; then the report says so and the memory is there all the same.
        if region.pages().is_placed
            && let Some(found) = region.node_at(50_000)
        {
            assert_eq!(found, node);
        }
    }
    for impossible in [Placement::Bind(1000), Placement::Preferred(5000), Placement::Interleave(vec![])] {
        assert!(!touch(impossible.clone()).pages().is_placed, "{impossible:?}");
    }
}
