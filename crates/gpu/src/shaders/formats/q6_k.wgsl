//!include lib/weights
// Q6_K: nibbles, 8 columns per word; upper bits, 16 columns per word, with bits 2 t of byte j for column 4 t + j; the scales of 16
// columns, signed bytes, 4 per word; then d per 256 columns in half precision. w = d scale (q - 32).

fn weights4x2(row_word: u32, k: u32) -> array<vec4<f32>, 2> {
    let low = weight[row_word + (k >> 3u)];
    let highs = row_word + (COLS >> 3u);
    let high = weight[highs + (k >> 4u)] >> ((k & 8u) >> 1u);
    let scales = highs + (COLS >> 4u);
    let sub = k >> 4u;
    let integer = f32(i32(weight[scales + (sub >> 2u)] << (24u - 8u * (sub & 3u))) >> 24u);
    let scale = half_at(scales + (COLS >> 6u), k >> 8u) * integer;
    let first = bytes_of((low & 0x0f0f0f0fu) | ((high & 0x03030303u) << 4u));
    let second = bytes_of(((low >> 4u) & 0x0f0f0f0fu) | ((high & 0x0c0c0c0cu) << 2u));
    return array<vec4<f32>, 2>(scale * (first - 32.0), scale * (second - 32.0));
}
