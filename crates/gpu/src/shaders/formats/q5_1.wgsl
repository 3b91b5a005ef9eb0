//!include lib/weights
// Q5_1: nibbles, 8 columns per word; fifth bits, 32 columns per word; then scale and minimum in half precision, one word per 32
// columns. w = scale q + minimum; the product is exact, so fusing it with the sum changes nothing.

fn weights4x2(row_word: u32, k: u32) -> array<vec4<f32>, 2> {
    let high = row_word + (COLS >> 3u);
    let codes = five_bits_of(weight[row_word + (k >> 3u)], weight[high + (k >> 5u)], k);
    let line = halves_of(weight[high + aligned(COLS >> 5u) + (k >> 5u)]);
    return array<vec4<f32>, 2>(line.x * codes[0] + line.y, line.x * codes[1] + line.y);
}
