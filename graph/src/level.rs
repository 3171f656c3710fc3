//! Which level a node gets.
//!
//! Level L or above has probability M^-L, so each level holds 1/M of the one below (Malkov and
//! Yashunin 2018, section 4.1). The draw depends on the seed and the node's id alone: the same node
//! gets the same level whatever thread inserts it, and in whatever order.

use crate::{NodeId, config::MAX_LEVEL};

/// Draws levels from a seed.
///
/// ```
/// use orthant_graph::LevelDraw;
/// let draw = LevelDraw::new(42, 16);
/// assert_eq!(draw.level(7), LevelDraw::new(42, 16).level(7));
/// ```
#[derive(Debug, Clone, Copy)]
pub struct LevelDraw {
    seed: u64,
    level_mult: f64,
}

impl LevelDraw {
    /// A draw for lists of `m` neighbors. `m` below 2 counts as 2.
    pub fn new(seed: u64, m: usize) -> Self {
        Self { seed, level_mult: 1.0 / (m.max(2) as f64).ln() }
    }

    /// The level of node `id`.
    pub fn level(&self, id: NodeId) -> u8 {
        let bits = mix(self.seed ^ mix(u64::from(id).wrapping_add(0x9E37_79B9_7F4A_7C15)));
        // 53 random bits and a half: strictly between 0 and 1, so the logarithm is finite.
        let uniform = ((bits >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
        let level = -uniform.ln() * self.level_mult;
        (level as u64).min(u64::from(MAX_LEVEL)) as u8
    }
}

/// The finaliser of SplitMix64 (Steele, Lea and Flood 2014): every input bit reaches every output bit.
pub(crate) fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_level_holds_one_part_in_m() {
        let draw = LevelDraw::new(1, 16);
        let mut counts = [0usize; 16];
        for id in 0..1_000_000 {
            counts[draw.level(id) as usize] += 1;
        }
        let above = |level: usize| counts[level..].iter().sum::<usize>() as f64;
        assert!((above(1) - 62_500.0).abs() < 1_250.0, "{counts:?}");
        assert!((above(2) - 3_906.0).abs() < 320.0, "{counts:?}");
        assert!((above(3) - 244.0).abs() < 80.0, "{counts:?}");
    }

    #[test]
    fn seeds_differ() {
        let (a, b) = (LevelDraw::new(1, 4), LevelDraw::new(2, 4));
        assert!((0..1000).any(|id| a.level(id) != b.level(id)));
    }
}
