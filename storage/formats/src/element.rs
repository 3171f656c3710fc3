//! What the numbers in a file are, and how they become `f32` and back.
//!
//! All files are little endian, whatever the machine.

use half::f16;

/// The type of the elements of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Element {
    /// IEEE 754 half precision.
    F16,
    /// IEEE 754 single precision.
    F32,
    /// IEEE 754 double precision.
    F64,
    /// 0 to 255.
    U8,
    /// -128 to 127.
    I8,
    /// 32-bit signed: ids of ground truth, mostly.
    I32,
}

impl Element {
    /// All of them.
    pub const ALL: [Element; 6] =
        [Element::F16, Element::F32, Element::F64, Element::U8, Element::I8, Element::I32];

    /// Bytes in an element.
    pub fn bytes(self) -> usize {
        match self {
            Element::U8 | Element::I8 => 1,
            Element::F16 => 2,
            Element::F32 | Element::I32 => 4,
            Element::F64 => 8,
        }
    }

    /// Whether elements are whole numbers.
    pub fn is_integer(self) -> bool {
        matches!(self, Element::U8 | Element::I8 | Element::I32)
    }

    /// The name NumPy has for it.
    pub fn name(self) -> &'static str {
        match self {
            Element::F16 => "float16",
            Element::F32 => "float32",
            Element::F64 => "float64",
            Element::U8 => "uint8",
            Element::I8 => "int8",
            Element::I32 => "int32",
        }
    }

    /// Converts elements to `f32`, rounding to nearest where `f32` has no such number. A double
    /// beyond the range of `f32` becomes an infinity.
    ///
    /// # Panics
    /// If `bytes` are not those of `out.len()` elements.
    pub(crate) fn decode(self, bytes: &[u8], out: &mut [f32]) {
        fn each<const N: usize>(bytes: &[u8], out: &mut [f32], convert: impl Fn([u8; N]) -> f32) {
            let (elements, rest) = bytes.as_chunks::<N>();
            assert!(rest.is_empty() && elements.len() == out.len(), "one element per value");
            for (value, element) in out.iter_mut().zip(elements) {
                *value = convert(*element);
            }
        }
        match self {
            Element::F16 => each(bytes, out, |element| f16::from_le_bytes(element).to_f32()),
            Element::F32 => each(bytes, out, f32::from_le_bytes),
            Element::F64 => each(bytes, out, |element| f64::from_le_bytes(element) as f32),
            Element::U8 => each(bytes, out, |[byte]| f32::from(byte)),
            Element::I8 => each(bytes, out, |[byte]| f32::from(byte as i8)),
            Element::I32 => each(bytes, out, |element| i32::from_le_bytes(element) as f32),
        }
    }

    /// Converts values to elements and appends them to `bytes`. `Err` is the first column whose
    /// value is not an element: not finite, out of range, or no whole number where one is needed.
    pub(crate) fn encode(self, row: &[f32], bytes: &mut Vec<u8>) -> Result<(), usize> {
        // 2^31 is a float and i32::MAX is not, so the upper bound is exclusive.
        let is_whole = |value: f32, low: f32, end: f32| value.fract() == 0.0 && value >= low && value < end;
        for (column, &value) in row.iter().enumerate() {
            let fits = match self {
                Element::F16 => f16::from_f32(value).is_finite(),
                Element::F32 | Element::F64 => value.is_finite(),
                Element::U8 => is_whole(value, 0.0, 256.0),
                Element::I8 => is_whole(value, -128.0, 128.0),
                Element::I32 => is_whole(value, -2_147_483_648.0, 2_147_483_648.0),
            };
            if !fits {
                return Err(column);
            }
            match self {
                Element::F16 => bytes.extend(f16::from_f32(value).to_le_bytes()),
                Element::F32 => bytes.extend(value.to_le_bytes()),
                Element::F64 => bytes.extend(f64::from(value).to_le_bytes()),
                Element::U8 => bytes.push(value as u8),
                Element::I8 => bytes.push(value as i8 as u8),
                Element::I32 => bytes.extend((value as i32).to_le_bytes()),
            }
        }
        Ok(())
    }
}

impl std::fmt::Display for Element {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_refused_with_its_column() {
        let refused = |element: Element, value: f32| element.encode(&[0.0, value], &mut Vec::new());
        for element in Element::ALL {
            assert_eq!(refused(element, f32::NAN), Err(1), "{element}");
            assert_eq!(refused(element, f32::INFINITY), Err(1), "{element}");
            assert_eq!(refused(element, 127.0), Ok(()), "{element}");
        }
        for (element, value) in [
            (Element::F16, 65_520.0),
            (Element::U8, -1.0),
            (Element::U8, 256.0),
            (Element::U8, 0.5),
            (Element::I8, 128.0),
            (Element::I8, -129.0),
            (Element::I32, 2_147_483_648.0),
        ] {
            assert_eq!(refused(element, value), Err(1), "{element} {value}");
        }
        assert_eq!(refused(Element::F16, 65_504.0), Ok(()));
        assert_eq!(refused(Element::I32, -2_147_483_648.0), Ok(()));
    }
}
