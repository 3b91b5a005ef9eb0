// Copies rows of a table by id, eight columns per thread. An id with the highest bit set is a slot of sampled tokens.
//!include lib/step
//!include lib/arena

struct Params {
    rows: u32,
    cols: u32,
    ids: u32, // offset in `words`
    first_row: u32, // first row of the bound piece of the table
    piece_rows: u32,
    row_words: u32,
    piece: u32, // first word of the piece
    order: u32, // offset, or NONE
    out: u32,
    out_stride: u32,
}

@group(0) @binding(3) var<storage, read_write> ring: array<u32>;
@group(1) @binding(0) var<storage, read> weight: array<u32>;

//!include format

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let blocks = (p.cols + 7u) / 8u;
    let i = workgroup_number(id, groups) * 256u + thread;
    let row = i / blocks;
    if (row >= p.rows) {
        return;
    }
    var number = words[p.ids + row];
    if (number >= 0x80000000u) {
        number = ring[number & 0x7fffffffu];
    }
    if (number < p.first_row || number - p.first_row >= p.piece_rows) {
        return;
    }
    let k = i % blocks * 8u;
    var values = weights8(p.piece + (number - p.first_row) * p.row_words, k);
    for (var j = 0u; j < min(8u, p.cols - k); j++) {
        var col = k + j;
        if (p.order != NONE) {
            col = vectors[p.order + col];
        }
        arena[p.out + row * p.out_stride + col] = values[j];
    }
}
