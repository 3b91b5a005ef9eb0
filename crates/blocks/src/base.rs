//! The helpers that the encoders and the parameter searches build on.

use half::f16;

use crate::ScaleType;

/// A scale or minimum that does not fit the type it is stored in (half precision for most encodings).
pub(crate) struct Overflow(pub f32);

/// Returns `value` if half precision can hold it.
pub(crate) fn storable(value: f32) -> Result<f32, Overflow> {
    if f16::from_f32(value).is_finite() { Ok(value) } else { Err(Overflow(value)) }
}

/// Rounds a super-block scale to half precision. The result is 0 only if `scale` is 0.
pub(crate) fn stored(scale: f32) -> f32 {
    ScaleType::F16.round_from_zero(scale)
}

/// Returns `1 / d`, or 0 if the reciprocal is not finite: `d` is 0, or so small that the reciprocal overflows (half
/// precision rounds such a scale to 0).
pub(crate) fn reciprocal(d: f32) -> f32 {
    let inverse = 1.0 / d;
    if inverse.is_finite() { inverse } else { 0.0 }
}

/// Returns the signed value of greatest magnitude; the first of several equal ones.
pub(crate) fn extreme(x: &[f32]) -> f32 {
    let mut best = 0.0f32;
    for &v in x {
        if v.abs() > best.abs() {
            best = v;
        }
    }
    best
}

/// Returns the smallest and the largest value.
pub(crate) fn bounds(x: &[f32]) -> (f32, f32) {
    x.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), &v| (low.min(v), high.max(v)))
}
