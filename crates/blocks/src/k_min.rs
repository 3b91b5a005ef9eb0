//! Parameter search for the K-quants with scales and minima: w = d sc q - dmin m, where sc and m are integers of a
//! sub-block.

use crate::{
    SuperblockScales,
    base::{Overflow, bounds, storable, stored},
    k_quant::{HEADROOM, LEN, REFITS, integer},
    search::{Best, Line, Moments, shrinks},
};

/// The number of candidate scales in a sub-block's free fit.
const STEPS: usize = 28;

/// The ranges of an encoding's integers.
#[derive(Clone, Copy)]
pub(crate) struct Ranges {
    /// The largest scale and minimum of a sub-block.
    pub top: i32,
    /// The largest code.
    pub high: f32,
}

/// The stored scales and minima of a super-block.
#[derive(Clone, Copy)]
pub(crate) struct Scales<const SUBS: usize> {
    d: f32,
    dmin: f32,
    sc: [i32; SUBS],
    m: [i32; SUBS],
    ranges: Ranges,
    error: f32,
}

impl<const SUBS: usize> Scales<SUBS> {
    fn line(&self, j: usize) -> Line {
        self.ranges.line(self.d * self.sc[j] as f32, self.dmin * self.m[j] as f32)
    }

    /// Returns the scale and minimum of each sub-block as real numbers.
    fn free(&self) -> [(f32, f32); SUBS] {
        std::array::from_fn(|j| (self.d * self.sc[j] as f32, self.dmin * self.m[j] as f32))
    }
}

impl<const SUBS: usize> From<Scales<SUBS>> for SuperblockScales {
    fn from(s: Scales<SUBS>) -> Self {
        Self::new(s.d, s.dmin, &s.sc, &s.m)
    }
}

impl Ranges {
    fn line(self, scale: f32, min: f32) -> Line {
        Line { scale, offset: -min, low: 0.0, high: self.high }
    }

    /// Returns the scales and minima of least error weighted by `w`, for `SUBS` sub-blocks of `SUB` values.
    pub(crate) fn search<const SUBS: usize, const SUB: usize>(
        self,
        x: &[f32; LEN],
        w: &[f32; LEN],
    ) -> Result<Scales<SUBS>, Overflow> {
        let (xs, ws) = (x.as_chunks::<SUB>().0, w.as_chunks::<SUB>().0);
        let free: [(f32, f32); SUBS] = std::array::from_fn(|j| self.fit_sub(&xs[j], &ws[j]));
        let (top_scale, top_min) = free.iter().fold((0.0f32, 0.0f32), |(s, m), f| (s.max(f.0), m.max(f.1)));
        storable(top_scale / self.top as f32)?;
        storable(top_min / self.top as f32)?;
        let start = |headroom: f32| {
            let top = self.top as f32 - headroom;
            self.assign(stored(top_scale / top), stored(top_min / top), &free, xs, ws)
        };
        let mut best = start(HEADROOM[0]);
        for headroom in &HEADROOM[1..] {
            let other = start(*headroom);
            if other.error < best.error {
                best = other;
            }
        }
        for _ in 0..REFITS {
            let (d, dmin) = refit(&best, xs, ws);
            let next = self.assign(stored(d), stored(dmin), &best.free(), xs, ws);
            if !(d > 0.0 && dmin >= 0.0 && next.d.is_finite() && next.dmin.is_finite() && next.error < best.error) {
                break;
            }
            best = next;
        }
        Ok(best)
    }

    /// Returns the best `(scale, minimum)` of a sub-block before rounding to the stored form. Both are >= 0.
    fn fit_sub<const SUB: usize>(self, x: &[f32; SUB], w: &[f32; SUB]) -> (f32, f32) {
        let (low, high) = bounds(x);
        let low = low.min(0.0);
        let width = high - low;
        if width == 0.0 {
            return (0.0, -low);
        }
        let mut best = Best::new(self.line(width / self.high, -low), x, w);
        for factor in shrinks(self.high, STEPS) {
            let scale = factor * width / self.high;
            for at in [0.0, 0.5] {
                let start = self.line(scale, (-low - at * (width - self.high * scale)).max(0.0));
                best.offer(start, x, w);
                self.offer_refit(&mut best, start, x, w);
            }
        }
        for _ in 0..4 {
            let line = best.line;
            if !self.offer_refit(&mut best, line, x, w) {
                break;
            }
        }
        (best.line.scale, -best.line.offset)
    }

    /// Offers the least-squares line through the codes of `line`, with a minimum >= 0.
    fn offer_refit(self, best: &mut Best, line: Line, x: &[f32], w: &[f32]) -> bool {
        let moments = line.moments(x, w, 0.0);
        let (mut scale, mut offset) = moments.line();
        if offset > 0.0 {
            (scale, offset) = (moments.scale(), 0.0);
        }
        scale > 0.0 && best.offer(self.line(scale, -offset), x, w)
    }

    /// Rounds free scales and minima to integer multiples of `d` and `dmin`, trying the neighbours of each.
    fn assign<const SUBS: usize, const SUB: usize>(
        self,
        d: f32,
        dmin: f32,
        free: &[(f32, f32); SUBS],
        xs: &[[f32; SUB]],
        ws: &[[f32; SUB]],
    ) -> Scales<SUBS> {
        let mut out = Scales { d, dmin, sc: [0; SUBS], m: [0; SUBS], ranges: self, error: 0.0 };
        let around = |q: i32, unit: f32| if unit == 0.0 { 0..=0 } else { (q - 1).max(0)..=(q + 1).min(self.top) };
        for (j, (x, w)) in xs.iter().zip(ws).enumerate() {
            let (sc, m) = (integer(free[j].0, d, 0, self.top), integer(free[j].1, dmin, 0, self.top));
            (out.sc[j], out.m[j]) = (sc, m);
            let mut best = out.line(j).error(x, w, f32::INFINITY);
            for sc in around(sc, d) {
                for m in around(m, dmin) {
                    let error = self.line(d * sc as f32, dmin * m as f32).error(x, w, best);
                    if error < best {
                        (best, out.sc[j], out.m[j]) = (error, sc, m);
                    }
                }
            }
            out.error += best;
        }
        out
    }
}

/// Returns the `(d, dmin)` of least error with all integers kept: x = d (sc q) - dmin m.
fn refit<const SUBS: usize, const SUB: usize>(s: &Scales<SUBS>, xs: &[[f32; SUB]], ws: &[[f32; SUB]]) -> (f32, f32) {
    let (mut aa, mut ab, mut bb, mut ax, mut bx) = (0.0f64, 0.0f64, 0.0f64, 0.0f64, 0.0f64);
    for (j, (x, w)) in xs.iter().zip(ws).enumerate() {
        let Moments { w, wc, wcc, wx, wcx } = s.line(j).moments(x, w, 0.0);
        let (sc, m) = (f64::from(s.sc[j]), -f64::from(s.m[j]));
        aa += sc * sc * f64::from(wcc);
        ab += sc * m * f64::from(wc);
        bb += m * m * f64::from(w);
        ax += sc * f64::from(wcx);
        bx += m * f64::from(wx);
    }
    let det = aa * bb - ab * ab;
    if det > 1e-9 * aa * bb {
        (((bb * ax - ab * bx) / det) as f32, ((aa * bx - ab * ax) / det) as f32)
    } else if bb == 0.0 {
        ((ax / aa) as f32, s.dmin)
    } else {
        (s.d, s.dmin)
    }
}
