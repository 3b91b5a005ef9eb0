//! FP8: E4M3 numbers, 4 columns per word; then the scales in single precision, one per word.

use super::blocks::{BlockLayout, align, word};

pub(super) const LAYOUT: BlockLayout = BlockLayout {
    name: "fp8",
    source: include_str!("../shaders/formats/fp8.wgsl"),
    row_words: |cols| cols / 4 + align(cols / 32),
    pack: |row, cols, out| {
        let (codes, scales) = out.split_at_mut(cols / 4);
        let blocks = row.as_chunks::<36>().0.iter().zip(codes.as_chunks_mut::<8>().0);
        for ((block, codes), scale) in blocks.zip(scales) {
            *scale = word(block, 0);
            *codes = std::array::from_fn(|i| word(block, i + 1));
        }
    },
    unpack: |words, out| {
        let (codes, scales) = words.split_at(out.len() / 4);
        for (i, (values, codes)) in out.chunks_exact_mut(4).zip(codes).enumerate() {
            for (value, q) in values.iter_mut().zip(codes.to_le_bytes()) {
                *value = number(q) * f32::from_bits(scales[i / 8]);
            }
        }
    },
};

/// Returns the E4M3 number of a code. NaN's code gives 480, as in the shader.
fn number(code: u8) -> f32 {
    let seven = u32::from(code & 127);
    let magnitude = if seven < 8 { seven as f32 / 512.0 } else { f32::from_bits((seven << 20) + (120 << 23)) };
    if code & 128 == 0 { magnitude } else { -magnitude }
}
