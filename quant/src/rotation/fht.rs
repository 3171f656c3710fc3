//! The arithmetic of the Hadamard rotation: signs, Hadamard transforms and steps between halves.
//!
//! * **F1** All that is done to a value is: a sign flip, a product with a constant, and sums and differences of two
//!   values in an order that does not depend on the instruction set; nothing is fused that rounds twice unfused. So
//!   every path gives the same bits.
//! * **F2** Values are a multiple of [`CHUNK`] long, and there are as many flips per round.
//!
//! Cost of a round at length n: n·log₂n additions. The first four steps stay in registers, the others take three at
//! a time, so 1024 values are passed over three times and not ten.

use orthant_kernels::{Isa, IsaError};

use chunk::Chunk;

mod chunk;

// Indices, and no closures or iterators of them, in what follows: a closure is compiled without the instruction set,
// and what it calls is then not inlined (measured: 20 times slower).

/// Values that the first four steps take at once.
pub(super) const CHUNK: usize = 16;

/// `(values, flips)`; the flips of one round after the other, each `0` or the sign bit.
///
/// Safety: the CPU has the instruction set, and F2.
pub(super) type RotateFn = unsafe fn(&mut [f32], &[u32]);

/// The body of `isa`.
///
/// # Errors
/// [`IsaError::Missing`] if the CPU does not have it.
pub(super) fn rotate_fn(isa: Isa) -> Result<RotateFn, IsaError> {
    Ok(match isa.require()? {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => rotate_512,
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => rotate_256,
        #[cfg(target_arch = "aarch64")]
        Isa::Neon => rotate_neon,
        Isa::Scalar => rotate_plain,
        #[allow(unreachable_patterns)] // the paths of other targets, which `require` refused
        missing => return Err(IsaError::Missing { isa: missing }),
    })
}

/// # Safety
/// As [`RotateFn`].
unsafe fn rotate_plain(values: &mut [f32], flips: &[u32]) {
    // SAFETY: plain Rust runs anywhere; F2 is the caller's.
    unsafe { rotate::<[f32; CHUNK]>(values, flips) }
}

/// # Safety
/// As [`RotateFn`].
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn rotate_256(values: &mut [f32], flips: &[u32]) {
    // SAFETY: the features are those of this function; F2 is the caller's.
    unsafe { rotate::<chunk::Avx2>(values, flips) }
}

/// # Safety
/// As [`RotateFn`].
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,avx512f,avx512dq")]
unsafe fn rotate_512(values: &mut [f32], flips: &[u32]) {
    // SAFETY: the features are those of this function; F2 is the caller's.
    unsafe { rotate::<chunk::Avx512>(values, flips) }
}

/// # Safety
/// As [`RotateFn`].
#[cfg(target_arch = "aarch64")]
#[target_feature(enable = "neon")]
unsafe fn rotate_neon(values: &mut [f32], flips: &[u32]) {
    // SAFETY: the feature is that of this function; F2 is the caller's.
    unsafe { rotate::<chunk::Neon>(values, flips) }
}

/// Every round: flips and a Hadamard transform. Where the length is no power of two, the transform is of the first
/// and of the last power of two in turn, and one step between the halves follows.
///
/// # Safety
/// F2, and the CPU has the instruction set of `C`.
#[inline(always)]
unsafe fn rotate<C: Chunk>(values: &mut [f32], flips: &[u32]) {
    let dim = values.len();
    if dim < CHUNK {
        return;
    }
    let span = 1 << dim.ilog2();
    let scale = (1.0 / span as f64).sqrt() as f32;
    let at = values.as_mut_ptr();
    for (round, flips) in flips.chunks_exact(dim).enumerate() {
        let flips = flips.as_ptr();
        if span == dim {
            // SAFETY: `dim` values and as many flips; a power of two.
            unsafe { transform::<C>(at, flips, dim, scale) };
            continue;
        }
        let start = if round % 2 == 0 { 0 } else { dim - span };
        // The values that the transform does not take are flipped here.
        let rest = if round % 2 == 0 { span..dim } else { 0..start };
        for place in rest.step_by(CHUNK) {
            // SAFETY: `place` is a multiple of a chunk below `dim`, which is one too.
            unsafe { C::load(at.add(place)).flip(flips.add(place)).store(at.add(place)) };
        }
        // SAFETY: `start + span <= dim`; `span` is a power of two.
        unsafe { transform::<C>(at.add(start), flips.add(start), span, scale) };
        let half = dim / 2;
        let mut place = 0;
        while place + CHUNK <= half {
            // SAFETY: a chunk below the half.
            let low = unsafe { C::load(at.add(place)) };
            // SAFETY: a chunk above it.
            let high = unsafe { C::load(at.add(place + half)) };
            // SAFETY: register arithmetic of an instruction set that the CPU has.
            let (sum, difference) = unsafe { low.mix(high) };
            // SAFETY: the same two chunks.
            unsafe { sum.scale(core::f32::consts::FRAC_1_SQRT_2).store(at.add(place)) };
            // SAFETY: the same.
            unsafe { difference.scale(core::f32::consts::FRAC_1_SQRT_2).store(at.add(place + half)) };
            place += CHUNK;
        }
        // Half a chunk, where the length is an odd number of chunks.
        for place in place..half {
            // SAFETY: `place < half`.
            let (low, high) = unsafe { (at.add(place).read(), at.add(place + half).read()) };
            // SAFETY: the same.
            unsafe { at.add(place).write((low + high) * core::f32::consts::FRAC_1_SQRT_2) };
            // SAFETY: the same.
            unsafe { at.add(place + half).write((low - high) * core::f32::consts::FRAC_1_SQRT_2) };
        }
    }
}

/// Undoes [`RotateFn`]. Each of its steps undoes itself; they are taken in the opposite order. Plain and slow.
pub(super) fn rotate_back(values: &mut [f32], flips: &[u32]) {
    let dim = values.len();
    let span = 1 << dim.ilog2();
    let scale = (1.0 / span as f64).sqrt() as f32;
    for (round, flips) in flips.chunks_exact(dim).enumerate().rev() {
        if span < dim {
            let (low, high) = values.split_at_mut(dim / 2);
            for (low, high) in low.iter_mut().zip(high) {
                let (sum, difference) = (*low + *high, *low - *high);
                *low = sum * core::f32::consts::FRAC_1_SQRT_2;
                *high = difference * core::f32::consts::FRAC_1_SQRT_2;
            }
        }
        let start = if round % 2 == 0 { 0 } else { dim - span };
        let part = &mut values[start..start + span];
        let mut half = 1;
        while half < span {
            for pair in part.chunks_exact_mut(2 * half) {
                let (low, high) = pair.split_at_mut(half);
                for (low, high) in low.iter_mut().zip(high) {
                    (*low, *high) = (*low + *high, *low - *high);
                }
            }
            half *= 2;
        }
        part.iter_mut().for_each(|value| *value *= scale);
        for (value, flip) in values.iter_mut().zip(flips) {
            *value = f32::from_bits(value.to_bits() ^ flip);
        }
    }
}

/// The Hadamard transform of `scale` times the flipped values, in place.
///
/// # Safety
/// `at` is valid for reads and writes of `span` values and `flips` for reads of as many words; `span` is a power of
/// two and at least [`CHUNK`]; the CPU has the instruction set of `C`.
#[inline(always)]
unsafe fn transform<C: Chunk>(at: *mut f32, flips: *const u32, span: usize, scale: f32) {
    // Where few steps are left they are taken while the chunks are in registers for the first four.
    let first = match span / CHUNK {
        // SAFETY: one chunk.
        1 => unsafe { first::<C, 1>(at, flips, span, scale) },
        // SAFETY: two chunks.
        2 => unsafe { first::<C, 2>(at, flips, span, scale) },
        // SAFETY: groups of four chunks.
        4 | 16 => unsafe { first::<C, 4>(at, flips, span, scale) },
        // SAFETY: a power of two of chunks, and at least eight.
        _ => unsafe { first::<C, 8>(at, flips, span, scale) },
    };
    let mut half = first;
    while half < span {
        let left = (span / half).ilog2();
        match left {
            1 => {
                // SAFETY: `2 · half` divides `span`.
                unsafe { wide::<C, 2>(at, span, half) };
                half *= 2;
            }
            2 | 4 => {
                // SAFETY: `4 · half` divides `span`.
                unsafe { wide::<C, 4>(at, span, half) };
                half *= 4;
            }
            _ => {
                // SAFETY: `8 · half` divides `span`: three steps or more are left.
                unsafe { wide::<C, 8>(at, span, half) };
                half *= 8;
            }
        }
    }
}

/// Flips, scale, the four steps inside chunks, and log₂(`WAYS`) steps between neighboring chunks. Returns what is done:
/// `16 · WAYS`.
///
/// # Safety
/// As [`transform`], and `16 · WAYS` divides `span`.
#[allow(clippy::needless_range_loop)]
#[inline(always)]
unsafe fn first<C: Chunk, const WAYS: usize>(
    at: *mut f32,
    flips: *const u32,
    span: usize,
    scale: f32,
) -> usize {
    for start in (0..span).step_by(CHUNK * WAYS) {
        // SAFETY: a chunk of the `span` values; all of it is replaced below.
        let mut chunks = [unsafe { C::load(at.add(start)) }; WAYS];
        for way in 0..WAYS {
            let place = start + CHUNK * way;
            // SAFETY: `place` is a chunk of the `span` values, which have a flip each.
            chunks[way] = unsafe { C::load(at.add(place)).flip(flips.add(place)).scale(scale).steps() };
        }
        // SAFETY: register arithmetic.
        let chunks = unsafe { between(chunks) };
        for way in 0..WAYS {
            // SAFETY: the same chunk as above.
            unsafe { chunks[way].store(at.add(start + CHUNK * way)) };
        }
    }
    CHUNK * WAYS
}

/// log₂(`WAYS`) steps, the first between values that are `half` apart.
///
/// # Safety
/// As [`transform`], `half` is a multiple of [`CHUNK`], and `WAYS · half` divides `span`.
#[allow(clippy::needless_range_loop)]
#[inline(always)]
unsafe fn wide<C: Chunk, const WAYS: usize>(at: *mut f32, span: usize, half: usize) {
    for start in (0..span).step_by(half * WAYS) {
        for place in (start..start + half).step_by(CHUNK) {
            // SAFETY: a chunk below `span`.
            let mut chunks = [unsafe { C::load(at.add(place)) }; WAYS];
            for way in 1..WAYS {
                // SAFETY: `place + (WAYS - 1) · half` is a chunk below `start + WAYS · half <= span`.
                chunks[way] = unsafe { C::load(at.add(place + way * half)) };
            }
            // SAFETY: register arithmetic.
            let chunks = unsafe { between(chunks) };
            for way in 0..WAYS {
                // SAFETY: the same chunk as above.
                unsafe { chunks[way].store(at.add(place + way * half)) };
            }
        }
    }
}

/// The Hadamard transform across chunks, lane by lane.
///
/// # Safety
/// The CPU has the instruction set of `C`.
#[inline(always)]
unsafe fn between<C: Chunk, const WAYS: usize>(mut chunks: [C; WAYS]) -> [C; WAYS] {
    let mut apart = 1;
    while apart < WAYS {
        for low in 0..WAYS {
            if low & apart == 0 {
                // SAFETY: register arithmetic.
                let (sum, difference) = unsafe { chunks[low].mix(chunks[low + apart]) };
                (chunks[low], chunks[low + apart]) = (sum, difference);
            }
        }
        apart *= 2;
    }
    chunks
}
