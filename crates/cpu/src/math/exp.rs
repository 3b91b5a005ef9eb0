use super::{fused, polynomial};

/// Returns e^x with an error of at most 1.5 ULP where the result is normal.
///
/// e^x = 2^n * e^r with n = round(x / ln 2) and r = x - n ln 2, where ln 2 is split in two parts (Cody and Waite). e^r, with
/// |r| <= ln 2 / 2, is the Taylor series to the 7th power (remainder below 6e-9). 2^n is a product of two factors, so that
/// results can be subnormal or infinite.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    const LN2_HIGH: f32 = 0.693_145_75;
    const LN2_LOW: f32 = 1.428_606_8e-6;
    /// 1.5 * 2^23. Adding it rounds to an integer, which is then in the lowest bits.
    const ROUND: f32 = 12_582_912.0;
    // Beyond these bounds e^x is infinite or 0; inside, n is in range. NaN is kept.
    let clamped = if x > 90.0 { 90.0 } else { x };
    let clamped = if clamped < -105.0 { -105.0 } else { clamped };
    let shifted = fused(clamped, std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = fused(n, -LN2_LOW, fused(n, -LN2_HIGH, clamped));
    let p = polynomial([1.0, 1.0, 0.5, 1.0 / 6.0, 1.0 / 24.0, 1.0 / 120.0, 1.0 / 720.0, 1.0 / 5040.0], r);
    let n = shifted.to_bits().wrapping_sub(ROUND.to_bits()) as i32;
    let half = n >> 1;
    p * power_of_two(half) * power_of_two(n.wrapping_sub(half))
}

/// Returns 2^n for n in -126..=127.
#[inline(always)]
fn power_of_two(n: i32) -> f32 {
    f32::from_bits((n.wrapping_add(127) as u32) << 23)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::math::tests::{samples, ulp_error};

    #[test]
    fn is_within_its_error() {
        let dense = (-10_500..9_000).map(|i| i as f32 * 0.01 + 0.003);
        for x in samples().chain(dense) {
            assert!(ulp_error(exp(x), f64::from(x).exp()) <= 1.5, "exp({x}) = {}", exp(x));
        }
    }

    #[test]
    fn treats_the_ends() {
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
        assert_eq!(exp(-200.0), 0.0);
        assert_eq!(exp(f32::INFINITY), f32::INFINITY);
        assert_eq!(exp(0.0), 1.0);
        assert_eq!(exp(-0.0), 1.0);
        assert!(exp(f32::NAN).is_nan());
    }
}
