// Writes the keys (rotated by position, if the layer has tables) and the values of every row to its cell of the cache, after the
// rotation of each head. One workgroup writes the keys or the values of HEADS heads, whose scales are whole words.
//!include lib/step
//!include lib/arena
//!include lib/rope
//!include lib/cache
//!include lib/blocks
//!include lib/hadamard

struct Params {
    rows: u32,
    kv: u32, // values per cell: G * E
    k: u32,
    v: u32,
    stride: u32, // of k and v
    cells: u32, // offset in `words` of the rows' cells in the layer's buffer
    pairs: u32, // 0 without rotation by position
    table: u32,
}

@group(1) @binding(0) var<storage, read_write> cache: array<u32>;

const THREADS = 64u;
// An odd number of blocks in a head leaves half a word of scales to the next head.
const HEADS = select(1u, 2u, WIDTH / 32u % 2u == 1u);

var<workgroup> head_values: array<f32, WIDTH * HEADS>;

// Returns value `i` of the row; those of the workgroup begin at `first`.
fn value(first: u32, i: u32) -> f32 {
    return head_values[i - first];
}

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let parts = (p.kv / WIDTH + HEADS - 1u) / HEADS;
    let group = workgroup_number(id, groups);
    let row = group / (2u * parts);
    if (row >= p.rows) {
        return;
    }
    let is_key = group % (2u * parts) < parts;
    let first = group % parts * HEADS * WIDTH;
    let count = min(WIDTH * HEADS, p.kv - first);
    for (var i = thread; i < count; i += THREADS) {
        let e = first + i;
        if (is_key) {
            let head = p.k + row * p.stride + e / WIDTH * WIDTH;
            head_values[i] = rotated(head, e % WIDTH, p.table + row * 2u * p.pairs, p.pairs);
        } else {
            head_values[i] = arena[p.v + row * p.stride + e];
        }
    }
    workgroupBarrier();
    rotate_vector(count, thread);
    let cell = words[p.cells + row] * 2u * plane_words(p.kv);
    let plane = select(cell + plane_words(p.kv), cell, is_key);
    let block = first / 32u + 2u * thread;
    let end = (first + count) / 32u;
    if (block < end) {
        var scales = write_block(first, block, plane);
        if (block + 1u < end) {
            scales |= write_block(first, block + 1u, plane) << 16u;
        }
        cache[plane + p.kv / PER_WORD + block / 2u] = scales;
    }
}
