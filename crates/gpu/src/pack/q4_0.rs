//! Q4_0: nibbles, 8 columns per word; then the half-precision scales, two per word.

use super::blocks::{BlockLayout, align, half, half_bits, halves_of_32, nibble_codes, put_half, put_nibbles};

pub(super) const LAYOUT: BlockLayout = BlockLayout {
    name: "q4_0",
    source: include_str!("../shaders/formats/q4_0.wgsl"),
    row_words: |cols| cols / 8 + align(cols.div_ceil(64)),
    pack: |row, cols, out| {
        let (codes, scales) = out.split_at_mut(cols / 8);
        for (b, (block, codes)) in row.as_chunks::<18>().0.iter().zip(codes.chunks_exact_mut(4)).enumerate() {
            put_half(scales, b, half_bits(block, 0));
            put_nibbles(&halves_of_32(&block[2..]), codes);
        }
    },
    unpack: |words, out| {
        let (codes, scales) = words.split_at(out.len() / 8);
        for (i, values) in out.chunks_exact_mut(4).enumerate() {
            for (value, q) in values.iter_mut().zip(nibble_codes(codes, 4 * i)) {
                *value = half(scales, i / 8) * f32::from(q as i8 - 8);
            }
        }
    },
};
