//! Generated vectors for the tests, and the bytes of an index.
#![allow(dead_code)] // each test file uses some of it

/// Marsaglia's xorshift64 (2003).
pub(crate) fn xorshift(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

fn uniform(state: &mut u64) -> f32 {
    (xorshift(state) >> 40) as f32 / (1 << 24) as f32
}

/// `count` rows around 32 centers that all seeds share.
pub(crate) fn clustered(count: usize, dim: usize, seed: u64) -> Vec<f32> {
    let mut centers = 0x9E37_79B9_7F4A_7C15;
    let centers: Vec<f32> = (0..32 * dim).map(|_| uniform(&mut centers) * 4.0 - 2.0).collect();
    let mut state = seed.wrapping_mul(0xD134_2543_DE82_EF95) | 1;
    let mut rows = Vec::with_capacity(count * dim);
    for _ in 0..count {
        let center = (xorshift(&mut state) % 32) as usize;
        for column in 0..dim {
            let noise = uniform(&mut state) + uniform(&mut state) - 1.0;
            rows.push(centers[center * dim + column] + noise);
        }
    }
    rows
}

/// `count` numbers of -0.5 to 0.5.
pub(crate) fn random(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed | 1;
    (0..count).map(|_| uniform(&mut state) - 0.5).collect()
}

/// The file that an index is saved as.
pub(crate) fn bytes(index: &orthant_engine::Index) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("index");
    index.save(&path).unwrap();
    std::fs::read(path).unwrap()
}

/// The mean recall@10 of a batch of `queries` with a beam of `ef`, against an exact scan.
pub(crate) fn recall(index: &orthant_engine::Index, queries: &[f32], ef: usize) -> f64 {
    let exact = index.search_exact(queries, 10).unwrap();
    let found = index.search_batch(queries, orthant_engine::SearchParams::new(10, ef)).unwrap();
    let count = queries.len() / index.dim();
    let of_query = |query| {
        let (found, exact): (Vec<_>, Vec<_>) = (found.hits(query).collect(), exact.hits(query).collect());
        orthant_engine::recall_at_k(&found, &exact, 10)
    };
    (0..count).map(of_query).sum::<f64>() / count as f64
}
