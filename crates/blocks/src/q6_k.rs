//! Q6_K: 256 values in 210 bytes, 16 sub-blocks of 16.
//!
//! `BlockQ6K`: `ql` u8\[128\] at 0, `qh` u8\[64\] at 128, `scales` i8\[16\] at 192, `d` f16 at 208. Per 128
//! values 64 bytes of ql and 32 of qh; for l < 32 the values l, l + 32, l + 64, l + 96 have their low bits
//! in ql\[l\] low, ql\[l + 32\] low, ql\[l\] high, ql\[l + 32\] high, and their upper two in qh\[l\] at bits
//! 0, 2, 4, 6. w = d sc (q - 32).

use crate::{
    ScaleType,
    codec::{
        Codec, Overflow, decode_blocks, encode_blocks, extreme, first_not_finite_field, half_at, put_half, storable,
    },
    k_quant::{HEADROOM, LEN, REFITS, integer, stored, weights},
    search::{Line, fit_signed},
};

pub(crate) const CODEC: Codec = Codec {
    name: "q6_k",
    display_name: "Q6_K",
    ggml_id: 14,
    block_len: LEN,
    block_bytes: BYTES,
    decode: |bytes, out| decode_blocks(bytes, out, decode),
    encode: |x, importance, out| encode_blocks(CODEC.display_name, x, importance, out, encode),
    first_not_finite: |bytes| first_not_finite_field::<BYTES>(bytes, LEN, |b| [half_at(b, D), 0.0]),
    grid: None,
};

const BYTES: usize = 210;
const SUBS: usize = 16;
const SUB: usize = LEN / SUBS;

/// Offsets of the fields.
const QH: usize = 128;
const SCALES: usize = 192;
const D: usize = 208;

fn decode(block: &[u8; BYTES], out: &mut [f32; LEN]) {
    let d = half_at(block, D);
    let scales: [f32; SUBS] = std::array::from_fn(|j| d * f32::from(block[SCALES + j] as i8));
    let (ql, qh) = (block[..QH].as_chunks::<32>().0, block[QH..SCALES].as_chunks::<32>().0);
    for (quarter, values) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        // Quarters 0..4 are the first 128 values.
        let (half, part) = (quarter / 4, quarter % 4);
        let (low, high) = (&ql[2 * half + part % 2], &qh[half]);
        let (shift_low, shift_high) = (part / 2 * 4, part * 2);
        for (l, value) in values.iter_mut().enumerate() {
            let q = low[l] >> shift_low & 15 | (high[l] >> shift_high & 3) << 4;
            *value = scales[2 * quarter + l / SUB] * f32::from(q as i8 - 32);
        }
    }
}

/// Scales on the storage grid.
#[derive(Clone, Copy)]
struct Scales {
    d: f32,
    sc: [i32; SUBS],
    error: f32,
}

fn sub_line(scale: f32) -> Line {
    Line { scale, offset: -32.0 * scale, low: 0.0, high: 63.0 }
}

fn encode(x: &[f32; LEN], importance: Option<&[f32; LEN]>, block: &mut [u8; BYTES]) -> Result<(), Overflow> {
    let w = weights(x, importance, SUB, |_, x| x * x);
    let (xs, ws) = (x.as_chunks::<SUB>().0, w.as_chunks::<SUB>().0);
    let free: [f32; SUBS] =
        std::array::from_fn(|j| fit_signed(extreme(&xs[j]) / -32.0, 32.0, (0.0, 63.0), ScaleType::F32, &xs[j], &ws[j]));
    // The largest scale takes -128 (or nearly), so d has the opposite sign.
    let top = extreme(&free);
    storable(top / -128.0)?;
    let mut best = assign(stored(top / -128.0), &free, xs, ws);
    for headroom in &HEADROOM[1..] {
        let other = assign(stored(top / (headroom - 128.0)), &free, xs, ws);
        if other.error < best.error {
            best = other;
        }
    }
    for _ in 0..REFITS {
        let d = stored(refit(&best, xs, ws));
        let next = assign(d, &best.sc.map(|sc| best.d * sc as f32), xs, ws);
        if !(d.is_finite() && d != 0.0 && next.error < best.error) {
            break;
        }
        best = next;
    }
    write(&best, x, block);
    Ok(())
}

/// Brings free scales onto the grid of `d`, trying the neighbours of each.
fn assign(d: f32, free: &[f32; SUBS], xs: &[[f32; SUB]], ws: &[[f32; SUB]]) -> Scales {
    let mut out = Scales { d, sc: [0; SUBS], error: 0.0 };
    for (j, (x, w)) in xs.iter().zip(ws).enumerate() {
        let nearest = integer(free[j], d, -128, 127);
        out.sc[j] = nearest;
        let mut best = sub_line(d * nearest as f32).error(x, w, f32::INFINITY);
        for sc in [nearest - 1, nearest + 1] {
            let error = sub_line(d * sc as f32).error(x, w, best);
            if (-128..=127).contains(&sc) && error < best {
                (best, out.sc[j]) = (error, sc);
            }
        }
        out.error += best;
    }
    out
}

/// d of least error with all integers kept: x = d (sc (q - 32)).
fn refit(s: &Scales, xs: &[[f32; SUB]], ws: &[[f32; SUB]]) -> f32 {
    let (mut aa, mut ax) = (0.0f64, 0.0f64);
    for (j, (x, w)) in xs.iter().zip(ws).enumerate() {
        let moments = sub_line(s.d * s.sc[j] as f32).moments(x, w, 32.0);
        let sc = f64::from(s.sc[j]);
        aa += sc * sc * f64::from(moments.wcc);
        ax += sc * f64::from(moments.wcx);
    }
    (ax / aa) as f32
}

fn write(s: &Scales, x: &[f32; LEN], block: &mut [u8; BYTES]) {
    *block = [0; BYTES];
    put_half(block, D, s.d);
    for (byte, sc) in block[SCALES..D].iter_mut().zip(s.sc) {
        *byte = sc as i8 as u8;
    }
    for (i, &v) in x.iter().enumerate() {
        let scale = s.d * s.sc[i / SUB] as f32;
        let q = if scale == 0.0 { 32 } else { (v / scale + 32.0).round().clamp(0.0, 63.0) as u8 };
        let (half, part, l) = (i / 128, i % 128 / 32, i % 32);
        block[64 * half + 32 * (part % 2) + l] |= (q & 15) << (part / 2 * 4);
        block[QH + 32 * half + l] |= (q >> 4) << (part * 2);
    }
}
