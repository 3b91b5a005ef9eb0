//! Helpers of IQ1_S and IQ1_M: groups of 8 values in a lattice with the levels -1, 0 and 1, shifted by 1/8 up or
//! down.

use crate::{
    lattice::{Lattice, starts},
    scaled::{Codes, fit_free},
};

static LATTICE: Lattice<8> = Lattice::new(include_bytes!("lattices/iq1_s.bin"), &[-1.0, 0.0, 1.0]);

/// The distance by which points are shifted.
const SHIFT: f32 = 0.125;

/// Writes the values of `point`, shifted down if `minus` and up otherwise, times `scale`.
pub(crate) fn put(scale: f32, point: usize, minus: bool, out: &mut [f32; 8]) {
    *out = values(point, minus).map(|v| scale * v);
}

fn values(point: usize, minus: bool) -> [f32; 8] {
    LATTICE.values(point).map(|v| v + shift(minus))
}

fn shift(minus: bool) -> f32 {
    if minus { -SHIFT } else { SHIFT }
}

/// The points of one or more groups that share a shift.
pub(crate) struct Choice {
    pub minus: bool,
    /// One point per group; at most 4 groups.
    pub points: [usize; 4],
    error: f32,
}

/// Returns the points nearest to `x`, whose groups share a shift.
pub(crate) fn choose(scale: f32, x: &[f32], w: &[f32]) -> Choice {
    let with = |minus: bool| {
        let mut choice = Choice { minus, points: [0; 4], error: 0.0 };
        let groups = x.as_chunks::<8>().0.iter().zip(w.as_chunks::<8>().0);
        for ((x, w), to) in groups.zip(&mut choice.points) {
            let (point, error) = LATTICE.nearest(scale, &x.map(|x| x - scale * shift(minus)), w);
            *to = point;
            choice.error += error;
        }
        choice
    };
    let (up, down) = (with(false), with(true));
    if down.error < up.error { down } else { up }
}

/// The code book of sub-blocks in which `SHARED` values share a shift.
pub(crate) struct Shifted<const SHARED: usize>;

impl<const SHARED: usize, const SUB: usize> Codes<SUB> for Shifted<SHARED> {
    fn error(&self, scale: f32, x: &[f32; SUB], w: &[f32; SUB], _: f32) -> f32 {
        x.chunks(SHARED).zip(w.chunks(SHARED)).map(|(x, w)| choose(scale, x, w).error).sum()
    }

    fn moments(&self, scale: f32, x: &[f32; SUB], w: &[f32; SUB]) -> (f32, f32) {
        let (mut cc, mut cx) = (0.0, 0.0);
        for (x, w) in x.chunks(SHARED).zip(w.chunks(SHARED)) {
            let choice = choose(scale, x, w);
            for ((x, w), point) in x.chunks(8).zip(w.chunks(8)).zip(choice.points) {
                for ((x, w), c) in x.iter().zip(w).zip(values(point, choice.minus)) {
                    cc += w * c * c;
                    cx += w * c * x;
                }
            }
        }
        (cc, cx)
    }

    fn fit(&self, x: &[f32; SUB], w: &[f32; SUB]) -> f32 {
        fit_free(self, starts(x, &[1.0 + SHIFT]), x, w)
    }
}
