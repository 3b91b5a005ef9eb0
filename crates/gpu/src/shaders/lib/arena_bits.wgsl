// Activations of the step as bits, to be moved without being read as numbers.
@group(0) @binding(0) var<storage, read_write> arena: array<u32>;
