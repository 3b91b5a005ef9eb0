//!include lib/weights
//!include lib/groups
// Integer groups of 8 bits: bytes, 4 columns per word; then the parameters of the groups.

fn weights4x2(row_word: u32, k: u32) -> array<vec4<f32>, 2> {
    let at = row_word + (k >> 2u);
    let group = group_at(row_word + aligned((COLS + 3u) >> 2u), k / GROUP);
    return group_weights(array<vec4<f32>, 2>(bytes_of(weight[at]), bytes_of(weight[at + 1u])), group);
}
