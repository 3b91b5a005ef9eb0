use super::{exp, fused, polynomial};

/// Returns tanh(x) with an error of at most 2 ULP.
///
/// For |x| < 0.625: x + x^3 P(x^2), where P interpolates (tanh(x)/x - 1) / x^2 at Chebyshev nodes of [0, 0.625^2] (relative
/// error 1.5e-8). Otherwise 1 - 2 / (1 + e^2|x|) with the sign of x.
#[inline(always)]
pub(crate) fn tanh(x: f32) -> f32 {
    let s = x * x;
    let p = polynomial([-0.333_333_28, 0.133_327_7, -0.053_850_91, 0.020_997_18, -0.006_096_716], s);
    let small = fused(x * s, p, x);
    let large = 1.0 - 2.0 / (1.0 + exp(2.0 * x.abs()));
    if x.abs() < 0.625 { small } else { large.copysign(x) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::math::tests::{samples, ulp_error};

    #[test]
    fn is_within_its_error() {
        let dense = (-10_000..10_000).map(|i| i as f32 * 0.001 + 0.0003);
        for x in samples().chain(dense) {
            assert!(ulp_error(tanh(x), f64::from(x).tanh()) <= 2.0, "tanh({x}) = {}", tanh(x));
        }
        assert!(tanh(f32::NAN).is_nan());
        assert_eq!((tanh(f32::INFINITY), tanh(f32::NEG_INFINITY)), (1.0, -1.0));
    }
}
