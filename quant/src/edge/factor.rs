//! The two numbers beside each edge's code: where they lie, and how they are rounded.

use orthant_kernels::f16;

use super::{EDGE_LANES, EdgeCodes, EdgeFactors};

/// The smallest `f16` that is not denormal. Smaller numbers are stored as 0, so that no path meets a denormal.
const MIN_F16: f32 = 6.103_515_6e-5;

/// The largest `f16`.
const MAX_F16: f32 = 65504.0;

impl EdgeCodes {
    /// A factor as it will be read back.
    pub(super) fn rounded(&self, value: f32) -> f32 {
        match self.config.factors {
            EdgeFactors::F32 => value,
            EdgeFactors::F16 => to_f16(value / self.config.unit).to_f32() * self.config.unit,
        }
    }

    /// Writes the factors of a lane.
    pub(super) fn put_factors(&self, payload: &mut [u8], lane: usize, add: f32, rescale: f32) {
        let factors = &mut payload[self.codes_bytes()..];
        match self.config.factors {
            EdgeFactors::F32 => {
                factors[4 * lane..][..4].copy_from_slice(&add.to_le_bytes());
                factors[4 * (EDGE_LANES + lane)..][..4].copy_from_slice(&rescale.to_le_bytes());
            }
            EdgeFactors::F16 => {
                let unit = self.config.unit;
                // Only an empty lane is infinite.
                let add = if add == f32::INFINITY { f16::INFINITY } else { to_f16(add / unit) };
                factors[2 * lane..][..2].copy_from_slice(&add.to_le_bytes());
                factors[2 * (EDGE_LANES + lane)..][..2]
                    .copy_from_slice(&to_f16(rescale / unit).to_le_bytes());
            }
        }
    }

    /// `(add, rescale)` of a lane.
    pub(super) fn factors_at(&self, payload: &[u8], lane: usize) -> (f32, f32) {
        let factors = &payload[self.codes_bytes()..];
        let at = |index: usize| match self.config.factors {
            EdgeFactors::F32 => {
                let four = factors[4 * index..][..4].first_chunk::<4>();
                f32::from_le_bytes(*four.expect("four bytes were cut out"))
            }
            EdgeFactors::F16 => {
                let two = factors[2 * index..][..2].first_chunk::<2>();
                f16::from_le_bytes(*two.expect("two bytes were cut out")).to_f32() * self.config.unit
            }
        };
        (at(lane), at(EDGE_LANES + lane))
    }
}

/// Rounds to the nearest `f16`, finite values to finite ones. NaN stays NaN.
fn to_f16(value: f32) -> f16 {
    let value = value.clamp(-MAX_F16, MAX_F16);
    if value.abs() < MIN_F16 { f16::ZERO } else { f16::from_f32(value) }
}
