// The bindings of every kernel: its parameters in `p` (its own struct Params), the numbers of the step, and small vectors.

@group(0) @binding(1) var<uniform> p: Params;
// The host's numbers for the step: tokens, page tables, visible cells, rotations, sampling settings.
@group(0) @binding(2) var<storage, read> words: array<u32>;
// Gains, biases, orders of columns.
@group(0) @binding(4) var<storage, read> vectors: array<u32>;

// The value of an optional offset that is absent.
const NONE: u32 = 0xffffffffu;

// Returns the number of a workgroup. Large grids are folded, since a dimension has at most 65535 workgroups.
fn workgroup_number(id: vec3<u32>, count: vec3<u32>) -> u32 {
    return id.x + id.y * count.x;
}

fn vector(at: u32) -> f32 {
    return bitcast<f32>(vectors[at]);
}
