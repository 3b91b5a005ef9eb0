//!include lib/weights
//!include lib/k_scales
// Q4_K: nibbles, 8 columns per word; then four words of scales per 256 columns. w = d sc q - dmin m; all products are exact, so
// fusing them with the difference changes nothing.

fn weights4x2(row_word: u32, k: u32) -> array<vec4<f32>, 2> {
    let codes = nibbles_of(weight[row_word + (k >> 3u)]);
    let line = k_scale_and_min(row_word + (COLS >> 3u), k);
    return array<vec4<f32>, 2>(line.x * codes[0] - line.y, line.x * codes[1] - line.y);
}
