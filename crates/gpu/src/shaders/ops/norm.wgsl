// RMS norm, or layer norm (CENTRED), of runs of a row's values. One workgroup per run.
//!include lib/step
//!include lib/arena
//!include lib/reduce

struct Params {
    runs: u32, // number of runs in all rows
    width: u32, // values per run
    per_row: u32, // runs per row
    stride: u32,
    x: u32,
    out: u32,
    gain: u32,
    bias: u32, // offset, or NONE
    eps: f32,
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, own: Invocation) {
    let thread = thread_of(own);
    let run = workgroup_number(id, groups);
    if (run >= p.runs) {
        return;
    }
    let first = run / p.per_row * p.stride + run % p.per_row * p.width;
    let count = f32(p.width);
    var mean = 0.0;
    if (CENTRED) {
        var sum = 0.0;
        for (var i = thread; i < p.width; i += THREADS) {
            sum += arena[p.x + first + i];
        }
        mean = sum_of_all(sum, thread) / count;
    }
    var squares = 0.0;
    for (var i = thread; i < p.width; i += THREADS) {
        let centred = arena[p.x + first + i] - mean;
        squares += centred * centred;
    }
    let factor = 1.0 / sqrt(sum_of_all(squares, thread) / count + p.eps);
    for (var i = thread; i < p.width; i += THREADS) {
        var y = (arena[p.x + first + i] - mean) * factor * vector(p.gain + i);
        if (p.bias != NONE) {
            y += vector(p.bias + i);
        }
        arena[p.out + first + i] = y;
    }
}
