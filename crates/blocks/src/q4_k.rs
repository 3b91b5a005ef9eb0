//! Q4_K: 256 values in 144 bytes, 8 sub-blocks of 32.
//!
//! `BlockQ4K`: `d` f16 at 0, `dmin` f16 at 2; `scales` u8\[12\] at 4, the 6-bit scale sc and minimum m of
//! each sub-block; `qs` u8\[128\] at 16, per 64 values 32 bytes: low nibbles the first 32 values, high
//! nibbles the next 32. w = d sc q - dmin m.
//!
//! Sub-blocks j < 4: sc = s\[j\] & 63, m = s\[j+4\] & 63; others: sc = (s\[j+4\] & 15) | (s\[j-4\] >> 6) << 4,
//! m = (s\[j+4\] >> 4) | (s\[j\] >> 6) << 4.

use crate::{
    codec::{
        Codec, Overflow, bounds, decode_blocks, encode_blocks, first_not_finite_field, half_at, put_half, storable,
    },
    k_quant::{HEADROOM, LEN, REFITS, integer, stored, weights},
    search::{Best, Line, Moments, shrinks},
};

pub(crate) const CODEC: Codec = Codec {
    name: "q4_k",
    display_name: "Q4_K",
    ggml_id: 12,
    block_len: LEN,
    block_bytes: BYTES,
    decode: |bytes, out| decode_blocks(bytes, out, decode),
    encode: |x, importance, out| encode_blocks(CODEC.display_name, x, importance, out, encode),
    first_not_finite: |bytes| first_not_finite_field::<BYTES>(bytes, LEN, |b| [half_at(b, 0), half_at(b, 2)]),
    grid: None,
};

const BYTES: usize = 144;
const SUBS: usize = 8;
const SUB: usize = LEN / SUBS;

/// Largest 6-bit scale.
const TOP: i32 = 63;

/// Candidate scales of a sub-block's free fit.
const STEPS: usize = 28;

/// Scale and minimum of sub-block `j` out of the 12 packed bytes.
fn scale_min(s: &[u8], j: usize) -> (u8, u8) {
    if j < 4 {
        (s[j] & 63, s[j + 4] & 63)
    } else {
        (s[j + 4] & 15 | s[j - 4] >> 6 << 4, s[j + 4] >> 4 | s[j] >> 6 << 4)
    }
}

/// The inverse of [`scale_min`] for all sub-blocks.
fn put_scale_mins(sc: &[i32; SUBS], m: &[i32; SUBS], s: &mut [u8]) {
    for j in 0..4 {
        let (low_sc, low_m, high_sc, high_m) = (sc[j] as u8, m[j] as u8, sc[j + 4] as u8, m[j + 4] as u8);
        s[j] = low_sc | high_sc >> 4 << 6;
        s[j + 4] = low_m | high_m >> 4 << 6;
        s[j + 8] = high_sc & 15 | high_m << 4;
    }
}

fn decode(block: &[u8; BYTES], out: &mut [f32; LEN]) {
    let (d, dmin) = (half_at(block, 0), half_at(block, 2));
    let (pairs, bytes) = (out.as_chunks_mut::<{ 2 * SUB }>().0, block[16..].as_chunks::<SUB>().0);
    for (p, (values, qs)) in pairs.iter_mut().zip(bytes).enumerate() {
        let (first, second) = values.split_at_mut(SUB);
        for (half, (values, shift)) in [(first, 0), (second, 4)].into_iter().enumerate() {
            let (sc, m) = scale_min(&block[4..16], 2 * p + half);
            let (scale, min) = (d * f32::from(sc), dmin * f32::from(m));
            for (value, q) in values.iter_mut().zip(qs) {
                *value = scale * f32::from(q >> shift & 15) - min;
            }
        }
    }
}

/// Scales and minima on the storage grid.
#[derive(Clone, Copy)]
struct Scales {
    d: f32,
    dmin: f32,
    sc: [i32; SUBS],
    m: [i32; SUBS],
    error: f32,
}

impl Scales {
    fn line(&self, j: usize) -> Line {
        sub_line(self.d * self.sc[j] as f32, self.dmin * self.m[j] as f32)
    }

    /// What the sub-blocks' scales and minima amount to.
    fn free(&self) -> [(f32, f32); SUBS] {
        std::array::from_fn(|j| (self.d * self.sc[j] as f32, self.dmin * self.m[j] as f32))
    }
}

fn sub_line(scale: f32, min: f32) -> Line {
    Line { scale, offset: -min, low: 0.0, high: 15.0 }
}

fn encode(x: &[f32; LEN], importance: Option<&[f32; LEN]>, block: &mut [u8; BYTES]) -> Result<(), Overflow> {
    let w = weights(x, importance, SUB, |rms, x| rms + x);
    let (xs, ws) = (x.as_chunks::<SUB>().0, w.as_chunks::<SUB>().0);
    let free: [(f32, f32); SUBS] = std::array::from_fn(|j| fit_sub(&xs[j], &ws[j]));
    let (top_scale, top_min) = free.iter().fold((0.0f32, 0.0f32), |(s, m), f| (s.max(f.0), m.max(f.1)));
    storable(top_scale / TOP as f32)?;
    storable(top_min / TOP as f32)?;
    let start = |headroom: f32| {
        let top = TOP as f32 - headroom;
        assign(stored(top_scale / top), stored(top_min / top), &free, xs, ws)
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
        let next = assign(stored(d), stored(dmin), &best.free(), xs, ws);
        if !(d > 0.0 && dmin >= 0.0 && next.d.is_finite() && next.dmin.is_finite() && next.error < best.error) {
            break;
        }
        best = next;
    }
    write(&best, x, block);
    Ok(())
}

/// The best `(scale, minimum)` of a sub-block before it is brought onto the storage grid; both >= 0.
fn fit_sub(x: &[f32; SUB], w: &[f32; SUB]) -> (f32, f32) {
    let (low, high) = bounds(x);
    let low = low.min(0.0);
    let width = high - low;
    if width == 0.0 {
        return (0.0, -low);
    }
    let mut best = Best::new(sub_line(width / 15.0, -low), x, w);
    for factor in shrinks(15.0, STEPS) {
        let scale = factor * width / 15.0;
        for at in [0.0, 0.5] {
            let start = sub_line(scale, (-low - at * (width - 15.0 * scale)).max(0.0));
            best.offer(start, x, w);
            offer_refit(&mut best, start, x, w);
        }
    }
    for _ in 0..4 {
        let line = best.line;
        if !offer_refit(&mut best, line, x, w) {
            break;
        }
    }
    (best.line.scale, -best.line.offset)
}

/// Offers the least-squares line through the codes of `line`, its minimum kept >= 0.
fn offer_refit(best: &mut Best, line: Line, x: &[f32; SUB], w: &[f32; SUB]) -> bool {
    let moments = line.moments(x, w, 0.0);
    let (mut scale, mut offset) = moments.line();
    if offset > 0.0 {
        (scale, offset) = (moments.scale(), 0.0);
    }
    scale > 0.0 && best.offer(sub_line(scale, -offset), x, w)
}

/// Brings free scales and minima onto the grid of `d` and `dmin`, trying the neighbours of each.
fn assign(d: f32, dmin: f32, free: &[(f32, f32); SUBS], xs: &[[f32; SUB]], ws: &[[f32; SUB]]) -> Scales {
    let mut out = Scales { d, dmin, sc: [0; SUBS], m: [0; SUBS], error: 0.0 };
    let around = |q: i32, unit: f32| if unit == 0.0 { 0..=0 } else { (q - 1).max(0)..=(q + 1).min(TOP) };
    for (j, (x, w)) in xs.iter().zip(ws).enumerate() {
        let (sc, m) = (integer(free[j].0, d, 0, TOP), integer(free[j].1, dmin, 0, TOP));
        (out.sc[j], out.m[j]) = (sc, m);
        let mut best = out.line(j).error(x, w, f32::INFINITY);
        for sc in around(sc, d) {
            for m in around(m, dmin) {
                let error = sub_line(d * sc as f32, dmin * m as f32).error(x, w, best);
                if error < best {
                    (best, out.sc[j], out.m[j]) = (error, sc, m);
                }
            }
        }
        out.error += best;
    }
    out
}

/// `(d, dmin)` of least error with all integers kept: x = d (sc q) - dmin m.
fn refit(s: &Scales, xs: &[[f32; SUB]], ws: &[[f32; SUB]]) -> (f32, f32) {
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

fn write(s: &Scales, x: &[f32; LEN], block: &mut [u8; BYTES]) {
    put_half(block, 0, s.d);
    put_half(block, 2, s.dmin);
    put_scale_mins(&s.sc, &s.m, &mut block[4..16]);
    let code = |i: usize| {
        let line = s.line(i / SUB);
        if line.scale == 0.0 { 0 } else { ((x[i] - line.offset) / line.scale).round().clamp(0.0, 15.0) as u8 }
    };
    for (i, byte) in block[16..].iter_mut().enumerate() {
        let first = i / SUB * 2 * SUB + i % SUB;
        *byte = code(first) | code(first + SUB) << 4;
    }
}
