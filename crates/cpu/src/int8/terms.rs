//! The terms that correct dot products for zero points and offsets.

use super::tile::{Rule, Shape};

/// A correction term: 32 bits that hold an integer or a float, as the [`Rule`] says.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Term(u32);

impl Term {
    #[inline(always)]
    pub fn int(value: i32) -> Self {
        Self(value.cast_unsigned())
    }

    #[inline(always)]
    pub fn float(value: f32) -> Self {
        Self(value.to_bits())
    }

    #[inline(always)]
    pub fn to_int(self) -> i32 {
        self.0.cast_signed()
    }

    #[inline(always)]
    pub fn to_float(self) -> f32 {
        f32::from_bits(self.0)
    }
}

/// The two terms that correct the products of one block of one row for zero points and offsets.
///
/// An integer term is `(code shift - z) * sum of the activations' codes`: the initial value of a dot product.
/// - [`Rule::Zero`]: that integer, and nothing.
/// - [`Rule::RowZero`]: that integer without z, and `-sum` as an integer, which is multiplied by each row's z.
/// - [`Rule::Offset`]: that integer, and the sum as a float.
/// - [`Rule::Halves`]: that integer of each half of the block.
/// - [`Rule::OffsetHalves`]: the sum of each half as a float.
pub(super) type Terms = [Term; 2];

/// Computes the terms of blocks with these `sums` of codes, for a format with zero point `zero` on a kernel whose dot products
/// subtract `shift` from every code of the weights.
#[inline(always)]
pub(super) fn compute_terms<P: Shape>(sums: &[[i32; 2]], shift: i32, zero: i32, out: &mut Vec<Terms>) {
    let factor = shift - zero;
    out.resize(sums.len(), Terms::default());
    for (terms, &[first, second]) in out.iter_mut().zip(sums) {
        let whole = first + second;
        *terms = match P::RULE {
            Rule::Zero => [Term::int(factor * whole), Term::default()],
            Rule::RowZero => [Term::int(factor * whole), Term::int(-whole)],
            Rule::Offset => [Term::int(factor * whole), Term::float(whole as f32)],
            Rule::Halves => [Term::int(factor * first), Term::int(factor * second)],
            Rule::OffsetHalves => [Term::float(first as f32), Term::float(second as f32)],
        };
    }
}
