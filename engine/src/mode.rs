//! Named trades of memory for speed.

use crate::builder::Quantization;

/// What an index is to be good at. A name for several choices at once; each can still be made by itself.
///
/// | mode | searches read | bytes per row at d dimensions and M 16, about |
/// |---|---|---|
/// | `Speed` | lists with the codes of their edges, 1 to 4 bits per dimension, then the best few rows at half precision; whole rows stay in the file | 7·d to 19·d + 400 |
/// | `Balanced` | one byte per dimension, then the best few rows | 5·d + 180 |
/// | `Memory` | the same, and rows stay in the file | d + 180, and what the system keeps of the file |
///
/// What a mode costs in recall is measured when the index is trained: [`Info::choice`](crate::Info::choice).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Fastest, and largest. Rows at half precision are kept where they find as much; whole ones take memory while the index is
    /// built, until it was saved and opened.
    Speed,
    /// Rows and their codes in memory.
    Balanced,
    /// Codes in memory. Rows are read where they lie in the file, a page at a time: they take memory while the index is
    /// built, until it was saved and opened.
    Memory,
}

impl Mode {
    /// All of them, in the order of their numbers in files, which count from 1.
    pub(crate) const ALL: [Self; 3] = [Self::Speed, Self::Balanced, Self::Memory];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Speed => "speed",
            Self::Balanced => "balanced",
            Self::Memory => "memory",
        }
    }

    /// What its searches compare.
    pub fn quantization(self) -> Quantization {
        match self {
            Self::Speed => Quantization::Blocks,
            Self::Balanced | Self::Memory => Quantization::Sq8,
        }
    }

    /// Its number in a file; 0 stands for none.
    pub(crate) fn number(mode: Option<Self>) -> u32 {
        Self::ALL.into_iter().zip(1..).find(|&(known, _)| Some(known) == mode).map_or(0, |(_, number)| number)
    }

    /// The mode of a number, or nothing if it has none.
    pub(crate) fn from_number(number: u32) -> Option<Option<Self>> {
        match number.checked_sub(1) {
            None => Some(None),
            Some(place) => Self::ALL.get(place as usize).map(|&mode| Some(mode)),
        }
    }
}

impl std::fmt::Display for Mode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_lead_back() {
        for mode in Mode::ALL.into_iter().map(Some).chain([None]) {
            assert_eq!(Mode::from_number(Mode::number(mode)), Some(mode));
        }
        assert_eq!(Mode::from_number(4), None);
    }
}
