//!include lib/threads
// Sums over the 256 threads of a workgroup, and over its teams of p.team threads. They take two strides, since the barriers of a tree
// would cost more than the additions that it saves.

const SPREAD = 16u;

var<workgroup> sums: array<vec4<f32>, 256>;
var<workgroup> sums_again: array<vec4<f32>, SPREAD>;

// Returns the sum over all threads, in every thread.
fn sum_of_all(value: vec4<f32>, thread: u32) -> vec4<f32> {
    sums[thread] = value;
    workgroupBarrier();
    if (thread < SPREAD) {
        var sum = value;
        for (var i = thread + SPREAD; i < 256u; i += SPREAD) {
            sum += sums[i];
        }
        sums_again[thread] = sum;
    }
    workgroupBarrier();
    var all = vec4<f32>();
    for (var i = 0u; i < SPREAD; i++) {
        all += sums_again[i];
    }
    return all;
}

// Returns the sum over the team, valid in its first thread.
fn sum_of_team(value: vec4<f32>, thread: u32) -> vec4<f32> {
    // Earlier sums may still be read.
    workgroupBarrier();
    sums[thread] = value;
    workgroupBarrier();
    let member = thread % p.team;
    if (p.team > SPREAD) {
        if (member < SPREAD) {
            var sum = value;
            for (var i = SPREAD; i < p.team; i += SPREAD) {
                sum += sums[thread + i];
            }
            sums[thread] = sum;
        }
        workgroupBarrier();
    }
    var all = vec4<f32>();
    if (member == 0u) {
        for (var i = 0u; i < min(SPREAD, p.team); i++) {
            all += sums[thread + i];
        }
    }
    return all;
}
