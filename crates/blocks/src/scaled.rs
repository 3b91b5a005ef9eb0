//! Parameter search for encodings whose sub-blocks have one integer scale: w = d sc c(q), where c(q) is the value
//! of code q.

use crate::{
    SuperblockScales,
    base::{Overflow, extreme, storable, stored},
    k_quant::{HEADROOM, LEN, REFITS},
};

/// A magnitude that no encoding with half-precision scales can hold. The squares of larger values would overflow.
const BEYOND: f32 = 1e12;

/// The code book of a sub-block of `SUB` values.
pub(crate) trait Codes<const SUB: usize> {
    /// Returns the weighted squared error of `x` after rounding to the nearest codes. Once the sum reaches `limit`,
    /// the result may be any number >= `limit`.
    fn error(&self, scale: f32, x: &[f32; SUB], w: &[f32; SUB], limit: f32) -> f32;

    /// Returns the sums of w c c and w c x over the nearest codes.
    fn moments(&self, scale: f32, x: &[f32; SUB], w: &[f32; SUB]) -> (f32, f32);

    /// Returns the best scale before rounding to the stored form.
    fn fit(&self, x: &[f32; SUB], w: &[f32; SUB]) -> f32;
}

/// The integer scales of a format.
#[derive(Clone, Copy)]
pub(crate) enum Integers {
    /// All of `-n..n`; the largest scale gets `-n`.
    Signed(i32),
    /// The odd integers up to this one.
    Odd(i32),
}

impl Integers {
    /// Returns the integer that the largest scale gets.
    fn reach(self) -> f32 {
        match self {
            Self::Signed(n) => -n as f32,
            Self::Odd(top) => top as f32,
        }
    }

    /// Returns the integer nearest to `scale / unit`, and its two neighbours.
    fn around(self, scale: f32, unit: f32) -> [i32; 3] {
        let ratio = if unit == 0.0 { 0.0 } else { scale / unit };
        match self {
            Self::Signed(n) => {
                let q = (ratio.round() as i32).clamp(-n, n - 1);
                [q, (q - 1).max(-n), (q + 1).min(n - 1)]
            }
            Self::Odd(top) => {
                let q = (((ratio - 1.0) * 0.5).round() as i32).clamp(0, top / 2);
                [q, (q - 1).max(0), (q + 1).min(top / 2)].map(|q| 2 * q + 1)
            }
        }
    }
}

/// The stored scales of a super-block.
#[derive(Clone, Copy)]
pub(crate) struct Scales<const SUBS: usize> {
    pub d: f32,
    pub sc: [i32; SUBS],
    error: f32,
}

impl<const SUBS: usize> Scales<SUBS> {
    /// Returns the scale of sub-block `j`.
    pub(crate) fn scale(&self, j: usize) -> f32 {
        self.d * self.sc[j] as f32
    }
}

impl<const SUBS: usize> From<Scales<SUBS>> for SuperblockScales {
    fn from(s: Scales<SUBS>) -> Self {
        Self::new(s.d, 0.0, &s.sc, &[])
    }
}

/// Returns the scales of least error weighted by `w`, for `SUBS` sub-blocks of `SUB` values.
pub(crate) fn search<const SUBS: usize, const SUB: usize>(
    codes: &impl Codes<SUB>,
    integers: Integers,
    x: &[f32; LEN],
    w: &[f32; LEN],
) -> Result<Scales<SUBS>, Overflow> {
    check_range(x)?;
    let (xs, ws) = (x.as_chunks::<SUB>().0, w.as_chunks::<SUB>().0);
    let free: [f32; SUBS] = std::array::from_fn(|j| codes.fit(&xs[j], &ws[j]));
    let (top, reach) = (extreme(&free), integers.reach());
    storable(top / reach)?;
    let start = |headroom: f32| stored(top / (reach - headroom * reach.signum()));
    let mut best = assign(codes, integers, start(HEADROOM[0]), &free, xs, ws);
    for headroom in &HEADROOM[1..] {
        let other = assign(codes, integers, start(*headroom), &free, xs, ws);
        if other.error < best.error {
            best = other;
        }
    }
    for _ in 0..REFITS {
        let d = stored(refit(codes, &best, xs, ws));
        if !(d.is_finite() && d != 0.0) {
            break;
        }
        let now: [f32; SUBS] = std::array::from_fn(|j| best.scale(j));
        let next = assign(codes, integers, d, &now, xs, ws);
        if next.error >= best.error || next.error.is_nan() {
            break;
        }
        best = next;
    }
    // The values may be so small that even the smallest scale is too large.
    let zeros: f32 = x.iter().zip(w).map(|(x, w)| w * x * x).sum();
    Ok(if zeros < best.error { Scales { d: 0.0, ..best } } else { best })
}

/// Returns the best half-precision scale of a block that has no other scale.
pub(crate) fn single<const N: usize>(codes: &impl Codes<N>, x: &[f32; N], w: &[f32; N]) -> Result<f32, Overflow> {
    check_range(x)?;
    let d = stored(storable(codes.fit(x, w))?);
    let zeros = x.iter().zip(w).map(|(x, w)| w * x * x).sum();
    Ok(if codes.error(d, x, w, f32::INFINITY) <= zeros { d } else { 0.0 })
}

fn check_range(x: &[f32]) -> Result<(), Overflow> {
    let top = extreme(x);
    if top.abs() > BEYOND { Err(Overflow(top)) } else { Ok(()) }
}

/// Rounds free scales to integer multiples of `d`, trying the neighbours of each.
fn assign<const SUBS: usize, const SUB: usize>(
    codes: &impl Codes<SUB>,
    integers: Integers,
    d: f32,
    free: &[f32; SUBS],
    xs: &[[f32; SUB]],
    ws: &[[f32; SUB]],
) -> Scales<SUBS> {
    let mut out = Scales { d, sc: [0; SUBS], error: 0.0 };
    for (j, (x, w)) in xs.iter().zip(ws).enumerate() {
        let [nearest, below, above] = integers.around(free[j], d);
        out.sc[j] = nearest;
        let mut best = codes.error(d * nearest as f32, x, w, f32::INFINITY);
        for sc in [below, above] {
            let error = if sc == nearest { best } else { codes.error(d * sc as f32, x, w, best) };
            if error < best {
                (best, out.sc[j]) = (error, sc);
            }
        }
        out.error += best;
    }
    out
}

/// Returns the `d` of least error with all integer scales and codes kept.
fn refit<const SUBS: usize, const SUB: usize>(
    codes: &impl Codes<SUB>,
    s: &Scales<SUBS>,
    xs: &[[f32; SUB]],
    ws: &[[f32; SUB]],
) -> f32 {
    let (mut aa, mut ax) = (0.0f64, 0.0f64);
    for (j, (x, w)) in xs.iter().zip(ws).enumerate() {
        let (cc, cx) = codes.moments(s.scale(j), x, w);
        let sc = f64::from(s.sc[j]);
        aa += sc * sc * f64::from(cc);
        ax += sc * f64::from(cx);
    }
    (ax / aa) as f32
}

/// Returns the best scale of a sub-block. Each of `starts` determines codes, and the codes a least-squares scale;
/// the best of these is refitted for as long as the error falls. Returns the first start if no scale is finite.
pub(crate) fn fit_free<const SUB: usize>(
    codes: &impl Codes<SUB>,
    starts: impl Iterator<Item = f32>,
    x: &[f32; SUB],
    w: &[f32; SUB],
) -> f32 {
    // With the codes kept, a least-squares scale leaves the error sum(w x x) - cx cx / cc.
    let offer = |best: &mut (f32, f32), start: f32| {
        let (cc, cx) = codes.moments(start, x, w);
        let (scale, gain) = (cx / cc, cx * cx / cc);
        let better = gain > best.1 && scale.is_finite() && gain.is_finite();
        if better {
            *best = (scale, gain);
        }
        better
    };
    let mut starts = starts.peekable();
    let mut best = (starts.peek().copied().unwrap_or(0.0), 0.0);
    for start in starts {
        offer(&mut best, start);
    }
    for _ in 0..4 {
        let scale = best.0;
        if !offer(&mut best, scale) {
            break;
        }
    }
    best.0
}
