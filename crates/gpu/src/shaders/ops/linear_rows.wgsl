// Linear modules for few rows (at most ROWS); the weights are read once. A team of p.team threads computes four rows of the weight
// for all rows of x, and a thread takes eight columns at a time. NORM: x is RMS-normed first. GATED: the two parts are gate and
// up, and the result is f(gate) * up.
//!include lib/linear
//!include lib/activation
//!include lib/team

// Returns 1 / rms of every row of x, in every thread.
fn norms(thread: u32) -> vec4<f32> {
    var squares = vec4<f32>();
    for (var k = thread * 4u; k < p.cols; k += 1024u) {
        let inside = vec4<u32>(k, k + 1u, k + 2u, k + 3u) < vec4<u32>(p.cols);
        //!repeat ROWS
        let x$ = select(vec4<f32>(), arena[p.x + min($u, p.rows - 1u) * p.x_stride + k / 4u], inside);
        squares[$u] += dot(x$, x$);
        //!end
    }
    return 1.0 / sqrt(sum_of_all(squares, thread) / f32(p.cols) + p.eps);
}

fn gain1(k: u32) -> f32 {
    var col = min(k, p.cols - 1u);
    if (ORDERED) {
        col = vectors[p.order + col];
    }
    return vector(p.gain + col);
}

fn gain4(k: u32) -> vec4<f32> {
    return vec4<f32>(gain1(k), gain1(k + 1u), gain1(k + 2u), gain1(k + 3u));
}

fn times(w: array<f32, 8>, low: vec4<f32>, high: vec4<f32>) -> f32 {
    return dot(vec4<f32>(w[0], w[1], w[2], w[3]), low) + dot(vec4<f32>(w[4], w[5], w[6], w[7]), high);
}

// Stores the products of four rows of the weight, or of gate and up.
fn finish(part: Part, row: u32, at: u32, product: vec4<f32>, second: vec4<f32>) {
    if (!GATED) {
        store4(part, row, at, product);
        return;
    }
    var gate = product;
    var up = second;
    if (part.bias != NONE) {
        gate += vector4(part.bias, at, part.rows);
    }
    if (p.part[1].bias != NONE) {
        up += vector4(p.part[1].bias, at, part.rows);
    }
    arena[part.out + row * part.out_stride + at / 4u] = activation4(gate) * up;
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, own: Invocation) {
    let thread = thread_of(own);
    let rows_each = 256u / p.team * 4u;
    var group = workgroup_number(id, groups);
    var number = 0u;
    if (!GATED) {
        while (number < p.parts) {
            let of_part = (p.part[number].rows + rows_each - 1u) / rows_each;
            if (group < of_part) {
                break;
            }
            group -= of_part;
            number += 1u;
        }
    }
    if (number >= p.parts) {
        return;
    }
    let part = p.part[number];
    let at = group * rows_each + thread / p.team * 4u;
    if (group * rows_each >= part.rows) {
        return;
    }
    var factor = vec4<f32>(1.0);
    if (NORM) {
        factor = norms(thread);
    }
    let last = part.rows - 1u;
    let row_0 = part.weight + min(at, last) * p.row_words;
    let row_1 = part.weight + min(at + 1u, last) * p.row_words;
    let row_2 = part.weight + min(at + 2u, last) * p.row_words;
    let row_3 = part.weight + min(at + 3u, last) * p.row_words;
    // The distance to the same rows of the second weight, if the two are gate and up.
    let to_up = p.part[1].weight - part.weight;
    //!repeat ROWS
    var sum_$ = vec4<f32>();
    var up_$ = vec4<f32>();
    //!end
    for (var k = thread % p.team * 8u; k < p.cols; k += p.team * 8u) {
        //!repeat ROWS
        // Rows past the last are computed too; their results are not stored.
        var low_$ = x4(min($u, p.rows - 1u), k);
        var high_$ = x4(min($u, p.rows - 1u), k + 4u);
        //!end
        if (NORM) {
            let low_gain = gain4(k);
            let high_gain = gain4(k + 4u);
            //!repeat ROWS
            low_$ *= factor[$u] * low_gain;
            high_$ *= factor[$u] * high_gain;
            //!end
        }
        let w_0 = weights8(row_0, k);
        let w_1 = weights8(row_1, k);
        let w_2 = weights8(row_2, k);
        let w_3 = weights8(row_3, k);
        //!repeat ROWS
        sum_$ += vec4<f32>(
            times(w_0, low_$, high_$), times(w_1, low_$, high_$), times(w_2, low_$, high_$), times(w_3, low_$, high_$),
        );
        //!end
        if (GATED) {
            let u_0 = weights8(row_0 + to_up, k);
            let u_1 = weights8(row_1 + to_up, k);
            let u_2 = weights8(row_2 + to_up, k);
            let u_3 = weights8(row_3 + to_up, k);
            //!repeat ROWS
            up_$ += vec4<f32>(
                times(u_0, low_$, high_$), times(u_1, low_$, high_$), times(u_2, low_$, high_$), times(u_3, low_$, high_$),
            );
            //!end
        }
    }
    let stores = thread % p.team == 0u && at < part.rows;
    //!repeat ROWS
    let product_$ = sum_of_team(sum_$, thread);
    var second_$ = vec4<f32>();
    if (GATED) {
        second_$ = sum_of_team(up_$, thread);
    }
    if (stores && $u < p.rows) {
        finish(part, $u, at, product_$, second_$);
    }
    //!end
}
