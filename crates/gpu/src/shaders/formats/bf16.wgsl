//!include lib/weights
// BF16: two columns per word, each the upper half of its F32 number.

fn weights4x2(row_word: u32, k: u32) -> array<vec4<f32>, 2> {
    let at = row_word + (k >> 1u);
    return array<vec4<f32>, 2>(two_words(weight[at], weight[at + 1u]), two_words(weight[at + 2u], weight[at + 3u]));
}

fn two_words(a: u32, b: u32) -> vec4<f32> {
    return bitcast<vec4<f32>>(vec4<u32>(a << 16u, a & 0xffff0000u, b << 16u, b & 0xffff0000u));
}
