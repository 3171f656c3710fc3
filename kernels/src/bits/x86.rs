//! Counting bits by a table of 16 entries in a register, one nibble at a time (Muła, Kurz and Lemire 2018, §3):
//! AVX2 and AVX-512 BW. The counting instructions of later CPUs are left aside on purpose.

use core::arch::x86_64::{
    __m256i, __m512i, _mm_set_epi8, _mm256_add_epi8, _mm256_add_epi64, _mm256_and_si256,
    _mm256_broadcastsi128_si256, _mm256_loadu_si256, _mm256_sad_epu8, _mm256_set1_epi8, _mm256_setzero_si256,
    _mm256_shuffle_epi8, _mm256_slli_epi64, _mm256_srli_epi16, _mm256_storeu_si256, _mm256_xor_si256,
    _mm512_add_epi8, _mm512_add_epi64, _mm512_and_si512, _mm512_broadcast_i32x4, _mm512_loadu_si512,
    _mm512_maskz_loadu_epi8, _mm512_reduce_add_epi64, _mm512_sad_epu8, _mm512_set1_epi8,
    _mm512_setzero_si512, _mm512_shuffle_epi8, _mm512_slli_epi64, _mm512_srli_epi16, _mm512_xor_si512,
};

use super::sums::Counts;

/// 32 bytes.
#[derive(Clone, Copy)]
pub(crate) struct Avx2;

/// 64 bytes.
#[derive(Clone, Copy)]
pub(crate) struct Avx512;

/// Writes the counting of one width.
macro_rules! counts {
    ($path:ident, $register:ty, $width:literal, $broadcast:ident, $set1:ident, $and:ident, $xor:ident, $shift:ident,
     $shuffle:ident, $add8:ident, $sad:ident, $add64:ident, $shift64:ident, $zero:ident) => {
        impl $path {
            /// Adds the number of bits set, per lane of 64 bits.
            #[inline(always)]
            unsafe fn add_ones(total: $register, bits: $register) -> $register {
                // SAFETY: (whole block) register arithmetic; the caller promises the instruction set.
                unsafe {
                    let ones = $broadcast(_mm_set_epi8(4, 3, 3, 2, 3, 2, 2, 1, 3, 2, 2, 1, 2, 1, 1, 0));
                    let nibble = $set1(0x0f);
                    let low = $shuffle(ones, $and(bits, nibble));
                    let high = $shuffle(ones, $and($shift::<4>(bits), nibble));
                    $add64(total, $sad($add8(low, high), $zero()))
                }
            }
        }

        // SAFETY: the load is of `WIDTH` bytes; see `head` below for the other one.
        unsafe impl Counts for $path {
            type Register = $register;
            type Total = $register;
            const WIDTH: usize = $width;

            #[inline(always)]
            unsafe fn load(at: *const u8) -> $register {
                // SAFETY: the caller promises `WIDTH` bytes.
                unsafe { Self::whole(at) }
            }

            #[inline(always)]
            unsafe fn load_head(at: *const u8, count: usize) -> $register {
                // SAFETY: the caller promises `count < WIDTH` bytes.
                unsafe { Self::head(at, count) }
            }

            #[inline(always)]
            unsafe fn zero() -> $register {
                // SAFETY: the caller promises the instruction set.
                unsafe { $zero() }
            }

            #[inline(always)]
            unsafe fn add_xor(total: $register, a: $register, b: $register) -> $register {
                // SAFETY: the caller promises the instruction set.
                unsafe { Self::add_ones(total, $xor(a, b)) }
            }

            #[inline(always)]
            unsafe fn add_and(total: $register, a: $register, b: $register) -> $register {
                // SAFETY: the caller promises the instruction set.
                unsafe { Self::add_ones(total, $and(a, b)) }
            }

            #[inline(always)]
            unsafe fn merge(a: $register, b: $register) -> $register {
                // SAFETY: the caller promises the instruction set.
                unsafe { $add64(a, b) }
            }

            #[inline(always)]
            unsafe fn pack(low: $register, high: $register) -> $register {
                // SAFETY: register arithmetic; the caller promises the instruction set.
                unsafe { $add64(low, $shift64::<32>(high)) }
            }

            #[inline(always)]
            unsafe fn reduce(total: $register) -> u64 {
                // SAFETY: the caller promises the instruction set.
                unsafe { Self::all(total) }
            }
        }
    };
}

counts!(
    Avx2,
    __m256i,
    32,
    _mm256_broadcastsi128_si256,
    _mm256_set1_epi8,
    _mm256_and_si256,
    _mm256_xor_si256,
    _mm256_srli_epi16,
    _mm256_shuffle_epi8,
    _mm256_add_epi8,
    _mm256_sad_epu8,
    _mm256_add_epi64,
    _mm256_slli_epi64,
    _mm256_setzero_si256
);
counts!(
    Avx512,
    __m512i,
    64,
    _mm512_broadcast_i32x4,
    _mm512_set1_epi8,
    _mm512_and_si512,
    _mm512_xor_si512,
    _mm512_srli_epi16,
    _mm512_shuffle_epi8,
    _mm512_add_epi8,
    _mm512_sad_epu8,
    _mm512_add_epi64,
    _mm512_slli_epi64,
    _mm512_setzero_si512
);

impl Avx2 {
    #[inline(always)]
    unsafe fn whole(at: *const u8) -> __m256i {
        // SAFETY: reads 32 bytes, which the caller promises.
        unsafe { _mm256_loadu_si256(at.cast()) }
    }

    #[inline(always)]
    unsafe fn head(at: *const u8, count: usize) -> __m256i {
        let mut head = [0u8; 32];
        // SAFETY: the caller promises `count < 32` bytes, and `head` is another array.
        unsafe { core::ptr::copy_nonoverlapping(at, head.as_mut_ptr(), count) };
        // SAFETY: `head` has 32 bytes.
        unsafe { Self::whole(head.as_ptr()) }
    }

    #[inline(always)]
    unsafe fn all(total: __m256i) -> u64 {
        let mut lanes = [0u64; 4];
        // SAFETY: `lanes` has the size of the register.
        unsafe { _mm256_storeu_si256(lanes.as_mut_ptr().cast(), total) };
        lanes.iter().sum()
    }
}

impl Avx512 {
    #[inline(always)]
    unsafe fn whole(at: *const u8) -> __m512i {
        // SAFETY: reads 64 bytes, which the caller promises.
        unsafe { _mm512_loadu_si512(at.cast()) }
    }

    #[inline(always)]
    unsafe fn head(at: *const u8, count: usize) -> __m512i {
        // SAFETY: masked bytes are not accessed; the caller promises the others.
        unsafe { _mm512_maskz_loadu_epi8((1u64 << count) - 1, at.cast()) }
    }

    #[inline(always)]
    unsafe fn all(total: __m512i) -> u64 {
        // SAFETY: the caller promises the instruction set. Counts are not negative.
        unsafe { _mm512_reduce_add_epi64(total) as u64 }
    }
}
