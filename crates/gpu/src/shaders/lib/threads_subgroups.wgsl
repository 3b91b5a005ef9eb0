// The number of a thread, for kernels that sum by subgroups. The platform decides which threads form a subgroup, so threads are
// numbered subgroup by subgroup.

struct Invocation {
    @builtin(subgroup_id) subgroup: u32,
    @builtin(subgroup_invocation_id) lane: u32,
}

// The largest possible subgroup.
const MOST_LANES = 128u;

// The counted threads of a subgroup. Some platforms report another size than they use.
var<private> lanes: u32;

// Must be called once, by all threads.
fn thread_of(own: Invocation) -> u32 {
    lanes = subgroupAdd(1u);
    return own.subgroup * lanes + own.lane;
}
