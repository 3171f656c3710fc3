//! Overlapping balls: leaders are drawn, each row joins the balls of its nearest leaders, large balls are cut again.
//!
//! * **B1** Every row is in at least one leaf, and a leaf holds no row twice and at most `leaf` rows.
//! * **B2** Leaves depend on the codes and the seed, not on the threads: leaders are drawn by numbers that name the
//!   ball, ties between leaders go to the one drawn first.
//! * **B3** It ends: where cutting a ball leaves most of it together (equal rows), it is cut by count.
//!
//! Cost: a row is compared with all leaders of each ball that it is in; two cuts suffice up to millions of rows.

use orthant_kernels::TileKernel;

use crate::Params;
use crate::grid::Codes;
use crate::keep::{elements, starts};
use crate::random::mix;
use crate::reservoir::{NOTHING, key};

/// Most leaders of one cut: from here on another cut is cheaper than more leaders.
pub(crate) const MAX_LEADERS: usize = 1024;

/// How full leaves are aimed to be, in parts of a hundred: balls differ in size, and those that are too large cost
/// another cut.
const AIM: usize = 60;

/// How a ball is cut: into the balls of how many leaders, and how many of them a row joins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cut {
    pub(crate) leaders: usize,
    pub(crate) joined: usize,
}

impl Cut {
    /// How to cut a ball of `count` rows, each of which may be in `memberships` leaves.
    pub(crate) fn of(count: usize, memberships: usize, params: &Params) -> Self {
        let aim = (params.leaf * AIM / 100).max(1);
        let flat = (count * memberships).div_ceil(aim);
        if flat <= MAX_LEADERS {
            return Self { leaders: flat.max(2), joined: memberships };
        }
        // Two cuts share the memberships out; the first one gets more of them, being the coarser.
        let joined = (memberships as f64).sqrt().ceil() as usize;
        Self { leaders: MAX_LEADERS, joined: joined.max(1) }
    }

    /// Memberships left for a cut of the balls.
    pub(crate) fn rest(self, memberships: usize) -> usize {
        (memberships / self.joined).max(1)
    }
}

/// What assigning reuses.
#[derive(Default)]
pub(crate) struct AssignScratch {
    rows: Vec<u8>,
    norms: Vec<i32>,
    distances: Vec<i32>,
    best: Vec<u64>,
}

/// Leaders, packed for comparing rows with all of them.
pub(crate) struct Leaders {
    count: usize,
    packed: Vec<u8>,
    norms: Vec<i32>,
}

/// Rows compared with the leaders at once: their distances stay in the second-level cache.
pub(crate) const STRIP: usize = 96;

impl Leaders {
    /// Draws `count` of `members`, one from each of that many equal parts. `name` names the ball.
    pub(crate) fn draw(codes: &Codes, kernel: &TileKernel, members: &[u32], count: usize, name: u64) -> Self {
        let count = count.min(members.len());
        let chosen: Vec<u32> = (0..count)
            .map(|part| {
                let (from, to) = (part * members.len() / count, (part + 1) * members.len() / count);
                let draw = mix(name ^ mix(part as u64 + 1));
                members[from + (draw % (to - from) as u64) as usize]
            })
            .collect();
        let (mut rows, mut norms) = (vec![0; count * codes.stride()], vec![0; count]);
        codes.gather(&chosen, &mut rows, &mut norms);
        let mut packed = vec![0; kernel.packed_bytes(count)];
        kernel.pack(&rows, codes.stride(), count, &mut packed);
        Self { count, packed, norms }
    }

    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// The `joined` nearest leaders of each of `members`, nearest first. `out: [members.len() × joined]`.
    pub(crate) fn assign(
        &self,
        codes: &Codes,
        kernel: &TileKernel,
        members: &[u32],
        joined: usize,
        out: &mut [u32],
        scratch: &mut AssignScratch,
    ) {
        let AssignScratch { rows, norms, distances, best } = scratch;
        let stride = codes.stride();
        rows.resize(STRIP * stride, 0);
        norms.resize(STRIP, 0);
        distances.resize(STRIP * self.count, 0);
        for (members, out) in members.chunks(STRIP).zip(out.chunks_mut(STRIP * joined)) {
            let (rows, norms) = (&mut rows[..members.len() * stride], &mut norms[..members.len()]);
            codes.gather(members, rows, norms);
            let distances = &mut distances[..members.len() * self.count];
            kernel.squared_distances(rows, stride, norms, &self.packed, &self.norms, distances, self.count);
            for (distances, out) in distances.chunks_exact(self.count).zip(out.chunks_exact_mut(joined)) {
                nearest(distances, joined, best);
                out.iter_mut().zip(best.iter()).for_each(|(out, &key)| *out = key as u32);
            }
        }
    }
}

/// The places of the `count` smallest of `distances`, in order, as keys; the earlier of two that are equal.
fn nearest(distances: &[i32], count: usize, best: &mut Vec<u64>) {
    best.clear();
    best.resize(count, NOTHING);
    let mut worst = i32::MAX;
    for (chunk, distances) in distances.chunks(16).enumerate() {
        if !distances.iter().fold(false, |some, &distance| some | (distance <= worst)) {
            continue;
        }
        for (at, &distance) in distances.iter().enumerate() {
            let key = key(distance, (chunk * 16 + at) as u32);
            if key < best[count - 1] {
                let place = best.partition_point(|&before| before < key);
                best.copy_within(place..count - 1, place + 1);
                best[place] = key;
                worst = if best[count - 1] == NOTHING { i32::MAX } else { (best[count - 1] >> 32) as i32 };
            }
        }
    }
}

/// The members of each ball, ball after ball, from what [`Leaders::assign`] found.
pub(crate) struct Balls {
    starts: Vec<usize>,
    members: Vec<u32>,
}

impl Balls {
    /// `joined_by: [members.len() × joined]` names the balls of each member.
    pub(crate) fn collect(members: &[u32], joined_by: &[u32], joined: usize, balls: usize) -> Self {
        let mut starts = vec![0; balls + 1];
        joined_by.iter().for_each(|&ball| starts[ball as usize + 1] += 1);
        for ball in 0..balls {
            starts[ball + 1] += starts[ball];
        }
        let mut next = starts.clone();
        let mut sorted = vec![0; joined_by.len()];
        for (&member, joined_by) in members.iter().zip(joined_by.chunks_exact(joined)) {
            for &ball in joined_by {
                sorted[next[ball as usize]] = member;
                next[ball as usize] += 1;
            }
        }
        Self { starts, members: sorted }
    }

    /// The balls whose [`parts`](Self::parts) these are, if they are some of `rows` rows.
    pub(crate) fn of_parts(rows: usize, [from, members]: [&[u8]; 2]) -> Option<Self> {
        let members: Vec<u32> = elements(members)?;
        let balls = (from.len() / size_of::<usize>()).checked_sub(1)?;
        let is_sound = members.iter().all(|&member| (member as usize) < rows);
        is_sound.then_some(Self { starts: starts(from, balls, members.len())?, members })
    }

    /// All of it as bytes.
    pub(crate) fn parts(&self) -> [&[u8]; 2] {
        [bytemuck::cast_slice(&self.starts), bytemuck::cast_slice(&self.members)]
    }

    pub(crate) fn len(&self) -> usize {
        self.starts.len() - 1
    }

    pub(crate) fn members(&self, ball: usize) -> &[u32] {
        &self.members[self.starts[ball]..self.starts[ball + 1]]
    }
}

/// Cuts one ball until its parts are leaves, and hands each to `leaf`.
pub(crate) fn descend(
    codes: &Codes,
    kernel: &TileKernel,
    members: &[u32],
    (memberships, name): (usize, u64),
    params: &Params,
    scratch: &mut AssignScratch,
    leaf: &mut dyn FnMut(&[u32]) -> bool,
) -> bool {
    if members.len() <= params.leaf {
        return members.len() < 2 || leaf(members);
    }
    let cut = Cut::of(members.len(), memberships, params);
    let leaders = Leaders::draw(codes, kernel, members, cut.leaders, name);
    let joined = cut.joined.min(leaders.count());
    let mut joined_by = vec![0; members.len() * joined];
    leaders.assign(codes, kernel, members, joined, &mut joined_by, scratch);
    let balls = Balls::collect(members, &joined_by, joined, leaders.count());
    drop(joined_by);
    for ball in 0..balls.len() {
        let part = balls.members(ball);
        let name = mix(name ^ mix(ball as u64 + 7));
        // B3: nearly all of it in one part.
        let goes_on = if part.len() > params.leaf && part.len() * 10 > members.len() * 8 {
            part.chunks(params.leaf).all(&mut *leaf)
        } else {
            descend(codes, kernel, part, (cut.rest(memberships), name), params, scratch, leaf)
        };
        if !goes_on {
            return false;
        }
    }
    true
}
