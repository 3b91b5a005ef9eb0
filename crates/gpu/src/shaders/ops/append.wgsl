// Writes the keys (rotated, if the layer has tables) and the values of every row to its cell of the cache. A thread writes one word;
// in blocks, two of 32 values and the word of their scales.
//!include lib/step
//!include lib/arena
//!include lib/rope
//!include lib/cache
//!include lib/blocks

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

// Returns value `i` of keys, if the source is even, or values of row `source / 2`.
fn value(source: u32, i: u32) -> f32 {
    let row = source / 2u;
    if (source % 2u == 0u) {
        let head = p.k + row * p.stride + i / p.width * p.width;
        return rotated(head, i % p.width, p.table + row * 2u * p.pairs, p.pairs);
    }
    return arena[p.v + row * p.stride + i];
}

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let blocks = p.kv / 32u;
    let units = select(p.kv / PER_WORD, (blocks + 1u) / 2u, ELEMENT >= 2u);
    let i = workgroup_number(id, groups) * 64u + thread;
    let row = i / (2u * units);
    if (row >= p.rows) {
        return;
    }
    let is_key = i % (2u * units) < units;
    let source = select(2u * row + 1u, 2u * row, is_key);
    let unit = i % units;
    let cell = words[p.cells + row] * 2u * plane_words(p.kv);
    let plane = select(cell + plane_words(p.kv), cell, is_key);
    if (ELEMENT == 0u) {
        cache[plane + unit] = bitcast<u32>(value(source, unit));
    } else if (ELEMENT == 1u) {
        let low = half_bits(value(source, 2u * unit));
        cache[plane + unit] = low | (half_bits(value(source, 2u * unit + 1u)) << 16u);
    } else {
        var scales = write_block(source, 2u * unit, plane);
        if (2u * unit + 1u < blocks) {
            scales |= write_block(source, 2u * unit + 1u, plane) << 16u;
        }
        cache[plane + p.kv / PER_WORD + unit] = scales;
    }
}
