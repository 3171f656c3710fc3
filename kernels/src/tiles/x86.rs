//! Cells on AVX2, AVX-512 BW and AVX-512 VNNI.

use core::arch::x86_64::{
    __m256i, __m512i, _mm256_add_epi32, _mm256_loadu_si256, _mm256_madd_epi16, _mm256_set1_epi32,
    _mm256_setzero_si256, _mm256_slli_epi32, _mm256_storeu_si256, _mm256_sub_epi32, _mm512_add_epi32,
    _mm512_cmple_epi32_mask, _mm512_dpbusd_epi32, _mm512_loadu_si512, _mm512_madd_epi16,
    _mm512_maskz_compress_epi32, _mm512_set1_epi32, _mm512_setr_epi32, _mm512_setzero_si512,
    _mm512_shuffle_i32x4, _mm512_slli_epi32, _mm512_storeu_si512, _mm512_sub_epi32, _mm512_unpackhi_epi32,
    _mm512_unpackhi_epi64, _mm512_unpacklo_epi32, _mm512_unpacklo_epi64, _mm512_xor_si512,
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

/// [`Panel::finish`] on 16 lanes.
///
/// # Safety
/// As there.
#[inline(always)]
unsafe fn finish512(total: __m512i, constant: i32, norms: *const i32, out: *mut i32) {
    // SAFETY: the caller promises 16 norms, 16 places and the instruction set.
    unsafe {
        let norms = _mm512_add_epi32(_mm512_loadu_si512(norms.cast()), _mm512_set1_epi32(constant));
        _mm512_storeu_si512(out.cast(), _mm512_sub_epi32(norms, _mm512_slli_epi32::<1>(total)));
    }
}

/// [`Panel::finish`] on eight lanes.
///
/// # Safety
/// As there.
#[inline(always)]
unsafe fn finish256(total: __m256i, constant: i32, norms: *const i32, out: *mut i32) {
    // SAFETY: the caller promises eight norms, eight places and the instruction set.
    unsafe {
        let norms = _mm256_add_epi32(_mm256_loadu_si256(norms.cast()), _mm256_set1_epi32(constant));
        _mm256_storeu_si256(out.cast(), _mm256_sub_epi32(norms, _mm256_slli_epi32::<1>(total)));
    }
}

/// [`Panel::pack_cells`]: 16 rows of 16 cells turned into 16 registers of a cell of each row; not for cells of two bytes.
///
/// # Safety
/// As there, and the CPU has AVX-512 F.
#[inline(always)]
unsafe fn pack_cells<const GROUP: usize>(rows: [*const u8; 16], out: *mut u8) -> bool {
    if GROUP != 4 {
        return false;
    }
    // SAFETY: the caller promises 64 bytes of each row, 16 registers of places and the instruction set.
    unsafe {
        let mut a = [_mm512_setzero_si512(); 16];
        for row in 0..16 {
            // Moved by 128, as `cell` does.
            a[row] = _mm512_xor_si512(_mm512_loadu_si512(rows[row].cast()), _mm512_set1_epi32(-0x7f7f_7f80));
        }
        // Two rows at a time, then four: in each 128 bits, the same cell of four rows.
        let mut b = a;
        for pair in 0..8 {
            b[2 * pair] = _mm512_unpacklo_epi32(a[2 * pair], a[2 * pair + 1]);
            b[2 * pair + 1] = _mm512_unpackhi_epi32(a[2 * pair], a[2 * pair + 1]);
        }
        for four in 0..4 {
            for half in 0..2 {
                let (low, high) = (b[4 * four + half], b[4 * four + 2 + half]);
                a[4 * four + 2 * half] = _mm512_unpacklo_epi64(low, high);
                a[4 * four + 2 * half + 1] = _mm512_unpackhi_epi64(low, high);
            }
        }
        // `a[4 f + c]` has, for q in 0..4, cell 4 q + c of the rows 4 f to 4 f + 3: now by rows.
        for cell in 0..4 {
            let [r0, r1, r2, r3] = [a[cell], a[4 + cell], a[8 + cell], a[12 + cell]];
            let even = [_mm512_shuffle_i32x4::<0x88>(r0, r1), _mm512_shuffle_i32x4::<0x88>(r2, r3)];
            let odd = [_mm512_shuffle_i32x4::<0xdd>(r0, r1), _mm512_shuffle_i32x4::<0xdd>(r2, r3)];
            let turned = [
                _mm512_shuffle_i32x4::<0x88>(even[0], even[1]),
                _mm512_shuffle_i32x4::<0x88>(odd[0], odd[1]),
                _mm512_shuffle_i32x4::<0xdd>(even[0], even[1]),
                _mm512_shuffle_i32x4::<0xdd>(odd[0], odd[1]),
            ];
            for (quarter, cells) in turned.into_iter().enumerate() {
                _mm512_storeu_si512(out.add((4 * quarter + cell) * 64).cast(), cells);
            }
        }
    }
    true
}

/// [`Panel::at_most`] by one comparison and one compression.
///
/// # Safety
/// As there, and the CPU has AVX-512 F.
#[inline(always)]
unsafe fn at_most(values: *const i32, bound: i32, first: u32, places: *mut u32) -> usize {
    // SAFETY: the caller promises 16 values, 16 places and the instruction set.
    unsafe {
        let found = _mm512_cmple_epi32_mask(_mm512_loadu_si512(values.cast()), _mm512_set1_epi32(bound));
        if found != 0 {
            let lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
            let at = _mm512_add_epi32(lanes, _mm512_set1_epi32(first as i32));
            _mm512_storeu_si512(places.cast(), _mm512_maskz_compress_epi32(found, at));
        }
        found.count_ones() as usize
    }
}

/// Writes [`Panel`] over the intrinsics of one width.
macro_rules! panel {
    ($path:ident, $register:ty, $lanes:literal, $group:literal, surplus: $surplus:literal, |$bytes:ident| $cell:expr,
     left: |$word:ident| $left:expr, |$total:ident, $a:ident, $b:ident| $add:expr,
     $zero:ident, $set1:ident, $load:ident, $store:ident, $finish:ident $(, $pack:ident, $at_most:ident)?) => {
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

            #[inline(always)]
            unsafe fn finish(total: $register, constant: i32, norms: *const i32, out: *mut i32) {
                // SAFETY: the caller's promise is passed on unchanged.
                unsafe { $finish(total, constant, norms, out) }
            }

            $(
                #[inline(always)]
                unsafe fn pack_cells(rows: [*const u8; 16], out: *mut u8) -> bool {
                    // SAFETY: the caller's promise is passed on unchanged; both paths have AVX-512.
                    unsafe { $pack::<$group>(rows, out) }
                }

                #[inline(always)]
                unsafe fn at_most(values: *const i32, bound: i32, first: u32, places: *mut u32) -> usize {
                    // SAFETY: the caller's promise is passed on unchanged; both paths have AVX-512.
                    unsafe { $at_most(values, bound, first, places) }
                }
            )?
        }
    };
}

panel!(
    Vnni, __m512i, 16, 4, surplus: -128,
    |bytes| bytes ^ 0x8080_8080,
    left: |word| word,
    |total, left, right| _mm512_dpbusd_epi32(total, left, right),
    _mm512_setzero_si512, _mm512_set1_epi32, _mm512_loadu_si512, _mm512_storeu_si512, finish512, pack_cells, at_most
);
panel!(
    Avx512, __m512i, 16, 2, surplus: 0,
    |bytes| widened(bytes),
    left: |word| widened(word),
    |total, left, right| _mm512_add_epi32(total, _mm512_madd_epi16(left, right)),
    _mm512_setzero_si512, _mm512_set1_epi32, _mm512_loadu_si512, _mm512_storeu_si512, finish512, pack_cells, at_most
);
panel!(
    Avx2, __m256i, 8, 2, surplus: 0,
    |bytes| widened(bytes),
    left: |word| widened(word),
    |total, left, right| _mm256_add_epi32(total, _mm256_madd_epi16(left, right)),
    _mm256_setzero_si256, _mm256_set1_epi32, _mm256_loadu_si256, _mm256_storeu_si256, finish256
);
