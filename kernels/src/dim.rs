//! Which dimensions get a body of their own.
//!
//! With the dimension known at compile time the loop counts are constants: no tail, no counter, and
//! the compiler lays the steps out in a row. What that is worth is in the README's table.

/// Expands `$make!(DIM)` for the constant body of `$dim`, or for 0, the body of any dimension.
///
/// The one list of constant dimensions: the widths of the usual embedding models and test sets, and of what
/// is left of them after halving.
macro_rules! with_const_dim {
    ($dim:expr, $make:ident) => {
        $crate::dim::with_const_dim!(
            @ $dim, $make, 96, 100, 128, 256, 384, 512, 768, 960, 1024, 1536, 3072
        )
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
