//! Group and block matrices: validation, decoding, sizes, finiteness.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use honelm_blocks::{BlockError, BlockMatrix, Encoding, GroupMatrix, ScaleType, WeightData, Zeros};
use honelm_tensor::{AlignedVec, Matrix};

/// 2 x 6, groups of 4 (the last of 2).
fn groups() -> GroupMatrix {
    GroupMatrix {
        rows: 2,
        cols: 6,
        bits: 4,
        group_size: 4,
        scale_type: ScaleType::F16,
        codes: AlignedVec::from_slice(&[0, 1, 2, 3, 4, 5, 15, 14, 13, 12, 11, 10]),
        scales: vec![0.5, 1.0, 2.0, -0.25],
        zeros: Zeros::Integer(vec![0, 4, 16, 8]),
        order: None,
    }
}

fn code(result: Result<GroupMatrix, BlockError>) -> &'static str {
    result.unwrap_err().code()
}

#[test]
fn groups_decode_by_column_and_by_order() {
    let plain = groups().validated().unwrap();
    let decoded = WeightData::from(plain.clone()).dequantize();
    assert_eq!(decoded.row(0), [0.0, 0.5, 1.0, 1.5, 0.0, 1.0]);
    assert_eq!(decoded.row(1), [-2.0, -4.0, -6.0, -8.0, -0.75, -0.5]);

    let ordered = GroupMatrix { order: Some(vec![1, 0, 1, 0, 1, 0]), ..groups() }.validated().unwrap();
    let decoded = WeightData::from(ordered.clone()).dequantize();
    assert_eq!(decoded.row(0), [-4.0, 0.5, -2.0, 1.5, 0.0, 2.5]);
    assert_eq!((ordered.scale(1, 0), ordered.zero(1, 0)), (-0.25, Some(8)));
    assert_eq!((plain.scale(1, 0), plain.zero(1, 5), plain.bias(0, 0)), (2.0, Some(8), None));

    let biased = GroupMatrix { zeros: Zeros::Bias(vec![1.0, -1.0, 0.0, 0.5]), ..groups() }.validated().unwrap();
    assert_eq!((biased.zero(0, 0), biased.bias(1, 4)), (None, Some(0.5)));
    let decoded = WeightData::from(biased).dequantize();
    assert_eq!(decoded.row(0), [1.0, 1.5, 2.0, 2.5, 3.0, 4.0]);
}

#[test]
fn sizes_count_codes_scales_zeros_and_order() {
    let plain = groups();
    assert_eq!(plain.size_bytes(), 6 + 4 * 2 + 2);
    assert_eq!(GroupMatrix { zeros: Zeros::Constant(8), ..groups() }.size_bytes(), 6 + 8);
    assert_eq!(GroupMatrix { zeros: Zeros::Bias(vec![0.0; 4]), ..groups() }.size_bytes(), 6 + 8 + 8);
    assert_eq!(GroupMatrix { order: Some(vec![0; 6]), ..groups() }.size_bytes(), 6 + 8 + 2 + 24);
    let wide = GroupMatrix {
        rows: 4,
        cols: 256,
        group_size: 128,
        codes: AlignedVec::zeroed(1024),
        scales: vec![0.0; 8],
        zeros: Zeros::Integer(vec![8; 8]),
        ..groups()
    };
    let wide = WeightData::from(wide.validated().unwrap());
    assert_eq!((wide.bits_per_weight(), wide.encoding_name()), (4.15625, "int4 g128".to_owned()));
}

#[test]
fn refuses_groups_that_do_not_fit_together() {
    assert_eq!(code(GroupMatrix { bits: 1, ..groups() }.validated()), "unsupported-bits");
    assert_eq!(code(GroupMatrix { bits: 9, ..groups() }.validated()), "unsupported-bits");
    assert_eq!(code(GroupMatrix { group_size: 0, ..groups() }.validated()), "bad-group-size");
    assert_eq!(code(GroupMatrix { rows: 3, ..groups() }.validated()), "weight-length");
    assert_eq!(code(GroupMatrix { rows: usize::MAX, ..groups() }.validated()), "weight-too-large");
    assert_eq!(code(GroupMatrix { scales: vec![0.5; 3], ..groups() }.validated()), "weight-length");
    assert_eq!(code(GroupMatrix { zeros: Zeros::Integer(vec![0; 3]), ..groups() }.validated()), "weight-length");
    assert_eq!(code(GroupMatrix { zeros: Zeros::Bias(vec![0.0; 3]), ..groups() }.validated()), "weight-length");
    assert_eq!(code(GroupMatrix { zeros: Zeros::Constant(17), ..groups() }.validated()), "zero-point-out-of-range");
    assert_eq!(code(GroupMatrix { scales: vec![0.1; 4], ..groups() }.validated()), "scale-not-representable");
    assert_eq!(code(GroupMatrix { order: Some(vec![0; 5]), ..groups() }.validated()), "weight-length");
    assert_eq!(code(GroupMatrix { order: Some(vec![2; 6]), ..groups() }.validated()), "group-index-out-of-range");
    let found = GroupMatrix { codes: AlignedVec::from_slice(&[16; 12]), ..groups() }.validated().unwrap_err();
    assert_eq!(found, BlockError::Code { row: 0, column: 0, found: 16, bits: 4 });
}

#[test]
fn empty_groups_are_valid_and_decode_to_nothing() {
    let empty = GroupMatrix {
        rows: 3,
        cols: 0,
        codes: AlignedVec::zeroed(0),
        scales: vec![],
        zeros: Zeros::Integer(vec![]),
        ..groups()
    };
    let empty = WeightData::from(empty.validated().unwrap());
    empty.check_finite().unwrap();
    assert_eq!((empty.dequantize().data.len(), empty.bits_per_weight()), (0, 0.0));
}

#[test]
fn wide_zero_points_are_narrowed_or_refused() {
    assert_eq!(Zeros::integers([0, 16], 4).unwrap(), Zeros::Integer(vec![0, 16]));
    let found = Zeros::integers([0, 17], 4).unwrap_err();
    assert_eq!(found, BlockError::ZeroPoint { index: 1, found: 17, limit: 16 });
    assert_eq!(Zeros::integers([256], 8).unwrap_err(), BlockError::ZeroPoint { index: 0, found: 256, limit: 255 });
}

#[test]
fn finds_groups_that_are_not_finite() {
    let bad = GroupMatrix { scales: vec![0.5, 1.0, 2.0, f32::NAN], ..groups() }.validated().unwrap();
    let found = bad.check_finite().unwrap_err();
    assert!(matches!(found, BlockError::NotFinite { row: 1, column: 4, value } if value.is_nan()), "{found}");
    let order = Some(vec![1, 0, 1, 0, 1, 0]);
    let bad = GroupMatrix { scales: vec![0.5, f32::INFINITY, 2.0, 1.0], order, ..groups() }.validated().unwrap();
    let found = WeightData::from(bad).check_finite().unwrap_err();
    assert_eq!(found, BlockError::NotFinite { row: 0, column: 0, value: f32::INFINITY });
    // A finite scale whose codes are not.
    let big = GroupMatrix { scale_type: ScaleType::F32, scales: vec![0.5, 1.0, 3e38, 1.0], ..groups() };
    assert!(matches!(big.validated().unwrap().check_finite(), Err(BlockError::NotFinite { row: 1, column: 0, .. })));
    groups().check_finite().unwrap();
}

#[test]
fn finds_blocks_that_are_not_finite() {
    for encoding in Encoding::ALL {
        let x = Matrix::new(3, 512, vec![0.25; 3 * 512]);
        let good = BlockMatrix::quantize(&x, encoding, None).unwrap();
        good.check_finite().unwrap();
        let mut bytes = good.bytes.to_vec();
        let block = (2 * 512 + 256) / encoding.block_len();
        // The top byte of the first scale or value; Q6_K has its scale last.
        let at = match encoding {
            Encoding::F32 => 3,
            Encoding::Q6K => 209,
            _ => 1,
        };
        let at = block * encoding.block_bytes() + at;
        bytes[at] = 0x7F;
        bytes[at - 1] = 0xC1;
        let bad = BlockMatrix::new(encoding, 3, 512, bytes.into()).unwrap();
        let found = WeightData::from(bad).check_finite().unwrap_err();
        assert!(matches!(found, BlockError::NotFinite { row: 2, column: 256, .. }), "{encoding}: {found}");
        assert_eq!(found.code(), "weight-not-finite");
    }
}

#[test]
fn block_matrices_check_their_shape_and_name_bad_rows() {
    let x = Matrix::new(2, 64, (0..128).map(|i| i as f32 / 64.0 - 1.0).collect());
    let m = BlockMatrix::quantize(&x, Encoding::Q8_0, None).unwrap();
    assert_eq!((m.row_bytes(), m.row(1).len(), m.bytes.len()), (68, 68, 136));
    let w = WeightData::from(m.clone());
    assert_eq!((w.rows(), w.cols(), w.size_bytes(), w.bits_per_weight()), (2, 64, 136, 8.5));
    assert_eq!(w.encoding_name(), "Q8_0");
    for (found, x) in w.dequantize().data.iter().zip(&x.data) {
        assert!((found - x).abs() < 1.0 / 200.0);
    }
    assert_eq!(BlockMatrix::new(Encoding::Q8_0, 3, 64, m.bytes.clone()).unwrap_err().code(), "weight-length");
    assert_eq!(BlockMatrix::new(Encoding::Q8_0, 2, 63, m.bytes.clone()).unwrap_err().code(), "partial-block");
    assert_eq!(BlockMatrix::new(Encoding::Q8_0, usize::MAX, 64, m.bytes).unwrap_err().code(), "weight-too-large");
    let mut bad = x;
    bad.row_mut(1)[7] = f32::NAN;
    let found = BlockMatrix::quantize(&bad, Encoding::Q4_0, None).unwrap_err();
    assert!(matches!(found, BlockError::NotFinite { row: 1, column: 7, .. }), "{found}");
}
