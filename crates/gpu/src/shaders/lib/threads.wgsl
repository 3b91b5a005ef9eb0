// Which thread a kernel runs as, in kernels that sum over threads. The workgroup's number is no part of this: browsers take a structure
// for the same in all threads only where each of its members is.

struct Invocation {
    @builtin(local_invocation_index) index: u32,
}

fn thread_of(own: Invocation) -> u32 {
    return own.index;
}
