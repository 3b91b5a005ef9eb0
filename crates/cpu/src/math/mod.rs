//! Elementary functions in f32, one file each with its identity, range reduction and error. They have no branches, so that
//! loops over them are vectorised.
//!
//! Every step is exact or correctly rounded, so all instruction sets give the same bits.

mod erf;
mod exp;
mod tanh;

pub(crate) use erf::erf;
pub(crate) use exp::exp;
pub(crate) use tanh::tanh;

/// Returns a * b + c, rounded once; twice in the browser, which has no fused multiply-add.
#[inline(always)]
pub(crate) fn fused(a: f32, b: f32, c: f32) -> f32 {
    if cfg!(target_arch = "wasm32") { a * b + c } else { a.mul_add(b, c) }
}

/// Evaluates a polynomial by Horner's rule. The lowest coefficient comes first.
#[inline(always)]
fn polynomial<const N: usize>(coefficients: [f32; N], x: f32) -> f32 {
    let mut sum = coefficients[N - 1];
    for c in coefficients[..N - 1].iter().rev() {
        sum = fused(sum, x, *c);
    }
    sum
}

#[cfg(test)]
pub(crate) mod tests {
    /// Returns the error of `found` in units in the last place of the f32 nearest to `exact`.
    pub(crate) fn ulp_error(found: f32, exact: f64) -> f64 {
        let nearest = exact as f32;
        if nearest.is_infinite() || nearest.is_nan() {
            return if found == nearest || (found.is_nan() && nearest.is_nan()) { 0.0 } else { f64::INFINITY };
        }
        let magnitude = nearest.abs().max(f32::MIN_POSITIVE);
        let ulp = f64::from(f32::from_bits(magnitude.to_bits() + 1)) - f64::from(magnitude);
        (f64::from(found) - exact).abs() / ulp
    }

    /// Returns finite values of both signs and of all magnitudes.
    pub(crate) fn samples() -> impl Iterator<Item = f32> {
        (0..=u32::MAX).step_by(9973).map(f32::from_bits).filter(|x| x.is_finite())
    }
}
