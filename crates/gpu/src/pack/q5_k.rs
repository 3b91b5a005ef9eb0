//! Q5_K: nibbles, 8 columns per word; fifth bits, 32 columns per word; then four words per block, as in Q4_K.

use super::{
    blocks::{BlockLayout, fifth_bits, five_bit_codes, put_nibbles, word},
    q4_k::{scale_and_min, scales_header, sub_quads},
};

pub(super) const LAYOUT: BlockLayout = BlockLayout {
    name: "q5_k",
    source: include_str!("../shaders/formats/q5_k.wgsl"),
    row_words: |cols| cols / 8 + cols / 32 + cols / 64,
    pack: |row, cols, out| {
        let (codes, rest) = out.split_at_mut(cols / 8);
        let (high, headers) = rest.split_at_mut(cols / 32);
        for (b, (block, codes)) in row.as_chunks::<176>().0.iter().zip(codes.chunks_exact_mut(32)).enumerate() {
            headers[4 * b..4 * b + 4].copy_from_slice(&scales_header(block));
            for (j, codes) in codes.chunks_exact_mut(4).enumerate() {
                let low = sub_quads(&block[48..], j);
                let quads: [u32; 8] = std::array::from_fn(|t| low[t] | (word(&block[16..], t) >> j & 0x0101_0101) << 4);
                put_nibbles(&quads, codes);
                high[8 * b + j] = fifth_bits(&quads);
            }
        }
    },
    unpack: |words, out| {
        let (codes, rest) = words.split_at(out.len() / 8);
        let (high, headers) = rest.split_at(out.len() / 32);
        for (i, values) in out.chunks_exact_mut(4).enumerate() {
            let (scale, min) = scale_and_min(headers, i / 8);
            for (value, q) in values.iter_mut().zip(five_bit_codes(codes, high, 4 * i)) {
                *value = scale * f32::from(q) - min;
            }
        }
    },
};
