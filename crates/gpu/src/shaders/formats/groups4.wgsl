//!include lib/weights
//!include lib/groups
// Integer groups of 4 bits: nibbles, 8 columns per word; then the parameters of the groups.

fn weights4x2(row_word: u32, k: u32) -> array<vec4<f32>, 2> {
    let group = group_at(row_word + aligned((COLS + 7u) >> 3u), k / GROUP);
    return group_weights(nibbles_of(weight[row_word + (k >> 3u)]), group);
}
