//! Searches for the parameters of one group. Every candidate is rounded to its stored form before its error is
//! measured.
//!
//! The error of a candidate is sum_i w_i (x_i - value(code(x_i)))^2. The first candidate is always the plain fit,
//! so a search never ends with a larger error.

use crate::{ScaleType, base::extreme, scaled::Codes};

/// The number of accumulators of a sum: enough for the compiler to vectorise, and fixed so that results do not
/// depend on the machine.
const LANES: usize = 8;

/// The number of values between two comparisons with the best error so far.
const STRIDE: usize = 32;

/// The number of candidate scales of a search, from slightly above the plain scale downwards.
const STEPS: usize = 88;

/// Adding and subtracting 1.5 * 2^23 rounds to the nearest integer, ties to even, for |x| < 2^22.
const ROUNDER: f32 = 12_582_912.0;

/// The codes `low..=high` with the values `scale * q + offset`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Line {
    pub scale: f32,
    pub offset: f32,
    pub low: f32,
    pub high: f32,
}

/// Weighted sums over a group, where c is code - origin.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Moments {
    pub w: f32,
    pub wc: f32,
    pub wcc: f32,
    pub wx: f32,
    pub wcx: f32,
}

impl Line {
    /// Returns `(inverse, shift)`: the code of x is `round(x * inverse + shift)`, clamped.
    fn coder(&self) -> (f32, f32) {
        if self.scale == 0.0 {
            return (0.0, self.low);
        }
        let inverse = 1.0 / self.scale;
        (inverse, -self.offset * inverse)
    }

    /// Returns the usable code nearest to `q`. Each comparison compiles to one instruction.
    #[inline]
    fn nearest(&self, q: f32) -> f32 {
        let q = if q > self.low { q } else { self.low };
        let q = if q < self.high { q } else { self.high };
        (q + ROUNDER) - ROUNDER
    }

    /// Returns the weighted squared error of `x`. Once the sum reaches `limit`, the result may be any number >=
    /// `limit`.
    pub(crate) fn error(&self, x: &[f32], w: &[f32], limit: f32) -> f32 {
        let (inverse, shift) = self.coder();
        let term = |x: f32, w: f32| {
            let q = self.nearest(x * inverse + shift);
            let e = x - (self.scale * q + self.offset);
            w * e * e
        };
        let mut total = 0.0;
        for (x, w) in x.chunks(STRIDE).zip(w.chunks(STRIDE)) {
            let mut sums = [0.0f32; LANES];
            let ((xs, x_rest), (ws, w_rest)) = (x.as_chunks::<LANES>(), w.as_chunks::<LANES>());
            for (x, w) in xs.iter().zip(ws) {
                for lane in 0..LANES {
                    sums[lane] += term(x[lane], w[lane]);
                }
            }
            for ((sum, &x), &w) in sums.iter_mut().zip(x_rest).zip(w_rest) {
                *sum += term(x, w);
            }
            total += sum(sums);
            if total >= limit {
                break;
            }
        }
        total
    }

    /// Returns the sums for a least-squares refit with the codes kept.
    pub(crate) fn moments(&self, x: &[f32], w: &[f32], origin: f32) -> Moments {
        let (inverse, shift) = self.coder();
        let mut sums = [[0.0f32; LANES]; 5];
        let mut add = |lane: usize, x: f32, w: f32| {
            let c = self.nearest(x * inverse + shift) - origin;
            let wc = w * c;
            sums[0][lane] += w;
            sums[1][lane] += wc;
            sums[2][lane] += wc * c;
            sums[3][lane] += w * x;
            sums[4][lane] += wc * x;
        };
        let ((xs, x_rest), (ws, w_rest)) = (x.as_chunks::<LANES>(), w.as_chunks::<LANES>());
        for (x, w) in xs.iter().zip(ws) {
            for lane in 0..LANES {
                add(lane, x[lane], w[lane]);
            }
        }
        for (lane, (&x, &w)) in x_rest.iter().zip(w_rest).enumerate() {
            add(lane, x, w);
        }
        let [w, wc, wcc, wx, wcx] = sums.map(sum);
        Moments { w, wc, wcc, wx, wcx }
    }
}

/// Adds up the lanes pairwise, for a short chain of additions.
fn sum([a, b, c, d, e, f, g, h]: [f32; LANES]) -> f32 {
    ((a + e) + (c + g)) + ((b + f) + (d + h))
}

impl Moments {
    /// Returns the scale of least error for x = scale * c.
    pub(crate) fn scale(&self) -> f32 {
        self.wcx / self.wcc
    }

    /// Returns the scale and offset of least error for x = scale * c + offset. They are NaN or infinite if
    /// undetermined.
    pub(crate) fn line(&self) -> (f32, f32) {
        let [w, wc, wcc, wx, wcx] = [self.w, self.wc, self.wcc, self.wx, self.wcx].map(f64::from);
        let det = w * wcc - wc * wc;
        (((w * wcx - wc * wx) / det) as f32, ((wcc * wx - wc * wcx) / det) as f32)
    }
}

/// The best candidate so far.
pub(crate) struct Best {
    pub line: Line,
    pub error: f32,
}

impl Best {
    pub(crate) fn new(line: Line, x: &[f32], w: &[f32]) -> Self {
        Self { line, error: line.error(x, w, f32::INFINITY) }
    }

    /// Takes `line` if its error is smaller. A NaN error is never smaller.
    pub(crate) fn offer(&mut self, line: Line, x: &[f32], w: &[f32]) -> bool {
        let error = line.error(x, w, self.error);
        let better = error < self.error && line.scale.is_finite() && line.offset.is_finite();
        if better {
            *self = Self { line, error };
        }
        better
    }
}

/// Returns factors of the plain scale. The smallest depends on the resolution: cutting the tails helps with few
/// codes and not with many. The largest moves the extreme value one code towards zero.
pub(crate) fn shrinks(levels: f32, steps: usize) -> impl Iterator<Item = f32> {
    let bits = (levels + 1.0).log2();
    let (first, last) = (1.0 + 2.4 / (levels + 1.0), 0.1 + 0.09 * bits);
    let step = (first - last) / (steps - 1) as f32;
    (0..steps).map(move |i| first - step * i as f32)
}

/// Refits the best line by least squares with the codes kept, for as long as the error falls.
fn refit(best: &mut Best, x: &[f32], w: &[f32], origin: f32, line: impl Fn(&Moments) -> (f32, f32)) {
    for _ in 0..4 {
        let (scale, offset) = line(&best.line.moments(x, w, origin));
        if !best.offer(Line { scale, offset, ..best.line }, x, w) {
            break;
        }
    }
}

/// Returns the best scale for w = scale * (q - zero), starting from `plain`. Both signs are tried unless the codes
/// are symmetric about `zero`.
pub(crate) fn fit_signed(plain: f32, zero: f32, codes: (f32, f32), storage: ScaleType, x: &[f32], w: &[f32]) -> f32 {
    let (low, high) = codes;
    let line = |scale: f32| Line { scale, offset: -scale * zero, low, high };
    let mut best = Best::new(line(plain), x, w);
    if plain == 0.0 || !plain.is_finite() {
        return plain;
    }
    let one_sign = high - zero == zero - low;
    for factor in shrinks(high - low, STEPS) {
        let scale = storage.round_from_zero(factor * plain);
        best.offer(line(scale), x, w);
        if !one_sign {
            best.offer(line(-scale), x, w);
        }
    }
    refit(&mut best, x, w, zero, |m| {
        let scale = storage.round(m.scale());
        (scale, -scale * zero)
    });
    best.line.scale
}

/// Returns the best scale and minimum for w = scale * q + minimum, starting from `plain`. Each scale is tried with
/// the smallest value, the middle and the largest value kept in place.
pub(crate) fn fit_minimum(plain: (f32, f32), levels: f32, storage: ScaleType, x: &[f32], w: &[f32]) -> (f32, f32) {
    let line = |scale: f32, offset: f32| Line { scale, offset, low: 0.0, high: levels };
    let (scale, low) = plain;
    let mut best = Best::new(line(scale, low), x, w);
    if scale == 0.0 || !scale.is_finite() || !low.is_finite() {
        return plain;
    }
    let width = levels * scale;
    for factor in shrinks(levels, STEPS) {
        let s = storage.round_from_zero(factor * scale);
        let slack = width - levels * s;
        for at in [0.0, 0.5, 1.0] {
            best.offer(line(s, storage.round(low + at * slack)), x, w);
        }
    }
    refit(&mut best, x, w, 0.0, |m| {
        let (scale, offset) = m.line();
        (storage.round(scale), storage.round(offset))
    });
    (best.line.scale, best.line.offset)
}

/// Returns the best scale and integer zero point for w = scale * (q - zero), starting from `plain`. Each scale is
/// tried with the zero points that keep the smallest value, the middle and the largest value in place, and with the
/// neighbours of the middle. `bounds` must include 0.
pub(crate) fn fit_integer_zero(
    plain: (f32, f32),
    bounds: (f32, f32),
    levels: f32,
    storage: ScaleType,
    x: &[f32],
    w: &[f32],
) -> (f32, f32) {
    let line = |scale: f32, zero: f32| Line { scale, offset: -scale * zero, low: 0.0, high: levels };
    let (scale, zero) = plain;
    let mut best = Best::new(line(scale, zero), x, w);
    if scale == 0.0 || !scale.is_finite() {
        return plain;
    }
    let mut best_zero = zero;
    for factor in shrinks(levels, STEPS) {
        let s = storage.round_from_zero(factor * scale);
        let (first, last) = ((-bounds.0 / s).round(), (levels - bounds.1 / s).round());
        let middle = ((first + last) * 0.5).round();
        let mut tried = f32::NAN;
        for z in [first, middle - 1.0, middle, middle + 1.0, last] {
            let z = z.clamp(0.0, levels);
            if z != tried && best.offer(line(s, z), x, w) {
                best_zero = z;
            }
            tried = z;
        }
    }
    refit(&mut best, x, w, best_zero, |m| {
        let scale = storage.round(m.scale());
        (scale, -scale * best_zero)
    });
    (best.line.scale, best_zero)
}

/// The codes `0..2 n` with the values `scale * (q - n)`.
pub(crate) struct Centred(pub f32);

impl Centred {
    fn line(&self, scale: f32) -> Line {
        Line { scale, offset: -self.0 * scale, low: 0.0, high: 2.0 * self.0 - 1.0 }
    }
}

impl<const SUB: usize> Codes<SUB> for Centred {
    fn error(&self, scale: f32, x: &[f32; SUB], w: &[f32; SUB], limit: f32) -> f32 {
        self.line(scale).error(x, w, limit)
    }

    fn moments(&self, scale: f32, x: &[f32; SUB], w: &[f32; SUB]) -> (f32, f32) {
        let Moments { wcc, wcx, .. } = self.line(scale).moments(x, w, self.0);
        (wcc, wcx)
    }

    fn fit(&self, x: &[f32; SUB], w: &[f32; SUB]) -> f32 {
        fit_signed(extreme(x) / -self.0, self.0, (0.0, 2.0 * self.0 - 1.0), ScaleType::F32, x, w)
    }
}
