//!include lib/threads
// Sums over the 256 threads of a workgroup, and over its teams of p.team threads, first of each subgroup. WITHIN: no team is larger
// than a subgroup. Two places are used in turn, so that one barrier is enough: a thread that writes to a place has passed the
// barrier of the other one.

var<workgroup> sums: array<vec4<f32>, 512>;
var<private> turn: u32;

fn share(part: vec4<f32>, thread: u32) -> u32 {
    turn = 256u - turn;
    if (thread % lanes == 0u) {
        sums[turn + thread / lanes] = part;
    }
    workgroupBarrier();
    return turn;
}

// Returns the sum over all threads, in every thread.
fn sum_of_all(value: vec4<f32>, thread: u32) -> vec4<f32> {
    let first = share(subgroupAdd(value), thread);
    var all = vec4<f32>();
    for (var i = 0u; i * lanes < 256u; i++) {
        all += sums[first + i];
    }
    return all;
}

// Returns the sum over the team, valid in its first thread.
fn sum_of_team(value: vec4<f32>, thread: u32) -> vec4<f32> {
    var sum = value;
    // Browsers allow shuffles only if they can prove that all threads of a subgroup take part, which a test of `lanes` prevents.
    for (var offset = min(p.team, MOST_LANES) / 2u; offset > 0u; offset /= 2u) {
        let other = subgroupShuffleXor(sum, offset);
        if (offset < lanes) {
            sum += other;
        }
    }
    if (WITHIN) {
        return sum;
    }
    let first = share(sum, thread);
    if (p.team > lanes && thread % p.team == 0u) {
        sum = vec4<f32>();
        for (var i = 0u; i * lanes < p.team; i++) {
            sum += sums[first + thread / lanes + i];
        }
    }
    return sum;
}
