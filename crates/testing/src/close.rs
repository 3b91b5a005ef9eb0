/// Returns the standard deviation of `values`.
#[must_use]
pub fn deviation(values: &[f32]) -> f64 {
    let n = values.len().max(1) as f64;
    let mean = values.iter().map(|&v| f64::from(v)).sum::<f64>() / n;
    (values.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / n).sqrt()
}

/// Returns the index at which `a` and `b` differ most, and the difference. NaN equals only NaN, and an infinity
/// only itself.
#[must_use]
pub fn worst(a: &[f32], b: &[f32]) -> (usize, f64) {
    let difference = |(&a, &b): (&f32, &f32)| {
        let same = a == b || (a.is_nan() && b.is_nan());
        let apart = (f64::from(a) - f64::from(b)).abs();
        if same {
            0.0
        } else if apart.is_nan() {
            f64::INFINITY
        } else {
            apart
        }
    };
    a.iter().zip(b).map(difference).enumerate().fold((0, 0.0), |w, d| if d.1 > w.1 { d } else { w })
}

/// Asserts that no value of `a` differs from `b` by more than `tolerance` times the standard deviation of `b`.
///
/// # Panics
/// Panics if a value does or the lengths differ.
#[track_caller]
pub fn assert_close(a: &[f32], b: &[f32], tolerance: f64) {
    assert_eq!(a.len(), b.len(), "number of values");
    let (at, apart) = worst(a, b);
    let deviation = deviation(b);
    assert!(
        apart <= tolerance * deviation,
        "value {at}: found {}, expected {}: {:.3e} deviations apart, allowed {tolerance:.3e}",
        a[at],
        b[at],
        apart / deviation
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_within_and_refuses_beyond_the_tolerance() {
        let b = [1.0, -1.0, 3.0, -3.0]; // deviation sqrt(5)
        assert!((deviation(&b) - 5f64.sqrt()).abs() < 1e-12);
        assert_close(&[1.1, -1.0, 3.0, -3.0], &b, 0.05);
        for wrong in [[1.2, -1.0, 3.0, -3.0], [f32::NAN, -1.0, 3.0, -3.0], [f32::INFINITY, -1.0, 3.0, -3.0]] {
            assert!(std::panic::catch_unwind(|| assert_close(&wrong, &b, 0.05)).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn nan_equals_only_nan() {
        assert_eq!(worst(&[f32::NAN, f32::INFINITY], &[f32::NAN, f32::INFINITY]).1, 0.0);
        assert_eq!(worst(&[f32::NAN], &[0.0]).1, f64::INFINITY);
        assert_eq!(worst(&[f32::NEG_INFINITY], &[f32::INFINITY]).1, f64::INFINITY);
    }
}
