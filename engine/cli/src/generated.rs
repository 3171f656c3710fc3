//! Seeded clustered vectors, for trying the engine without data.
//!
//! Each row is one of a few hundred centres, plus a spread along 16 directions of that centre's own,
//! plus a little noise in all of them: like real embeddings, rows fill far fewer dimensions than they
//! have. Every row depends on the seed and its number only, so threads do not change the result.
//!
//! Cost: `16 · d` multiplications per row.

use crate::parallel;
use crate::text::words::mix;

/// Centres; with fewer, single clusters would swallow whole graphs.
const CENTRES: u64 = 200;
/// Directions in which a cluster extends. Text and image embeddings measure 10 to 25.
const DIRECTIONS: usize = 16;
/// Standard deviation along a cluster's directions, where centres have 1 per dimension.
const SPREAD: f32 = 1.2;
/// Standard deviation of the noise in every dimension.
const NOISE: f32 = 0.25;

/// `rows` vectors of `dim` elements, row-major, starting with row `first` of the endless sequence that
/// `seed` names.
pub(crate) fn rows(seed: u64, first: usize, rows: usize, dim: usize, threads: usize) -> Vec<f32> {
    let mut shapes = vec![0.0; CENTRES as usize * (1 + DIRECTIONS) * dim];
    let shape_size = (1 + DIRECTIONS) * dim;
    parallel::for_each_chunk(threads, &mut shapes, shape_size, |first, shape| {
        let mut normal = Normal::new(mix(seed) ^ mix(first as u64 + 1));
        let (centre, directions) = shape.split_at_mut(dim);
        centre.fill_with(|| normal.draw());
        directions.fill_with(|| normal.draw() * SPREAD / (DIRECTIONS as f32).sqrt());
    });
    let mut out = vec![0.0; rows * dim];
    parallel::for_each_chunk(threads, &mut out, 256 * dim, |offset, chunk| {
        for (row, number) in chunk.chunks_exact_mut(dim).zip(first + offset / dim..) {
            let state = mix(mix(seed ^ 0x5eed) ^ number as u64);
            let shape = &shapes[(state % CENTRES) as usize * shape_size..][..shape_size];
            let mut normal = Normal::new(state);
            let (centre, directions) = shape.split_at(dim);
            for (x, c) in row.iter_mut().zip(centre) {
                *x = c + NOISE * normal.draw();
            }
            for direction in directions.chunks_exact(dim) {
                let along = normal.draw();
                for (x, e) in row.iter_mut().zip(direction) {
                    *x += along * e;
                }
            }
        }
    });
    out
}

/// Normally distributed numbers (Box and Muller 1958), two per draw of the generator.
struct Normal {
    state: u64,
    spare: Option<f32>,
}

impl Normal {
    fn new(seed: u64) -> Self {
        Self { state: seed, spare: None }
    }

    fn uniform(&mut self) -> f32 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        // 24 bits and a half: strictly between 0 and 1.
        ((mix(self.state) >> 40) as f32 + 0.5) / (1 << 24) as f32
    }

    fn draw(&mut self) -> f32 {
        if let Some(spare) = self.spare.take() {
            return spare;
        }
        let radius = (-2.0 * self.uniform().ln()).sqrt();
        let (sin, cos) = (std::f32::consts::TAU * self.uniform()).sin_cos();
        self.spare = Some(radius * sin);
        radius * cos
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_depend_on_the_seed_and_the_number_only() {
        let all = rows(7, 0, 600, 24, 3);
        assert_eq!(rows(7, 0, 600, 24, 1), all);
        assert_eq!(rows(7, 590, 10, 24, 1), all[590 * 24..]);
        assert_ne!(rows(8, 0, 600, 24, 1), all);
        assert!(all.iter().all(|x| x.is_finite()));
    }

    #[test]
    fn rows_are_clustered() {
        let all = rows(1, 0, 500, 32, 2);
        let distance = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum::<f32>();
        let row = |i: usize| &all[i * 32..][..32];
        let mean = (1..500).map(|i| distance(row(0), row(i))).sum::<f32>() / 499.0;
        let nearest = (1..500).map(|i| distance(row(0), row(i))).fold(f32::MAX, f32::min);
        assert!(nearest < 0.9 * mean, "{nearest} {mean}");
    }
}
