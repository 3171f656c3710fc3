//! Cells on AVX2, AVX-512 BW and AVX-512 VNNI.

use core::arch::x86_64::{
    __m256i, __m512i, _mm256_add_epi32, _mm256_loadu_si256, _mm256_madd_epi16, _mm256_set1_epi32,
    _mm256_setzero_si256, _mm256_storeu_si256, _mm512_add_epi32, _mm512_dpbusd_epi32, _mm512_loadu_si512,
    _mm512_madd_epi16, _mm512_set1_epi32, _mm512_setzero_si512, _mm512_storeu_si512,
};

use super::Panel;

/// 16 vectors of four dimensions: four products of an unsigned and a signed byte per lane. The right side is moved by
/// 128 to be signed, which takes 128 times the sum of the left vector off each product.
#[derive(Clone, Copy)]
pub(super) struct Vnni;

/// 16 vectors of two dimensions, widened to `i16`.
#[derive(Clone, Copy)]
pub(super) struct Avx512;

/// Eight vectors of two dimensions, widened to `i16`.
#[derive(Clone, Copy)]
pub(super) struct Avx2;

/// Two bytes as two words.
#[inline(always)]
fn widened(bytes: u32) -> u32 {
    bytes & 0xff | (bytes & 0xff00) << 8
}

/// Writes [`Panel`] over the intrinsics of one width.
macro_rules! panel {
    ($path:ident, $register:ty, $lanes:literal, $group:literal, surplus: $surplus:literal, |$bytes:ident| $cell:expr,
     left: |$word:ident| $left:expr, |$total:ident, $a:ident, $b:ident| $add:expr,
     $zero:ident, $set1:ident, $load:ident, $store:ident) => {
        // SAFETY: register arithmetic; one register is read or written, which is `LANES` cells or sums.
        unsafe impl Panel for $path {
            type Left = $register;
            type Right = $register;
            type Total = $register;
            const LANES: usize = $lanes;
            const GROUP: usize = $group;
            const SURPLUS: i32 = $surplus;

            fn cell($bytes: u32) -> u32 {
                $cell
            }

            #[inline(always)]
            unsafe fn zero() -> $register {
                // SAFETY: the caller promises the instruction set.
                unsafe { $zero() }
            }

            #[inline(always)]
            unsafe fn left($word: u32) -> $register {
                // SAFETY: the caller promises the instruction set. The bits of a cell, as the intrinsic takes them.
                unsafe { $set1($left as i32) }
            }

            #[inline(always)]
            unsafe fn right(at: *const u8) -> $register {
                // SAFETY: the caller promises a register of cells.
                unsafe { $load(at.cast()) }
            }

            #[inline(always)]
            unsafe fn add($total: $register, $a: $register, $b: $register) -> $register {
                // SAFETY: the caller promises the instruction set.
                unsafe { $add }
            }

            #[inline(always)]
            unsafe fn store(total: $register, out: *mut i32) {
                // SAFETY: the caller promises a register of places.
                unsafe { $store(out.cast(), total) };
            }
        }
    };
}

panel!(
    Vnni, __m512i, 16, 4, surplus: -128,
    |bytes| bytes ^ 0x8080_8080,
    left: |word| word,
    |total, left, right| _mm512_dpbusd_epi32(total, left, right),
    _mm512_setzero_si512, _mm512_set1_epi32, _mm512_loadu_si512, _mm512_storeu_si512
);
panel!(
    Avx512, __m512i, 16, 2, surplus: 0,
    |bytes| widened(bytes),
    left: |word| widened(word),
    |total, left, right| _mm512_add_epi32(total, _mm512_madd_epi16(left, right)),
    _mm512_setzero_si512, _mm512_set1_epi32, _mm512_loadu_si512, _mm512_storeu_si512
);
panel!(
    Avx2, __m256i, 8, 2, surplus: 0,
    |bytes| widened(bytes),
    left: |word| widened(word),
    |total, left, right| _mm256_add_epi32(total, _mm256_madd_epi16(left, right)),
    _mm256_setzero_si256, _mm256_set1_epi32, _mm256_loadu_si256, _mm256_storeu_si256
);
