//! Q5_1: nibbles, 8 columns per word; fifth bits, 32 columns per word; then one word per block: scale (low half) and minimum.

use super::blocks::{
    BlockLayout, align, fifth_bits, five_bit_codes, half, halves_of_32, put_nibbles, with_fifth_bits, word,
};

pub(super) const LAYOUT: BlockLayout = BlockLayout {
    name: "q5_1",
    source: include_str!("../shaders/formats/q5_1.wgsl"),
    row_words: |cols| cols / 8 + 2 * align(cols / 32),
    pack: |row, cols, out| {
        let (codes, rest) = out.split_at_mut(cols / 8);
        let (high, scales) = rest.split_at_mut(align(cols / 32));
        for (b, (block, codes)) in row.as_chunks::<24>().0.iter().zip(codes.chunks_exact_mut(4)).enumerate() {
            scales[b] = word(block, 0);
            let quads = with_fifth_bits(halves_of_32(&block[8..]), word(block, 1));
            put_nibbles(&quads, codes);
            high[b] = fifth_bits(&quads);
        }
    },
    unpack: |words, out| {
        let (codes, rest) = words.split_at(out.len() / 8);
        let (high, scales) = rest.split_at(align(out.len() / 32));
        for (i, values) in out.chunks_exact_mut(4).enumerate() {
            let (scale, min) = (half(scales, i / 8 * 2), half(scales, i / 8 * 2 + 1));
            for (value, q) in values.iter_mut().zip(five_bit_codes(codes, high, 4 * i)) {
                *value = scale * f32::from(q) + min;
            }
        }
    },
};
