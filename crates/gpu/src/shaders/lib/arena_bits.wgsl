// The step's activations as bits, to be copied without conversion.
@group(0) @binding(0) var<storage, read_write> arena: array<u32>;
