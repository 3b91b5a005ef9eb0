//!include lib/weights
// F16: two columns per word.

fn weights4x2(row_word: u32, k: u32) -> array<vec4<f32>, 2> {
    let at = row_word + (k >> 1u);
    return array<vec4<f32>, 2>(
        vec4<f32>(halves_of(weight[at]), halves_of(weight[at + 1u])),
        vec4<f32>(halves_of(weight[at + 2u]), halves_of(weight[at + 3u])),
    );
}
