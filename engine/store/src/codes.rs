//! One byte per dimension beside the rows, so that many rows are compared quickly and the answer is still exact.
//!
//! The rows of a part of a file lie on one grid: a byte `c` stands for `low + step · c`. A scan compares the query with all codes,
//! then only those rows with their full elements that may be among the nearest.
//!
//! * **B1** No row lies farther from what its code stands for than the `slack` of its part, which is measured while coding. The
//!   distance to a row and to its code differ by no more (triangle inequality; for inner products times the query's length,
//!   Cauchy-Schwarz). So whichever row is among the `k` nearest is among the candidates.
//! * **B2** Only rows that a transaction names have a code: they are never written again (rows R1). A change is a new [`Codes`];
//!   who holds the old one goes on with it.
//! * **B3** Codes are derived and never the whole truth: rows without one (new, damaged, without direction) are in `coded` of no
//!   `Codes`, and compared as they are.
//!
//! * **B4** A part's codes are made anew without the rows that ended, once those are one in [`GONE_PART`]. So memory is bounded by the
//!   rows that live, and a change copies one part: at most 16,384 codes are there twice.
//!
//! Cost: `dim` bytes of memory per row, rounded up to a cache line, and 2 bytes per position of a part.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;

use orthant_engine::Metric;
use orthant_engine::kernels::{IsaError, Kernel};
use orthant_engine::storage::{MemoryOptions, RowArena, RowLayout};
use roaring::RoaringBitmap;

use crate::rows::SEGMENT_ROWS;
use crate::segment::Segment;

/// Rows per call of the kernel: their distances stay in the first-level cache.
const GATHER: usize = 512;

/// Positions of a part: a quarter of a file, whose codes are whole huge pages at 128 and at 384 dimensions.
pub(crate) const PART_ROWS: usize = SEGMENT_ROWS / 4;

/// A part is made anew when one in so many of its codes is of a row that ended.
pub(crate) const GONE_PART: u64 = 16;

/// The codes of a row file, as far as there are any, by part.
#[derive(Debug, Clone, Default)]
pub(crate) struct Codes {
    parts: BTreeMap<usize, Arc<PartCodes>>,
    coded: RoaringBitmap,
    /// Rows that were to get a code: those that did, and those that cannot.
    asked: RoaringBitmap,
}

/// The codes of the rows of one part.
#[derive(Debug)]
struct PartCodes {
    /// Those rows that have one, one after the other.
    codes: RowArena<u8>,
    /// Where in `codes`, by place in the part; 0 for those that have none.
    slots: Box<[u16]>,
    low: f32,
    step: f32,
    /// See B1: in the metric's own units, for inner products per unit of the query's length.
    slack: f32,
    /// The greatest length of a row, and of a row from `low`, for the rounding of inner products.
    length: f32,
}

/// What a scan by codes needs of a query.
struct Scan<'a> {
    metric: Metric,
    kernel: Kernel<f32, u8>,
    query: &'a [f32],
    /// Room for the query in units of a part's grid.
    prepared: Vec<f32>,
    /// The length of the query as it is compared.
    length: f32,
    /// Upper bounds of the distances of the nearest, ascending, at most `k`.
    best: Vec<f32>,
    k: usize,
    /// Lower bound and row of what may be among the nearest.
    kept: Vec<(f32, u32)>,
}

/// The positions of a part.
pub(crate) fn range(part: usize) -> RangeInclusive<u32> {
    let base = (part * PART_ROWS) as u32;
    base..=base + (PART_ROWS - 1) as u32
}

/// The parts of a file.
pub(crate) fn parts(number: usize) -> std::ops::Range<usize> {
    let each = SEGMENT_ROWS / PART_ROWS;
    number * each..(number + 1) * each
}

/// How rows are compared by their codes: unit rows for the cosine, the squared root of the kernel's sum for L2.
fn kernel_metric(metric: Metric) -> Metric {
    if metric == Metric::Cosine { Metric::L2 } else { metric }
}

fn squares(row: &[f32]) -> f32 {
    row.iter().map(|value| value * value).sum()
}

/// Divides by the length; whether there is one.
fn make_unit(row: &mut [f32]) -> bool {
    let length = squares(row).sqrt();
    if !(length.is_normal() && length.recip().is_normal()) {
        return false;
    }
    row.iter_mut().for_each(|value| *value /= length);
    true
}

/// The least and greatest of all elements, and whether all are whole numbers.
#[derive(Debug, Clone, Copy)]
struct Span {
    low: f32,
    high: f32,
    is_whole: bool,
}

impl PartCodes {
    /// Codes of the rows of `segment` at `places` of part `part`, ascending and not empty; those that were given one. `None` where
    /// values are too large, or there is no memory.
    fn new(
        segment: &Segment,
        part: usize,
        dim: usize,
        metric: Metric,
        places: &[u32],
    ) -> Option<(Self, Vec<u32>)> {
        let first = part * PART_ROWS - segment.number * SEGMENT_ROWS;
        let mut row = vec![0.0; dim];
        // The row as it is compared, in `row`.
        let load = |place: u32, row: &mut [f32]| match segment.row(first + place as usize) {
            Ok(elements) => {
                row.copy_from_slice(elements);
                metric != Metric::Cosine || make_unit(row)
            }
            Err(_) => false,
        };
        let mut span = Span { low: f32::INFINITY, high: f32::NEG_INFINITY, is_whole: true };
        for &place in places {
            if load(place, &mut row) {
                for &value in &row {
                    span.low = span.low.min(value);
                    span.high = span.high.max(value);
                    span.is_whole &= value == value.trunc();
                }
            }
        }
        let (low, range) = (span.low, span.high - span.low);
        let step = if range == 0.0 || span.is_whole && range <= 255.0 { 1.0 } else { range / 255.0 };
        // Sums of squares in units of a step and in the metric's own stay finite then.
        let is_sound = step.is_normal() && low.abs() / step < 1e9 && range * range * (dim as f32) < 1e30;
        if !is_sound {
            return None;
        }
        let stride = if dim <= 32 { dim.next_multiple_of(16) } else { dim.next_multiple_of(64) };
        let bytes = places.len() * stride;
        // No more address space than is used: what is left of a huge page would be memory for nothing.
        let memory =
            MemoryOptions { expected_bytes: Some(bytes), max_bytes: Some(bytes), ..MemoryOptions::default() };
        let codes = RowArena::<u8>::new(RowLayout::with_stride(dim, stride), &memory).ok()?;
        let mut slots = vec![0u16; PART_ROWS].into_boxed_slice();
        let mut coded = Vec::with_capacity(places.len());
        let (mut slack, mut length) = (0.0f32, 0.0f32);
        for &place in places {
            if !load(place, &mut row) {
                continue;
            }
            let mut claim = codes.claim().ok()?;
            let mut rest = 0.0f32;
            for (code, &value) in claim.row_mut().iter_mut().zip(&row) {
                *code = ((value - low) / step + 0.5) as u8;
                let apart = value - (low + step * f32::from(*code));
                rest += if metric == Metric::L1 { apart.abs() } else { apart * apart };
            }
            claim.publish();
            slack = slack.max(if metric == Metric::L1 { rest } else { rest.sqrt() });
            length = length.max(squares(&row).sqrt());
            slots[place as usize] = coded.len() as u16;
            coded.push(place);
        }
        // Rounding: of the sum of the rests, and of each code's value, which is `low + step · c` in the reals.
        let rounding = f32::EPSILON * (low.abs() + 256.0 * step);
        let each = if metric == Metric::L1 { dim as f32 } else { (dim as f32).sqrt() };
        let slack = slack * (1.0 + dim as f32 * f32::EPSILON) + 2.0 * rounding * each;
        let length = 2.0 * length + low.abs() * each;
        Some((Self { codes, slots, low, step, slack, length }, coded))
    }

    /// Goes through `rows`, ascending, of this part, whose first position is `base`. All of them have a code.
    fn scan(&self, scan: &mut Scan<'_>, base: u32, rows: &[u32]) {
        let dim = scan.query.len() as f32;
        let (low, step) = (self.low, self.step);
        let is_dot = scan.metric == Metric::InnerProduct;
        let mut query = std::mem::take(&mut scan.prepared);
        query.clear();
        match is_dot {
            true => query.extend_from_slice(scan.query),
            false => query.extend(scan.query.iter().map(|value| (value - low) / step)),
        }
        let offset = if is_dot {
            -scan.query.iter().map(|&value| f64::from(value) * f64::from(low)).sum::<f64>() as f32
        } else {
            0.0
        };
        // What a distance in the metric's own units may be off by, here and where rows are compared whole, beside a share of itself.
        let share = 2.0 * (dim + 8.0) * f32::EPSILON;
        let own = match scan.metric {
            Metric::InnerProduct => scan.length * (self.slack + share * self.length),
            _ => self.slack + 4.0 * f32::EPSILON * (scan.length + low.abs() * dim),
        };
        let own_units = |sum: f32| match scan.metric {
            Metric::InnerProduct => step * sum + offset,
            Metric::L1 => step * sum,
            _ => step * sum.sqrt(),
        };
        // The kernel's sum up to which a row may be among the nearest.
        let limit = |bound: f32| {
            let distance = bound + own + share * bound.abs();
            let sum = match scan.metric {
                Metric::InnerProduct => (distance - offset) / step + share * (offset / step).abs(),
                Metric::L1 => distance / step,
                _ => (distance / step) * (distance / step),
            };
            sum + share * sum.abs()
        };
        let mut bound = scan.best.get(scan.k - 1).copied().unwrap_or(f32::INFINITY);
        let mut most = limit(bound);
        let mut sums = [0.0f32; GATHER];
        let mut slots = [0u32; GATHER];
        for rows in rows.chunks(GATHER) {
            let (sums, slots) = (&mut sums[..rows.len()], &mut slots[..rows.len()]);
            for (slot, &row) in slots.iter_mut().zip(rows) {
                *slot = u32::from(self.slots[(row - base) as usize]);
            }
            scan.kernel.gather(&query, self.codes.rows(), self.codes.layout().stride(), slots, sums);
            for (&row, &sum) in rows.iter().zip(&*sums) {
                if sum > most {
                    continue;
                }
                let distance = own_units(sum);
                if distance.is_nan() {
                    scan.kept.push((f32::NEG_INFINITY, row));
                    continue;
                }
                let margin = own + share * distance.abs();
                scan.kept.push((distance - margin, row));
                let upper = distance + margin;
                if upper < bound || scan.best.len() < scan.k {
                    let place = scan.best.partition_point(|&other| other <= upper);
                    scan.best.truncate(scan.k - 1);
                    scan.best.insert(place.min(scan.best.len()), upper);
                    bound = scan.best.get(scan.k - 1).copied().unwrap_or(f32::INFINITY);
                    most = limit(bound);
                }
            }
        }
        scan.prepared = query;
    }
}

impl Codes {
    /// The rows that have a code.
    pub(crate) fn coded(&self) -> &RoaringBitmap {
        &self.coded
    }

    /// The rows that have a code or cannot have one.
    pub(crate) fn asked(&self) -> &RoaringBitmap {
        &self.asked
    }

    /// These codes with those of `rows`, all of them of one part of the file `segment`, in place of what that part had.
    pub(crate) fn with(
        &self,
        segment: &Segment,
        part: usize,
        dim: usize,
        metric: Metric,
        rows: &RoaringBitmap,
    ) -> Self {
        let mut codes = self.without(part..part + 1);
        codes.asked |= rows;
        let base = (part * PART_ROWS) as u32;
        let places: Vec<u32> = rows.iter().map(|row| row - base).collect();
        if !places.is_empty()
            && let Some((made, coded)) = PartCodes::new(segment, part, dim, metric, &places)
        {
            codes.parts.insert(part, Arc::new(made));
            codes.coded.extend(coded.into_iter().map(|place| base + place));
        }
        codes
    }

    /// These codes without those of some parts.
    pub(crate) fn without(&self, parts: std::ops::Range<usize>) -> Self {
        let mut codes = self.clone();
        for part in parts {
            codes.parts.remove(&part);
            codes.coded.remove_range(range(part));
            codes.asked.remove_range(range(part));
        }
        codes
    }

    /// Bytes of memory, about.
    pub(crate) fn bytes(&self) -> usize {
        let part = |part: &Arc<PartCodes>| part.codes.rows().len() + 2 * PART_ROWS;
        self.parts.values().map(part).sum::<usize>()
            + self.coded.serialized_size()
            + self.asked.serialized_size()
    }

    /// Which of `rows`, ascending and all of them coded, may be among the `k` nearest to `query`, ascending: all of those that
    /// are, and few others (B1). `None` where a query cannot be compared so: one without a direction.
    pub(crate) fn candidates(
        &self,
        metric: Metric,
        query: &[f32],
        rows: &[u32],
        k: usize,
    ) -> Result<Option<Vec<u32>>, IsaError> {
        let mut unit = query.to_vec();
        if metric == Metric::Cosine && !make_unit(&mut unit) {
            return Ok(None);
        }
        let length = if metric == Metric::L1 {
            unit.iter().map(|value| value.abs()).sum()
        } else {
            squares(&unit).sqrt()
        };
        let kernel = Kernel::between(kernel_metric(metric), query.len())?;
        let (best, kept, k) = (Vec::with_capacity(k), Vec::new(), k.max(1));
        let prepared = Vec::with_capacity(query.len());
        let mut scan = Scan { metric, kernel, query: &unit, prepared, length, best, k, kept };
        for rows in rows.chunk_by(|a, b| *a as usize / PART_ROWS == *b as usize / PART_ROWS) {
            let number = rows[0] as usize / PART_ROWS;
            let Some(part) = self.parts.get(&number) else { return Ok(None) };
            part.scan(&mut scan, (number * PART_ROWS) as u32, rows);
        }
        let bound = scan.best.get(k - 1).copied().unwrap_or(f32::INFINITY);
        let mut found: Vec<u32> =
            scan.kept.into_iter().filter(|(lower, _)| *lower <= bound).map(|(_, row)| row).collect();
        found.sort_unstable();
        Ok(Some(found))
    }
}

#[cfg(test)]
mod tests;
