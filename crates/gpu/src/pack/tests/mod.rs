#![allow(clippy::unwrap_used, reason = "tests")]

mod gpu;
pub(crate) mod text;
pub(crate) mod weights;

use honelm_blocks::{BlockMatrix, GroupMatrix, Zeros};
use honelm_tensor::{AlignedVec, Matrix};

use super::*;
use weights::{Random, ZeroChoice, blocks, groups, of_every_kind};

/// Asserts equal numbers; a zero may have the other sign.
#[track_caller]
fn assert_same(found: &[f32], expected: &[f32], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (i, (f, e)) in found.iter().zip(expected).enumerate() {
        assert!(f == e, "{what}: value {i} is {f:e} ({:08x}), not {e:e} ({:08x})", f.to_bits(), e.to_bits());
    }
}

fn name(weight: &WeightData, layout: Layout) -> String {
    format!("{} {} x {} as {}", weight.encoding_name(), weight.rows(), weight.cols(), layout.display_name())
}

/// Returns rows `range` of a weight.
fn slab(weight: &WeightData, range: std::ops::Range<usize>) -> WeightData {
    match weight {
        WeightData::Blocks(m) => {
            let width = m.row_bytes();
            let bytes = m.bytes.slice(range.start * width..range.end * width);
            BlockMatrix::new(m.encoding, range.len(), m.cols, bytes).unwrap().into()
        }
        WeightData::Groups(m) => {
            let groups = range.start * m.groups()..range.end * m.groups();
            let zeros = match &m.zeros {
                Zeros::Constant(z) => Zeros::Constant(*z),
                Zeros::Integer(z) => Zeros::Integer(z[groups.clone()].to_vec()),
                Zeros::Bias(b) => Zeros::Bias(b[groups.clone()].to_vec()),
            };
            let part = GroupMatrix {
                rows: range.len(),
                codes: AlignedVec::from_slice(&m.codes[range.start * m.cols..range.end * m.cols]),
                scales: m.scales[groups].to_vec(),
                zeros,
                order: m.order.clone(),
                ..*m
            };
            part.validated().unwrap().into()
        }
    }
}

#[test]
fn every_encoding_keeps_every_value() {
    for weight in of_every_kind(&mut Random::new(1)) {
        let packed = pack(&weight, Fallback::Refuse).unwrap();
        let (expected, what) = (weight.dequantize(), name(&weight, packed.layout));
        let mut row = vec![0.0; weight.cols()];
        for r in 0..weight.rows() {
            packed.dequantize_row(r, &mut row);
            assert_same(&row, expected.row(r), &format!("{what}, row {r}"));
        }
    }
}

#[test]
fn quantised_values_survive_too() {
    let values = honelm_testing::matrix(2, 512, 3);
    for encoding in Encoding::ALL {
        let weight = WeightData::from(BlockMatrix::quantize(&values, encoding, None).unwrap());
        let packed = pack(&weight, Fallback::Refuse).unwrap();
        let mut row = vec![0.0; 512];
        packed.dequantize_row(1, &mut row);
        assert_same(&row, weight.dequantize().row(1), &name(&weight, packed.layout));
    }
}

#[test]
fn the_planned_size_is_the_packed_size() {
    for weight in of_every_kind(&mut Random::new(2)) {
        let (rows, cols) = (weight.rows(), weight.cols());
        let (layout, bytes) = packed_bytes(WeightKind::of(&weight), rows, cols, Fallback::Refuse).unwrap();
        let packed = pack(&weight, Fallback::Refuse).unwrap();
        assert_eq!((packed.layout, packed.words.len() as u64 * 4), (layout, bytes), "{}", name(&weight, layout));
        assert_eq!(layout.row_words(cols) % 4, 0, "{}", name(&weight, layout));
    }
}

#[test]
fn a_layout_takes_no_more_than_a_padded_row_beyond_the_encoding() {
    for layout in Layout::BLOCKS {
        let encoding = layout.encoding().unwrap();
        let stored = encoding.row_bytes(4096).unwrap();
        let packed = 4 * layout.row_words(4096);
        assert!((stored..=stored + 48).contains(&packed), "{encoding}: {packed} bytes, {stored} in its file");
    }
}

#[test]
fn converted_encodings_take_at_most_ten_bits_a_weight() {
    for encoding in Encoding::ALL.into_iter().filter(|e| Layout::of_blocks(*e).is_none()) {
        let (layout, bytes) = packed_bytes(WeightKind::Blocks(encoding), 1, 4096, Fallback::Refuse).unwrap();
        assert!(matches!(layout, Layout::Groups(_)) && bytes * 8 <= 10 * 4096, "{encoding}: {bytes} bytes");
    }
}

#[test]
fn slabs_of_rows_pack_as_the_whole() {
    let mut random = Random::new(4);
    let mut weights: Vec<WeightData> = Encoding::ALL.map(|e| blocks(e, 5, 2 * e.block_len(), &mut random)).into();
    for (zeros, ordered) in [(ZeroChoice::Integer, true), (ZeroChoice::Bias, false), (ZeroChoice::Constant, false)] {
        weights.push(groups((5, 96), (4, 32), ScaleType::F16, zeros, ordered, &mut random).into());
    }
    for weight in weights {
        let whole = pack(&weight, Fallback::Refuse).unwrap();
        let parts = [0..2, 2..2, 2..5].map(|range| pack_rows(&slab(&weight, range), whole.layout).unwrap());
        assert_eq!(parts.concat(), whole.words, "{}", name(&weight, whole.layout));
    }
}

#[test]
fn refuses_groups_within_eight_columns_by_name_and_rounds_them_where_allowed() {
    let mut random = Random::new(5);
    let weight = WeightData::from(groups((2, 24), (4, 12), ScaleType::BF16, ZeroChoice::Integer, false, &mut random));
    let refused = pack(&weight, Fallback::Refuse).unwrap_err();
    assert_eq!(refused.code(), "no-gpu-layout");
    assert_eq!(
        refused.to_string(),
        "int4 g12 with 24 columns has no lossless GPU layout; rounded to F16 it takes 96 bytes instead of 36"
    );
    let (layout, bytes) = packed_bytes(WeightKind::of(&weight), 2, 24, Fallback::F16).unwrap();
    assert_eq!((layout, bytes), (Layout::F16, 96));
    let packed = pack(&weight, Fallback::F16).unwrap();
    assert_eq!((packed.layout, packed.words.len() * 4), (Layout::F16, 96));
    let (mut found, mut expected) = ([0.0; 24], [0.0; 24]);
    packed.dequantize_row(1, &mut found);
    weight.dequantize_row(1, &mut expected);
    assert_same(&found, &expected.map(|value: f32| f16::from_f32(value).to_f32()), "rounded");
}

#[test]
fn rounds_to_half_precision_and_refuses_what_is_beyond_it() {
    let values = Matrix::new(1, 3, vec![1.0, 0.1, -65519.0]);
    let weight = WeightData::from(BlockMatrix::quantize(&values, Encoding::F32, None).unwrap());
    let packed = pack_as(&weight, Layout::F16).unwrap();
    let mut row = [0.0; 3];
    packed.dequantize_row(0, &mut row);
    assert_eq!(row, [1.0, 0.099_975_586, -65504.0]);
    let values = Matrix::new(2, 2, vec![1.0, 0.1, 0.0, 65520.0]);
    let weight = WeightData::from(BlockMatrix::quantize(&values, Encoding::F32, None).unwrap());
    let error = pack_as(&weight, Layout::F16).unwrap_err();
    assert_eq!(error, PackError::HalfOverflow { row: 1, column: 1, value: 65520.0 });
}

#[test]
fn refuses_uneven_column_groups() {
    let mut m = groups((1, 32), (4, 16), ScaleType::F16, ZeroChoice::Integer, true, &mut Random::new(6));
    m.order = Some((0..32).map(|c| u32::from(c == 0)).collect());
    let error = pack(&m.into(), Fallback::Refuse).unwrap_err();
    assert_eq!(error, PackError::UnevenGroups { group: 0, columns: 31, expected: 16 });
}

#[test]
fn refuses_rows_of_another_encoding() {
    let weight = blocks(Encoding::Q4_0, 1, 32, &mut Random::new(7));
    assert_eq!(pack_rows(&weight, Layout::Q8_0).unwrap_err().code(), "other-gpu-layout");
}

#[test]
fn refuses_converted_values_that_are_not_finite() {
    // The d of an IQ4_NL block is infinite.
    let mut bytes = vec![0x21; 18];
    bytes[..2].copy_from_slice(&0x7c00u16.to_le_bytes());
    let weight = BlockMatrix::new(Encoding::IQ4NL, 1, 32, bytes.into()).unwrap().into();
    assert_eq!(
        pack(&weight, Fallback::Refuse).unwrap_err(),
        PackError::NotExact { encoding: "IQ4_NL", row: 0, column: 0 }
    );
}
