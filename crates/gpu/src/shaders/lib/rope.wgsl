// Rotation of the first half of a head with its second half, by the step's tables of cosines and sines.

// Returns value `e` of the head that starts at `head`, rotated. `table` is the offset in `words` of the row's cosines and sines.
fn rotated(head: u32, e: u32, table: u32, pairs: u32) -> f32 {
    if (e >= 2u * pairs) {
        return arena[head + e];
    }
    let i = e % pairs;
    let a = arena[head + i];
    let b = arena[head + i + pairs];
    let cosine = bitcast<f32>(words[table + i]);
    let sine = bitcast<f32>(words[table + pairs + i]);
    return select(b * cosine + a * sine, a * cosine - b * sine, e < pairs);
}
