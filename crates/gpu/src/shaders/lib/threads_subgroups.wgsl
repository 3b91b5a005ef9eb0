// Which thread a kernel runs as, where subgroups sum. How the platform deals threads out to subgroups is its own
// matter: here they are numbered subgroup by subgroup.

struct Invocation {
    @builtin(subgroup_id) subgroup: u32,
    @builtin(subgroup_invocation_id) lane: u32,
}

// The largest subgroup that there can be.
const MOST_LANES = 128u;

// Threads of a subgroup, counted: some platforms tell a size that they do not keep to.
var<private> lanes: u32;

// To be asked once, by all threads.
fn thread_of(own: Invocation) -> u32 {
    lanes = subgroupAdd(1u);
    return own.subgroup * lanes + own.lane;
}
