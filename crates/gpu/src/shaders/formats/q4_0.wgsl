//!include lib/weights
// Q4_0: nibbles, 8 columns per word; then a half-precision scale per 32 columns. w = scale (q - 8).

fn weights4x2(row_word: u32, k: u32) -> array<vec4<f32>, 2> {
    let codes = nibbles_of(weight[row_word + (k >> 3u)]);
    let scale = half_at(row_word + (COLS >> 3u), k >> 5u);
    return array<vec4<f32>, 2>(scale * (codes[0] - 8.0), scale * (codes[1] - 8.0));
}
