//!include lib/weights
// F32: one column per word.

fn weights4x2(row_word: u32, k: u32) -> array<vec4<f32>, 2> {
    let at = row_word + k;
    return array<vec4<f32>, 2>(
        bitcast<vec4<f32>>(vec4<u32>(weight[at], weight[at + 1u], weight[at + 2u], weight[at + 3u])),
        bitcast<vec4<f32>>(vec4<u32>(weight[at + 4u], weight[at + 5u], weight[at + 6u], weight[at + 7u])),
    );
}
