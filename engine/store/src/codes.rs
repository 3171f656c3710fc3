//! One byte per dimension beside the rows, so that many rows are compared quickly and the answer is still exact.
//!
//! The rows of a file lie on one grid: a byte `c` stands for `low + step · c`. A scan compares the query with all codes, then
//! only those rows with their full elements that may be among the nearest.
//!
//! * **B1** No row lies farther from what its code stands for than the `slack` of its file, which is measured while coding. The
//!   distance to a row and to its code differ by no more (triangle inequality; for inner products times the query's length,
//!   Cauchy-Schwarz). So whichever row is among the `k` nearest is among the candidates.
//! * **B2** Only rows that a transaction names have a code: they are never written again (rows R1). A change is a new [`Codes`];
//!   who holds the old one goes on with it.
//! * **B3** Codes are derived and never the whole truth: rows without one (new, damaged, without direction) are in `coded` of no
//!   `Codes`, and compared as they are.
//!
//! Cost: `dim` bytes of memory per row, rounded up to a cache line.

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

/// The codes of a row file, as far as there are any.
#[derive(Debug, Clone, Default)]
pub(crate) struct Codes {
    files: BTreeMap<usize, Arc<FileCodes>>,
    coded: RoaringBitmap,
    /// Rows that were to get a code: those that did, and those that cannot.
    asked: RoaringBitmap,
}

/// The codes of the rows of one file.
#[derive(Debug)]
struct FileCodes {
    /// By place in the file; what has no code is zeros.
    codes: RowArena<u8>,
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
    /// The length of the query as it is compared.
    length: f32,
    /// Upper bounds of the distances of the nearest, ascending, at most `k`.
    best: Vec<f32>,
    k: usize,
    /// Lower bound and row of what may be among the nearest.
    kept: Vec<(f32, u32)>,
}

/// The positions of a file.
pub(crate) fn range(number: usize) -> RangeInclusive<u32> {
    let base = (number * SEGMENT_ROWS) as u32;
    base..=base + (SEGMENT_ROWS - 1) as u32
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

impl FileCodes {
    /// Codes of the rows of `segment` at `places`, ascending and not empty; those that were given one. `None` where values are
    /// too large, or there is no memory.
    fn new(segment: &Segment, dim: usize, metric: Metric, places: &[u32]) -> Option<(Self, Vec<u32>)> {
        let mut row = vec![0.0; dim];
        // The row as it is compared, in `row`.
        let load = |place: u32, row: &mut [f32]| match segment.row(place as usize) {
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
        let last = *places.last()? as usize;
        let memory = MemoryOptions {
            expected_bytes: Some((last + 1) * stride),
            max_bytes: Some(SEGMENT_ROWS * stride),
            ..MemoryOptions::default()
        };
        let codes = RowArena::<u8>::new(RowLayout::with_stride(dim, stride), &memory).ok()?;
        let mut coded = Vec::with_capacity(places.len());
        let (mut slack, mut length) = (0.0f32, 0.0f32);
        let mut places = places.iter().copied().peekable();
        for place in 0..=last as u32 {
            let mut claim = codes.claim().ok()?;
            if places.next_if_eq(&place).is_some() && load(place, &mut row) {
                let mut rest = 0.0f32;
                for (code, &value) in claim.row_mut().iter_mut().zip(&row) {
                    *code = ((value - low) / step + 0.5) as u8;
                    let apart = value - (low + step * f32::from(*code));
                    rest += if metric == Metric::L1 { apart.abs() } else { apart * apart };
                }
                slack = slack.max(if metric == Metric::L1 { rest } else { rest.sqrt() });
                length = length.max(squares(&row).sqrt());
                coded.push(place);
            }
            claim.publish();
        }
        // Rounding: of the sum of the rests, and of each code's value, which is `low + step · c` in the reals.
        let rounding = f32::EPSILON * (low.abs() + 256.0 * step);
        let each = if metric == Metric::L1 { dim as f32 } else { (dim as f32).sqrt() };
        let slack = slack * (1.0 + dim as f32 * f32::EPSILON) + 2.0 * rounding * each;
        let length = 2.0 * length + low.abs() * each;
        Some((Self { codes, low, step, slack, length }, coded))
    }

    /// Goes through the rows at `places` of this file, whose first position is `base`.
    fn scan(&self, scan: &mut Scan<'_>, base: u32, places: &[u32]) {
        let dim = scan.query.len() as f32;
        let (low, step) = (self.low, self.step);
        let is_dot = scan.metric == Metric::InnerProduct;
        let query: Vec<f32> = match is_dot {
            true => scan.query.to_vec(),
            false => scan.query.iter().map(|value| (value - low) / step).collect(),
        };
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
        for places in places.chunks(GATHER) {
            let sums = &mut sums[..places.len()];
            scan.kernel.gather(&query, self.codes.rows(), self.codes.layout().stride(), places, sums);
            for (&place, &sum) in places.iter().zip(&*sums) {
                if sum > most {
                    continue;
                }
                let distance = own_units(sum);
                if distance.is_nan() {
                    scan.kept.push((f32::NEG_INFINITY, base + place));
                    continue;
                }
                let margin = own + share * distance.abs();
                scan.kept.push((distance - margin, base + place));
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

    /// These codes with those of `rows`, ascending, all of them of one file, in place of what that file had.
    pub(crate) fn with(&self, segment: &Segment, dim: usize, metric: Metric, rows: &RoaringBitmap) -> Self {
        let mut codes = self.without(segment.number);
        codes.asked |= rows;
        let base = (segment.number * SEGMENT_ROWS) as u32;
        let places: Vec<u32> = rows.iter().map(|row| row - base).collect();
        if !places.is_empty()
            && let Some((file, coded)) = FileCodes::new(segment, dim, metric, &places)
        {
            codes.files.insert(segment.number, Arc::new(file));
            codes.coded.extend(coded.into_iter().map(|place| base + place));
        }
        codes
    }

    /// These codes without those of one file.
    pub(crate) fn without(&self, number: usize) -> Self {
        let mut codes = self.clone();
        codes.files.remove(&number);
        codes.coded.remove_range(range(number));
        codes.asked.remove_range(range(number));
        codes
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
        let mut scan = Scan { metric, kernel, query: &unit, length, best, k, kept };
        let mut places = Vec::new();
        for rows in rows.chunk_by(|a, b| *a as usize / SEGMENT_ROWS == *b as usize / SEGMENT_ROWS) {
            let number = rows[0] as usize / SEGMENT_ROWS;
            let Some(file) = self.files.get(&number) else { return Ok(None) };
            let base = (number * SEGMENT_ROWS) as u32;
            places.clear();
            places.extend(rows.iter().map(|row| row - base));
            file.scan(&mut scan, base, &places);
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
