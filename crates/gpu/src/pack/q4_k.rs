//! Q4_K: nibbles, 8 columns per word; then four words per block: d (low half) and dmin; the low nibbles of the 8 scales; those
//! of the 8 minima; the upper two bits of the scales (low half) and of the minima. Sub-block j is at bit 4 j or 2 j.

use super::blocks::{BlockLayout, half, nibble_codes, nibbles, put_nibbles, word};

pub(super) const LAYOUT: BlockLayout = BlockLayout {
    name: "q4_k",
    source: include_str!("../shaders/formats/q4_k.wgsl"),
    row_words: |cols| cols / 8 + cols / 64,
    pack: |row, cols, out| {
        let (codes, headers) = out.split_at_mut(cols / 8);
        let blocks = row.as_chunks::<144>().0.iter().zip(codes.chunks_exact_mut(32));
        for ((block, codes), header) in blocks.zip(headers.as_chunks_mut().0) {
            *header = scales_header(block);
            for (j, codes) in codes.chunks_exact_mut(4).enumerate() {
                put_nibbles(&sub_quads(&block[16..], j), codes);
            }
        }
    },
    unpack: |words, out| {
        let (codes, headers) = words.split_at(out.len() / 8);
        for (i, values) in out.chunks_exact_mut(4).enumerate() {
            let (scale, min) = scale_and_min(headers, i / 8);
            for (value, q) in values.iter_mut().zip(nibble_codes(codes, 4 * i)) {
                *value = scale * f32::from(q) - min;
            }
        }
    },
};

/// Returns the quads of sub-block `j`: 32 bytes hold sub-block 2 p (low nibbles) and 2 p + 1 (high nibbles).
pub(super) fn sub_quads(qs: &[u8], j: usize) -> [u32; 8] {
    std::array::from_fn(|t| nibbles(word(&qs[j / 2 * 32..], t), j % 2 * 4))
}

/// Returns the four words of the scales of a Q4_K or Q5_K block, which begins with d, dmin and 12 bytes of scales.
pub(super) fn scales_header(block: &[u8]) -> [u32; 4] {
    let mut header = [word(block, 0), 0, 0, 0];
    let s = &block[4..16];
    for j in 0..8 {
        let (scale, min) = if j < 4 {
            (s[j] & 63, s[j + 4] & 63)
        } else {
            (s[j + 4] & 15 | s[j - 4] >> 6 << 4, s[j + 4] >> 4 | s[j] >> 6 << 4)
        };
        let (scale, min) = (u32::from(scale), u32::from(min));
        header[1] |= (scale & 15) << (4 * j);
        header[2] |= (min & 15) << (4 * j);
        header[3] |= (scale >> 4) << (2 * j) | (min >> 4) << (16 + 2 * j);
    }
    header
}

/// Returns the scale and minimum of sub-block `sub` of a row.
pub(super) fn scale_and_min(headers: &[u32], sub: usize) -> (f32, f32) {
    let (header, j) = (&headers[sub / 8 * 4..], sub % 8);
    let six = |low: u32, high: u32| (low >> (4 * j) & 15 | (high >> (2 * j) & 3) << 4) as f32;
    (half(header, 0) * six(header[1], header[3]), half(header, 1) * six(header[2], header[3] >> 16))
}
