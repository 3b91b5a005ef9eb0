// Element-wise operations of one matrix or two. OP: 0 add, 1 gate, 2 activate, 3 scale, 4 softcap.
//!include lib/step
//!include lib/arena4
//!include lib/activation

struct Params {
    count: u32, // in vectors of four, like the offsets
    x: u32,
    y: u32,
    out: u32,
    factor: f32,
}

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let i = workgroup_number(id, groups) * 256u + thread;
    if (i >= p.count) {
        return;
    }
    let x = arena[p.x + i];
    var y: vec4<f32>;
    switch OP {
        case 0u: { y = x + arena[p.y + i]; }
        case 1u: { y = activation4(x) * arena[p.y + i]; }
        case 2u: { y = activation4(x); }
        case 3u: { y = x * p.factor; }
        default: {
            let z = x / p.factor;
            y = p.factor * vec4<f32>(tanh_of(z.x), tanh_of(z.y), tanh_of(z.z), tanh_of(z.w));
        }
    }
    arena[p.out + i] = y;
}
