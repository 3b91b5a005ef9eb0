// Copies rows and columns as bits: out[r, c] = source[rows[r], first + c]. FROM_HOST: the source is in `words`.
//!include lib/step
//!include lib/arena_bits

struct Params {
    rows: u32,
    cols: u32,
    source: u32, // offset of its first value, including the first column
    source_stride: u32,
    out: u32,
    out_stride: u32,
    list: u32, // offset of the source rows in `words`, or NONE for all in order
}

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let i = workgroup_number(id, groups) * 256u + thread;
    if (i >= p.rows * p.cols) {
        return;
    }
    let row = i / p.cols;
    let col = i % p.cols;
    var source_row = row;
    if (p.list != NONE) {
        source_row = words[p.list + row];
    }
    let at = p.source + source_row * p.source_stride + col;
    if (FROM_HOST) {
        arena[p.out + row * p.out_stride + col] = words[at];
    } else {
        arena[p.out + row * p.out_stride + col] = arena[at];
    }
}
