//! Group and block matrices: validation, decoding, sizes, finiteness.

use honelm_blocks::{BlockError, BlockMatrix, Encoding, GroupMatrix, ScaleType, WeightData, Zeros};
use honelm_tensor::{AlignedVec, Matrix};

/// A 2 x 6 matrix with groups of 4 columns (the last has 2).
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
    // The scale is finite and its codes are not.
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
        let block = &mut bytes[(2 * 512 + 256) / encoding.block_len() * encoding.block_bytes()..];
        match encoding {
            // Every scale is a number.
            Encoding::NVFP4 => continue,
            Encoding::F32 | Encoding::FP8 => block[2..4].copy_from_slice(&[0xC1, 0x7F]),
            Encoding::MXFP4 => block[0] = 255,
            // Each field holds one nibble of the half-precision scale.
            Encoding::IQ1M => [1, 12, 15, 7].iter().enumerate().for_each(|(i, n)| block[49 + 2 * i] |= n << 4),
            _ => {
                let at = match encoding {
                    Encoding::Q2K => 80,
                    Encoding::Q3K => 108,
                    Encoding::Q6K => 208,
                    Encoding::TQ1_0 => 52,
                    Encoding::TQ2_0 => 64,
                    _ => 0,
                };
                block[at..at + 2].copy_from_slice(&[0xC1, 0x7F]);
            }
        }
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

#[test]
fn fp8_matrices_hold_any_grid_of_scales() {
    let codes: Vec<u8> = (0..6 * 64).map(|i| (i * 37 % 127) as u8 | (i as u8 & 1) << 7).collect();
    let number = |code: u8| {
        let (e, m) = (i32::from(code >> 3 & 15), f32::from(code & 7) / 8.0);
        let magnitude = if e == 0 { m * 2f32.powi(-6) } else { (1.0 + m) * 2f32.powi(e - 7) };
        if code < 128 { magnitude } else { -magnitude }
    };
    let grids = [((6, 64), 1), ((1, 64), 1), ((4, 32), 2), ((128, 128), 1), ((usize::MAX, 32), 2), ((4, 20), 4)];
    for (block, across) in grids {
        let down = 6usize.div_ceil(block.0);
        let scales: Vec<f32> = (0..down * across).map(|i| 0.013 * (1.0 + i as f32).sqrt()).collect();
        let matrix = BlockMatrix::from_fp8(6, 64, &codes, &scales, block).unwrap();
        matrix.check_finite().unwrap();
        assert_eq!(matrix.encoding, if block.1 == 20 { Encoding::F32 } else { Encoding::FP8 });
        let found = WeightData::from(matrix).dequantize();
        for (i, &code) in codes.iter().enumerate() {
            let scale = scales[i / 64 / block.0 * across + i % 64 / block.1.min(64)];
            assert_eq!(found.data[i], number(code) * scale, "block {block:?}, value {i}");
        }
    }
    let new = |cols, codes: &[u8], scales: &[f32], block| {
        BlockMatrix::from_fp8(6, cols, codes, scales, block).map_err(|e| e.code()).err()
    };
    assert_eq!(new(64, &codes[1..], &[1.0], (6, 64)), Some("weight-length"));
    assert_eq!(new(64, &codes, &[1.0; 2], (6, 64)), Some("weight-length"));
    assert_eq!(new(63, &codes[..378], &[1.0], (6, 63)), None);
    assert_eq!(BlockMatrix::fp8_encoding(63, 63), Encoding::F32);
    assert_eq!(new(0, &[], &[], (0, 0)), None);
    for bad in [0x7F, 0xFF] {
        let mut codes = codes.clone();
        codes[70] = bad;
        let found = BlockMatrix::from_fp8(6, 64, &codes, &[1.0], (6, 64)).unwrap().check_finite().unwrap_err();
        assert!(matches!(found, BlockError::NotFinite { row: 1, column: 0, .. }), "{found}");
    }
}
