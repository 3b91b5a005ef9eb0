//!include lib/weights
// Q8_0: signed bytes, 4 columns per word; then a half-precision scale per 32 columns. w = scale q.

fn weights4x2(row_word: u32, k: u32) -> array<vec4<f32>, 2> {
    let at = row_word + (k >> 2u);
    let scale = half_at(row_word + (COLS >> 2u), k >> 5u);
    return array<vec4<f32>, 2>(scale * signed_bytes_of(weight[at]), scale * signed_bytes_of(weight[at + 1u]));
}
