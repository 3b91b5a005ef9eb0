//!include lib/weights
//!include lib/k_scales
// Q5_K: nibbles, 8 columns per word; fifth bits, 32 columns per word; then four words of scales per 256 columns, as in Q4_K.

fn weights4x2(row_word: u32, k: u32) -> array<vec4<f32>, 2> {
    let high = row_word + (COLS >> 3u);
    let codes = five_bits_of(weight[row_word + (k >> 3u)], weight[high + (k >> 5u)], k);
    let line = k_scale_and_min(high + (COLS >> 5u), k);
    return array<vec4<f32>, 2>(line.x * codes[0] - line.y, line.x * codes[1] - line.y);
}
