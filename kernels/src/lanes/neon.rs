//! NEON: four lanes.

use core::arch::aarch64::{
    float32x4_t, uint16x4_t, vcvtq_f32_s32, vcvtq_f32_u32, vdup_n_u32, vget_low_s16, vget_low_u16, vld1_u16,
    vmovl_s8, vmovl_s16, vmovl_u8, vmovl_u16, vpaddq_f32, vreinterpret_s8_u32, vreinterpret_u8_u32,
    vreinterpretq_f32_u32, vshlq_n_u32,
};

use half::{bf16, f16};
use pulp::Simd;
use pulp::aarch64::Neon;

use super::{Lanes, LoadAs, LoadHead, copy_head, pulp_lanes};

pulp_lanes!(
    Neon,
    // SAFETY: the caller promises the instruction set.
    unsafe { Self::new_unchecked() },
    |simd, a, b, c| simd.mul_add_e_f32s(a, b, c),
    [a, b, c, d] {
        let [a, b, c, d]: [float32x4_t; 4] = [pulp::cast(a), pulp::cast(b), pulp::cast(c), pulp::cast(d)];
        // SAFETY: register arithmetic; the token exists, so the CPU has NEON.
        pulp::cast(unsafe { vpaddq_f32(vpaddq_f32(a, b), vpaddq_f32(c, d)) })
    }
);

// SAFETY: the copy reads `count` elements.
unsafe impl LoadHead for Neon {
    #[inline(always)]
    unsafe fn load_f32_head(self, at: *const f32, count: usize) -> Self::Register {
        // SAFETY: the caller's promise is passed on.
        pulp::cast(unsafe { copy_head::<f32, 4>(at, count) })
    }
}

/// Writes [`LoadAs`] for an element type; `$widen` turns the four elements at a pointer into `f32`.
macro_rules! widened {
    ($element:ty, $widen:ident) => {
        // SAFETY: the load is of four elements, the copy of `count`.
        unsafe impl LoadAs<Neon> for $element {
            #[inline(always)]
            unsafe fn load(_simd: Neon, at: *const Self) -> <Neon as Lanes>::Register {
                // SAFETY: the caller promises four elements.
                pulp::cast(unsafe { $widen(at) })
            }

            #[inline(always)]
            unsafe fn load_head(simd: Neon, at: *const Self, count: usize) -> <Neon as Lanes>::Register {
                // SAFETY: the caller promises `count` elements, fewer than four.
                let head = unsafe { copy_head::<Self, 4>(at, count) };
                // SAFETY: `head` has four elements.
                unsafe { Self::load(simd, head.as_ptr()) }
            }
        }
    };
}

widened!(f16, widen_f16);
widened!(bf16, widen_bf16);
widened!(u8, widen_u8);
widened!(i8, widen_i8);

#[inline(always)]
unsafe fn widen_f16(at: *const f16) -> float32x4_t {
    // SAFETY: the caller promises four elements; `f16` is a `u16` underneath.
    let bits: uint16x4_t = unsafe { vld1_u16(at.cast()) };
    let wide: float32x4_t;
    // The intrinsic takes a vector of the primitive `f16`, which is not stable.
    // SAFETY: FCVTL is part of NEON and touches nothing but its two registers.
    unsafe {
        core::arch::asm!(
            "fcvtl {wide:v}.4s, {bits:v}.4h",
            wide = lateout(vreg) wide,
            bits = in(vreg) bits,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    wide
}

#[inline(always)]
unsafe fn widen_bf16(at: *const bf16) -> float32x4_t {
    // SAFETY: the caller promises four elements; `bf16` is a `u16` underneath.
    let bits = unsafe { vld1_u16(at.cast()) };
    // The bits of a bf16 are the upper half of those of the same number in f32.
    // SAFETY: register arithmetic on NEON, promised by the caller.
    unsafe { vreinterpretq_f32_u32(vshlq_n_u32::<16>(vmovl_u16(bits))) }
}

#[inline(always)]
unsafe fn widen_u8(at: *const u8) -> float32x4_t {
    // SAFETY: the caller promises four elements.
    let bytes = unsafe { at.cast::<u32>().read_unaligned() };
    // SAFETY: (whole block) register arithmetic on NEON, promised by the caller.
    unsafe {
        let words = vget_low_u16(vmovl_u8(vreinterpret_u8_u32(vdup_n_u32(bytes))));
        vcvtq_f32_u32(vmovl_u16(words))
    }
}

#[inline(always)]
unsafe fn widen_i8(at: *const i8) -> float32x4_t {
    // SAFETY: the caller promises four elements.
    let bytes = unsafe { at.cast::<u32>().read_unaligned() };
    // SAFETY: (whole block) register arithmetic on NEON, promised by the caller.
    unsafe {
        let words = vget_low_s16(vmovl_s8(vreinterpret_s8_u32(vdup_n_u32(bytes))));
        vcvtq_f32_s32(vmovl_s16(words))
    }
}
