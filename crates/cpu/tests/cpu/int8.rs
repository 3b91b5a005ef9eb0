//! Every instruction set compared bit for bit with a reference that does not use tiles.

#![allow(unsafe_code, reason = "parts of one result for several threads")]

mod counted;
mod oracle;

use std::ops::Range;

use honelm_blocks::{BlockMatrix, Encoding, GroupMatrix, ScaleType, WeightData, Zeros};
use honelm_tensor::{AlignedVec, Matrix};

use crate::common::instruction_sets;
use honelm_cpu::int8::*;
use honelm_cpu::{Isa, Output, Pool};
use oracle::{Random, groups, product, random_blocks, round_rows};

const ENCODINGS: [Encoding; 13] = [
    Encoding::Q4_0,
    Encoding::Q4_1,
    Encoding::Q5_0,
    Encoding::Q5_1,
    Encoding::Q8_0,
    Encoding::Q2K,
    Encoding::Q3K,
    Encoding::Q4K,
    Encoding::Q5K,
    Encoding::Q6K,
    Encoding::IQ4NL,
    Encoding::IQ4XS,
    Encoding::MXFP4,
];

fn rounded(x: &Matrix, order: Option<&[u32]>, isa: Isa) -> QuantizedRows {
    let mut out = QuantizedRows::new();
    quantize_ordered(&x.data, (x.rows, x.cols), order, isa, None, &mut out);
    out
}

/// Computes rows `rows` of the product, with the tiles in two parts.
fn multiply(weight: &Int8Weight, x: &QuantizedRows, rows: Range<usize>, out: &mut Matrix) {
    let (n, m) = (out.rows, out.cols);
    let output = Output::new(&mut out.data, n, m);
    let half = weight.tiles() / 2;
    for tiles in [0..half, half..weight.tiles()] {
        // SAFETY: only one part is alive at a time.
        let mut part = unsafe { output.tiles(tiles.clone()) };
        weight.multiply(tiles, x, rows.clone(), &mut part);
    }
}

fn full(weight: &Int8Weight, x: &QuantizedRows) -> Matrix {
    let mut out = Matrix::zeros(x.rows(), weight.rows());
    multiply(weight, x, 0..x.rows(), &mut out);
    out
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| if v.is_nan() { u32::MAX } else { v.to_bits() }).collect()
}

/// Asserts that the product on every instruction set, the packed rows and the size agree with the reference.
fn check(weight: &WeightData, x: &Matrix, what: &str) {
    let expected = product(weight, x);
    for isa in instruction_sets() {
        let packed = Int8Weight::pack(weight, isa).unwrap_or_else(|| panic!("{what}: no kernel"));
        let found = full(&packed, &rounded(x, packed.column_order(), isa));
        assert_eq!(bits(&found.data), bits(&expected.data), "{what}, {} rows of activations, {isa}", x.rows);
        let (mut a, mut b) = (vec![0.0; weight.cols()], vec![0.0; weight.cols()]);
        for r in 0..weight.rows() {
            packed.row(r, &mut a);
            weight.dequantize_row(r, &mut b);
            assert_eq!(bits(&a), bits(&b), "{what}: row {r}");
        }
        let order = packed.column_order().map_or(0, size_of_val);
        let planned = packed_bytes(Int8Kind::of(weight), weight.rows(), weight.cols());
        assert_eq!(planned.map(|bytes| bytes + order), Some(packed.bytes()), "{what}");
    }
}

#[test]
fn block_encodings_match_the_reference_at_every_edge() {
    let mut random = Random::new(1);
    for encoding in ENCODINGS {
        for rows in [1, 15, 16, 17, 33] {
            for cols in [32, 64, 256, 2304] {
                if cols % encoding.block_len() != 0 {
                    continue;
                }
                let weight = random_blocks(encoding, rows, cols, 1.0, &mut random);
                let count = if cols == 2304 { 3 } else { 9 };
                let x = random.matrix(count, cols);
                check(&weight, &x, &format!("{encoding:?} {rows} x {cols}"));
            }
        }
    }
}

#[test]
fn every_number_of_rows_matches_the_reference() {
    let mut random = Random::new(2);
    for encoding in ENCODINGS {
        let weight = random_blocks(encoding, 17, 512, 1.0, &mut random);
        for count in (1..=18).chain([31, 140]) {
            check(&weight, &random.matrix(count, 512), &format!("{encoding:?}"));
        }
    }
}

#[test]
fn extreme_blocks_match_the_reference() {
    let mut random = Random::new(3);
    for encoding in ENCODINGS {
        // The largest and the smallest half-precision scale, zero, all of either sign; codes at either end.
        for scale in [65504.0, -65504.0, 6e-8, -6e-8, 0.0, -0.0, 1.0] {
            for fill in [None, Some(0x00), Some(0xff), Some(0x80), Some(0x7f)] {
                let weight = oracle::blocks(encoding, 17, 256, scale, fill, &mut random);
                let mut x = random.matrix(5, 256);
                x.row_mut(1).fill(3e38);
                x.row_mut(2).fill(-1e-45);
                x.row_mut(3).fill(0.0);
                check(&weight, &x, &format!("{encoding:?} scale {scale} fill {fill:?}"));
            }
        }
    }
}

#[test]
fn integer_groups_match_the_reference() {
    let mut random = Random::new(4);
    for bits in [2, 3, 4, 8] {
        for scale_type in [ScaleType::F16, ScaleType::BF16, ScaleType::F32] {
            for zeros in 0..2 {
                for (cols, size) in [(64, 32), (256, 128), (288, 96), (320, 128), (256, 256), (64, 4096)] {
                    let matrix = groups(bits, 33, cols, size, scale_type, zeros, &mut random);
                    let what = format!("int{bits} g{size} {scale_type:?} zeros {zeros} of {cols}");
                    for count in [1, 4, 11] {
                        check(&matrix.clone().into(), &random.matrix(count, cols), &what);
                    }
                }
            }
        }
    }
}

#[test]
fn act_order_is_undone() {
    let mut random = Random::new(5);
    for zeros in 0..2 {
        let mut matrix = groups(4, 20, 256, 64, ScaleType::F16, zeros, &mut random);
        let mut of_column: Vec<u32> = (0..256).map(|c| c / 64).collect();
        for i in (1..of_column.len()).rev() {
            of_column.swap(i, random.below(i + 1));
        }
        matrix.order = Some(of_column.clone());
        let weight = WeightData::Groups(matrix);
        let order = Int8Weight::pack(&weight, Isa::Generic).and_then(|w| w.column_order().map(<[u32]>::to_vec));
        let order = order.expect("a column order");
        assert!(order.windows(2).all(|w| {
            let of = |c: u32| (of_column[c as usize], c);
            of(w[0]) < of(w[1])
        }));
        check(&weight, &random.matrix(9, 256), "act-order");
    }
}

#[test]
fn a_row_has_the_same_bits_beside_any_other_rows() {
    let mut random = Random::new(6);
    let (rows, cols, count) = (33, 512, 501);
    let x = random.matrix(count, cols);
    let mut weights: Vec<WeightData> = ENCODINGS.map(|e| random_blocks(e, rows, cols, 1.0, &mut random)).into();
    for bits in [3, 8] {
        weights.extend((0..2).map(|zeros| groups(bits, rows, cols, 128, ScaleType::F32, zeros, &mut random).into()));
    }
    let isa = instruction_sets().pop().expect("generic is always available");
    for weight in weights {
        let packed = Int8Weight::pack(&weight, isa).expect("a kernel");
        let whole = full(&packed, &rounded(&x, None, isa));
        for r in [0, 1, 7, 8, 15, 250, 500] {
            let alone = Matrix::new(1, cols, x.row(r).to_vec());
            assert_eq!(bits(whole.row(r)), bits(&full(&packed, &rounded(&alone, None, isa)).data), "alone");
            let first = r.min(count - 16);
            let among = Matrix::new(16, cols, x.data[first * cols..(first + 16) * cols].to_vec());
            assert_eq!(bits(whole.row(r)), bits(full(&packed, &rounded(&among, None, isa)).row(r - first)), "among");
        }
        let all = rounded(&x, None, isa);
        for range in [3..4, 3..5, 7..9, 6..11, 0..5, 2..8, 8..13, 496..501, 7..500, 500..501, 9..9] {
            let mut part = Matrix::zeros(count, rows);
            multiply(&packed, &all, range.clone(), &mut part);
            for r in 0..count {
                let expected = if range.contains(&r) { whole.row(r).to_vec() } else { vec![0.0; rows] };
                assert_eq!(bits(part.row(r)), bits(&expected), "row {r} of {range:?}");
            }
        }
    }
}

#[test]
fn stays_within_the_rounding_of_the_activations() {
    let mut random = Random::new(7);
    let (rows, cols) = (40, 768);
    let matrix = random.matrix(rows, cols);
    let x = random.matrix(6, cols);
    for encoding in ENCODINGS {
        let weight: WeightData = BlockMatrix::quantize(&matrix, encoding, None).expect("finite values").into();
        let exact = weight.dequantize();
        let packed = Int8Weight::pack(&weight, Isa::detect()).expect("a kernel");
        let found = full(&packed, &rounded(&x, None, Isa::detect()));
        for n in 0..x.rows {
            for m in 0..rows {
                let (mut sum, mut bound) = (0.0f64, 0.0f64);
                for (xs, ws) in x.row(n).chunks(32).zip(exact.row(m).chunks(32)) {
                    let step = f64::from(xs.iter().fold(0.0f32, |top, v| top.max(v.abs()))) / 127.0;
                    for (&x, &w) in xs.iter().zip(ws) {
                        sum += f64::from(x) * f64::from(w);
                        bound += (0.5001 * step + 1e-5 * f64::from(x.abs())) * f64::from(w.abs());
                    }
                }
                let error = (f64::from(found.row(n)[m]) - sum).abs();
                assert!(error <= bound, "{encoding:?} ({n}, {m}): {error} > {bound}");
            }
        }
    }
}

#[test]
fn values_that_are_not_finite_affect_only_their_own_row() {
    let mut random = Random::new(8);
    for encoding in ENCODINGS {
        let weight = random_blocks(encoding, 17, 256, 1.0, &mut random);
        for count in [1usize, 3, 20] {
            let clean = random.matrix(count, 256);
            for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                let mut x = clean.clone();
                x.row_mut(count / 2)[77] = bad;
                for isa in instruction_sets() {
                    let packed = Int8Weight::pack(&weight, isa).expect("a kernel");
                    let expected = full(&packed, &rounded(&clean, None, isa));
                    let found = full(&packed, &rounded(&x, None, isa));
                    for r in 0..count {
                        if r == count / 2 {
                            assert!(found.row(r).iter().all(|v| v.is_nan()), "{encoding:?} {bad} {isa}");
                        } else {
                            assert_eq!(bits(found.row(r)), bits(expected.row(r)), "{encoding:?} {bad} {isa}");
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn activations_round_alike_on_every_instruction_set() {
    let mut random = Random::new(9);
    for count in [1, 2, 5, 7, 8, 13, 24] {
        let mut x = random.matrix(count, 96);
        // Ties, subnormals, the largest and the smallest magnitudes.
        for (i, v) in x.row_mut(0).iter_mut().enumerate() {
            *v = match i / 32 {
                0 => [127.0, 0.5, 1.5, -2.5][i % 4],
                1 => f32::from_bits(1 + i as u32 * 7),
                _ => [f32::MAX, f32::MIN, f32::MIN_POSITIVE, -0.0][i % 4],
            };
        }
        let expected = round_rows(&x);
        for isa in instruction_sets() {
            // A buffer that was used for more rows before.
            let mut found = rounded(&random.matrix(30, 128), None, isa);
            quantize(&x.data, count, 96, isa, &mut found);
            for (r, row) in expected.iter().enumerate() {
                for (b, (scale, codes)) in row.iter().enumerate() {
                    let (found_scale, found_codes) = found.block(r, b);
                    assert_eq!(
                        (found_scale.to_bits(), found_codes),
                        (scale.to_bits(), *codes),
                        "{isa} row {r} block {b}"
                    );
                }
            }
        }
    }
}

#[test]
fn activations_round_alike_on_every_number_of_threads() {
    let mut random = Random::new(11);
    for (count, cols) in [(1, 40_000), (3, 8224), (8, 2336), (20, 1312)] {
        let x = random.matrix(count, cols);
        let expected = round_rows(&x);
        for threads in [1, 3] {
            let mut found = QuantizedRows::new();
            let pool = Pool::new(Some(threads));
            quantize_ordered(&x.data, (count, cols), None, Isa::detect(), Some(&pool), &mut found);
            for (r, row) in expected.iter().enumerate() {
                for (b, (scale, codes)) in row.iter().enumerate() {
                    assert_eq!(found.block(r, b), (*scale, *codes), "{threads} threads, row {r}, block {b}");
                }
            }
        }
    }
}

#[test]
fn weights_without_a_kernel_are_refused() {
    let mut random = Random::new(10);
    let none = |weight: WeightData| {
        assert!(Int8Weight::pack(&weight, Isa::Generic).is_none());
    };
    let matrix = random.matrix(4, 64);
    for encoding in [Encoding::F32, Encoding::F16, Encoding::BF16] {
        none(BlockMatrix::quantize(&matrix, encoding, None).expect("finite values").into());
    }
    none(groups(5, 4, 64, 32, ScaleType::F16, 1, &mut random).into());
    none(groups(4, 4, 64, 16, ScaleType::F16, 1, &mut random).into());
    none(groups(4, 4, 48, 48, ScaleType::F16, 1, &mut random).into());
    none(groups(4, 4, 64, 32, ScaleType::F16, 2, &mut random).into());
    // Column groups of different lengths.
    let mut uneven = groups(4, 4, 64, 32, ScaleType::F16, 1, &mut random);
    uneven.order = Some((0..64).map(|c| u32::from(c > 40)).collect());
    none(uneven.into());
    assert_eq!(packed_bytes(Int8Kind::Blocks(Encoding::F32), 4, 64), None);
    assert_eq!(packed_bytes(Int8Kind::Blocks(Encoding::Q8_0), usize::MAX, 64), None);
    assert_eq!(packed_bytes(Int8Kind::Blocks(Encoding::Q8_0), 64, usize::MAX / 64 * 64), None);
}

#[test]
fn takes_no_more_memory_than_the_encoding() {
    for (encoding, slack) in [
        (Encoding::Q4_0, 0),
        (Encoding::Q4_1, 0),
        (Encoding::Q5_0, 0),
        (Encoding::Q5_1, 0),
        (Encoding::Q8_0, 0),
        // 6-bit scales and minima stored as bytes.
        (Encoding::Q4K, 2048 / 256 * 4 * 32),
        // Whole cache lines per 256 columns.
        (Encoding::Q6K, 2048 / 256 * 2 * 32),
        // 4-bit scales and minima stored as bytes.
        (Encoding::Q2K, 2048 / 256 * 16 * 32),
        // 6-bit scales stored as bytes; whole cache lines.
        (Encoding::Q3K, 2048 / 256 * 6 * 32),
        (Encoding::Q5K, 2048 / 256 * 4 * 32),
        (Encoding::IQ4NL, 0),
        (Encoding::IQ4XS, 2048 / 256 * 4 * 32),
        // Scales stored as bfloat16.
        (Encoding::MXFP4, 2048 / 32 * 32),
    ] {
        let stored = encoding.row_bytes(2048).expect("whole blocks") * 32;
        assert_eq!(packed_bytes(Int8Kind::Blocks(encoding), 32, 2048), Some(stored + slack), "{encoding:?}");
    }
}
