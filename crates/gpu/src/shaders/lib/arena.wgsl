// Activations of the step, one after the other; the rows of a matrix start at multiples of four values.
@group(0) @binding(0) var<storage, read_write> arena: array<f32>;
