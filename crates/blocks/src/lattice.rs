//! Encodings whose codes are points of a lattice: one index stands for a group of 8 (or 4) values.
//!
//! The points are part of ggml's formats (`scripts/make_lattices.py`). Each is a little-endian u16 with 2 bits per
//! coordinate for 8 coordinates, or 3 bits for 4. A coordinate is the index of a level.

use std::sync::OnceLock;

use crate::{
    base::extreme,
    scaled::{Codes, fit_free},
};

/// The number of points nearest to the rounded group that a search compares.
const NEAR: usize = 24;

/// The number of candidate scales of a search, from just below the scale that maps the largest value to the highest
/// level, downwards.
const STEPS: u8 = 22;
const FIRST: f32 = 1.3;
const STEP: f32 = 0.04;

/// The code of a value: the index of its level, and in the lowest bit its sign.
pub(crate) fn signed(level: usize, x: f32) -> u8 {
    (level as u8) << 1 | u8::from(x < 0.0)
}

/// Points whose coordinates have any signs, for a grid.
pub(crate) trait Points: Sync {
    /// Returns the number of coordinates.
    fn unit(&self) -> usize;

    /// Returns the levels of a coordinate.
    fn levels(&self) -> &'static [f32];

    /// Returns `true` if there is a point with these codes. // `[N]`
    fn holds(&self, codes: &[u8]) -> bool;

    /// Takes the codes of the point q, times `scale`, of least (x - q) A (x - q)^T among those near x. // x, codes `[N]`,
    /// metric A [N, N]
    fn round(&self, scale: f32, x: &[f32], metric: &[f32], codes: &mut [u8]);
}

impl<const N: usize> Points for Lattice<N> {
    fn unit(&self) -> usize {
        N
    }

    fn levels(&self) -> &'static [f32] {
        self.levels
    }

    fn holds(&self, codes: &[u8]) -> bool {
        <&[u8; N]>::try_from(codes).is_ok_and(|codes| self.point(&codes.map(|q| q >> 1)).is_some())
    }

    fn round(&self, scale: f32, x: &[f32], metric: &[f32], codes: &mut [u8]) {
        let Ok(x) = <&[f32; N]>::try_from(x) else { return };
        let search = self.search();
        let inverse = if scale == 0.0 { 0.0 } else { 1.0 / scale };
        let near = &search.near[self.cell(&x.map(|x| x.abs() * inverse))];
        let error = |index: u16| {
            let q = &search.values[usize::from(index)];
            let d: [f32; N] =
                std::array::from_fn(|i| if x[i] < 0.0 { x[i] + scale * q[i] } else { x[i] - scale * q[i] });
            let rows = metric.chunks(N).zip(&d);
            rows.map(|(row, d_i)| d_i * row.iter().zip(&d).map(|(a, d)| a * d).sum::<f32>()).sum::<f32>()
        };
        let first = (near[0], error(near[0]));
        let (best, _) = near[1..].iter().map(|&i| (i, error(i))).fold(first, |a, b| if b.1 < a.1 { b } else { a });
        for (code, (v, x)) in codes.iter_mut().zip(search.values[usize::from(best)].iter().zip(x)) {
            *code = signed(self.levels.iter().position(|level| level == v).unwrap_or(0), *x);
        }
    }
}

/// A set of points with `N` coordinates, each one of a few levels.
pub(crate) struct Lattice<const N: usize> {
    points: &'static [u8],
    levels: &'static [f32],
    search: OnceLock<Search<N>>,
}

/// The tables for encoding.
struct Search<const N: usize> {
    /// The coordinates of every point.
    values: Vec<[f32; N]>,
    /// The points nearest to each combination of levels, nearest first.
    near: Vec<[u16; NEAR]>,
}

impl<const N: usize> Lattice<N> {
    /// The number of bits per coordinate.
    const BITS: usize = if N == 8 { 2 } else { 3 };

    pub(crate) const fn new(points: &'static [u8], levels: &'static [f32]) -> Self {
        Self { points, levels, search: OnceLock::new() }
    }

    /// Returns the coordinates of point `index`.
    #[inline]
    pub(crate) fn values(&self, index: usize) -> [f32; N] {
        let word = u16::from_le_bytes([self.points[2 * index], self.points[2 * index + 1]]) as usize;
        std::array::from_fn(|i| self.levels[word >> (Self::BITS * i) & ((1 << Self::BITS) - 1)])
    }

    /// Returns the point with these levels; `None` if there is none.
    pub(crate) fn point(&self, levels: &[u8; N]) -> Option<usize> {
        let cell = levels.iter().fold(0, |cell, &level| cell * self.levels.len() + usize::from(level));
        let search = self.search();
        let index = search.near.get(cell)?[0];
        (search.values[usize::from(index)] == self.corner(cell)).then_some(index.into())
    }

    fn search(&self) -> &Search<N> {
        self.search.get_or_init(|| {
            let values: Vec<_> = (0..self.points.len() / 2).map(|i| self.values(i)).collect();
            let cells = self.levels.len().pow(N as u32);
            let near = (0..cells).map(|cell| nearest_points(&self.corner(cell), &values)).collect();
            Search { values, near }
        })
    }

    /// Returns the levels of combination `cell`, whose highest digit is the first coordinate.
    fn corner(&self, cell: usize) -> [f32; N] {
        let count = self.levels.len();
        std::array::from_fn(|i| self.levels[cell / count.pow((N - 1 - i) as u32) % count])
    }

    /// Returns the combination of the levels nearest to `x`.
    fn cell(&self, x: &[f32; N]) -> usize {
        let level =
            |x: f32| self.levels.windows(2).map(|pair| usize::from(x >= 0.5 * (pair[0] + pair[1]))).sum::<usize>();
        x.iter().fold(0, |cell, &x| cell * self.levels.len() + level(x))
    }

    /// Returns the point whose multiple by `scale` is nearest to `x` among the points searched, and its squared error
    /// weighted by `w`.
    pub(crate) fn nearest(&self, scale: f32, x: &[f32; N], w: &[f32; N]) -> (usize, f32) {
        let search = self.search();
        let inverse = if scale == 0.0 { 0.0 } else { 1.0 / scale };
        let target = x.map(|x| x * inverse);
        let cell = self.cell(&target);
        let (mut best, mut least) = (0, f32::INFINITY);
        for (k, &index) in search.near[cell].iter().enumerate() {
            let values = &search.values[usize::from(index)];
            let error = weighted_error(scale, values, x, w);
            if error < least || k == 0 {
                (best, least) = (usize::from(index), error);
            }
            // No point is nearer than the rounding itself.
            if k == 0 && *values == self.corner(cell) {
                break;
            }
        }
        (best, least)
    }
}

fn weighted_error<const N: usize>(scale: f32, values: &[f32; N], x: &[f32; N], w: &[f32; N]) -> f32 {
    let mut error = 0.0;
    for i in 0..N {
        let e = x[i] - scale * values[i];
        error += w[i] * e * e;
    }
    error
}

/// Returns the points of `values` nearest to `corner`, nearest first.
fn nearest_points<const N: usize>(corner: &[f32; N], values: &[[f32; N]]) -> [u16; NEAR] {
    let (mut near, mut distances) = ([0; NEAR], [f32::INFINITY; NEAR]);
    for (index, values) in values.iter().enumerate() {
        let distance = weighted_error(1.0, values, corner, &[1.0; N]);
        if distance < distances[NEAR - 1] {
            let at = distances.partition_point(|d| *d <= distance);
            near.copy_within(at..NEAR - 1, at + 1);
            distances.copy_within(at..NEAR - 1, at + 1);
            (near[at], distances[at]) = (index as u16, distance);
        }
    }
    near
}

/// Returns candidate scales, starting near the one that maps the largest magnitude of `x` to the highest of
/// `levels`.
pub(crate) fn starts(x: &[f32], levels: &[f32]) -> impl Iterator<Item = f32> {
    let plain = extreme(x).abs() / extreme(levels).abs();
    (0..STEPS).map(move |i| plain * (FIRST - STEP * f32::from(i)))
}

/// The code book of magnitudes, group after group.
impl<const N: usize, const SUB: usize> Codes<SUB> for Lattice<N> {
    fn error(&self, scale: f32, x: &[f32; SUB], w: &[f32; SUB], limit: f32) -> f32 {
        let mut sum = 0.0;
        for (x, w) in x.as_chunks().0.iter().zip(w.as_chunks().0) {
            sum += self.nearest(scale, x, w).1;
            if sum >= limit {
                break;
            }
        }
        sum
    }

    fn moments(&self, scale: f32, x: &[f32; SUB], w: &[f32; SUB]) -> (f32, f32) {
        let (mut cc, mut cx) = (0.0, 0.0);
        for (x, w) in x.as_chunks().0.iter().zip(w.as_chunks().0) {
            let values = &self.search().values[self.nearest(scale, x, w).0];
            for i in 0..N {
                cc += w[i] * values[i] * values[i];
                cx += w[i] * values[i] * x[i];
            }
        }
        (cc, cx)
    }

    fn fit(&self, x: &[f32; SUB], w: &[f32; SUB]) -> f32 {
        fit_free(self, starts(x, self.levels), x, w)
    }
}

/// The constraint on the signs of 8 values.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signs {
    /// Any signs, one bit each.
    Free,
    /// An even number of minus signs; the eighth bit follows from the 7 stored ones.
    Even,
}

/// Returns 8 sign bits for the lower 7, with an even number of bits set.
pub(crate) fn even_signs(seven: u8) -> u8 {
    let seven = seven & 127;
    seven | (seven.count_ones() as u8 & 1) << 7
}

/// Replaces values by their magnitudes and returns the signs of every 8 values, with a bit set for minus. If the
/// number of minus signs must be even and is odd, the least important value keeps the wrong sign and gets a
/// negative magnitude.
pub(crate) fn split_signs<const LEN: usize>(x: &[f32; LEN], w: &[f32; LEN], signs: Signs) -> ([f32; LEN], Vec<u8>) {
    let mut magnitudes = x.map(f32::abs);
    let eights = magnitudes.as_chunks_mut::<8>().0.iter_mut().zip(x.as_chunks::<8>().0).zip(w.as_chunks::<8>().0);
    let bits = eights.map(|((magnitudes, x), w)| {
        let mut bits = (0..8).fold(0u8, |bits, i| bits | u8::from(x[i] < 0.0) << i);
        if signs == Signs::Even && bits.count_ones() % 2 == 1 {
            let matters = |i: &usize| w[*i] * x[*i] * x[*i];
            let least = (1..8).fold(0, |least, i| if matters(&i) < matters(&least) { i } else { least });
            bits ^= 1 << least;
            magnitudes[least] = -magnitudes[least];
        }
        bits
    });
    let bits = bits.collect();
    (magnitudes, bits)
}

/// Writes 8 values: `scale` times `magnitudes`, negated where the bit of `signs` is set.
#[inline]
pub(crate) fn put_signed(scale: f32, magnitudes: &[f32; 8], signs: u8, out: &mut [f32; 8]) {
    for (i, (out, m)) in out.iter_mut().zip(magnitudes).enumerate() {
        let value = scale * m;
        *out = if signs >> i & 1 == 0 { value } else { -value };
    }
}
