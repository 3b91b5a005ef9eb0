//!include lib/threads
// Sums and maxima over the THREADS threads of a workgroup, first of each subgroup; every thread gets the result. Two places are used
// in turn, so that one barrier is enough: a thread that writes to a place has passed the barrier of the other one.

var<workgroup> reduced: array<f32, 2u * THREADS>;
var<private> turn: u32;

fn share(part: f32, thread: u32) -> u32 {
    turn = THREADS - turn;
    if (thread % lanes == 0u) {
        reduced[turn + thread / lanes] = part;
    }
    workgroupBarrier();
    return turn;
}

fn sum_of_all(value: f32, thread: u32) -> f32 {
    let first = share(subgroupAdd(value), thread);
    var all = 0.0;
    for (var i = 0u; i * lanes < THREADS; i++) {
        all += reduced[first + i];
    }
    return all;
}

fn max_of_all(value: f32, thread: u32) -> f32 {
    let first = share(subgroupMax(value), thread);
    var all = reduced[first];
    for (var i = 1u; i * lanes < THREADS; i++) {
        all = max(all, reduced[first + i]);
    }
    return all;
}
