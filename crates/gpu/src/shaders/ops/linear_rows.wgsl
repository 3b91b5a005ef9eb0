// Linear layers of few rows (at most ROWS): the weights are read once. A team of p.team threads computes four rows of the weight for
// all rows of x; a thread takes eight columns at a time. NORM: x is RMS-normed on the way. GATED: the two parts are gate and up
// and the result is f(gate) * up.
//!include lib/linear
//!include lib/activation

// Sums are taken in two strides, since barriers cost more than the additions that a tree of them saves.
const SPREAD = 16u;

var<workgroup> sums: array<vec4<f32>, 256>;
var<workgroup> squares_of: array<vec4<f32>, SPREAD>;

// The sum over the team, valid in its first thread.
fn sum_of_team(value: vec4<f32>, thread: u32) -> vec4<f32> {
    sums[thread] = value;
    workgroupBarrier();
    let member = thread % p.team;
    if (p.team > SPREAD) {
        if (member < SPREAD) {
            var sum = value;
            for (var i = SPREAD; i < p.team; i += SPREAD) {
                sum += sums[thread + i];
            }
            sums[thread] = sum;
        }
        workgroupBarrier();
    }
    var all = vec4<f32>();
    if (member == 0u) {
        for (var i = 0u; i < SPREAD; i++) {
            all += sums[thread + i];
        }
    }
    return all;
}

// 1 / rms of every row of x, the same in every thread.
fn norms(thread: u32) -> vec4<f32> {
    var squares = vec4<f32>();
    for (var row = 0u; row < ROWS; row++) {
        for (var k = thread * 4u; k < p.cols; k += 1024u) {
            let x = select(
                vec4<f32>(),
                arena[p.x + min(row, p.rows - 1u) * p.x_stride + k / 4u],
                vec4<u32>(k, k + 1u, k + 2u, k + 3u) < vec4<u32>(p.cols),
            );
            squares[row] += dot(x, x);
        }
    }
    sums[thread] = squares;
    workgroupBarrier();
    if (thread < SPREAD) {
        for (var i = thread + SPREAD; i < 256u; i += SPREAD) {
            squares += sums[i];
        }
        squares_of[thread] = squares;
    }
    workgroupBarrier();
    var all = vec4<f32>();
    for (var i = 0u; i < SPREAD; i++) {
        all += squares_of[i];
    }
    return 1.0 / sqrt(all / f32(p.cols) + p.eps);
}

fn gain4(k: u32) -> vec4<f32> {
    var gains = vec4<f32>();
    for (var i = 0u; i < 4u; i++) {
        var col = min(k + i, p.cols - 1u);
        if (ORDERED) {
            col = vectors[p.order + col];
        }
        gains[i] = vector(p.gain + col);
    }
    return gains;
}

// Four rows of a weight times eight columns of ROWS rows of x, added to `sum`.
fn multiply(part: Part, at: u32, k: u32, low: array<vec4<f32>, ROWS>, high: array<vec4<f32>, ROWS>,
    sum: ptr<function, array<vec4<f32>, ROWS>>) {
    let last = part.rows - 1u;
    for (var i = 0u; i < 4u; i++) {
        let w = weights8(part.weight + min(at + i, last) * p.row_words, k);
        let a = vec4<f32>(w[0], w[1], w[2], w[3]);
        let b = vec4<f32>(w[4], w[5], w[6], w[7]);
        var x_low = low;
        var x_high = high;
        for (var row = 0u; row < ROWS; row++) {
            (*sum)[row][i] += dot(a, x_low[row]) + dot(b, x_high[row]);
        }
    }
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
fn main(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
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
    var sum: array<vec4<f32>, ROWS>;
    var up: array<vec4<f32>, ROWS>;
    for (var k = thread % p.team * 8u; k < p.cols; k += p.team * 8u) {
        var low: array<vec4<f32>, ROWS>;
        var high: array<vec4<f32>, ROWS>;
        for (var row = 0u; row < ROWS; row++) {
            // A row beyond the last is computed for nothing.
            low[row] = x4(min(row, p.rows - 1u), k);
            high[row] = x4(min(row, p.rows - 1u), k + 4u);
            if (NORM) {
                low[row] = low[row] * factor[row] * gain4(k);
                high[row] = high[row] * factor[row] * gain4(k + 4u);
            }
        }
        multiply(part, at, k, low, high, &sum);
        if (GATED) {
            multiply(p.part[1], at, k, low, high, &up);
        }
    }
    for (var row = 0u; row < ROWS; row++) {
        if (row > 0u) {
            workgroupBarrier();
        }
        let y = sum_of_team(sum[row], thread);
        var second = vec4<f32>();
        if (GATED) {
            workgroupBarrier();
            second = sum_of_team(up[row], thread);
        }
        if (thread % p.team == 0u && at < part.rows && row < p.rows) {
            finish(part, row, at, y, second);
        }
    }
}
