// Returns the scale and minimum of columns k..k+32 from the four words that Q4_K and Q5_K have per 256 columns, from
// weight[headers] on: d and dmin; the low nibbles of the scales; those of the minima; the upper two bits of both.
fn k_scale_and_min(headers: u32, k: u32) -> vec2<f32> {
    let header = headers + (k >> 8u) * 4u;
    let j = (k >> 5u) & 7u;
    let high = weight[header + 3u] >> (2u * j);
    let scale = ((weight[header + 1u] >> (4u * j)) & 15u) | ((high & 3u) << 4u);
    let least = ((weight[header + 2u] >> (4u * j)) & 15u) | (((high >> 16u) & 3u) << 4u);
    return halves_of(weight[header]) * vec2<f32>(f32(scale), f32(least));
}
