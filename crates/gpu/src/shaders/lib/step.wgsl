// What every kernel is given: its parameters in `p` (struct Params of the kernel), numbers of the step, small vectors.

@group(0) @binding(1) var<uniform> p: Params;
// Tokens, page tables, visible cells, rotations, samplings: whatever the host knows of the step.
@group(0) @binding(2) var<storage, read> words: array<u32>;
// Gains, biases, orders of columns.
@group(0) @binding(4) var<storage, read> vectors: array<u32>;

// Stands where an optional offset is not given.
const NONE: u32 = 0xffffffffu;

// The number of a workgroup: large grids are folded, since a dimension has at most 65535.
fn workgroup_number(id: vec3<u32>, count: vec3<u32>) -> u32 {
    return id.x + id.y * count.x;
}

fn vector(at: u32) -> f32 {
    return bitcast<f32>(vectors[at]);
}
