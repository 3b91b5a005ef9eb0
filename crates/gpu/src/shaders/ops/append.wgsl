// Writes the keys (rotated, if the layer has tables) and the values of every row to its cell of the cache. A thread writes one word;
// in Q8_0, two blocks of 32 values and the word of their scales.
//!include lib/step
//!include lib/arena
//!include lib/rope
//!include lib/half
//!include lib/cache

struct Params {
    rows: u32,
    kv: u32, // values per cell: G * E
    width: u32, // E
    k: u32,
    v: u32,
    stride: u32, // of k and v
    cells: u32, // offset in `words` of the rows' cells in the layer's buffer
    pairs: u32, // 0 without rotation
    table: u32,
}

@group(1) @binding(0) var<storage, read_write> cache: array<u32>;

// Returns value `i` of the row's keys or values.
fn value(row: u32, i: u32, is_key: bool) -> f32 {
    if (is_key) {
        let head = p.k + row * p.stride + i / p.width * p.width;
        return rotated(head, i % p.width, p.table + row * 2u * p.pairs, p.pairs);
    }
    return arena[p.v + row * p.stride + i];
}

// Rounds a block of 32 values to scale * code and returns the bits of the scale. A value that is not finite makes the scale NaN.
fn write_block(row: u32, block: u32, is_key: bool, plane: u32) -> u32 {
    var top = 0u;
    for (var i = 0u; i < 32u; i++) {
        top = max(top, bitcast<u32>(value(row, block * 32u + i, is_key)) & 0x7fffffffu);
    }
    let finite = top < 0x7f800000u;
    let scale = bitcast<f32>(top) / 127.0;
    var inverse = 0.0;
    if (finite && scale > 0.0) {
        inverse = 1.0 / scale;
    }
    for (var w = 0u; w < 8u; w++) {
        var word = 0u;
        for (var i = 0u; i < 4u; i++) {
            let x = value(row, block * 32u + w * 4u + i, is_key) * inverse;
            // Rounds halves away from zero.
            let code = i32(sign(x) * floor(abs(x) + 0.5));
            word |= (u32(code) & 0xffu) << (8u * i);
        }
        cache[plane + block * 8u + w] = select(0u, word, finite);
    }
    return select(0x7e00u, half_bits(scale), finite);
}

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let blocks = p.kv / 32u;
    let units = select(p.kv / PER_WORD, (blocks + 1u) / 2u, ELEMENT == 2u);
    let i = workgroup_number(id, groups) * 64u + thread;
    let row = i / (2u * units);
    if (row >= p.rows) {
        return;
    }
    let is_key = i % (2u * units) < units;
    let unit = i % units;
    let cell = words[p.cells + row] * 2u * plane_words(p.kv);
    let plane = select(cell + plane_words(p.kv), cell, is_key);
    if (ELEMENT == 0u) {
        cache[plane + unit] = bitcast<u32>(value(row, unit, is_key));
    } else if (ELEMENT == 1u) {
        let low = half_bits(value(row, 2u * unit, is_key));
        cache[plane + unit] = low | (half_bits(value(row, 2u * unit + 1u, is_key)) << 16u);
    } else {
        var scales = write_block(row, 2u * unit, is_key, plane);
        if (2u * unit + 1u < blocks) {
            scales |= write_block(row, 2u * unit + 1u, is_key, plane) << 16u;
        }
        cache[plane + p.kv / 4u + unit] = scales;
    }
}
