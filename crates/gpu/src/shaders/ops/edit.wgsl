// Copies cells of a layer in order. A thread processes all pairs for one word of the cells, so that a later copy sees an earlier one.
//!include lib/step

struct Params {
    pairs: u32,
    list: u32, // offset in `words` of the source and target cells
    cell_words: u32,
}

@group(1) @binding(0) var<storage, read_write> cache: array<u32>;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let word = workgroup_number(id, groups) * 64u + thread;
    if (word >= p.cell_words) {
        return;
    }
    for (var i = 0u; i < p.pairs; i++) {
        let source = words[p.list + 2u * i];
        let target_cell = words[p.list + 2u * i + 1u];
        cache[target_cell * p.cell_words + word] = cache[source * p.cell_words + word];
    }
}
