use crate::{Index, Key, Metric, OpenOptions, Quantization, SearchParams, recall_at_k};

/// Seeded rows between -1 and 1, in a few clusters.
fn rows(count: usize, dim: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    let mut rows: Vec<f32> = (0..count * dim).map(|_| next()).collect();
    for (place, value) in rows.iter_mut().enumerate() {
        let (row, column) = (place / dim, place % dim);
        *value = 0.5 * *value + ((row % 7 * 31 + column * 17) as f32).sin();
    }
    rows
}

fn index(dim: usize, metric: Metric, data: &[f32]) -> Index {
    let builder = Index::builder(dim, metric).m(8).ef_construction(80).threads(1);
    let mut index = builder.quantization(Quantization::Blocks).block_bits(1).build().unwrap();
    for (key, row) in (0u64..).zip(data.chunks_exact(dim)) {
        index.insert(key, row).unwrap();
    }
    index.train().unwrap();
    assert!(index.blocks.is_some());
    index
}

/// Live nodes whose payload is not what their rows give (B1).
fn stale(index: &Index) -> usize {
    let blocks = index.blocks.as_ref().unwrap();
    let pin = index.graph.pin();
    let mut fresh = vec![0xaa; blocks.payload_bytes()];
    let live = (0..index.graph.node_bound() as u32).filter(|&node| index.graph.is_live(node));
    let is_stale = |&node: &u32| {
        let (words, payload) = index.graph.read_block(node, &pin).unwrap();
        fresh.fill(0xaa);
        // SAFETY: live rows are whole, and the test writes none meanwhile.
        blocks.fill(node, words, None, &mut fresh, |node| unsafe { index.rows.row_unchecked(node) });
        fresh != payload
    };
    live.filter(is_stale).count()
}

fn recall(index: &Index, queries: &[f32], ef: usize) -> f64 {
    let exact = index.search_exact(queries, 10).unwrap();
    let found = index.search_batch(queries, SearchParams::new(10, ef)).unwrap();
    let count = queries.len() / index.dim;
    let of_query = |query| {
        let (found, exact): (Vec<_>, Vec<_>) = (found.hits(query).collect(), exact.hits(query).collect());
        recall_at_k(&found, &exact, 10)
    };
    (0..count).map(of_query).sum::<f64>() / count as f64
}

#[test]
fn codes_after_any_history_are_those_of_a_fresh_fill() {
    for (metric, dim) in [(Metric::L2, 24), (Metric::Cosine, 33), (Metric::InnerProduct, 16)] {
        let (data, queries) = (rows(1800, dim, 1), rows(50, dim, 2));
        let mut index = index(dim, metric, &data[..1200 * dim]);
        assert_eq!(stale(&index), 0, "{metric}: trained");
        let row = |key: usize| &data[key * dim..(key + 1) * dim];
        let mut state = 12345usize;
        for step in 0..900 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let key = (state >> 33) % 1800;
            match step % 3 {
                0 => _ = index.upsert(key as u64, row((key + 600) % 1800)).unwrap(),
                1 => _ = index.remove(&Key::from(key as u64)),
                _ if !index.contains(&Key::from(key as u64)) => {
                    _ = index.insert(key as u64, row(key)).unwrap();
                }

                _ => {}
            }
        }
        assert_eq!(stale(&index), 0, "{metric}: after inserts, updates and removals");
        assert!(index.validate().is_ok(), "{}", index.validate());
        let wide = recall(&index, &queries, 200);
        assert!(wide >= 0.97, "{metric}: {wide}");
        index.optimize().unwrap();
        assert_eq!(stale(&index), 0, "{metric}: renumbered");
        let renumbered = recall(&index, &queries, 200);
        assert!(renumbered >= 0.97, "{metric}: {renumbered}");
    }
}

#[test]
fn blocks_find_what_rows_find() {
    let dim = 32;
    let (data, queries) = (rows(4000, dim, 3), rows(100, dim, 4));
    let mut index = index(dim, Metric::L2, &data);
    let by_blocks = recall(&index, &queries, 160);
    // The same lists, read row by row.
    index.set_quantization(Quantization::None);
    let by_rows = recall(&index, &queries, 160);
    // 16 lists of 32 places, and one bit in 32 dimensions: about the worst case.
    assert!(by_blocks >= 0.95 && by_rows >= by_blocks - 0.02, "{by_blocks} {by_rows}");
}

#[test]
fn a_saved_index_answers_as_the_one_it_was() {
    let dim = 20;
    let (data, queries) = (rows(900, dim, 5), rows(40, dim, 6));
    let index = index(dim, Metric::Cosine, &data);
    let path = std::env::temp_dir().join(format!("orthant-blocks-{}.idx", std::process::id()));
    index.save(&path).unwrap();
    let opened = Index::open(&path, &OpenOptions::default()).unwrap();
    std::fs::remove_file(&path).unwrap();
    let params = SearchParams::new(5, 30);
    assert_eq!(index.search_batch(&queries, params).unwrap(), opened.search_batch(&queries, params).unwrap());
    assert_eq!(stale(&opened), 0);
    opened.insert(5000, &queries[..dim]).unwrap();
    assert_eq!(opened.search(&queries[..dim], 1, 20).unwrap()[0].key, Key::from(5000));
    assert_eq!(stale(&opened), 0);
}

#[test]
fn few_and_equal_rows_are_all_found() {
    let builder = Index::builder(3, Metric::L2).m(4).quantization(Quantization::Blocks);
    let mut index = builder.threads(1).build().unwrap();
    index.train().unwrap();
    for key in 0..7u64 {
        index.insert(key, &[1.0, 2.0, (key / 5) as f32]).unwrap();
    }
    index.train().unwrap();
    let found = index.search(&[1.0, 2.0, 0.0], 20, 20).unwrap();
    assert_eq!(found.len(), 7);
    assert_eq!((found[0].distance, found[6].distance), (0.0, 1.0));
    index.insert(99, &[9.0, 9.0, 9.0]).unwrap();
    assert_eq!(index.search(&[9.0, 9.0, 8.0], 8, 8).unwrap()[0].key, Key::from(99));
}

#[test]
fn lists_that_do_not_fit_a_block_are_refused() {
    let builder = Index::builder(8, Metric::L2).m(17).quantization(Quantization::Blocks);
    assert!(builder.build().is_err());
    let builder = Index::builder(8, Metric::L1).quantization(Quantization::Blocks);
    assert!(builder.build().is_err());
}

#[test]
fn a_batch_answers_as_one_query_after_the_other() {
    for (metric, dim) in [(Metric::L2, 24), (Metric::Cosine, 40), (Metric::InnerProduct, 16)] {
        let data = rows(1500, dim, 7);
        // More queries than a chunk, not a whole number of turns, and one without a direction.
        let mut queries = rows(151, dim, 8);
        queries[5 * dim..6 * dim].fill(0.0);
        let index = index(dim, metric, &data);
        for params in [SearchParams::new(10, 10), SearchParams::new(3, 90), SearchParams::new(40, 1)] {
            let batch = index.search_batch(&queries, params).unwrap();
            let mut searcher = index.searcher();
            for (number, query) in queries.chunks_exact(dim).enumerate() {
                let alone = searcher.search(query, params).unwrap();
                assert_eq!(batch.hits(number).collect::<Vec<_>>(), alone, "{metric} {number} {params:?}");
            }
        }
        // Removals finish when the readers of before are gone: from here on two searches may meet different lists.
        index.remove_batch(&(0..1500).map(Key::from).collect::<Vec<_>>()).unwrap();
        let batch = index.search_batch(&queries, SearchParams::new(5, 20)).unwrap();
        assert_eq!(batch.hits(0).count(), 0);
    }
}
