//! Helpers of the K-quants: 256 values in sub-blocks whose integer scales multiply one f16 scale.
//!
//! The encoders first fit every sub-block freely. They then round these scales to integers, trying the neighbours
//! of each. Finally they refit the f16 scales by least squares for as long as the error falls.

use crate::base::extreme;

/// The number of values per super-block.
pub(crate) const LEN: usize = 256;

/// Amounts by which the largest sub-block scale stays below the largest integer scale. The integer scales of the
/// sub-blocks round differently under each; the search keeps the best.
pub(crate) const HEADROOM: [f32; 4] = [0.0, 1.0, 2.5, 4.0];

/// The largest number of refits of the f16 scales.
pub(crate) const REFITS: usize = 4;

/// Returns the error weights of a block. With `importance`, each is divided by the largest. Without, each is
/// `customary(rms, |x|)`, where the RMS is that of a sub-block of `sub` values and all values are divided by the
/// largest of the block.
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

/// Returns the integer in `low..=high` nearest to `scale / unit`, or 0 if `unit` is 0.
pub(crate) fn integer(scale: f32, unit: f32, low: i32, high: i32) -> i32 {
    if unit == 0.0 { 0 } else { ((scale / unit).round() as i32).clamp(low, high) }
}

/// Returns the 6-bit scale and minimum of sub-block `j` from the 12 packed bytes of Q4_K and Q5_K.
pub(crate) fn scale_min(s: &[u8], j: usize) -> (u8, u8) {
    if j < 4 {
        (s[j] & 63, s[j + 4] & 63)
    } else {
        (s[j + 4] & 15 | s[j - 4] >> 6 << 4, s[j + 4] >> 4 | s[j] >> 6 << 4)
    }
}

/// Packs the scales and minima of all sub-blocks for [`scale_min`].
pub(crate) fn put_scale_mins(sc: &[i32; 16], m: &[i32; 16], s: &mut [u8]) {
    for j in 0..4 {
        let (low_sc, low_m, high_sc, high_m) = (sc[j] as u8, m[j] as u8, sc[j + 4] as u8, m[j + 4] as u8);
        s[j] = low_sc | high_sc >> 4 << 6;
        s[j + 4] = low_m | high_m >> 4 << 6;
        s[j + 8] = high_sc & 15 | high_m << 4;
    }
}
