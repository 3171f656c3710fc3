//! Finished steps, kept so that a build that was stopped goes on from them.
//!
//! A step is kept as the bytes of its tables, in the order of the machine, under a number that names the build:
//! codes, parameters and this form of the bytes ([`name_of`]). What is found under another number is of another build.
//!
//! * **L1** With steps that were kept a build makes what it makes without: each holds all that the steps after it read,
//!   and all of it follows from codes and parameters ([P1](crate::build)).
//! * **L2** What is found is looked at before it is used: lengths fit, rows exist. What does not fit is passed over.
//!
//! Cost: naming a build reads its codes once; keeping is writing what [`Keep::is_worth`] was told.

use bytemuck::Pod;
use orthant_quant::Executor;

use crate::build::Params;
use crate::grid::Codes;
use crate::parallel::map_chunks;
use crate::random::mix;

/// The form of what is kept; a build does not go on from steps in another.
const FORM: u64 = 1;

/// Rows per task when codes are read for their name.
const CHUNK: usize = 1024;

/// A step whose outcome can be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Step {
    /// Choices on a scale above 0.
    Scale(u32),
    /// Balls of all rows, and their order.
    Balls,
    /// Reservoirs, as far as leaves are compared and neighbors joined. It is kept more than once: what comes later stands
    /// in place of what came before.
    Near,
    /// Choices of all rows.
    Own,
    /// The lists.
    Lists,
}

impl Step {
    /// What is not needed once rows have chosen.
    pub(crate) fn before_own(scales: usize) -> impl Iterator<Item = Self> {
        (1..=scales as u32).map(Self::Scale).chain([Self::Balls, Self::Near])
    }
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Scale(scale) => write!(f, "scale-{scale}"),
            Self::Balls => f.write_str("balls"),
            Self::Near => f.write_str("near"),
            Self::Own => f.write_str("own"),
            Self::Lists => f.write_str("lists"),
        }
    }
}

/// Who keeps steps. It must give back the bytes it was given or nothing; errors are its own to tell, for a build goes on
/// without.
pub trait Keep: Sync {
    /// Whether `bytes` bytes are worth writing now. May be asked often, from several threads.
    fn is_worth(&self, bytes: usize) -> bool;

    /// Keeps the parts of a step of the build `name`, in place of what was kept of that step. Whether it could.
    fn keep(&self, step: Step, name: u64, parts: &[&[u8]]) -> bool;

    /// Shows `take` the parts of a step, if it is kept and of the build `name`. `take` says whether it could use them.
    fn find(&self, step: Step, name: u64, take: &mut dyn FnMut(&[&[u8]]) -> bool);

    /// A step is not needed any more.
    fn forget(&self, step: Step);
}

/// The keeper of one build, or none.
#[derive(Clone, Copy)]
pub(crate) struct Kept<'a>(pub(crate) Option<(&'a dyn Keep, u64)>);

impl Kept<'_> {
    /// Whether so many bytes are worth keeping.
    pub(crate) fn is_worth(self, bytes: usize) -> bool {
        self.0.is_some_and(|(keep, _)| keep.is_worth(bytes))
    }

    /// Keeps a step, if that is worth it. Whether it is kept.
    pub(crate) fn offer(self, step: Step, parts: &[&[u8]]) -> bool {
        let bytes = parts.iter().map(|part| part.len()).sum();
        self.0.is_some_and(|(keep, name)| keep.is_worth(bytes) && keep.keep(step, name, parts))
    }

    /// What `take` makes of a step.
    pub(crate) fn find<T>(self, step: Step, take: impl Fn(&[&[u8]]) -> Option<T>) -> Option<T> {
        let (keep, name) = self.0?;
        let mut found = None;
        keep.find(step, name, &mut |parts| {
            found = take(parts);
            found.is_some()
        });
        found
    }

    pub(crate) fn forget(self, steps: impl IntoIterator<Item = Step>) {
        if let Some((keep, _)) = self.0 {
            steps.into_iter().for_each(|step| keep.forget(step));
        }
    }
}

/// The number of the build of `codes` with `params`.
pub(crate) fn name_of(codes: &Codes, params: &Params, executor: &dyn Executor) -> u64 {
    let Params { degree, own, reservoir, memberships, leaf, joins, breadth, scales, slack, seed } = *params;
    let sizes = [degree, own, reservoir, memberships, leaf, joins, breadth, scales, codes.len(), codes.dim()];
    let sizes = sizes.map(|size| size as u64);
    let form = [FORM, u64::from(usize::BITS), u64::from(u16::from_ne_bytes([1, 0]))];
    let chunks = map_chunks(executor, codes.len(), CHUNK, |rows| {
        let bytes = &codes.bytes()[rows.start * codes.stride()..rows.end * codes.stride()];
        let (words, rest) = bytes.as_chunks::<8>();
        let words = words.iter().map(|word| u64::from_le_bytes(*word));
        let sum = words.chain(rest.iter().map(|&byte| u64::from(byte))).fold(FORM, |sum, word| {
            let sum = (sum ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15);
            sum ^ sum >> 29
        });
        mix(sum)
    });
    let all = form.into_iter().chain(sizes).chain([u64::from(slack.to_bits()), seed]).chain(chunks);
    all.fold(0, |name, part| mix(name ^ part).rotate_left(23))
}

/// A part as elements.
pub(crate) fn elements<T: Pod>(part: &[u8]) -> Option<Vec<T>> {
    let (count, rest) = (part.len() / size_of::<T>(), part.len() % size_of::<T>());
    let mut elements = vec![T::zeroed(); count];
    bytemuck::cast_slice_mut(&mut elements).get_mut(..part.len())?.copy_from_slice(part);
    (rest == 0).then_some(elements)
}

/// A part as an order of `rows` rows, each once.
pub(crate) fn order(part: &[u8], rows: usize) -> Option<Vec<u32>> {
    let order: Vec<u32> = elements(part)?;
    let mut is_seen = vec![false; rows];
    let is_new =
        |&row: &u32| is_seen.get_mut(row as usize).is_some_and(|is_seen| !std::mem::replace(is_seen, true));
    (order.len() == rows && order.iter().all(is_new)).then_some(order)
}

/// A part as where each of some lists starts and the last one ends, in a table of `end` elements.
pub(crate) fn starts(part: &[u8], lists: usize, end: usize) -> Option<Vec<usize>> {
    let starts: Vec<usize> = elements(part)?;
    let is_sound = starts.len() == lists + 1 && starts[0] == 0 && starts[lists] == end && starts.is_sorted();
    is_sound.then_some(starts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grid::{Grid, Rows};
    use orthant_quant::Serial;

    #[test]
    fn a_name_is_of_codes_and_parameters() {
        let values: Vec<f32> = (0..3000u32).map(|at| (at * at % 251) as f32).collect();
        let rows = Rows { values: &values, stride: 3, count: 1000, dim: 3 };
        let grid = Grid::fit(rows, &Serial);
        let codes =
            |values: &[f32], count| Codes::encode(&grid, Rows { values, stride: 3, count, dim: 3 }, &Serial);
        let params = Params::new(8);
        let name = name_of(&codes(&values, 1000), &params, &Serial);
        assert_eq!(name, name_of(&codes(&values, 1000), &params, &Serial));
        for at in [0, 1500, 2999] {
            let mut other = values.clone();
            other[at] += 1.0;
            assert_ne!(name, name_of(&codes(&other, 1000), &params, &Serial), "{at}");
        }
        let mut others = [params; 5];
        others[0].seed += 1;
        others[1].slack += 0.1;
        others[2].degree += 1;
        others[3].joins += 1;
        others[4].leaf -= 1;
        for other in others {
            assert_ne!(name, name_of(&codes(&values, 1000), &other, &Serial), "{other:?}");
        }
        assert_ne!(name, name_of(&codes(&values, 999), &params, &Serial));
    }

    #[test]
    fn what_does_not_fit_is_nothing() {
        let bytes = |words: &[u32]| bytemuck::cast_slice(words).to_vec();
        assert_eq!(order(&bytes(&[2, 0, 1]), 3), Some(vec![2, 0, 1]));
        for wrong in [&[2, 0][..], &[2, 0, 0], &[3, 0, 1], &[0, 1, 2, 3]] {
            assert_eq!(order(&bytes(wrong), 3), None, "{wrong:?}");
        }
        assert_eq!(order(&[0; 7], 1), None);
        let bytes = |words: &[usize]| bytemuck::cast_slice(words).to_vec();
        assert_eq!(starts(&bytes(&[0, 2, 2]), 2, 2), Some(vec![0, 2, 2]));
        for wrong in [&[][..], &[0, 2], &[0, 3, 2], &[1, 2, 2], &[0, 1, 3]] {
            assert_eq!(starts(&bytes(wrong), 2, 2), None, "{wrong:?}");
        }
    }
}
