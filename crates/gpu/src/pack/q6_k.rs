//! Q6_K: nibbles, 8 columns per word; upper bits, 16 columns per word (bits 2 t of byte j are for column 4 t + j); the scales of
//! 16 columns, signed bytes, 4 per word; then the half-precision d of each block, two per word.

use super::blocks::{BlockLayout, align, half, half_bits, nibbles, put_half, put_nibbles, word};

pub(super) const LAYOUT: BlockLayout = BlockLayout {
    name: "q6_k",
    source: include_str!("../shaders/formats/q6_k.wgsl"),
    row_words: |cols| cols / 8 + cols / 16 + cols / 64 + align(cols.div_ceil(512)),
    pack: |row, cols, out| {
        let (codes, rest) = out.split_at_mut(cols / 8);
        let (high, rest) = rest.split_at_mut(cols / 16);
        let (scales, ds) = rest.split_at_mut(cols / 64);
        for (b, block) in row.as_chunks::<210>().0.iter().enumerate() {
            put_half(ds, b, half_bits(block, 208));
            for (i, scales) in scales[4 * b..4 * b + 4].iter_mut().enumerate() {
                *scales = word(&block[192..], i);
            }
            for quarter in 0..8 {
                let (quads, at) = (quarter_quads(block, quarter), 8 * b + quarter);
                put_nibbles(&quads, &mut codes[4 * at..4 * at + 4]);
                for (high, quads) in high[2 * at..].iter_mut().zip(quads.as_chunks::<4>().0) {
                    *high = (0..4).fold(0, |bits, t| bits | (quads[t] >> 4 & 0x0303_0303) << (2 * t));
                }
            }
        }
    },
    unpack: |words, out| {
        let (codes, rest) = words.split_at(out.len() / 8);
        let (high, rest) = rest.split_at(out.len() / 16);
        let (scales, ds) = rest.split_at(out.len() / 64);
        for (i, values) in out.chunks_exact_mut(4).enumerate() {
            let sub = i / 4;
            let scale = half(ds, sub / 16) * f32::from(scales[sub / 4].to_le_bytes()[sub % 4] as i8);
            let upper = (high[sub] >> (2 * (i % 4)) & 0x0303_0303) << 4;
            for (value, q) in values.iter_mut().zip((nibbles(codes[i / 2], i % 2 * 4) | upper).to_le_bytes()) {
                *value = scale * f32::from(q as i8 - 32);
            }
        }
    },
};

/// Returns the quads of 32 of the 256 values; quarters 0 to 3 are the first 128.
fn quarter_quads(block: &[u8; 210], quarter: usize) -> [u32; 8] {
    let (half, part) = (quarter / 4, quarter % 4);
    let (low, high) = (&block[64 * half + 32 * (part % 2)..], &block[128 + 32 * half..]);
    std::array::from_fn(|t| nibbles(word(low, t), part / 2 * 4) | (word(high, t) >> (2 * part) & 0x0303_0303) << 4)
}
