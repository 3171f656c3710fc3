//! What searches over blocks do beside the codes, learned from an exam (see [`gate`](crate::gate)).

/// Beams that a stop is learned for.
pub(crate) const BEAMS: [usize; 9] = [16, 24, 32, 48, 64, 96, 128, 192, 256];

/// How much wider than asked for a beam is that may stop early: hard queries take from it what easy ones leave. With 1.3
/// instead of 2, text-384 needed a tenth more expansions for 0.99; 2 and 3 differ by less than the noise.
const WIDER: usize = 3;

/// Learned choices.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Tuning {
    /// Rows whose distance by code is so many standard deviations behind the k-th are not compared at full precision.
    pub(crate) doubt: f32,
    /// For each of [`BEAMS`]: a search ends where the nearest estimate is so many times as far as the k-th result. Empty:
    /// beams end when they are used up.
    pub(crate) stops: Vec<f32>,
}

impl Default for Tuning {
    fn default() -> Self {
        Self { doubt: 3.0, stops: Vec::new() }
    }
}

impl Tuning {
    /// Width and stop of a search that is to cost what a beam of `ef` without a stop does.
    pub(crate) fn beam(&self, ef: usize) -> (usize, f32) {
        let (first, last) = (BEAMS[0], BEAMS[BEAMS.len() - 1]);
        if self.stops.len() != BEAMS.len() || ef < first || ef > last {
            return (ef, f32::INFINITY);
        }
        let above = BEAMS.partition_point(|&beam| beam < ef);
        if above == 0 {
            return (WIDER * ef, self.stops[0]);
        }
        let (from, to) = (BEAMS[above - 1], BEAMS[above]);
        let share = (ef - from) as f32 / (to - from) as f32;
        (WIDER * ef, self.stops[above - 1] * (1.0 - share) + self.stops[above] * share)
    }

    /// `[doubt f32]`, then the stops as `f32`, little-endian.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        std::iter::once(&self.doubt).chain(&self.stops).flat_map(|value| value.to_le_bytes()).collect()
    }

    /// What [`to_bytes`](Self::to_bytes) wrote.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (values, rest) = bytes.as_chunks::<4>();
        let mut values = values.iter().map(|&bytes| f32::from_le_bytes(bytes));
        let tuning = Self { doubt: values.next()?, stops: values.collect() };
        let is_fine = rest.is_empty()
            && tuning.doubt >= 0.0
            && (tuning.stops.is_empty() || tuning.stops.len() == BEAMS.len())
            && tuning.stops.iter().all(|&stop| stop >= 1.0);
        is_fine.then_some(tuning)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stops_are_interpolated_and_kept() {
        let stops: Vec<f32> = (0..BEAMS.len()).map(|at| 1.0 + at as f32).collect();
        let tuning = Tuning { doubt: 1.5, stops };
        assert_eq!((tuning.beam(16), tuning.beam(20), tuning.beam(256)), ((48, 1.0), (60, 1.5), (768, 9.0)));
        assert_eq!((tuning.beam(15), tuning.beam(257)), ((15, f32::INFINITY), (257, f32::INFINITY)));
        assert_eq!(Tuning::default().beam(64), (64, f32::INFINITY));
        assert_eq!(Tuning::from_bytes(&tuning.to_bytes()), Some(tuning.clone()));
        assert_eq!(Tuning::from_bytes(&tuning.to_bytes()[..39]), None);
        assert_eq!(Tuning::from_bytes(&Tuning { doubt: f32::NAN, ..tuning }.to_bytes()), None);
        assert_eq!(Tuning::from_bytes(&Tuning::default().to_bytes()), Some(Tuning::default()));
    }
}
