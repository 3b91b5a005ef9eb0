//!include lib/step
//!include lib/arena4
// Definitions that the kernels of linear modules share: up to three weights of one layout and width, applied to the same rows, each
// with its own result. Offsets into the arena count vectors of four.

struct Part {
    rows: u32, // rows of the weight
    weight: u32, // first word of the weight
    bias: u32, // offset, or NONE
    out: u32, // offset of the result of its first row
    out_stride: u32,
    residual: u32, // offset of the matrix to add, in the layout of the result, or NONE
    unused_0: u32,
    unused_1: u32,
}

struct Params {
    rows: u32, // rows of x
    cols: u32,
    x: u32,
    x_stride: u32,
    row_words: u32,
    parts: u32,
    order: u32, // offset of the order of columns in `vectors` (ORDERED)
    gain: u32, // offset of the gain of the norm (NORM)
    eps: f32,
    team: u32, // threads per team, if there are teams: a power of two up to 256
    unused_0: u32,
    unused_1: u32,
    part: array<Part, 3>,
}

@group(1) @binding(0) var<storage, read> weight: array<u32>;

//!include format

// Returns columns k to k + 4 of a row of x, zeros past its end.
fn x4(row: u32, k: u32) -> vec4<f32> {
    let first = p.x + row * p.x_stride;
    if (ORDERED) {
        var values = vec4<f32>();
        for (var i = 0u; i < 4u; i++) {
            if (k + i < p.cols) {
                let col = vectors[p.order + k + i];
                values[i] = arena[first + col / 4u][col % 4u];
            }
        }
        return values;
    }
    let inside = vec4<u32>(k, k + 1u, k + 2u, k + 3u) < vec4<u32>(p.cols);
    return select(vec4<f32>(), arena[first + min(k / 4u, p.x_stride - 1u)], inside);
}

// Returns a bias or gain of rows `at` to `at + 4`; values past `count` are never used.
fn vector4(first: u32, at: u32, count: u32) -> vec4<f32> {
    let last = count - 1u;
    return vec4<f32>(
        vector(first + min(at, last)),
        vector(first + min(at + 1u, last)),
        vector(first + min(at + 2u, last)),
        vector(first + min(at + 3u, last)),
    );
}

// Adds bias and residual to the result of weight rows `at` to `at + 4` for row `row` of x, and stores it.
fn store4(part: Part, row: u32, at: u32, product: vec4<f32>) {
    var y = product;
    if (part.bias != NONE) {
        y += vector4(part.bias, at, part.rows);
    }
    let place = row * part.out_stride + at / 4u;
    if (part.residual != NONE) {
        y += arena[part.residual + place];
    }
    arena[part.out + place] = y;
}
