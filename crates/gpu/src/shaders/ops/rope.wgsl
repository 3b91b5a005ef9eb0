// Rotates the heads of every row. A thread rotates one pair, or copies one value beyond the pairs. In place if out is x.
//!include lib/step
//!include lib/arena

struct Params {
    rows: u32,
    heads: u32,
    width: u32,
    pairs: u32,
    stride: u32,
    x: u32,
    out: u32,
    table: u32, // offset in `words` of the cosines and sines of every row
}

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let units = p.width - p.pairs;
    let i = workgroup_number(id, groups) * 256u + thread;
    let row = i / (units * p.heads);
    if (row >= p.rows) {
        return;
    }
    let head = row * p.stride + i / units % p.heads * p.width;
    let unit = i % units;
    if (unit >= p.pairs) {
        let e = unit + p.pairs;
        arena[p.out + head + e] = arena[p.x + head + e];
        return;
    }
    let a = arena[p.x + head + unit];
    let b = arena[p.x + head + unit + p.pairs];
    let table = p.table + row * 2u * p.pairs;
    let cosine = bitcast<f32>(words[table + unit]);
    let sine = bitcast<f32>(words[table + p.pairs + unit]);
    arena[p.out + head + unit] = a * cosine - b * sine;
    arena[p.out + head + unit + p.pairs] = b * cosine + a * sine;
}
