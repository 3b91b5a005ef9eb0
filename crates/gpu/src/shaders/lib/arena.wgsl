// The step's activations, one matrix after the other; rows start at multiples of four values.
@group(0) @binding(0) var<storage, read_write> arena: array<f32>;
