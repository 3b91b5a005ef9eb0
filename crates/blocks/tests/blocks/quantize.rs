//! Encoders: error bounds, errors, stability, and searches compared with plain fits.

use crate::common::{Random, decoded, encoded};
use honelm_blocks::{BlockError, Encoding};
use proptest::prelude::*;

/// Returns the sum of w (x - y)^2.
fn error(x: &[f32], y: &[f32], w: &[f32]) -> f64 {
    x.iter().zip(y).zip(w).map(|((x, y), w)| f64::from(*w) * (f64::from(*x) - f64::from(*y)).powi(2)).sum()
}

#[test]
fn refuses_values_that_are_not_finite() {
    for encoding in Encoding::ALL {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut x = vec![0.5f32; 512];
            x[300] = bad;
            let found = encoding.quantize_row(&x, None, &mut vec![0; encoding.row_bytes(512).unwrap()]);
            assert!(matches!(found, Err(BlockError::NotFinite { row: 0, column: 300, .. })), "{encoding}: {found:?}");
        }
    }
}

#[test]
fn refuses_values_beyond_the_range_of_the_scale() {
    for encoding in Encoding::ALL.into_iter().filter(|e| *e != Encoding::F32) {
        for importance in [None, Some(vec![1.0f32; 512])] {
            for huge in [3.3e38f32, -3.38e38] {
                let mut x = vec![0.5f32; 512];
                x[300] = huge;
                // The codes of Q1_0 are signs only, and its scale is the mean.
                let filled = if encoding == Encoding::Q1_0 { 256..384 } else { 301..302 };
                x[filled].fill(-huge);
                let mut out = vec![0; encoding.row_bytes(512).unwrap()];
                let found = encoding.quantize_row(&x, importance.as_deref(), &mut out);
                match found {
                    Err(BlockError::ScaleOverflow { column, .. }) => {
                        assert_eq!(column, 300 / encoding.block_len() * encoding.block_len(), "{encoding}");
                    }
                    Err(BlockError::ValueOverflow { column: 300, .. }) if encoding == Encoding::F16 => {}
                    // The scales of these encodings have the exponent range of single precision.
                    Ok(()) if matches!(encoding, Encoding::BF16 | Encoding::MXFP4 | Encoding::FP8) => {
                        assert!(decoded(encoding, &out).iter().all(|v| v.is_finite()), "{encoding}");
                    }
                    other => panic!("{encoding}: {other:?}"),
                }
            }
        }
    }
    let found = Encoding::BF16.quantize_row(&[1.0, f32::MAX], None, &mut [0; 4]);
    assert_eq!(found.unwrap_err().code(), "weight-overflow");
}

#[test]
fn refuses_lengths_and_importances_that_do_not_fit() {
    let mut out = [0u8; 18];
    let q = Encoding::Q4_0;
    assert_eq!(q.row_bytes(33).unwrap_err().code(), "partial-block");
    assert_eq!(q.row_bytes(usize::MAX - 31).map_err(|e| e.code()), Ok((usize::MAX - 31) / 32 * 18));
    assert_eq!(Encoding::F32.row_bytes(usize::MAX / 2).unwrap_err().code(), "weight-too-large");
    assert_eq!(q.quantize_row(&[0.0; 31], None, &mut out).unwrap_err().code(), "partial-block");
    assert_eq!(q.quantize_row(&[0.0; 64], None, &mut out).unwrap_err().code(), "weight-length");
    assert_eq!(q.quantize_row(&[0.0; 32], Some(&[1.0; 31]), &mut out).unwrap_err().code(), "weight-length");
    for bad in [-1.0, f32::NAN, f32::INFINITY] {
        let found = q.quantize_row(&[0.0; 32], Some(&[bad; 32]), &mut out);
        assert!(matches!(found, Err(BlockError::Importance { column: 0, .. })), "{found:?}");
    }
}

#[test]
fn zeros_decode_to_zeros() {
    for encoding in Encoding::ALL {
        for importance in [None, Some(&[1.0f32; 512][..]), Some(&[0.0; 512][..])] {
            let found = decoded(encoding, &encoded(encoding, &[0.0; 512], importance));
            assert!(found.iter().all(|v| *v == 0.0), "{encoding}");
        }
    }
}

#[test]
fn tiny_values_decode_to_numbers_no_larger_than_a_few_smallest_scales() {
    for encoding in Encoding::ALL {
        for size in [1e-45f32, 1e-40, 1e-38, 1e-30, 1e-12, 1e-9, 1e-8] {
            for importance in [None, Some(&[1.0f32; 256][..])] {
                let x: Vec<f32> = (0..256).map(|i| size * if i % 3 == 0 { -1.0 } else { 1.0 }).collect();
                let found = decoded(encoding, &encoded(encoding, &x, importance));
                for (f, x) in found.iter().zip(&x) {
                    // The bound is half the smallest half-precision number plus its rounding error.
                    assert!((f - x).abs() <= size.max(6e-8), "{encoding} {size}: {f} for {x}");
                }
            }
        }
    }
}

#[test]
fn searched_k_quants_are_better_than_plain_fits() {
    let mut random = Random::new(7);
    for (scale, tail) in [(0.02f32, 0.0f32), (0.02, 4.0), (1.0, 1.0)] {
        let x: Vec<f32> = (0..256 * 64).map(|_| scale * random.heavy(tail)).collect();
        let ones = vec![1.0; x.len()];
        let importance: Vec<f32> = (0..x.len()).map(|_| random.normal().powi(2) + 0.01).collect();
        for (w, given) in [(&ones, Some(&ones[..])), (&importance, Some(&importance[..])), (&ones, None)] {
            let q4 = error(&x, &decoded(Encoding::Q4K, &encoded(Encoding::Q4K, &x, given)), w);
            let plain4 = error(&x, &plain_q4_k(&x), w);
            let q6 = error(&x, &decoded(Encoding::Q6K, &encoded(Encoding::Q6K, &x, given)), w);
            let plain6 = error(&x, &plain_q6_k(&x), w);
            println!("tail {tail}: Q4_K / plain {:.3}, Q6_K / plain {:.3}", q4 / plain4, q6 / plain6);
            // The customary weights minimise an error other than the plain one measured here.
            let margin = if given.is_some() { 0.95 } else { 1.0 };
            assert!(q4 < margin * plain4, "Q4_K {q4} against {plain4}");
            assert!(q6 < margin * plain6, "Q6_K {q6} against {plain6}");
        }
    }
}

/// Fits the smallest and largest value of every 32 with unrounded scales, which no stored Q4_K can have.
fn plain_q4_k(x: &[f32]) -> Vec<f32> {
    let sub = |x: &[f32]| {
        let low = x.iter().copied().fold(0.0, f32::min);
        let d = x.iter().map(|v| v - low).fold(0.0, f32::max) / 15.0;
        x.iter().map(|v| ((v - low) / d).round() * d + low).collect::<Vec<_>>()
    };
    x.chunks(32).flat_map(sub).collect()
}

/// Fits the extreme value of every 16 as code 0 (-32), with unrounded scales.
fn plain_q6_k(x: &[f32]) -> Vec<f32> {
    let sub = |x: &[f32]| {
        let top = x.iter().copied().fold(0.0f32, |m, v| if v.abs() > m.abs() { v } else { m });
        let d = top / -32.0;
        x.iter().map(|v| (v / d).round().clamp(-32.0, 31.0) * d).collect::<Vec<_>>()
    };
    x.chunks(16).flat_map(sub).collect()
}

/// The mean squared errors of llama.cpp's encoders (ggml 0.25, no importance matrix) on normal values of variance
/// 1.
const LLAMA_CPP: [(Encoding, f64); 21] = [
    (Encoding::Q8_0, 0.000029),
    (Encoding::Q6K, 0.000317),
    (Encoding::Q5_1, 0.001444),
    (Encoding::Q5_0, 0.001837),
    (Encoding::Q5K, 0.001312),
    (Encoding::Q4_1, 0.006131),
    (Encoding::Q4_0, 0.007422),
    (Encoding::Q4K, 0.005160),
    (Encoding::IQ4NL, 0.005780),
    (Encoding::IQ4XS, 0.005858),
    (Encoding::NVFP4, 0.010760),
    (Encoding::MXFP4, 0.012902),
    (Encoding::Q3K, 0.022928),
    (Encoding::IQ3S, 0.028283),
    (Encoding::IQ3XXS, 0.045438),
    (Encoding::Q2K, 0.088389),
    (Encoding::IQ2S, 0.069916),
    (Encoding::Q2_0, 0.517006),
    (Encoding::TQ2_0, 0.649422),
    (Encoding::TQ1_0, 0.649422),
    (Encoding::Q1_0, 0.360599),
];

#[test]
fn errs_no_more_than_llama_cpp_on_normal_values() {
    let mut random = Random::new(19);
    let x: Vec<f32> = (0..256 * 64).map(|_| 0.02 * random.normal()).collect();
    let ones = vec![1.0; x.len()];
    let total = error(&x, &vec![0.0; x.len()], &ones);
    for (encoding, theirs) in LLAMA_CPP {
        let ours = error(&x, &decoded(encoding, &encoded(encoding, &x, None)), &ones) / total;
        println!("{encoding}: {ours:.6}, llama.cpp {theirs:.6}");
        // The random numbers differ from those of llama.cpp's figures, hence the 3%.
        assert!(ours <= 1.03 * theirs, "{encoding}: {ours} against {theirs}");
    }
}

#[test]
fn importance_lowers_the_weighted_error() {
    let mut random = Random::new(11);
    let x: Vec<f32> = (0..256 * 16).map(|_| 0.05 * random.normal()).collect();
    let w: Vec<f32> = (0..x.len()).map(|_| random.normal().powi(4) + 1e-3).collect();
    for encoding in Encoding::ALL.into_iter().filter(|e| !e.is_float()) {
        let searched = error(&x, &decoded(encoding, &encoded(encoding, &x, Some(&w))), &w);
        let plain = error(&x, &decoded(encoding, &encoded(encoding, &x, None)), &w);
        println!("{encoding}: searched / plain {:.3}", searched / plain);
        assert!(searched < plain, "{encoding}: {searched} against {plain}");
    }
}

fn values() -> impl Strategy<Value = Vec<f32>> {
    let size = prop_oneof![Just(1e-4f32), Just(0.03), Just(1.0), Just(500.0)];
    (size, prop::collection::vec(-1.0f32..1.0, 256)).prop_map(|(s, v)| v.iter().map(|v| v * s).collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn plain_rounding_errs_by_half_a_step(x in values()) {
        for encoding in [Encoding::Q4_0, Encoding::Q4_1, Encoding::Q5_0, Encoding::Q5_1, Encoding::Q8_0] {
            let found = decoded(encoding, &encoded(encoding, &x, None));
            for (x, found) in x.chunks(32).zip(found.chunks(32)) {
                let top = x.iter().fold(0.0f32, |m, v| m.max(v.abs()));
                let (low, high) = x.iter().fold((f32::MAX, f32::MIN), |(l, h), v| (l.min(*v), h.max(*v)));
                // Q4_0 and Q5_0 have no code for the value opposite to the extreme one, so its error can be a whole
                // step.
                let bound = match encoding {
                    Encoding::Q4_0 => top / 8.0,
                    Encoding::Q5_0 => top / 16.0,
                    Encoding::Q4_1 => (high - low) / 30.0,
                    Encoding::Q5_1 => (high - low) / 62.0,
                    _ => top / 254.0,
                };
                // The scale and minimum are rounded to half precision: 2^-11 relative, 2^-25 absolute per code.
                let slack = top * 1.5e-3 + 3e-8 * 260.0;
                for (x, f) in x.iter().zip(found) {
                    prop_assert!((x - f).abs() <= bound + slack, "{} {} {}", encoding, x, f);
                }
            }
        }
    }

    #[test]
    fn decoded_values_encode_to_themselves(x in values()) {
        for encoding in [Encoding::F32, Encoding::F16, Encoding::BF16, Encoding::Q4_0, Encoding::Q5_0, Encoding::Q8_0] {
            let once = decoded(encoding, &encoded(encoding, &x, None));
            let twice = decoded(encoding, &encoded(encoding, &once, None));
            prop_assert_eq!(&once, &twice, "{}", encoding);
        }
    }

    #[test]
    fn arbitrary_bytes_decode_and_are_checked(bytes in prop::collection::vec(any::<u8>(), 256 * 4)) {
        for encoding in Encoding::ALL {
            let whole = bytes.len() / encoding.block_bytes();
            let bytes = &bytes[..whole * encoding.block_bytes()];
            let cols = whole * encoding.block_len();
            let found = decoded(encoding, bytes);
            let matrix = honelm_blocks::BlockMatrix::new(encoding, 1, cols, bytes.to_vec().into()).unwrap();
            let first = found.iter().position(|v| !v.is_finite());
            match matrix.check_finite() {
                Ok(()) => prop_assert_eq!(first, None, "{}", encoding),
                // 255 is NaN in the standard, whatever the codes are.
                Err(BlockError::NotFinite { column, .. }) if encoding == Encoding::MXFP4 && bytes[column / 32 * 17] == 255 => {}
                Err(BlockError::NotFinite { column, .. }) => {
                    // A scale may be infinite while the codes of its block happen to decode to finite values.
                    let at = first.map(|c| c / encoding.block_len() * encoding.block_len());
                    prop_assert_eq!(Some(column), at, "{}", encoding);
                }
                Err(other) => prop_assert!(false, "{}", other),
            }
        }
    }

    #[test]
    fn k_quants_err_by_little_more_than_a_step(x in values()) {
        for (encoding, levels) in [(Encoding::Q4K, 15.0f32), (Encoding::Q6K, 32.0)] {
            let found = decoded(encoding, &encoded(encoding, &x, Some(&[1.0; 256])));
            let top = x.iter().fold(0.0f32, |m, v| m.max(v.abs()));
            for (x, f) in x.iter().zip(&found) {
                prop_assert!((x - f).abs() <= 3.0 * top / levels + 1e-6, "{} {} {}", encoding, x, f);
            }
        }
    }
}
