//! [`Chunk`]: sixteen values in the registers of an instruction set.

use super::CHUNK;

/// Sixteen values.
///
/// Safety of all methods: the CPU has the instruction set; pointers are valid for sixteen elements.
pub(super) trait Chunk: Copy {
    /// Reads sixteen values.
    unsafe fn load(at: *const f32) -> Self;

    /// Writes them.
    unsafe fn store(self, at: *mut f32);

    /// Turns the signs of those whose flip has the sign bit.
    unsafe fn flip(self, flips: *const u32) -> Self;

    /// Every value times `factor`.
    unsafe fn scale(self, factor: f32) -> Self;

    /// Sums and differences, lane by lane.
    unsafe fn mix(self, other: Self) -> (Self, Self);

    /// The Hadamard transform of the sixteen, not scaled.
    unsafe fn steps(self) -> Self;
}

impl Chunk for [f32; CHUNK] {
    #[inline(always)]
    unsafe fn load(at: *const f32) -> Self {
        // SAFETY: the caller promises sixteen values.
        unsafe { at.cast::<Self>().read() }
    }

    #[inline(always)]
    unsafe fn store(self, at: *mut f32) {
        // SAFETY: the caller promises sixteen places.
        unsafe { at.cast::<Self>().write(self) };
    }

    #[inline(always)]
    unsafe fn flip(self, flips: *const u32) -> Self {
        // SAFETY: the caller promises sixteen words.
        let flips = unsafe { flips.cast::<[u32; CHUNK]>().read() };
        core::array::from_fn(|lane| f32::from_bits(self[lane].to_bits() ^ flips[lane]))
    }

    #[inline(always)]
    unsafe fn scale(self, factor: f32) -> Self {
        self.map(|value| value * factor)
    }

    #[inline(always)]
    unsafe fn mix(self, other: Self) -> (Self, Self) {
        let sum = core::array::from_fn(|lane| self[lane] + other[lane]);
        (sum, core::array::from_fn(|lane| self[lane] - other[lane]))
    }

    #[inline(always)]
    unsafe fn steps(self) -> Self {
        let mut chunk = self;
        for half in [1, 2, 4, 8] {
            let before = chunk;
            for (lane, value) in chunk.iter_mut().enumerate() {
                let other = before[lane ^ half];
                *value = if lane & half == 0 { other + before[lane] } else { other - before[lane] };
            }
        }
        chunk
    }
}

#[cfg(target_arch = "x86_64")]
pub(super) use x86::{Avx2, Avx512};

#[cfg(target_arch = "x86_64")]
mod x86 {
    //! A step inside a register is one shuffle and one multiply-add with ±1, which is exact in the product and
    //! rounds once, as the sum does.

    use core::arch::x86_64::{
        __m256, __m512, _mm256_add_ps, _mm256_castsi256_ps, _mm256_fmadd_ps, _mm256_loadu_ps,
        _mm256_loadu_si256, _mm256_mul_ps, _mm256_permute_ps, _mm256_permute2f128_ps, _mm256_set1_ps,
        _mm256_setr_ps, _mm256_storeu_ps, _mm256_sub_ps, _mm256_xor_ps, _mm512_add_ps, _mm512_castsi512_ps,
        _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_loadu_si512, _mm512_mul_ps, _mm512_permute_ps,
        _mm512_set1_ps, _mm512_setr_ps, _mm512_shuffle_f32x4, _mm512_storeu_ps, _mm512_sub_ps, _mm512_xor_ps,
    };

    use super::Chunk;

    #[derive(Clone, Copy)]
    pub(in super::super) struct Avx512(__m512);

    // Each method is one or a few instructions on registers; the loads and stores are of sixteen values.
    impl Chunk for Avx512 {
        #[inline(always)]
        unsafe fn load(at: *const f32) -> Self {
            // SAFETY: sixteen values lie there, and the instructions are there: promised by the caller.
            Self(unsafe { _mm512_loadu_ps(at) })
        }

        #[inline(always)]
        unsafe fn store(self, at: *mut f32) {
            // SAFETY: sixteen values have room there, and the instructions are there: promised by the caller.
            unsafe { _mm512_storeu_ps(at, self.0) }
        }

        #[inline(always)]
        unsafe fn flip(self, flips: *const u32) -> Self {
            // SAFETY: as many words as values lie there, and the instructions are there: promised by the caller.
            Self(unsafe { _mm512_xor_ps(self.0, _mm512_castsi512_ps(_mm512_loadu_si512(flips.cast()))) })
        }

        #[inline(always)]
        unsafe fn scale(self, factor: f32) -> Self {
            // SAFETY: arithmetic on registers; the caller promises the instructions.
            Self(unsafe { _mm512_mul_ps(self.0, _mm512_set1_ps(factor)) })
        }

        #[inline(always)]
        unsafe fn mix(self, other: Self) -> (Self, Self) {
            // SAFETY: arithmetic on registers; the caller promises the instructions.
            unsafe { (Self(_mm512_add_ps(self.0, other.0)), Self(_mm512_sub_ps(self.0, other.0))) }
        }

        #[inline(always)]
        unsafe fn steps(self) -> Self {
            const P: f32 = 1.0;
            const N: f32 = -1.0;
            // SAFETY: arithmetic on registers; the caller promises the instructions.
            unsafe {
                let signs = _mm512_setr_ps(P, N, P, N, P, N, P, N, P, N, P, N, P, N, P, N);
                let v = _mm512_fmadd_ps(self.0, signs, _mm512_permute_ps::<0b10_11_00_01>(self.0));
                let signs = _mm512_setr_ps(P, P, N, N, P, P, N, N, P, P, N, N, P, P, N, N);
                let v = _mm512_fmadd_ps(v, signs, _mm512_permute_ps::<0b01_00_11_10>(v));
                let signs = _mm512_setr_ps(P, P, P, P, N, N, N, N, P, P, P, P, N, N, N, N);
                let v = _mm512_fmadd_ps(v, signs, _mm512_shuffle_f32x4::<0b10_11_00_01>(v, v));
                let signs = _mm512_setr_ps(P, P, P, P, P, P, P, P, N, N, N, N, N, N, N, N);
                Self(_mm512_fmadd_ps(v, signs, _mm512_shuffle_f32x4::<0b01_00_11_10>(v, v)))
            }
        }
    }

    #[derive(Clone, Copy)]
    pub(in super::super) struct Avx2(__m256, __m256);

    impl Chunk for Avx2 {
        #[inline(always)]
        unsafe fn load(at: *const f32) -> Self {
            // SAFETY: sixteen values lie there, and the instructions are there: promised by the caller.
            unsafe { Self(_mm256_loadu_ps(at), _mm256_loadu_ps(at.add(8))) }
        }

        #[inline(always)]
        unsafe fn store(self, at: *mut f32) {
            // SAFETY: sixteen values have room there, and the instructions are there: promised by the caller.
            unsafe { _mm256_storeu_ps(at, self.0) };
            // SAFETY: sixteen values have room there, and the instructions are there: promised by the caller.
            unsafe { _mm256_storeu_ps(at.add(8), self.1) };
        }

        #[inline(always)]
        unsafe fn flip(self, flips: *const u32) -> Self {
            // SAFETY: as many words as values lie there, and the instructions are there: promised by the caller.
            unsafe {
                let low = _mm256_castsi256_ps(_mm256_loadu_si256(flips.cast()));
                let high = _mm256_castsi256_ps(_mm256_loadu_si256(flips.add(8).cast()));
                Self(_mm256_xor_ps(self.0, low), _mm256_xor_ps(self.1, high))
            }
        }

        #[inline(always)]
        unsafe fn scale(self, factor: f32) -> Self {
            // SAFETY: arithmetic on registers; the caller promises the instructions.
            unsafe {
                let factor = _mm256_set1_ps(factor);
                Self(_mm256_mul_ps(self.0, factor), _mm256_mul_ps(self.1, factor))
            }
        }

        #[inline(always)]
        unsafe fn mix(self, other: Self) -> (Self, Self) {
            // SAFETY: arithmetic on registers; the caller promises the instructions.
            unsafe {
                let sum = Self(_mm256_add_ps(self.0, other.0), _mm256_add_ps(self.1, other.1));
                (sum, Self(_mm256_sub_ps(self.0, other.0), _mm256_sub_ps(self.1, other.1)))
            }
        }

        #[inline(always)]
        unsafe fn steps(self) -> Self {
            // SAFETY: arithmetic on registers; the caller promises the instructions.
            unsafe {
                let (low, high) = (three_steps(self.0), three_steps(self.1));
                Self(_mm256_add_ps(low, high), _mm256_sub_ps(low, high))
            }
        }
    }

    /// The Hadamard transform of eight values.
    #[inline(always)]
    unsafe fn three_steps(v: __m256) -> __m256 {
        const P: f32 = 1.0;
        const N: f32 = -1.0;
        // SAFETY: arithmetic on registers; the caller promises the instructions.
        unsafe {
            let signs = _mm256_setr_ps(P, N, P, N, P, N, P, N);
            let v = _mm256_fmadd_ps(v, signs, _mm256_permute_ps::<0b10_11_00_01>(v));
            let signs = _mm256_setr_ps(P, P, N, N, P, P, N, N);
            let v = _mm256_fmadd_ps(v, signs, _mm256_permute_ps::<0b01_00_11_10>(v));
            let signs = _mm256_setr_ps(P, P, P, P, N, N, N, N);
            _mm256_fmadd_ps(v, signs, _mm256_permute2f128_ps::<1>(v, v))
        }
    }
}

#[cfg(target_arch = "aarch64")]
pub(super) use neon::Neon;

#[cfg(target_arch = "aarch64")]
mod neon {
    use core::arch::aarch64::{
        float32x4_t, vaddq_f32, veorq_u32, vextq_f32, vfmaq_f32, vld1q_f32, vld1q_u32, vmulq_n_f32,
        vreinterpretq_f32_u32, vreinterpretq_u32_f32, vrev64q_f32, vst1q_f32, vsubq_f32,
    };

    use super::Chunk;

    #[derive(Clone, Copy)]
    pub(in super::super) struct Neon(float32x4_t, float32x4_t, float32x4_t, float32x4_t);

    impl Chunk for Neon {
        #[inline(always)]
        unsafe fn load(at: *const f32) -> Self {
            // SAFETY: sixteen values lie there, and the instructions are there: promised by the caller.
            unsafe { Self(vld1q_f32(at), vld1q_f32(at.add(4)), vld1q_f32(at.add(8)), vld1q_f32(at.add(12))) }
        }

        #[inline(always)]
        unsafe fn store(self, at: *mut f32) {
            // SAFETY: sixteen values have room there, and the instructions are there: promised by the caller.
            unsafe {
                vst1q_f32(at, self.0);
                vst1q_f32(at.add(4), self.1);
                vst1q_f32(at.add(8), self.2);
                vst1q_f32(at.add(12), self.3);
            }
        }

        #[inline(always)]
        unsafe fn flip(self, flips: *const u32) -> Self {
            // SAFETY: as many words as values lie there, and the instructions are there: promised by the caller.
            unsafe {
                Self(
                    flip(self.0, flips),
                    flip(self.1, flips.add(4)),
                    flip(self.2, flips.add(8)),
                    flip(self.3, flips.add(12)),
                )
            }
        }

        #[inline(always)]
        unsafe fn scale(self, factor: f32) -> Self {
            // SAFETY: arithmetic on registers; the caller promises the instructions.
            unsafe {
                Self(
                    vmulq_n_f32(self.0, factor),
                    vmulq_n_f32(self.1, factor),
                    vmulq_n_f32(self.2, factor),
                    vmulq_n_f32(self.3, factor),
                )
            }
        }

        #[inline(always)]
        unsafe fn mix(self, other: Self) -> (Self, Self) {
            // SAFETY: arithmetic on registers; the caller promises the instructions.
            unsafe {
                (
                    Self(
                        vaddq_f32(self.0, other.0),
                        vaddq_f32(self.1, other.1),
                        vaddq_f32(self.2, other.2),
                        vaddq_f32(self.3, other.3),
                    ),
                    Self(
                        vsubq_f32(self.0, other.0),
                        vsubq_f32(self.1, other.1),
                        vsubq_f32(self.2, other.2),
                        vsubq_f32(self.3, other.3),
                    ),
                )
            }
        }

        #[inline(always)]
        unsafe fn steps(self) -> Self {
            // SAFETY: arithmetic on registers; the caller promises the instructions.
            unsafe {
                let (a, b) = (two_steps(self.0), two_steps(self.1));
                let (c, d) = (two_steps(self.2), two_steps(self.3));
                let (a, b, c, d) = (vaddq_f32(a, b), vsubq_f32(a, b), vaddq_f32(c, d), vsubq_f32(c, d));
                Self(vaddq_f32(a, c), vaddq_f32(b, d), vsubq_f32(a, c), vsubq_f32(b, d))
            }
        }
    }

    #[inline(always)]
    unsafe fn flip(values: float32x4_t, flips: *const u32) -> float32x4_t {
        // SAFETY: as many words as values lie there, and the instructions are there: promised by the caller.
        unsafe { vreinterpretq_f32_u32(veorq_u32(vreinterpretq_u32_f32(values), vld1q_u32(flips))) }
    }

    /// The Hadamard transform of four values. The products with ±1 are exact, so the fused sums round as plain ones.
    #[inline(always)]
    unsafe fn two_steps(v: float32x4_t) -> float32x4_t {
        const ODD: [f32; 4] = [1.0, -1.0, 1.0, -1.0];
        const HIGH: [f32; 4] = [1.0, 1.0, -1.0, -1.0];
        // SAFETY: arithmetic on registers; the caller promises the instructions.
        unsafe {
            let v = vfmaq_f32(vrev64q_f32(v), v, vld1q_f32(ODD.as_ptr()));
            vfmaq_f32(vextq_f32::<2>(v, v), v, vld1q_f32(HIGH.as_ptr()))
        }
    }
}
