//! Q8_0: signed bytes, 4 columns per word; then the half-precision scales, two per word.

use super::blocks::{BlockLayout, align, half, half_bits, put_half, word};

pub(super) const LAYOUT: BlockLayout = BlockLayout {
    name: "q8_0",
    source: include_str!("../shaders/formats/q8_0.wgsl"),
    row_words: |cols| cols / 4 + align(cols.div_ceil(64)),
    pack: |row, cols, out| {
        let (codes, scales) = out.split_at_mut(cols / 4);
        for (b, (block, codes)) in row.as_chunks::<34>().0.iter().zip(codes.as_chunks_mut::<8>().0).enumerate() {
            put_half(scales, b, half_bits(block, 0));
            *codes = std::array::from_fn(|i| word(&block[2..], i));
        }
    },
    unpack: |words, out| {
        let (codes, scales) = words.split_at(out.len() / 4);
        for (i, (values, codes)) in out.chunks_exact_mut(4).zip(codes).enumerate() {
            for (value, q) in values.iter_mut().zip(codes.to_le_bytes()) {
                *value = half(scales, i / 8) * f32::from(q as i8);
            }
        }
    },
};
