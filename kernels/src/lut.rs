//! [`LutKernel`]: sums over tables of 16 entries for 32 vectors at once (André, Kermarrec and Le Scouarnec 2015,
//! "FastScan").
//!
//! A code of 4 bits per subspace picks one entry of that subspace's table; the distance is the sum of the picked
//! entries. The table of a subspace is 16 bytes: one register, and picking is one shuffle for 16 vectors.
//!
//! * **T1** A block holds 32 vectors. Subspace `s` is the 16 bytes from `16·s` on: byte `j` has the code of
//!   vector `j` in its low and that of vector `j + 16` in its high half.
//! * **T2** Sums are `u16` and wrap. They do not where no entry exceeds [`LutKernel::max_entry`].
//! * **T3** A narrow kernel adds up the entries of four subspaces as bytes before it widens them: entries above
//!   [`NARROW_ENTRY`] give wrong sums, on some paths.

use crate::isa::{Isa, IsaError, active_isa};

/// Vectors per block.
pub const LUT_BLOCK: usize = 32;

/// The largest entry of a narrow kernel: four of them fit a byte.
pub const NARROW_ENTRY: u8 = 63;

/// `(table, codes, subspaces, out)`.
type SumFn = unsafe fn(*const u8, *const u8, usize, *mut u16);

/// Sums of table entries picked by codes of 4 bits, for blocks of [`LUT_BLOCK`] vectors.
///
/// # Examples
/// ```
/// use orthant_kernels::{LUT_BLOCK, LutKernel};
///
/// let kernel = LutKernel::new(2)?;
/// // One code per subspace and vector: vector v has the codes v % 16 and 3.
/// let codes: Vec<u8> = (0..LUT_BLOCK as u8).flat_map(|v| [v % 16, 3]).collect();
/// let mut block = [0; 32];
/// kernel.pack(&codes, &mut block);
///
/// // Entry c of the first subspace is c, of the second 10·c.
/// let table: Vec<u8> = (0..16).chain((0..16).map(|c| 10 * c)).collect();
/// let mut sums = [0; LUT_BLOCK];
/// kernel.block(&table, &block, &mut sums);
/// assert_eq!(sums[5], 5 + 30);
/// # Ok::<(), orthant_kernels::IsaError>(())
/// ```
#[derive(Clone, Copy)]
pub struct LutKernel {
    isa: Isa,
    subspaces: usize,
    is_narrow: bool,
    sum: SumFn,
}

impl LutKernel {
    /// A kernel on the path of [`active_isa`].
    ///
    /// # Errors
    /// As [`active_isa`]: the environment forces a path that is unknown or missing.
    pub fn new(subspaces: usize) -> Result<Self, IsaError> {
        Self::with_isa(subspaces, active_isa()?)
    }

    /// A kernel on the path of `isa`.
    ///
    /// # Errors
    /// [`IsaError::Missing`] if the CPU does not have it.
    pub fn with_isa(subspaces: usize, isa: Isa) -> Result<Self, IsaError> {
        let sum: SumFn = match isa.require()? {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => x86::sum_512,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => x86::sum_256,
            #[cfg(target_arch = "aarch64")]
            Isa::Neon => neon::sum,
            Isa::Scalar => sum_scalar,
            #[allow(unreachable_patterns)] // the paths of other targets, which `require` refused
            missing => return Err(IsaError::Missing { isa: missing }),
        };
        Ok(Self { isa, subspaces, is_narrow: false, sum })
    }

    /// A kernel for entries up to [`NARROW_ENTRY`], on the path of `isa`: it adds four before it widens (T3), which takes a
    /// quarter fewer instructions with AVX-512 and AVX2 and is the same elsewhere.
    ///
    /// # Errors
    /// As [`with_isa`](Self::with_isa).
    pub fn narrow(subspaces: usize, isa: Isa) -> Result<Self, IsaError> {
        let kernel = Self::with_isa(subspaces, isa)?;
        let sum: SumFn = match isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => x86::sum_512_narrow,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => x86::sum_256_narrow,
            _ => kernel.sum,
        };
        Ok(Self { is_narrow: true, sum, ..kernel })
    }

    /// The instruction set in use.
    #[inline]
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// Codes per vector.
    #[inline]
    pub fn subspaces(&self) -> usize {
        self.subspaces
    }

    /// Bytes of a block, and of a table: 16 per subspace.
    #[inline]
    pub fn block_bytes(&self) -> usize {
        16 * self.subspaces
    }

    /// The largest entry with which no sum can wrap: `min(255, 65535 / subspaces)`; of a narrow kernel at most
    /// [`NARROW_ENTRY`].
    #[inline]
    pub fn max_entry(&self) -> u8 {
        let most = if self.is_narrow { usize::from(NARROW_ENTRY) } else { 255 };
        // At most 255 after the `min`, so the cast keeps the value.
        (65535 / self.subspaces.max(1)).min(most) as u8
    }

    /// Packs the codes of up to 32 vectors into a block (T1). Places of vectors that are not there get code 0.
    ///
    /// # Shapes
    /// `codes: [vectors × subspaces]`, one code below 16 per byte; `block: [block_bytes]`.
    /// # Panics
    /// If there are more than 32 vectors, or part of one, or if `block` has another length.
    pub fn pack(&self, codes: &[u8], block: &mut [u8]) {
        assert_eq!(block.len(), self.block_bytes(), "a block takes 16 bytes per subspace");
        assert!(codes.len() <= LUT_BLOCK * self.subspaces, "a block holds 32 vectors");
        if self.subspaces == 0 {
            return;
        }
        assert_eq!(codes.len() % self.subspaces, 0, "codes of whole vectors");
        block.fill(0);
        for (vector, codes) in codes.chunks_exact(self.subspaces).enumerate() {
            for (subspace, &code) in codes.iter().enumerate() {
                block[16 * subspace + vector % 16] |= (code & 0x0f) << (4 * (vector / 16));
            }
        }
    }

    /// Sums for the 32 vectors of a block.
    ///
    /// # Shapes
    /// `table: [subspaces × 16]`, `block: [block_bytes]` as [`pack`](Self::pack) writes it.
    /// # Numerics
    /// Exact modulo 2¹⁶ (T2).
    /// # Panics
    /// If `table` or `block` has another length.
    #[inline]
    pub fn block(&self, table: &[u8], block: &[u8], out: &mut [u16; LUT_BLOCK]) {
        assert_eq!(table.len(), self.block_bytes(), "a table has 16 entries per subspace");
        assert_eq!(block.len(), self.block_bytes(), "a block takes 16 bytes per subspace");
        // SAFETY: table and block have 16 bytes per subspace (asserted above), and the CPU has the path: the
        // constructor asked `Isa::require`.
        unsafe { (self.sum)(table.as_ptr(), block.as_ptr(), self.subspaces, out.as_mut_ptr()) }
    }

    /// [`block`](Self::block) over memory that other threads append to.
    ///
    /// # Safety
    /// `table` and `block` are valid for reads of [`block_bytes`](Self::block_bytes) bytes that no thread writes
    /// during the call.
    #[inline]
    pub unsafe fn block_raw(&self, table: *const u8, block: *const u8, out: &mut [u16; LUT_BLOCK]) {
        // SAFETY: the caller promises both; the CPU has the path.
        unsafe { (self.sum)(table, block, self.subspaces, out.as_mut_ptr()) }
    }
}

impl core::fmt::Debug for LutKernel {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("LutKernel")
            .field("subspaces", &self.subspaces)
            .field("isa", &self.isa)
            .field("is_narrow", &self.is_narrow)
            .finish()
    }
}

/// # Safety
/// As all [`SumFn`]s: `table` and `codes` are valid for reads of `16 · subspaces` bytes, `out` for writes of 32 sums,
/// and the CPU has the instruction set.
unsafe fn sum_scalar(table: *const u8, codes: *const u8, subspaces: usize, out: *mut u16) {
    // SAFETY: the caller promises `16 · subspaces` bytes.
    let table = unsafe { core::slice::from_raw_parts(table, 16 * subspaces) };
    // SAFETY: the same.
    let codes = unsafe { core::slice::from_raw_parts(codes, 16 * subspaces) };
    let mut sums = [0u16; LUT_BLOCK];
    for (entries, codes) in table.chunks_exact(16).zip(codes.chunks_exact(16)) {
        for (vector, &both) in codes.iter().enumerate() {
            sums[vector] = sums[vector].wrapping_add(u16::from(entries[usize::from(both & 0x0f)]));
            sums[vector + 16] = sums[vector + 16].wrapping_add(u16::from(entries[usize::from(both >> 4)]));
        }
    }
    // SAFETY: the caller promises 32 places.
    unsafe { out.cast::<[u16; LUT_BLOCK]>().write_unaligned(sums) };
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    //! Entries are bytes and sums words: each register of picked entries is added twice, as it stands (odd bytes
    //! spill 256 times their value into the even words) and shifted down by a byte (odd bytes alone). The spill is
    //! taken off at the end, modulo 2¹⁶.

    use core::arch::x86_64::{
        __m128i, __m256i, __m512i, _mm_add_epi16, _mm_loadu_si128, _mm_storeu_si128, _mm_unpackhi_epi16,
        _mm_unpacklo_epi16, _mm256_add_epi8, _mm256_add_epi16, _mm256_and_si256, _mm256_castsi256_si128,
        _mm256_extracti128_si256, _mm256_loadu_si256, _mm256_set1_epi8, _mm256_setzero_si256,
        _mm256_shuffle_epi8, _mm256_slli_epi16, _mm256_srli_epi16, _mm256_sub_epi16, _mm256_zextsi128_si256,
        _mm512_add_epi8, _mm512_add_epi16, _mm512_and_si512, _mm512_castsi512_si256,
        _mm512_extracti64x4_epi64, _mm512_loadu_si512, _mm512_maskz_loadu_epi8, _mm512_set1_epi8,
        _mm512_setzero_si512, _mm512_shuffle_epi8, _mm512_srli_epi16,
    };

    /// # Safety
    /// As [`super::sum_scalar`].
    #[target_feature(enable = "avx2,avx512f,avx512bw")]
    pub(super) unsafe fn sum_512(table: *const u8, codes: *const u8, subspaces: usize, out: *mut u16) {
        // SAFETY: the caller's promise is passed on.
        unsafe { sum_512_of::<false>(table, codes, subspaces, out) }
    }

    /// # Safety
    /// As [`super::sum_scalar`].
    #[target_feature(enable = "avx2,avx512f,avx512bw")]
    pub(super) unsafe fn sum_512_narrow(table: *const u8, codes: *const u8, subspaces: usize, out: *mut u16) {
        // SAFETY: the caller's promise is passed on.
        unsafe { sum_512_of::<true>(table, codes, subspaces, out) }
    }

    /// # Safety
    /// As [`super::sum_scalar`].
    #[inline]
    #[target_feature(enable = "avx2,avx512f,avx512bw")]
    unsafe fn sum_512_of<const IS_NARROW: bool>(
        table: *const u8,
        codes: *const u8,
        subspaces: usize,
        out: *mut u16,
    ) {
        let nibble = _mm512_set1_epi8(0x0f);
        let mut sums = [_mm512_setzero_si512(); 4];
        let pick = |entries: __m512i, codes: __m512i| {
            let low = _mm512_shuffle_epi8(entries, _mm512_and_si512(codes, nibble));
            (low, _mm512_shuffle_epi8(entries, _mm512_and_si512(_mm512_srli_epi16::<4>(codes), nibble)))
        };
        let mut add = |(low, high): (__m512i, __m512i)| {
            sums[0] = _mm512_add_epi16(sums[0], low);
            sums[1] = _mm512_add_epi16(sums[1], _mm512_srli_epi16::<8>(low));
            sums[2] = _mm512_add_epi16(sums[2], high);
            sums[3] = _mm512_add_epi16(sums[3], _mm512_srli_epi16::<8>(high));
        };
        let bytes = 16 * subspaces;
        let mut at = 0;
        let four_at = |at: usize| {
            // SAFETY: asked for where `at + 64 <= bytes`.
            let entries = unsafe { _mm512_loadu_si512(table.add(at).cast()) };
            // SAFETY: the same.
            pick(entries, unsafe { _mm512_loadu_si512(codes.add(at).cast()) })
        };
        if IS_NARROW {
            while at + 256 <= bytes {
                let [a, b, c, d] = [four_at(at), four_at(at + 64), four_at(at + 128), four_at(at + 192)];
                let low = _mm512_add_epi8(_mm512_add_epi8(a.0, b.0), _mm512_add_epi8(c.0, d.0));
                add((low, _mm512_add_epi8(_mm512_add_epi8(a.1, b.1), _mm512_add_epi8(c.1, d.1))));
                at += 256;
            }
        }
        while at + 64 <= bytes {
            add(four_at(at));
            at += 64;
        }
        if at < bytes {
            let mask = (1u64 << (bytes - at)) - 1;
            // SAFETY: masked bytes are not accessed; tables of zeros add nothing.
            let entries = unsafe { _mm512_maskz_loadu_epi8(mask, table.add(at).cast()) };
            // SAFETY: masked bytes are not accessed.
            let rest = unsafe { _mm512_maskz_loadu_epi8(mask, codes.add(at).cast()) };
            add(pick(entries, rest));
        }
        let halves = [halve(sums[0]), halve(sums[1]), halve(sums[2]), halve(sums[3])];
        // SAFETY: the caller promises 32 places.
        unsafe { write(halves, out) }
    }

    /// The upper and the lower half together: they hold sums over different subspaces for the same vectors.
    #[target_feature(enable = "avx2,avx512f")]
    fn halve(sums: __m512i) -> __m256i {
        _mm256_add_epi16(_mm512_castsi512_si256(sums), _mm512_extracti64x4_epi64::<1>(sums))
    }

    /// # Safety
    /// As [`super::sum_scalar`].
    #[target_feature(enable = "avx2")]
    pub(super) unsafe fn sum_256(table: *const u8, codes: *const u8, subspaces: usize, out: *mut u16) {
        // SAFETY: the caller's promise is passed on.
        unsafe { sum_256_of::<false>(table, codes, subspaces, out) }
    }

    /// # Safety
    /// As [`super::sum_scalar`].
    #[target_feature(enable = "avx2")]
    pub(super) unsafe fn sum_256_narrow(table: *const u8, codes: *const u8, subspaces: usize, out: *mut u16) {
        // SAFETY: the caller's promise is passed on.
        unsafe { sum_256_of::<true>(table, codes, subspaces, out) }
    }

    /// # Safety
    /// As [`super::sum_scalar`].
    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn sum_256_of<const IS_NARROW: bool>(
        table: *const u8,
        codes: *const u8,
        subspaces: usize,
        out: *mut u16,
    ) {
        let nibble = _mm256_set1_epi8(0x0f);
        let mut sums = [_mm256_setzero_si256(); 4];
        let pick = |entries: __m256i, codes: __m256i| {
            let low = _mm256_shuffle_epi8(entries, _mm256_and_si256(codes, nibble));
            (low, _mm256_shuffle_epi8(entries, _mm256_and_si256(_mm256_srli_epi16::<4>(codes), nibble)))
        };
        let mut add = |(low, high): (__m256i, __m256i)| {
            sums[0] = _mm256_add_epi16(sums[0], low);
            sums[1] = _mm256_add_epi16(sums[1], _mm256_srli_epi16::<8>(low));
            sums[2] = _mm256_add_epi16(sums[2], high);
            sums[3] = _mm256_add_epi16(sums[3], _mm256_srli_epi16::<8>(high));
        };
        let bytes = 16 * subspaces;
        let mut at = 0;
        let two_at = |at: usize| {
            // SAFETY: asked for where `at + 32 <= bytes`.
            let entries = unsafe { _mm256_loadu_si256(table.add(at).cast()) };
            // SAFETY: the same.
            pick(entries, unsafe { _mm256_loadu_si256(codes.add(at).cast()) })
        };
        if IS_NARROW {
            while at + 128 <= bytes {
                let [a, b, c, d] = [two_at(at), two_at(at + 32), two_at(at + 64), two_at(at + 96)];
                let low = _mm256_add_epi8(_mm256_add_epi8(a.0, b.0), _mm256_add_epi8(c.0, d.0));
                add((low, _mm256_add_epi8(_mm256_add_epi8(a.1, b.1), _mm256_add_epi8(c.1, d.1))));
                at += 128;
            }
        }
        while at + 32 <= bytes {
            add(two_at(at));
            at += 32;
        }
        if at < bytes {
            // SAFETY: one subspace, 16 bytes, is left.
            let entries = unsafe { _mm_loadu_si128(table.add(at).cast()) };
            // SAFETY: the same.
            let one = unsafe { _mm_loadu_si128(codes.add(at).cast()) };
            add(pick(_mm256_zextsi128_si256(entries), _mm256_zextsi128_si256(one)));
        }
        // SAFETY: the caller promises 32 places.
        unsafe { write(sums, out) }
    }

    /// Adds up the halves of the registers, takes the spill off, and puts even and odd vectors in order.
    ///
    /// # Safety
    /// `out` is valid for writes of 32 sums.
    #[target_feature(enable = "avx2")]
    unsafe fn write(sums: [__m256i; 4], out: *mut u16) {
        let [low, low_odd, high, high_odd] = sums;
        // SAFETY: the first 16 places.
        unsafe { write_half(low, low_odd, out) };
        // SAFETY: the last 16 places.
        unsafe { write_half(high, high_odd, out.add(16)) };
    }

    /// # Safety
    /// `out` is valid for writes of 16 sums.
    #[target_feature(enable = "avx2")]
    unsafe fn write_half(both: __m256i, odd: __m256i, out: *mut u16) {
        let even = fold(_mm256_sub_epi16(both, _mm256_slli_epi16::<8>(odd)));
        let odd = fold(odd);
        // SAFETY: the first 8 places.
        unsafe { _mm_storeu_si128(out.cast(), _mm_unpacklo_epi16(even, odd)) };
        // SAFETY: the last 8 places.
        unsafe { _mm_storeu_si128(out.add(8).cast(), _mm_unpackhi_epi16(even, odd)) };
    }

    /// Both halves together: they hold sums over different subspaces for the same vectors.
    #[target_feature(enable = "avx2")]
    fn fold(sums: __m256i) -> __m128i {
        _mm_add_epi16(_mm256_castsi256_si128(sums), _mm256_extracti128_si256::<1>(sums))
    }
}

#[cfg(target_arch = "aarch64")]
mod neon {
    use core::arch::aarch64::{
        vaddw_high_u8, vaddw_u8, vandq_u8, vdupq_n_u8, vdupq_n_u16, vget_low_u8, vld1q_u8, vqtbl1q_u8,
        vshrq_n_u8, vst1q_u16,
    };

    /// # Safety
    /// As [`super::sum_scalar`].
    #[target_feature(enable = "neon")]
    pub(super) unsafe fn sum(table: *const u8, codes: *const u8, subspaces: usize, out: *mut u16) {
        let nibble = vdupq_n_u8(0x0f);
        let mut sums = [vdupq_n_u16(0); 4];
        for subspace in 0..subspaces {
            // SAFETY: 16 bytes per subspace.
            let entries = unsafe { vld1q_u8(table.add(16 * subspace)) };
            // SAFETY: the same.
            let both = unsafe { vld1q_u8(codes.add(16 * subspace)) };
            let low = vqtbl1q_u8(entries, vandq_u8(both, nibble));
            let high = vqtbl1q_u8(entries, vshrq_n_u8::<4>(both));
            sums[0] = vaddw_u8(sums[0], vget_low_u8(low));
            sums[1] = vaddw_high_u8(sums[1], low);
            sums[2] = vaddw_u8(sums[2], vget_low_u8(high));
            sums[3] = vaddw_high_u8(sums[3], high);
        }
        for (quarter, sum) in sums.into_iter().enumerate() {
            // SAFETY: 8 of the 32 places that the caller promises.
            unsafe { vst1q_u16(out.add(8 * quarter), sum) };
        }
    }
}
