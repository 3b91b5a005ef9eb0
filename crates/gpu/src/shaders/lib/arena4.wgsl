// The step's activations in vectors of four. Every matrix and every row starts at a multiple of four.
@group(0) @binding(0) var<storage, read_write> arena: array<vec4<f32>>;
