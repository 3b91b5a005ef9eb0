// F16: two columns a word, the lower half first. unpack2x16float needs no feature; it may flush denormals.

fn weights8(row_word: u32, k: u32) -> array<f32, 8> {
    let at = row_word + k / 2u;
    let a = unpack2x16float(weight[at]);
    let b = unpack2x16float(weight[at + 1u]);
    let c = unpack2x16float(weight[at + 2u]);
    let d = unpack2x16float(weight[at + 3u]);
    return array<f32, 8>(a.x, a.y, b.x, b.y, c.x, c.y, d.x, d.y);
}
