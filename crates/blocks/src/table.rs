//! Encodings whose codes stand for the numbers of a small table.

use crate::{
    base::{Overflow, extreme},
    k_quant::weights,
    scaled::{Codes, fit_free, single},
    search::shrinks,
};

/// The 16 levels of IQ4_NL and IQ4_XS.
pub(crate) static NON_LINEAR: Table<16> =
    Table([-127.0, -104.0, -83.0, -65.0, -49.0, -35.0, -22.0, -10.0, 1.0, 13.0, 25.0, 38.0, 53.0, 69.0, 89.0, 113.0]);

/// The levels -1, 0 and 1.
pub(crate) static TERNARY: Table<3> = Table([-1.0, 0.0, 1.0]);

/// The E2M1 numbers times two, in increasing order.
pub(crate) static E2M1: Table<15> =
    Table([-12.0, -8.0, -6.0, -4.0, -3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0]);

/// The number of candidate scales of a search.
const STEPS: usize = 40;

/// A table of increasing numbers. A code is an index into it.
pub(crate) struct Table<const N: usize>(pub [f32; N]);

impl<const N: usize> Table<N> {
    /// Returns the index of the number nearest to `x`.
    pub(crate) fn code(&self, x: f32) -> u8 {
        (1..N).map(|i| u8::from(x >= 0.5 * (self.0[i - 1] + self.0[i]))).sum()
    }

    /// Returns the number nearest to `x`, without branches.
    #[inline]
    fn nearest(&self, x: f32) -> f32 {
        let mut out = self.0[0];
        for i in 1..N {
            out = if x >= 0.5 * (self.0[i - 1] + self.0[i]) { self.0[i] } else { out };
        }
        out
    }

    /// Returns the code of `x` under `scale`.
    pub(crate) fn code_under(&self, scale: f32, x: f32) -> u8 {
        self.code(if scale == 0.0 { 0.0 } else { x / scale })
    }

    /// Returns the scales from which a search starts: those that put the extreme value at either end of the table, and
    /// scaled versions of them.
    pub(crate) fn starts(&self, x: &[f32]) -> impl Iterator<Item = f32> {
        let top = extreme(x);
        shrinks((N - 1) as f32, STEPS).flat_map(move |f| [f * (top / self.0[0]), f * (top / self.0[N - 1])])
    }
}

impl<const N: usize, const SUB: usize> Codes<SUB> for Table<N> {
    fn error(&self, scale: f32, x: &[f32; SUB], w: &[f32; SUB], _: f32) -> f32 {
        let inverse = if scale == 0.0 { 0.0 } else { 1.0 / scale };
        let mut sum = [0.0f32; 4];
        for (x, w) in x.as_chunks::<4>().0.iter().zip(w.as_chunks::<4>().0) {
            for lane in 0..4 {
                let e = x[lane] - scale * self.nearest(x[lane] * inverse);
                sum[lane] += w[lane] * e * e;
            }
        }
        sum.iter().sum()
    }

    fn moments(&self, scale: f32, x: &[f32; SUB], w: &[f32; SUB]) -> (f32, f32) {
        let inverse = if scale == 0.0 { 0.0 } else { 1.0 / scale };
        let (mut cc, mut cx) = ([0.0f32; 4], [0.0f32; 4]);
        for (x, w) in x.as_chunks::<4>().0.iter().zip(w.as_chunks::<4>().0) {
            for lane in 0..4 {
                let c = self.nearest(x[lane] * inverse);
                cc[lane] += w[lane] * c * c;
                cx[lane] += w[lane] * c * x[lane];
            }
        }
        (cc.iter().sum(), cx.iter().sum())
    }

    fn fit(&self, x: &[f32; SUB], w: &[f32; SUB]) -> f32 {
        fit_free(self, self.starts(x), x, w)
    }
}

/// Returns the scale and codes of a block that has no other scale. All values weigh the same unless `importance` is
/// given.
pub(crate) fn encode_single<const N: usize, const LEN: usize>(
    table: &Table<N>,
    x: &[f32; LEN],
    importance: Option<&[f32; LEN]>,
) -> Result<(f32, [u8; LEN]), Overflow> {
    let d = single(table, x, &weights(x, importance, LEN, |_, _| 1.0))?;
    Ok((d, x.map(|v| table.code_under(d, v))))
}

/// Conversions for the codes of [`E2M1`], which consist of a sign and a magnitude.
impl Table<15> {
    /// Returns the number of code `q`, times two.
    pub(crate) fn e2m1(q: u8) -> f32 {
        let magnitude = E2M1.0[usize::from(7 + (q & 7))];
        if q & 8 == 0 { magnitude } else { 0.0 - magnitude }
    }

    /// Returns the code of the number at `index`.
    pub(crate) fn e2m1_of_index(index: u8) -> u8 {
        if index < 7 { 8 + (7 - index) } else { index - 7 }
    }
}
