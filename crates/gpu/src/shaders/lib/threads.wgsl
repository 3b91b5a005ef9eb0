// The number of a thread, for kernels that sum over threads. The workgroup's number is not in this structure: browsers treat a
// structure as uniform only if each of its members is.

struct Invocation {
    @builtin(local_invocation_index) index: u32,
}

fn thread_of(own: Invocation) -> u32 {
    return own.index;
}
