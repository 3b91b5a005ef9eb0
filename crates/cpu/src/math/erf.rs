use super::{exp, fused, polynomial};

/// Returns the error function of `x` with an error of at most 2 ULP.
///
/// For |x| < 1: x + x P(x^2), where P interpolates erf(x)/x - 1 at Chebyshev nodes of [0, 1] (error 6e-9). Otherwise
/// 1 - e^(-t - t Q(t)) with t = min(|x|, 4) and the sign of x, where Q interpolates -ln(erfc(t))/t - 1 on [1, 4] (relative
/// error of erfc 2e-8).
#[inline(always)]
pub(crate) fn erf(x: f32) -> f32 {
    const P: [f32; 7] =
        [0.128_379_17, -0.376_126_26, 0.112_835_94, -0.026_854_211, 0.005_189_087, -0.000_801_686_4, 0.000_078_758_75];
    const Q: [f32; 7] =
        [0.128_635_11, 0.635_109_36, 0.106_441_19, -0.024_032_6, 0.003_805_152_8, -0.000_369_162_4, 0.000_016_309_29];
    let small = fused(x, polynomial(P, x * x), x);
    let t = if x.abs() > 4.0 { 4.0 } else { x.abs() };
    let large = 1.0 - exp(fused(-t, polynomial(Q, t), -t));
    if x.abs() < 1.0 { small } else { large.copysign(x) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::math::tests::ulp_error;

    /// Returns erf by its Maclaurin series, with an error below 1e-13 for |x| <= 4.
    fn series(x: f64) -> f64 {
        let (mut term, mut sum) = (x, x);
        for n in 1..120 {
            term *= -x * x / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        sum * 2.0 / std::f64::consts::PI.sqrt()
    }

    #[test]
    fn is_within_its_error() {
        for i in -10_000..=10_000 {
            let x = i as f32 * 0.0004;
            assert!(ulp_error(erf(x), series(f64::from(x))) <= 2.0, "erf({x}) = {}", erf(x));
        }
        for x in [1e-30f32, 1e-10, 1e-40] {
            assert!(ulp_error(erf(x), f64::from(x) * 2.0 / std::f64::consts::PI.sqrt()) <= 2.0, "{x}");
        }
        assert_eq!((erf(5.0), erf(f32::INFINITY), erf(f32::NEG_INFINITY), erf(0.0)), (1.0, 1.0, -1.0, 0.0));
        assert!(erf(f32::NAN).is_nan());
    }
}
