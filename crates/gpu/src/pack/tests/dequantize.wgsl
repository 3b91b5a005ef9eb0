// Decodes a whole weight, 8 columns per thread.

struct Parameters {
    rows: u32,
    cols: u32,
    row_words: u32,
}

@group(0) @binding(0) var<uniform> p: Parameters;
@group(0) @binding(1) var<storage, read_write> out: array<f32>; // [rows, cols]
@group(1) @binding(0) var<storage, read> weight: array<u32>; // [rows, row_words]

//!include format

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let eights = (p.cols + 7u) / 8u;
    if (id.x >= p.rows * eights) {
        return;
    }
    let row = id.x / eights;
    let k = id.x % eights * 8u;
    let w = weights8(row * p.row_words, k);
    for (var i = 0u; i < min(8u, p.cols - k); i++) {
        out[row * p.cols + k + i] = w[i];
    }
}
