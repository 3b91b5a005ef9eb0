//!include lib/threads
// Sums and maxima over the THREADS threads of a workgroup; every thread gets the result. They take two strides of SPREAD, since
// the barriers of a tree would cost more than the additions that it saves.

const SPREAD = select(8u, 16u, THREADS > 64u);

var<workgroup> reduced: array<f32, THREADS>;
var<workgroup> reduced_again: array<f32, SPREAD>;

fn sum_of_all(value: f32, thread: u32) -> f32 {
    reduced[thread] = value;
    workgroupBarrier();
    if (thread < SPREAD) {
        var sum = 0.0;
        for (var i = thread; i < THREADS; i += SPREAD) {
            sum += reduced[i];
        }
        reduced_again[thread] = sum;
    }
    workgroupBarrier();
    var all = 0.0;
    for (var i = 0u; i < SPREAD; i++) {
        all += reduced_again[i];
    }
    return all;
}

fn max_of_all(value: f32, thread: u32) -> f32 {
    reduced[thread] = value;
    workgroupBarrier();
    if (thread < SPREAD) {
        var top = reduced[thread];
        for (var i = thread + SPREAD; i < THREADS; i += SPREAD) {
            top = max(top, reduced[i]);
        }
        reduced_again[thread] = top;
    }
    workgroupBarrier();
    var all = reduced_again[0];
    for (var i = 1u; i < SPREAD; i++) {
        all = max(all, reduced_again[i]);
    }
    return all;
}
