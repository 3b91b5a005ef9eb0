//!include lib/weights
// FP8: E4M3 numbers, 4 columns per word; then a single-precision scale per 32 columns. w = number * scale.

fn weights4x2(row_word: u32, k: u32) -> array<vec4<f32>, 2> {
    let at = row_word + (k >> 2u);
    let scale = bitcast<f32>(weight[row_word + (COLS >> 2u) + (k >> 5u)]);
    return array<vec4<f32>, 2>(e4m3(weight[at]) * scale, e4m3(weight[at + 1u]) * scale);
}

// Sign, 4 bits of exponent (bias 7), 3 bits of mantissa; with exponent 0 the number is mantissa / 512.
fn e4m3(quad: u32) -> vec4<f32> {
    let codes = vec4<u32>(quad) >> vec4<u32>(0u, 8u, 16u, 24u);
    let seven = codes & vec4<u32>(127u);
    let normal = bitcast<vec4<f32>>((seven << vec4<u32>(20u)) + vec4<u32>(120u << 23u));
    let magnitude = select(normal, vec4<f32>(seven) * (1.0 / 512.0), seven < vec4<u32>(8u));
    return select(magnitude, -magnitude, (codes & vec4<u32>(128u)) != vec4<u32>(0u));
}
