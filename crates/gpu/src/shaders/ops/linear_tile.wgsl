// Linear modules for many rows. A workgroup computes a tile of 64 rows of the weight times 16 * DEPTH rows of x, with 32 columns at a
// time in workgroup memory. A thread holds four rows of the weight times DEPTH rows of x.
//!include lib/linear

const TALL = 64u;
const WIDE = 16u * DEPTH;

// Eight vectors of four columns per row, permuted so that threads on different rows access different banks.
var<workgroup> weights: array<vec4<f32>, 512>;
var<workgroup> values: array<vec4<f32>, WIDE * 8u>;

fn place(row: u32, vector_of_row: u32) -> u32 {
    return row * 8u + (vector_of_row ^ ((row / 4u) % 8u));
}

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let wide = (p.rows + WIDE - 1u) / WIDE;
    let group = workgroup_number(id, groups);
    let x_first = group % wide * WIDE;
    var tile = group / wide;
    var number = 0u;
    while (number < p.parts) {
        let of_part = (p.part[number].rows + TALL - 1u) / TALL;
        if (tile < of_part) {
            break;
        }
        tile -= of_part;
        number += 1u;
    }
    if (number >= p.parts) {
        return;
    }
    let part = p.part[number];
    let w_row = min(tile * TALL + thread / 4u, part.rows - 1u);
    let w_first = part.weight + w_row * p.row_words;
    let across = thread % 16u;
    let down = thread / 16u;
    //!repeat DEPTH
    var sum_$ = vec4<f32>();
    //!end
    for (var k = 0u; k < p.cols; k += 32u) {
        let own = k + thread % 4u * 8u;
        var low = vec4<f32>();
        var high = vec4<f32>();
        if (own < p.cols) {
            let w = weights8(w_first, own);
            low = vec4<f32>(w[0], w[1], w[2], w[3]);
            high = vec4<f32>(w[4], w[5], w[6], w[7]);
        }
        weights[place(thread / 4u, thread % 4u * 2u)] = low;
        weights[place(thread / 4u, thread % 4u * 2u + 1u)] = high;
        for (var i = thread; i < WIDE * 8u; i += 256u) {
            // Rows past the last are computed too; their results are not stored.
            let row = min(x_first + i / 8u, p.rows - 1u);
            values[place(i / 8u, i % 8u)] = x4(row, k + i % 8u * 4u);
        }
        workgroupBarrier();
        for (var v = 0u; v < 8u; v++) {
            let a = weights[place(across * 4u, v)];
            let b = weights[place(across * 4u + 1u, v)];
            let c = weights[place(across * 4u + 2u, v)];
            let d = weights[place(across * 4u + 3u, v)];
            //!repeat DEPTH
            let x_$ = values[place(down * DEPTH + $u, v)];
            sum_$ += vec4<f32>(dot(a, x_$), dot(b, x_$), dot(c, x_$), dot(d, x_$));
            //!end
        }
        workgroupBarrier();
    }
    let at = tile * TALL + across * 4u;
    if (at >= part.rows) {
        return;
    }
    let row = x_first + down * DEPTH;
    //!repeat DEPTH
    if (row + $u < p.rows) {
        store4(part, row + $u, at, sum_$);
    }
    //!end
}
