//! Writing edges: from two rows to the bits and factors of a lane.

use super::{EDGE_LANES, EdgeCodes, MAX_BITS};
use crate::multi::multiversion;
use orthant_kernels::Metric;

/// The step between neighboring values of v, in standard deviations of the values of an edge: those with which a
/// normal distribution loses least (Max 1960, table II). One bit needs none.
const STEPS: [f32; MAX_BITS + 1] = [0.0, 0.0, 0.9957, 0.5860, 0.3352];

impl EdgeCodes {
    /// Makes every lane empty.
    ///
    /// # Panics
    /// If `payload` has another length than [`payload_bytes`](Self::payload_bytes).
    pub fn clear(&self, payload: &mut [u8]) {
        assert_eq!(payload.len(), self.payload_bytes(), "a payload as `payload_bytes` says");
        payload.fill(0);
        for lane in 0..EDGE_LANES {
            self.put_factors(payload, lane, f32::INFINITY, 0.0);
        }
    }

    /// Writes the edges of a node to the first lanes and makes the others empty. The bytes are the same as after
    /// [`clear`](Self::clear) and [`encode_edge`](Self::encode_edge) for each.
    ///
    /// # Shapes
    /// `node: [dim]`, `neighbors: [count][dim]`, turned; `count` at most [`EDGE_LANES`].
    /// # Panics
    /// If a row or `payload` has another length, or if there are more neighbors than lanes.
    pub fn encode<R: AsRef<[f32]>>(&self, node: &[f32], neighbors: &[R], payload: &mut [u8]) {
        assert!(neighbors.len() <= EDGE_LANES, "a payload has {EDGE_LANES} lanes");
        self.clear(payload);
        for (lane, neighbor) in neighbors.iter().enumerate() {
            self.encode_edge(node, neighbor.as_ref(), lane, payload);
        }
    }

    /// Writes one edge, whatever the lane held before.
    ///
    /// # Shapes
    /// `node: [dim]`, `neighbor: [dim]`, turned.
    /// # Panics
    /// If a row or `payload` has another length, or if there is no such lane.
    pub fn encode_edge(&self, node: &[f32], neighbor: &[f32], lane: usize, payload: &mut [u8]) {
        assert_eq!(node.len(), self.dim(), "the node must have the dimension of the codes");
        assert_eq!(neighbor.len(), self.dim(), "the neighbor must have the dimension of the codes");
        assert_eq!(payload.len(), self.payload_bytes(), "a payload as `payload_bytes` says");
        assert!(lane < EDGE_LANES, "there is no lane {lane}");
        let path = self.path;
        let sums = if self.config.bits == 1 {
            write_signs(path, node, neighbor, lane, &mut payload[..self.plane_bytes()])
        } else {
            let levels = 1 << (self.config.bits - 1);
            let squared = squared_length(path, node, neighbor);
            let step = (squared / self.dim() as f32).sqrt() * STEPS[self.config.bits];
            let inverse = if step > 0.0 { 1.0 / step } else { 0.0 };
            let (codes, bits) =
                (&mut payload[..self.config.bits * self.kernel.block_bytes()], self.config.bits);
            let mut sums = write_levels(path, node, neighbor, lane, inverse, levels, bits, codes);
            sums.squared = squared;
            sums
        };
        let Sums { squared, with_edge, with_node, node_edge } = sums;
        // An edge of length 0 has no direction: its neighbor is where the node is.
        let shrink = if with_edge > 0.0 || squared.is_nan() { squared / with_edge } else { 0.0 };
        let (add, rescale) = match self.config.metric {
            Metric::L2 => (squared, -2.0 * shrink),
            _ => (-node_edge, -shrink),
        };
        let rescale = self.rounded(rescale);
        self.put_factors(payload, lane, add - rescale * with_node, rescale);
    }

    /// Makes one lane empty.
    ///
    /// # Panics
    /// If `payload` has another length, or if there is no such lane.
    pub fn clear_edge(&self, lane: usize, payload: &mut [u8]) {
        assert_eq!(payload.len(), self.payload_bytes(), "a payload as `payload_bytes` says");
        assert!(lane < EDGE_LANES, "there is no lane {lane}");
        let (place, keep) = (lane % 16, if lane < 16 { 0xf0 } else { 0x0f });
        for sixteen in payload[..self.codes_bytes()].as_chunks_mut::<16>().0 {
            sixteen[place] &= keep;
        }
        self.put_factors(payload, lane, f32::INFINITY, 0.0);
    }

    /// Copies an edge to a lane of another payload *of the same node*: what [`encode_edge`](Self::encode_edge) would
    /// write there, without the rows.
    ///
    /// # Panics
    /// If a payload has another length, or if there is no such lane.
    pub fn copy_edge(&self, from: &[u8], from_lane: usize, to: &mut [u8], to_lane: usize) {
        assert_eq!(from.len(), self.payload_bytes(), "a payload as `payload_bytes` says");
        assert_eq!(to.len(), self.payload_bytes(), "a payload as `payload_bytes` says");
        assert!(from_lane < EDGE_LANES && to_lane < EDGE_LANES, "there are {EDGE_LANES} lanes");
        let codes = self.codes_bytes();
        let (from_place, from_shift) = (from_lane % 16, from_lane / 16 * 4);
        let (to_place, to_shift) = (to_lane % 16, to_lane / 16 * 4);
        let keep = if to_shift == 0 { 0xf0 } else { 0x0f };
        for (from, to) in from[..codes].as_chunks::<16>().0.iter().zip(to[..codes].as_chunks_mut::<16>().0) {
            let four = from[from_place] >> from_shift & 0x0f;
            to[to_place] = to[to_place] & keep | four << to_shift;
        }
        let width = self.factor_bytes();
        for start in [codes, codes + EDGE_LANES * width] {
            to[start + width * to_lane..][..width]
                .copy_from_slice(&from[start + width * from_lane..][..width]);
        }
    }

    /// Whether a lane holds an edge.
    ///
    /// # Panics
    /// If `payload` has another length, or if there is no such lane.
    pub fn has_edge(&self, payload: &[u8], lane: usize) -> bool {
        assert_eq!(payload.len(), self.payload_bytes(), "a payload as `payload_bytes` says");
        self.factors_at(payload, lane).0 != f32::INFINITY
    }
}

/// What is summed over the dimensions of an edge r = y − x with the code v.
#[derive(Clone, Copy)]
struct Sums {
    /// ‖r‖².
    squared: f32,
    /// ⟨v, r⟩, never negative.
    with_edge: f32,
    /// ⟨v, x⟩.
    with_node: f32,
    /// ⟨x, r⟩.
    node_edge: f32,
}

/// Sixteen running sums into one, in a fixed order.
#[inline(always)]
fn total(sums: [f32; 16]) -> f32 {
    let mut sums = sums;
    let mut half = 8;
    while half > 0 {
        for at in 0..half {
            sums[at] += sums[at + half];
        }
        half /= 2;
    }
    sums[0]
}

/// Puts 16 bits, four to a table, into a lane.
#[inline(always)]
fn put(codes: &mut [u8], chunk: usize, bits: u16, place: usize, shift: usize, keep: u8) {
    for group in 0..4 {
        let four = (bits >> (4 * group)) as u8 & 0x0f;
        let byte = &mut codes[64 * chunk + 16 * group + place];
        *byte = *byte & keep | four << shift;
    }
}

/// A bit per lane that is set.
#[inline(always)]
fn mask(lanes: [bool; 16]) -> u16 {
    let mut bits = 0;
    for (at, lane) in lanes.into_iter().enumerate() {
        bits |= u16::from(lane) << at;
    }
    bits
}

multiversion! {
    /// Writes the signs of y − x to a lane.
    fn write_signs(node: &[f32], neighbor: &[f32], lane: usize, codes: &mut [u8]) -> Sums {
        let (place, shift) = (lane % 16, lane / 16 * 4);
        let keep = if shift == 0 { 0xf0 } else { 0x0f };
        let (mut squared, mut with_edge) = ([0.0f32; 16], [0.0f32; 16]);
        let (mut with_node, mut node_edge) = ([0.0f32; 16], [0.0f32; 16]);
        let rows = node.as_chunks::<16>().0.iter().zip(neighbor.as_chunks::<16>().0);
        for (chunk, (x, y)) in rows.enumerate() {
            let mut is_positive = [false; 16];
            for at in 0..16 {
                let r = y[at] - x[at];
                is_positive[at] = r >= 0.0;
                squared[at] += r * r;
                with_edge[at] += r.abs();
                with_node[at] += if r >= 0.0 { x[at] } else { -x[at] };
                node_edge[at] += r * x[at];
            }
            put(codes, chunk, mask(is_positive), place, shift, keep);
        }
        Sums {
            squared: total(squared),
            with_edge: total(with_edge),
            with_node: total(with_node),
            node_edge: total(node_edge),
        }
    }
}

multiversion! {
    /// ‖y − x‖².
    fn squared_length(node: &[f32], neighbor: &[f32]) -> f32 {
        let mut squared = [0.0f32; 16];
        for (x, y) in node.as_chunks::<16>().0.iter().zip(neighbor.as_chunks::<16>().0) {
            for at in 0..16 {
                let r = y[at] - x[at];
                squared[at] += r * r;
            }
        }
        total(squared)
    }
}

multiversion! {
    /// Writes the levels of y − x to a lane, sign bits first. A value of v is ±(level + ½) / (levels / 2), so that its
    /// sign bit counts 1, the next bit ½ and so on.
    #[allow(clippy::too_many_arguments)]
    fn write_levels(
        node: &[f32],
        neighbor: &[f32],
        lane: usize,
        inverse: f32,
        levels: usize,
        bits: usize,
        codes: &mut [u8],
    ) -> Sums {
        let (place, shift) = (lane % 16, lane / 16 * 4);
        let keep = if shift == 0 { 0xf0 } else { 0x0f };
        let plane_bytes = codes.len() / bits;
        let top = (levels - 1) as f32;
        let per_level = 2.0 / levels as f32;
        let mut with_edge = [0.0f32; 16];
        let (mut with_node, mut node_edge) = ([0.0f32; 16], [0.0f32; 16]);
        let rows = node.as_chunks::<16>().0.iter().zip(neighbor.as_chunks::<16>().0);
        for (chunk, (x, y)) in rows.enumerate() {
            let mut is_positive = [false; 16];
            let mut level = [0u32; 16];
            for at in 0..16 {
                let r = y[at] - x[at];
                let size = r.abs() * inverse;
                // Cut to the inside of the top level, NaN too; then rounded down by way of the low bits of a sum with
                // 1.5 · 2²³. Between two levels either may be taken, but always the same.
                let size = if size < top { size } else { top + 0.25 };
                let rounded = size - 0.5 + 12_582_912.0;
                level[at] = rounded.to_bits() & 0xf;
                is_positive[at] = r >= 0.0;
                let size = (rounded - 12_582_912.0 + 0.5) * per_level;
                let v = if r >= 0.0 { size } else { -size };
                with_edge[at] += r * v;
                with_node[at] += x[at] * v;
                node_edge[at] += r * x[at];
            }
            let positive = mask(is_positive);
            put(codes, chunk, positive, place, shift, keep);
            for plane in 1..bits {
                // Codes count from the most negative value up, which is what makes v a sum of signed bits: of a
                // negative value the bits of its level are turned over.
                let mut is_set = [false; 16];
                for at in 0..16 {
                    is_set[at] = level[at] >> (bits - 1 - plane) & 1 == 1;
                }
                put(&mut codes[plane * plane_bytes..], chunk, mask(is_set) ^ !positive, place, shift, keep);
            }
        }
        Sums {
            squared: 0.0,
            with_edge: total(with_edge),
            with_node: total(with_node),
            node_edge: total(node_edge),
        }
    }
}
