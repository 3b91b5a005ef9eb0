// Which thread of which workgroup a kernel runs as, in kernels that sum over threads.

struct Invocation {
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) index: u32,
}

fn thread_of(own: Invocation) -> u32 {
    return own.index;
}
