//! Q5_0: nibbles, 8 columns per word; fifth bits, 32 columns per word; then the half-precision scales, two per word.

use super::blocks::{
    BlockLayout, align, fifth_bits, five_bit_codes, half, half_bits, halves_of_32, put_half, put_nibbles,
    with_fifth_bits, word,
};

pub(super) const LAYOUT: BlockLayout = BlockLayout {
    name: "q5_0",
    source: include_str!("../shaders/formats/q5_0.wgsl"),
    row_words: |cols| cols / 8 + align(cols / 32) + align(cols.div_ceil(64)),
    pack: |row, cols, out| {
        let (codes, rest) = out.split_at_mut(cols / 8);
        let (high, scales) = rest.split_at_mut(align(cols / 32));
        for (b, (block, codes)) in row.as_chunks::<22>().0.iter().zip(codes.chunks_exact_mut(4)).enumerate() {
            put_half(scales, b, half_bits(block, 0));
            let quads = with_fifth_bits(halves_of_32(&block[6..]), word(&block[2..], 0));
            put_nibbles(&quads, codes);
            high[b] = fifth_bits(&quads);
        }
    },
    unpack: |words, out| {
        let (codes, rest) = words.split_at(out.len() / 8);
        let (high, scales) = rest.split_at(align(out.len() / 32));
        for (i, values) in out.chunks_exact_mut(4).enumerate() {
            for (value, q) in values.iter_mut().zip(five_bit_codes(codes, high, 4 * i)) {
                *value = half(scales, i / 8) * f32::from(q as i8 - 16);
            }
        }
    },
};
