//! [`TileKernel`]: all pairs of two sets of `u8` vectors, for builds and exact scans.
//!
//! One set, the right one, is packed first: 4, 8 or 16 vectors side by side, a few dimensions each, so that a register
//! holds the same dimensions of many vectors. A tile of left vectors times a few such registers is then summed at once:
//! every load serves several products, and no sum is ever added up across a register.
//!
//! * **G1** A cell is four bytes: `GROUP` dimensions of one vector. Panel `p` has the cells of vectors
//!   `p·LANES..(p + 1)·LANES` group after group; vectors and dimensions that are not there are cells that add nothing.
//! * **G2** Sums are `i32` and wrap. They do not up to 33025 dimensions: 255² · 33025 < 2³¹.

#![allow(
    clippy::needless_range_loop,
    reason = "constant ranges over several arrays at once unroll; iterators hide that"
)]

use crate::dispatch::check_rows;
use crate::entry;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
use crate::isa::has_dot_products;
use crate::isa::{Isa, IsaError, active_isa};

#[cfg(target_arch = "aarch64")]
mod neon;
mod scalar;
#[cfg(target_arch = "x86_64")]
mod x86;

/// Left vectors whose own sums are found at once: whole tiles of 4 and of 6.
const LEFT_BLOCK: usize = 192;

/// Bytes per cell (G1).
const CELL: usize = 4;

/// How one instruction set multiplies cells.
///
/// # Safety
/// Implementors are inlined throughout and read or write exactly what is said below; callers promise the instruction
/// set.
pub(crate) unsafe trait Panel: Copy + 'static {
    /// The same cell in every lane.
    type Left: Copy;
    /// A cell of each of `LANES` vectors.
    type Right: Copy;
    /// Running sums of `LANES` vectors.
    type Total: Copy;
    /// Vectors per panel.
    const LANES: usize;
    /// Dimensions per cell.
    const GROUP: usize;
    /// What a left vector's elements add to each sum, times their own sum, and is to be taken off again.
    const SURPLUS: i32 = 0;

    /// The cell of the dimensions in the low `8 · GROUP` bits of `bytes`, on the right side.
    fn cell(bytes: u32) -> u32;
    /// Sums of nothing.
    unsafe fn zero() -> Self::Total;
    /// A group of dimensions of a left vector, as [`cell`](Self::cell) takes it.
    unsafe fn left(bytes: u32) -> Self::Left;
    /// Reads `LANES` cells.
    unsafe fn right(at: *const u8) -> Self::Right;
    /// Adds the products.
    unsafe fn add(total: Self::Total, left: Self::Left, right: Self::Right) -> Self::Total;
    /// Writes `LANES` sums.
    unsafe fn store(total: Self::Total, out: *mut i32);

    /// Writes `constant + norms - 2 · total` for `LANES` vectors.
    #[inline(always)]
    unsafe fn finish(total: Self::Total, constant: i32, norms: *const i32, out: *mut i32) {
        let mut sums = [0i32; 16];
        // SAFETY: no panel has more than 16 lanes.
        unsafe { Self::store(total, sums.as_mut_ptr()) };
        for lane in 0..Self::LANES {
            // SAFETY: the caller promises `LANES` norms and places.
            unsafe {
                let norm = constant.wrapping_add(norms.add(lane).read());
                out.add(lane).write(norm.wrapping_sub(sums[lane].wrapping_mul(2)));
            }
        }
    }

    /// Packs the first 64 bytes of each of 16 rows at once, which takes 1024 bytes; `false`: not on this path, and nothing
    /// was written.
    #[inline(always)]
    unsafe fn pack_cells(rows: [*const u8; 16], out: *mut u8) -> bool {
        let _ = (rows, out);
        false
    }

    /// Writes which of 16 values are at most `bound`, counted from `first`, and returns how many those are. Up to 16 places
    /// may be written whatever that is.
    #[inline(always)]
    unsafe fn at_most(values: *const i32, bound: i32, first: u32, places: *mut u32) -> usize {
        // SAFETY: the caller promises 16 values.
        let values = unsafe { values.cast::<[i32; 16]>().read_unaligned() };
        if !values.iter().fold(false, |some, &value| some | (value <= bound)) {
            return 0;
        }
        let mut found = 0;
        for at in 0..16 {
            // SAFETY: `found <= at`, and the caller promises 16 places.
            unsafe { places.add(found).write(first + at as u32) };
            found += usize::from(values[at] <= bound);
        }
        found
    }
}

/// Both sides and the sums: pointers, strides in elements, counts. With `norms` there, distances are written instead
/// of products: left and right squared norms.
#[derive(Clone, Copy)]
pub(crate) struct TileSides {
    left: *const u8,
    left_stride: usize,
    left_count: usize,
    packed: *const u8,
    right_count: usize,
    dim: usize,
    out: *mut i32,
    out_stride: usize,
    norms: Option<(*const i32, *const i32)>,
}

/// `(sides)`, see [`dots`].
type TilesFn = unsafe fn(TileSides);
/// `(values, count, bound, places)`, see [`at_most`].
type AtMostFn = unsafe fn(*const i32, usize, i32, *mut u32) -> usize;
/// `(dim, rows, stride, count, packed)`, see [`pack`].
type PackFn = unsafe fn(usize, &[u8], usize, usize, &mut [u8]);

/// Inner products and squared distances of every vector of one set of `u8` vectors with every one of another.
///
/// Arithmetic is exact: every path gives the same numbers. What [`pack`](Self::pack) writes depends on the path: it is
/// for the kernel that packed it, in the same process.
///
/// # Examples
/// ```
/// use orthant_kernels::TileKernel;
///
/// let (left, right) = ([1, 2, 3, 0, 0, 255], [1, 1, 1, 2, 0, 255]); // two vectors of three bytes on either side
/// let kernel = TileKernel::new(3)?;
/// let mut packed = vec![0; kernel.packed_bytes(2)];
/// kernel.pack(&right, 3, 2, &mut packed);
/// let mut products = [0; 4];
/// kernel.dots(&left, 3, 2, &packed, 2, &mut products, 2);
/// assert_eq!(products, [6, 767, 255, 65025]);
///
/// let mut norms = ([0; 2], [0; 2]);
/// kernel.squared_norms(&left, 3, &mut norms.0);
/// kernel.squared_norms(&right, 3, &mut norms.1);
/// let mut distances = [0; 4];
/// kernel.squared_distances(&left, 3, &norms.0, &packed, &norms.1, &mut distances, 2);
/// assert_eq!(distances, [5, 63509, 64518, 4]);
/// # Ok::<(), orthant_kernels::IsaError>(())
/// ```
#[derive(Clone, Copy)]
pub struct TileKernel {
    isa: Isa,
    dim: usize,
    lanes: usize,
    group: usize,
    pack: PackFn,
    tiles: TilesFn,
    at_most: AtMostFn,
}

impl TileKernel {
    /// A kernel on the path of [`active_isa`].
    ///
    /// # Errors
    /// As [`active_isa`]: the environment forces a path that is unknown or missing.
    pub fn new(dim: usize) -> Result<Self, IsaError> {
        Self::with_isa(dim, active_isa()?)
    }

    /// A kernel on the path of `isa`.
    ///
    /// # Errors
    /// [`IsaError::Missing`] if the CPU does not have it.
    pub fn with_isa(dim: usize, isa: Isa) -> Result<Self, IsaError> {
        Ok(match isa.require()? {
            // 6 x 4 sums, 4 registers of cells and one of the left side, of 32.
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 if has_dot_products() => Self::of::<x86::Vnni>(
                isa,
                dim,
                entry::vnni::tiles::<x86::Vnni, 6, 4>,
                entry::vnni::pack::<x86::Vnni>,
                entry::vnni::at_most::<x86::Vnni>,
            ),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => Self::of::<x86::Avx512>(
                isa,
                dim,
                entry::avx512::tiles::<x86::Avx512, 6, 4>,
                entry::avx512::pack::<x86::Avx512>,
                entry::avx512::at_most::<x86::Avx512>,
            ),
            // 4 x 2 sums, 2 registers of cells, one of the left side and one of products, of 16.
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => Self::of::<x86::Avx2>(
                isa,
                dim,
                entry::avx2::tiles::<x86::Avx2, 4, 2>,
                entry::avx2::pack::<x86::Avx2>,
                entry::avx2::at_most::<x86::Avx2>,
            ),
            #[cfg(target_arch = "aarch64")]
            Isa::Neon if has_dot_products() => Self::of::<neon::Dot>(
                isa,
                dim,
                entry::dotprod::tiles::<neon::Dot, 6, 4>,
                entry::dotprod::pack::<neon::Dot>,
                entry::dotprod::at_most::<neon::Dot>,
            ),
            #[cfg(target_arch = "aarch64")]
            Isa::Neon => Self::of::<neon::Neon>(
                isa,
                dim,
                entry::neon::tiles::<neon::Neon, 4, 2>,
                entry::neon::pack::<neon::Neon>,
                entry::neon::at_most::<neon::Neon>,
            ),
            Isa::Scalar => Self::of::<scalar::Scalar>(
                isa,
                dim,
                entry::scalar::tiles::<scalar::Scalar, 1, 1>,
                entry::scalar::pack::<scalar::Scalar>,
                entry::scalar::at_most::<scalar::Scalar>,
            ),
            #[allow(unreachable_patterns)] // the paths of other targets, which `require` refused
            missing => return Err(IsaError::Missing { isa: missing }),
        })
    }

    fn of<P: Panel>(isa: Isa, dim: usize, tiles: TilesFn, pack: PackFn, at_most: AtMostFn) -> Self {
        Self { isa, dim, lanes: P::LANES, group: P::GROUP, pack, tiles, at_most }
    }

    /// Elements per vector.
    #[inline]
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// The instruction set in use.
    #[inline]
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// Bytes of a panel.
    fn panel_bytes(&self) -> usize {
        self.dim.div_ceil(self.group) * self.lanes * CELL
    }

    /// Bytes that `count` packed vectors take: `count · dim`, or twice that, rounded up to whole panels.
    pub fn packed_bytes(&self, count: usize) -> usize {
        count.div_ceil(self.lanes) * self.panel_bytes()
    }

    /// Packs the right side.
    ///
    /// # Shapes
    /// `rows: [count × stride]` (row-major; the last row needs no padding), `packed: [packed_bytes(count)]`.
    /// # Panics
    /// If `stride < dim`, if `rows` is too short or `packed` has another length.
    pub fn pack(&self, rows: &[u8], stride: usize, count: usize, packed: &mut [u8]) {
        check_rows(self.dim, self.dim, rows.len(), stride, count);
        assert_eq!(packed.len(), self.packed_bytes(count), "the packed vectors take `packed_bytes`");
        // SAFETY: the CPU has the path: the constructor asked `Isa::require`.
        unsafe { (self.pack)(self.dim, rows, stride, count, packed) };
    }

    /// Σ vᵢ² of each row.
    ///
    /// # Shapes
    /// `rows: [out.len() × stride]` (row-major; the last row needs no padding).
    /// # Panics
    /// If `stride < dim` or `rows` is too short.
    pub fn squared_norms(&self, rows: &[u8], stride: usize, out: &mut [i32]) {
        check_rows(self.dim, self.dim, rows.len(), stride, out.len());
        for (at, norm) in out.iter_mut().enumerate() {
            let row = &rows[at * stride..][..self.dim];
            *norm = row.iter().fold(0, |sum: i32, &v| sum.wrapping_add(i32::from(v) * i32::from(v)));
        }
    }

    /// Σ leftᵢ·rightᵢ of every left vector with every packed one: `out[l · out_stride + r]`.
    ///
    /// # Shapes
    /// `left: [left_count × left_stride]` (row-major; the last row needs no padding),
    /// `packed: [packed_bytes(right_count)]` as [`pack`](Self::pack) writes it,
    /// `out: [left_count × out_stride]` (the last row needs no padding; elements between rows are not touched).
    /// # Numerics
    /// Exact up to 33025 dimensions; wraps beyond (G2).
    /// # Panics
    /// If a stride is shorter than its row, if `left` or `out` is too short or `packed` has another length.
    #[allow(clippy::too_many_arguments, reason = "two matrices and their shapes")]
    pub fn dots(
        &self,
        left: &[u8],
        left_stride: usize,
        left_count: usize,
        packed: &[u8],
        right_count: usize,
        out: &mut [i32],
        out_stride: usize,
    ) {
        self.run(left, left_stride, left_count, packed, right_count, out, out_stride, None);
    }

    /// Σ (leftᵢ − rightᵢ)² of every left vector with every packed one, from the products and the
    /// [`squared_norms`](Self::squared_norms) of both sides.
    ///
    /// # Shapes
    /// As [`dots`](Self::dots), with the counts of vectors in `left_norms: [left_count]` and
    /// `right_norms: [right_count]`.
    /// # Numerics
    /// As [`dots`](Self::dots).
    /// # Panics
    /// As [`dots`](Self::dots).
    #[allow(clippy::too_many_arguments, reason = "two matrices and their shapes")]
    pub fn squared_distances(
        &self,
        left: &[u8],
        left_stride: usize,
        left_norms: &[i32],
        packed: &[u8],
        right_norms: &[i32],
        out: &mut [i32],
        out_stride: usize,
    ) {
        let norms = Some((left_norms.as_ptr(), right_norms.as_ptr()));
        let (left_count, right_count) = (left_norms.len(), right_norms.len());
        self.run(left, left_stride, left_count, packed, right_count, out, out_stride, norms);
    }

    /// Which of `values` are at most `bound`: their places, in order. Returns how many, at the start of `places`; what
    /// stands behind them is arbitrary.
    ///
    /// # Shapes
    /// `places: [values.len()]`, rounded up to a multiple of 16.
    /// # Panics
    /// If `places` is too short.
    pub fn at_most(&self, values: &[i32], bound: i32, places: &mut [u32]) -> usize {
        assert!(
            places.len() >= values.len().next_multiple_of(16),
            "a place per value, and whole blocks of 16"
        );
        // SAFETY: the lengths were just checked, and the CPU has the path, as below.
        unsafe { (self.at_most)(values.as_ptr(), values.len(), bound, places.as_mut_ptr()) }
    }

    /// Checks every length, then makes the call. `norms` are of as many as the counts say.
    #[allow(clippy::too_many_arguments, reason = "two matrices and their shapes")]
    fn run(
        &self,
        left: &[u8],
        left_stride: usize,
        left_count: usize,
        packed: &[u8],
        right_count: usize,
        out: &mut [i32],
        out_stride: usize,
        norms: Option<(*const i32, *const i32)>,
    ) {
        check_rows(self.dim, self.dim, left.len(), left_stride, left_count);
        assert_eq!(packed.len(), self.packed_bytes(right_count), "the packed vectors take `packed_bytes`");
        check_rows(right_count, right_count, out.len(), out_stride, left_count);
        if left_count == 0 || right_count == 0 {
            return;
        }
        let sides = TileSides {
            left: left.as_ptr(),
            left_stride,
            left_count,
            packed: packed.as_ptr(),
            right_count,
            dim: self.dim,
            out: out.as_mut_ptr(),
            out_stride,
            norms,
        };
        // SAFETY: both sides and the sums lie inside their slices (checked above), the norms are as many as the
        // vectors, and the CPU has the path: the constructor asked `Isa::require`.
        unsafe { (self.tiles)(sides) }
    }
}

impl core::fmt::Debug for TileKernel {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("TileKernel").field("dim", &self.dim).field("isa", &self.isa).finish()
    }
}

/// Writes which of `count` values are at most `bound`, in order, and returns how many.
///
/// # Safety
/// There are `count` values and as many places, rounded up to a multiple of 16; the CPU has the instruction set of `P`.
#[inline(always)]
pub(crate) unsafe fn at_most<P: Panel>(
    values: *const i32,
    count: usize,
    bound: i32,
    places: *mut u32,
) -> usize {
    let (whole, mut found) = (count / 16 * 16, 0);
    for at in (0..whole).step_by(16) {
        // SAFETY: 16 values from `at` on are there, and 16 places from `found <= at` on.
        found += unsafe { P::at_most(values.add(at), bound, at as u32, places.add(found)) };
    }
    for at in whole..count {
        // SAFETY: `found <= at < count`.
        unsafe {
            places.add(found).write(at as u32);
            found += usize::from(values.add(at).read() <= bound);
        }
    }
    found
}

/// Packs `count` rows for `P` (G1). `packed` has whole panels, enough for them.
///
/// # Safety
/// The CPU has the instruction set of `P`.
#[inline(always)]
pub(crate) unsafe fn pack<P: Panel>(dim: usize, rows: &[u8], stride: usize, count: usize, packed: &mut [u8]) {
    let (whole, rest) = (dim / P::GROUP, dim % P::GROUP);
    let panel_bytes = dim.div_ceil(P::GROUP) * P::LANES * CELL;
    if panel_bytes == 0 {
        return;
    }
    for (panel, cells) in packed.chunks_exact_mut(panel_bytes).enumerate() {
        if (panel + 1) * P::LANES > count {
            // Of vectors and dimensions that are not there no sum is looked at.
            cells.fill(0);
        }
        let present = P::LANES.min(count - panel * P::LANES);
        let mut done = 0;
        if (P::LANES, P::GROUP, present) == (16, 4, 16) {
            // 16 groups of all lanes at a time.
            while done + 16 <= whole {
                let mut at = [rows.as_ptr(); 16];
                for (lane, at) in at.iter_mut().enumerate() {
                    *at = rows[(panel * 16 + lane) * stride + done * 4..][..64].as_ptr();
                }
                let out = cells[done * 16 * CELL..][..1024].as_mut_ptr();
                // SAFETY: 64 bytes of each row and 1024 of the panel, as just checked; the caller promises the CPU.
                if !unsafe { P::pack_cells(at, out) } {
                    break;
                }
                done += 16;
            }
        }
        for lane in 0..present {
            let row = &rows[(panel * P::LANES + lane) * stride..][..dim];
            let mut slots = cells.chunks_exact_mut(CELL).skip(lane).step_by(P::LANES).skip(done);
            let groups = row.chunks_exact(P::GROUP).skip(done);
            for (group, slot) in groups.zip(slots.by_ref().take(whole - done)) {
                let bytes = match *group {
                    [a, b, c, d] => u32::from_le_bytes([a, b, c, d]),
                    [a, b] => u32::from_le_bytes([a, b, 0, 0]),
                    _ => low_bytes(group),
                };
                slot.copy_from_slice(&P::cell(bytes).to_le_bytes());
            }
            // Behind the last dimension the left side is zero, whatever stands here.
            if let (Some(slot), true) = (slots.next(), rest > 0) {
                slot.copy_from_slice(&P::cell(low_bytes(&row[dim - rest..])).to_le_bytes());
            }
        }
    }
}

/// Up to four bytes as a number, the first one lowest.
#[inline(always)]
fn low_bytes(bytes: &[u8]) -> u32 {
    bytes.iter().rev().fold(0, |word, &byte| word << 8 | u32::from(byte))
}

/// Sums of every left vector with every packed one, `LEFT` of them times `PANELS` panels at a time.
///
/// # Safety
/// Both sides, the norms and every place of `out` that `sides` names are valid; the CPU has the instruction set of `P`.
#[inline(always)]
pub(crate) unsafe fn dots<P: Panel, const LEFT: usize, const PANELS: usize>(sides: TileSides) {
    let panels = sides.right_count.div_ceil(P::LANES);
    let mut block = 0;
    while block < sides.left_count {
        let end = (block + LEFT_BLOCK).min(sides.left_count);
        let mut surplus = [0; LEFT_BLOCK];
        if P::SURPLUS != 0 {
            for at in block..end {
                // SAFETY: `at < left_count`, and each left vector has `dim` elements.
                let row =
                    unsafe { core::slice::from_raw_parts(sides.left.add(at * sides.left_stride), sides.dim) };
                let sum = row.iter().fold(0, |sum: i32, &v| sum.wrapping_add(i32::from(v)));
                surplus[at - block] = P::SURPLUS.wrapping_mul(sum);
            }
        }
        let mut panel = 0;
        // Panels outside: a few of them stay in the first-level cache, or the second, while the left side goes by.
        while panel < panels {
            let is_whole = panel + PANELS <= panels;
            let mut first = block;
            while first < end {
                let surplus = &surplus[first - block..];
                // SAFETY: the panels and at least one left vector are there.
                unsafe {
                    if is_whole {
                        tile::<P, LEFT, PANELS>(&sides, surplus, first, end, panel);
                    } else {
                        tile::<P, LEFT, 1>(&sides, surplus, first, end, panel);
                    }
                }
                first += LEFT;
            }
            panel += if is_whole { PANELS } else { 1 };
        }
        block = end;
    }
}

/// One tile: up to `LEFT` of the vectors `first..end`, with what their products have too much, times `PANELS` panels
/// from `panel` on.
#[inline(always)]
unsafe fn tile<P: Panel, const LEFT: usize, const PANELS: usize>(
    sides: &TileSides,
    surplus: &[i32],
    first: usize,
    end: usize,
    panel: usize,
) {
    let (whole, rest) = (sides.dim / P::GROUP, sides.dim % P::GROUP);
    let panel_bytes = sides.dim.div_ceil(P::GROUP) * P::LANES * CELL;
    // The last tile repeats its last vector instead of having a body of its own.
    let mut left = [sides.left; LEFT];
    for l in 0..LEFT {
        left[l] = sides.left.wrapping_add((first + l).min(end - 1) * sides.left_stride);
    }
    // SAFETY: (whole block) `group` is one of the groups of the vectors and of the panels, whose cells lie side by
    // side (G1).
    let totals = unsafe {
        let packed = sides.packed.add(panel * panel_bytes);
        let mut totals = [[P::zero(); PANELS]; LEFT];
        for group in 0..whole {
            let mut right = [P::right(packed.add(group * P::LANES * CELL)); PANELS];
            for p in 1..PANELS {
                right[p] = P::right(packed.add(p * panel_bytes + group * P::LANES * CELL));
            }
            for l in 0..LEFT {
                let at = left[l].add(group * P::GROUP);
                let bytes = if P::GROUP == 4 {
                    u32::from_le(at.cast::<u32>().read_unaligned())
                } else {
                    u32::from(u16::from_le(at.cast::<u16>().read_unaligned()))
                };
                let cell = P::left(bytes);
                for p in 0..PANELS {
                    totals[l][p] = P::add(totals[l][p], cell, right[p]);
                }
            }
        }
        if rest > 0 {
            for l in 0..LEFT {
                let part = core::slice::from_raw_parts(left[l].add(whole * P::GROUP), rest);
                let cell = P::left(low_bytes(part));
                for p in 0..PANELS {
                    let right = P::right(packed.add(p * panel_bytes + whole * P::LANES * CELL));
                    totals[l][p] = P::add(totals[l][p], cell, right);
                }
            }
        }
        totals
    };
    for l in 0..LEFT.min(end - first) {
        for p in 0..PANELS {
            let vector = (panel + p) * P::LANES;
            let count = P::LANES.min(sides.right_count - vector);
            // SAFETY: these places are there for this vector and this panel.
            let out = unsafe { sides.out.add((first + l) * sides.out_stride + vector) };
            let mut sums = [0i32; 16];
            if let Some((left_norms, right_norms)) = sides.norms {
                // SAFETY: there is a norm for each left vector.
                let norm = unsafe { left_norms.add(first + l).read() };
                let constant = norm.wrapping_add(surplus[l].wrapping_mul(2));
                // SAFETY: and for each right one.
                let norms = unsafe { right_norms.add(vector) };
                if count == P::LANES {
                    // SAFETY: a whole panel of norms and of places.
                    unsafe { P::finish(totals[l][p], constant, norms, out) };
                    continue;
                }
                let mut padded = [0i32; 16];
                // SAFETY: `count` norms, fewer than 16.
                unsafe { core::ptr::copy_nonoverlapping(norms, padded.as_mut_ptr(), count) };
                // SAFETY: no panel has more than 16 lanes.
                unsafe { P::finish(totals[l][p], constant, padded.as_ptr(), sums.as_mut_ptr()) };
            } else {
                // SAFETY: no panel has more than 16 lanes.
                unsafe { P::store(totals[l][p], sums.as_mut_ptr()) };
                for sum in &mut sums {
                    *sum = sum.wrapping_sub(surplus[l]);
                }
            }
            // SAFETY: `count` places are there for this vector and these panels.
            unsafe { core::ptr::copy_nonoverlapping(sums.as_ptr(), out, count) };
        }
    }
}
