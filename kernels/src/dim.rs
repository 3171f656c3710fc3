//! Which dimensions get a body of their own.
//!
//! With the dimension known at compile time the loop counts are constants: no tail, no counter, and
//! the compiler lays the steps out in a row. What that is worth is in the README's table.

/// Expands `$make!(DIM)` for the constant body of `$dim`, or for 0, the body of any dimension.
///
/// The one list of constant dimensions: the common embedding widths (384: MiniLM and e5-small, 768:
/// BERT, 1536: OpenAI small) and the width of SIFT and of many compressed forms (128).
macro_rules! with_const_dim {
    ($dim:expr, $make:ident) => {
        $crate::dim::with_const_dim!(@ $dim, $make, 128, 384, 768, 1536)
    };
    (@ $dim:expr, $make:ident, $($known:literal),*) => {
        match $dim {
            $($known => $make!($known),)*
            _ => $make!(0),
        }
    };
}

pub(crate) use with_const_dim;

/// Whether `dim` has a body of its own, with every loop count known at compile time.
///
/// # Examples
/// ```
/// assert!(orthant_kernels::has_const_body(384));
/// assert!(!orthant_kernels::has_const_body(385));
/// ```
pub fn has_const_body(dim: usize) -> bool {
    macro_rules! known {
        ($known:literal) => {
            $known
        };
    }
    dim != 0 && with_const_dim!(dim, known) == dim
}
