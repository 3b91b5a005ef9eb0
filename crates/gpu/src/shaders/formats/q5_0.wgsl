//!include lib/weights
// Q5_0: nibbles, 8 columns per word; fifth bits, 32 columns per word; then a half-precision scale per 32 columns.
// w = scale (q - 16).

fn weights4x2(row_word: u32, k: u32) -> array<vec4<f32>, 2> {
    let high = row_word + (COLS >> 3u);
    let codes = five_bits_of(weight[row_word + (k >> 3u)], weight[high + (k >> 5u)], k);
    let scale = half_at(high + aligned(COLS >> 5u), k >> 5u);
    return array<vec4<f32>, 2>(scale * (codes[0] - 16.0), scale * (codes[1] - 16.0));
}
