// Joins the results of the spans of positions of one head of one row.
//!include lib/step
//!include lib/arena
//!include lib/attended

struct Params {
    rows: u32,
    heads: u32,
    out: u32,
    stride: u32,
    spans: u32,
    spans_at: u32,
}

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let group = workgroup_number(id, groups);
    let row = group / p.heads;
    let head = group % p.heads;
    if (row >= p.rows) {
        return;
    }
    var top = -3.0e38;
    for (var s = 0u; s < p.spans; s++) {
        top = max(top, arena[span_at(row, head, s)]);
    }
    var total = 0.0;
    for (var s = 0u; s < p.spans; s++) {
        let at = span_at(row, head, s);
        total += exp(arena[at] - top) * arena[at + 1u];
    }
    for (var e = thread; e < WIDTH; e += 64u) {
        var sum = 0.0;
        for (var s = 0u; s < p.spans; s++) {
            let at = span_at(row, head, s);
            sum += exp(arena[at] - top) * arena[at + 2u + e];
        }
        arena[p.out + row * p.stride + head * WIDTH + e] = sum / total;
    }
}
