//! Codes of 1, 2 or 4 bits, packed into bytes and unpacked again.
//!
//! * **P1** A vector of `dim` codes of `bits` bits takes n = ⌈dim · bits / 8⌉ bytes. Byte j holds the codes of the
//!   dimensions j, j + n, j + 2n and so on, the first in the lowest bits: one shift and one mask unpack a whole run of
//!   dimensions, 64 at a time.

use crate::multi::multiversion;

/// Bytes of a packed vector.
pub(crate) const fn packed_bytes(dim: usize, bits: usize) -> usize {
    (dim * bits).div_ceil(8)
}

/// Packs codes below 2^bits. 8 bits are copied.
pub(crate) fn pack(codes: &[u8], bits: usize, out: &mut [u8]) {
    let bytes = packed_bytes(codes.len(), bits);
    let out = &mut out[..bytes];
    out.fill(0);
    for (part, codes) in codes.chunks(bytes.max(1)).enumerate() {
        for (byte, &code) in out.iter_mut().zip(codes) {
            *byte |= code << (bits * part);
        }
    }
}

/// One run of dimensions: bytes shifted by a constant, which is what vectors of bytes can be.
#[inline(always)]
fn run<const SHIFT: u32, const MASK: u8>(packed: &[u8], out: &mut [u8]) {
    for (out, &byte) in out.iter_mut().zip(packed) {
        *out = byte >> SHIFT & MASK;
    }
}

multiversion! {
    /// Unpacks one code per dimension into `out`.
    fn unpack_body(packed: &[u8], bits: usize, out: &mut [u8]) -> () {
        for (part, out) in out.chunks_mut(packed.len().max(1)).enumerate() {
            match (bits, part) {
                (4, 0) => run::<0, 0x0f>(packed, out),
                (4, _) => run::<4, 0x0f>(packed, out),
                (2, 0) => run::<0, 0x03>(packed, out),
                (2, 1) => run::<2, 0x03>(packed, out),
                (2, 2) => run::<4, 0x03>(packed, out),
                (2, _) => run::<6, 0x03>(packed, out),
                (_, 0) => run::<0, 0x01>(packed, out),
                (_, 1) => run::<1, 0x01>(packed, out),
                (_, 2) => run::<2, 0x01>(packed, out),
                (_, 3) => run::<3, 0x01>(packed, out),
                (_, 4) => run::<4, 0x01>(packed, out),
                (_, 5) => run::<5, 0x01>(packed, out),
                (_, 6) => run::<6, 0x01>(packed, out),
                (_, _) => run::<7, 0x01>(packed, out),
            }
        }
    }
}

/// Unpacks codes of fewer than 8 bits, one per dimension.
pub(crate) fn unpack(path: crate::multi::Path, packed: &[u8], bits: usize, out: &mut [u8]) {
    let bytes = packed_bytes(out.len(), bits);
    unpack_body(path, &packed[..bytes], bits, out);
}

#[cfg(test)]
mod tests {
    use orthant_kernels::available_isas;

    use super::*;
    use crate::multi::Path;

    #[test]
    fn what_is_packed_is_unpacked() {
        for bits in [1, 2, 4] {
            for dim in 1..200 {
                let codes: Vec<u8> = (0..dim).map(|at| (at * 7919 % 251) as u8 & ((1 << bits) - 1)).collect();
                let mut packed = vec![0xff; packed_bytes(dim, bits)];
                pack(&codes, bits, &mut packed);
                for isa in available_isas() {
                    let mut out = vec![0xff; dim];
                    unpack(Path::new(isa).unwrap(), &packed, bits, &mut out);
                    assert_eq!(out, codes, "{isa} {bits} {dim}");
                }
            }
        }
    }
}
