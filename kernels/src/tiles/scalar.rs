//! Cells in plain Rust.

use super::Panel;

/// Four vectors of four dimensions.
#[derive(Clone, Copy)]
pub(super) struct Scalar;

// SAFETY: one read of 16 bytes, one write of four sums.
unsafe impl Panel for Scalar {
    type Left = [u8; 4];
    type Right = [[u8; 4]; 4];
    type Total = [i32; 4];
    const LANES: usize = 4;
    const GROUP: usize = 4;

    fn cell(bytes: u32) -> u32 {
        bytes
    }

    #[inline(always)]
    unsafe fn zero() -> [i32; 4] {
        [0; 4]
    }

    #[inline(always)]
    unsafe fn left(bytes: u32) -> [u8; 4] {
        bytes.to_le_bytes()
    }

    #[inline(always)]
    unsafe fn right(at: *const u8) -> [[u8; 4]; 4] {
        // SAFETY: the caller promises four cells.
        unsafe { at.cast::<[[u8; 4]; 4]>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn add(total: [i32; 4], left: [u8; 4], right: [[u8; 4]; 4]) -> [i32; 4] {
        let mut total = total;
        for (total, cell) in total.iter_mut().zip(right) {
            for (a, b) in left.into_iter().zip(cell) {
                *total = total.wrapping_add(i32::from(a) * i32::from(b));
            }
        }
        total
    }

    #[inline(always)]
    unsafe fn store(total: [i32; 4], out: *mut i32) {
        // SAFETY: the caller promises four places.
        unsafe { out.cast::<[i32; 4]>().write_unaligned(total) };
    }
}
