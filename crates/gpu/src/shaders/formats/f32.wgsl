// F32: one word a column.

fn weights8(row_word: u32, k: u32) -> array<f32, 8> {
    let at = row_word + k;
    return array<f32, 8>(
        bitcast<f32>(weight[at]), bitcast<f32>(weight[at + 1u]),
        bitcast<f32>(weight[at + 2u]), bitcast<f32>(weight[at + 3u]),
        bitcast<f32>(weight[at + 4u]), bitcast<f32>(weight[at + 5u]),
        bitcast<f32>(weight[at + 6u]), bitcast<f32>(weight[at + 7u]),
    );
}
