//! The metrics, and the one sign rule: **smaller is nearer, always**.
//!
//! * **M1** Every function of this workspace that returns a `distance` returns the smaller number
//!   for the nearer pair. Similarities are turned round here and nowhere else.
//! * **M2** Inside, L2 is squared: the order is the same and the root costs. The root is taken once,
//!   at the border, by [`Metric::to_border`].

use core::fmt;
use core::str::FromStr;

/// How far two vectors are apart. Smaller is nearer for every variant.
///
/// | metric | distance | range |
/// |---|---|---|
/// | `L2` | Σ (aᵢ − bᵢ)², the *squared* Euclidean distance | 0 … ∞ |
/// | `InnerProduct` | −Σ aᵢ·bᵢ | −∞ … ∞ |
/// | `Cosine` | 1 − cos(a, b) | 0 … 2 |
/// | `L1` | Σ abs(aᵢ − bᵢ) | 0 … ∞ |
///
/// # Examples
/// ```
/// use orthant_kernels::Metric;
///
/// assert_eq!("cosine".parse::<Metric>().unwrap(), Metric::Cosine);
/// assert_eq!(Metric::L2.to_border(9.0), 3.0);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Metric {
    /// Squared Euclidean distance.
    L2,
    /// Negated inner product.
    InnerProduct,
    /// One minus the cosine of the angle. A zero vector has distance 1 to everything.
    Cosine,
    /// Sum of absolute differences (Manhattan, taxicab).
    L1,
}

impl Metric {
    /// Every metric, in the order of the table above.
    pub const ALL: [Self; 4] = [Self::L2, Self::InnerProduct, Self::Cosine, Self::L1];

    /// The short name that [`Display`](fmt::Display) writes and [`FromStr`] reads.
    pub const fn name(self) -> &'static str {
        match self {
            Self::L2 => "l2",
            Self::InnerProduct => "ip",
            Self::Cosine => "cosine",
            Self::L1 => "l1",
        }
    }

    /// Turns an inside distance into the one shown to a caller: the root for `L2`, as is otherwise.
    ///
    /// Monotone, so an order found inside holds outside. NaN stays NaN.
    #[inline]
    pub fn to_border(self, distance: f32) -> f32 {
        match self {
            Self::L2 => distance.sqrt(),
            Self::InnerProduct | Self::Cosine | Self::L1 => distance,
        }
    }

    /// Turns a distance given by a caller (a radius, say) into the inside form: the inverse of
    /// [`to_border`](Self::to_border).
    ///
    /// A negative L2 radius means "nothing" and stays negative, so that no distance is below it.
    #[inline]
    pub fn from_border(self, distance: f32) -> f32 {
        match self {
            Self::L2 => distance * distance.abs(),
            Self::InnerProduct | Self::Cosine | Self::L1 => distance,
        }
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The text names no metric; the known names are `l2`, `ip`, `cosine` and `l1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("unknown metric: the names are l2, ip, cosine and l1")]
#[non_exhaustive]
pub struct UnknownMetric;

impl FromStr for Metric {
    type Err = UnknownMetric;

    fn from_str(text: &str) -> Result<Self, UnknownMetric> {
        Self::ALL.into_iter().find(|metric| metric.name() == text).ok_or(UnknownMetric)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        for metric in Metric::ALL {
            assert_eq!(metric.to_string().parse::<Metric>(), Ok(metric));
        }
        assert_eq!("L2".parse::<Metric>(), Err(UnknownMetric), "names are lower case");
        assert_eq!("".parse::<Metric>(), Err(UnknownMetric));
    }

    #[test]
    fn border_and_back() {
        for metric in Metric::ALL {
            for distance in [0.0f32, 0.25, 4.0, 1e6] {
                let back = metric.from_border(metric.to_border(distance));
                assert!((back - distance).abs() <= 1e-6 * distance, "{metric} {distance} -> {back}");
            }
            assert!(metric.to_border(f32::NAN).is_nan());
        }
        assert!(Metric::L2.from_border(-1.0) < 0.0, "a negative radius must admit nothing");
    }
}
