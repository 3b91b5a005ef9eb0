//! What the K-quants share: 256 values in sub-blocks whose integer scales multiply one f16 scale.
//!
//! Their encoders fit every sub-block freely, bring the fits onto the storage grid (the neighbours of
//! each integer scale are tried), and refit the f16 scales by least squares while that helps.

use crate::{ScaleType, codec::extreme};

/// Values a super-block.
pub(crate) const LEN: usize = 256;

/// Divisors of the largest sub-block scale below the largest integer scale: the sub-blocks' integer
/// scales round differently under each, and the best is kept.
pub(crate) const HEADROOM: [f32; 4] = [0.0, 1.0, 2.5, 4.0];

/// Refits of the f16 scales.
pub(crate) const REFITS: usize = 4;

/// Error weights of a block: `importance` over its largest, or the customary ones, which are
/// `customary(rms, |x|)` for values of a sub-block of `sub` divided by the largest of the block.
pub(crate) fn weights<const N: usize>(
    x: &[f32; N],
    importance: Option<&[f32; N]>,
    sub: usize,
    customary: impl Fn(f32, f32) -> f32,
) -> [f32; N] {
    let largest = |v: &[f32; N]| extreme(v).abs();
    if let Some(importance) = importance {
        let top = largest(importance);
        return if top == 0.0 { [1.0; N] } else { importance.map(|v| v / top) };
    }
    let top = largest(x);
    let mut out = [0.0; N];
    if top == 0.0 {
        return out;
    }
    for (w, x) in out.chunks_mut(sub).zip(x.chunks(sub)) {
        let rms = (x.iter().map(|v| (v / top) * (v / top)).sum::<f32>() / sub as f32).sqrt();
        for (w, v) in w.iter_mut().zip(x) {
            *w = customary(rms, (v / top).abs());
        }
    }
    out
}

/// A super-block scale as stored; never 0 unless `scale` is.
pub(crate) fn stored(scale: f32) -> f32 {
    ScaleType::F16.round_from_zero(scale)
}

/// `scale / unit` to the nearest integer within `low..=high`; 0 for a unit of 0.
pub(crate) fn integer(scale: f32, unit: f32, low: i32, high: i32) -> i32 {
    if unit == 0.0 { 0 } else { ((scale / unit).round() as i32).clamp(low, high) }
}

/// 6-bit scale and minimum of sub-block `j` out of the 12 packed bytes of Q4_K and Q5_K.
pub(crate) fn scale_min(s: &[u8], j: usize) -> (u8, u8) {
    if j < 4 {
        (s[j] & 63, s[j + 4] & 63)
    } else {
        (s[j + 4] & 15 | s[j - 4] >> 6 << 4, s[j + 4] >> 4 | s[j] >> 6 << 4)
    }
}

/// The inverse of [`scale_min`] for all sub-blocks.
pub(crate) fn put_scale_mins(sc: &[i32; 8], m: &[i32; 8], s: &mut [u8]) {
    for j in 0..4 {
        let (low_sc, low_m, high_sc, high_m) = (sc[j] as u8, m[j] as u8, sc[j + 4] as u8, m[j + 4] as u8);
        s[j] = low_sc | high_sc >> 4 << 6;
        s[j + 4] = low_m | high_m >> 4 << 6;
        s[j + 8] = high_sc & 15 | high_m << 4;
    }
}
