// Softmax attention of one head of one row over the cells that the row sees, in chunks of 256 positions. One workgroup per head and
// row, or one per span of positions (SPLIT), whose results are joined afterwards.
//!include lib/step
//!include lib/arena
//!include lib/rope
//!include lib/maths
//!include lib/reduce
//!include lib/cache
//!include lib/attended
//!include lib/hadamard

struct Params {
    rows: u32,
    heads: u32, // H
    shared_by: u32, // query heads per key-value head
    kv: u32, // values per cell: G * E
    q: u32,
    out: u32,
    stride: u32, // of q and out
    pairs: u32, // 0 without rotation of q by position
    table: u32,
    seen: u32, // offset in `words`; five words per row: first, end, start and end of the scattered cells, start of the page table
    pages: u32,
    extra: u32,
    page_len: u32,
    scale: f32,
    cap: f32,
    spans: u32,
    span_len: u32, // a multiple of CHUNK
    spans_at: u32,
}

@group(1) @binding(0) var<storage, read_write> cache: array<u32>;

const CHUNK = 256u;
// The words of a head's keys or values, and their distribution over threads.
const HEAD_WORDS = WIDTH / PER_WORD;
const TEAMS = max(THREADS / HEAD_WORDS, 1u);
const WORDS_EACH = (HEAD_WORDS + THREADS - 1u) / THREADS;

// The query, and in the end the result if it must be rotated.
var<workgroup> head_values: array<f32, WIDTH>;
var<workgroup> weights: array<f32, CHUNK>;
// The first word of each cell of the chunk.
var<workgroup> cells: array<u32, CHUNK>;
var<workgroup> sums: array<vec4<f32>, THREADS>;

// Returns the codes in the lower halves of the bytes of a word.
fn nibbles(word: u32) -> vec4<f32> {
    let codes = (vec4<u32>(word) >> vec4<u32>(0u, 8u, 16u, 24u)) & vec4<u32>(15u);
    return vec4<f32>(codes) - 8.0;
}

// Returns the values of a word of codes, without their scale; of Q4_0, those of the lower halves.
fn unpacked(word: u32) -> vec4<f32> {
    if (ELEMENT == 0u) {
        return vec4<f32>(bitcast<f32>(word), 0.0, 0.0, 0.0);
    }
    if (ELEMENT == 1u) {
        return vec4<f32>(unpack2x16float(word), 0.0, 0.0);
    }
    if (ELEMENT == 3u) {
        return nibbles(word);
    }
    let bits = bitcast<i32>(word);
    return vec4<f32>(
        f32((bits << 24u) >> 24u),
        f32((bits << 16u) >> 24u),
        f32((bits << 8u) >> 24u),
        f32(bits >> 24u),
    );
}

// Returns the scale of the block that contains word `word` of a plane.
fn scale_of(plane: u32, word: u32) -> f32 {
    let block = word / (32u / PER_WORD);
    let pair = unpack2x16float(cache[plane + p.kv / PER_WORD + block / 2u]);
    return select(pair.x, pair.y, block % 2u == 1u);
}

// Returns four values of the query from `e` on.
fn query4(e: u32) -> vec4<f32> {
    return vec4<f32>(head_values[e % WIDTH], head_values[(e + 1u) % WIDTH], head_values[(e + 2u) % WIDTH], head_values[(e + 3u) % WIDTH]);
}

// Returns query times key. The words of the key start at `first` of the plane.
fn score(plane: u32, first: u32) -> f32 {
    var sum = 0.0;
    if (ELEMENT == 0u) {
        for (var i = 0u; i < HEAD_WORDS; i++) {
            sum += head_values[i] * bitcast<f32>(cache[plane + first + i]);
        }
    } else if (ELEMENT == 1u) {
        for (var i = 0u; i < HEAD_WORDS; i++) {
            let pair = unpack2x16float(cache[plane + first + i]);
            sum += head_values[(2u * i) % WIDTH] * pair.x + head_values[(2u * i + 1u) % WIDTH] * pair.y;
        }
    } else {
        const BLOCK_WORDS = 32u / PER_WORD;
        for (var block = 0u; block < HEAD_WORDS / BLOCK_WORDS; block++) {
            var part = 0.0;
            for (var i = 0u; i < BLOCK_WORDS; i++) {
                let word = cache[plane + first + block * BLOCK_WORDS + i];
                let e = block * 32u + i * 4u;
                part += dot(unpacked(word), query4(e));
                if (ELEMENT == 3u) {
                    part += dot(nibbles(word >> 4u), query4(e + 16u));
                }
            }
            sum += part * scale_of(plane, first + block * BLOCK_WORDS);
        }
    }
    sum *= p.scale;
    if (CAPPED) {
        sum = p.cap * tanh_of(sum / p.cap);
    }
    return sum;
}

// Returns the place of the first value of word `at` of a head.
fn first_of(at: u32) -> u32 {
    return select(at * PER_WORD, at / 4u * 32u + at % 4u * 4u, ELEMENT == 3u);
}

// Keeps value `e` of the result, which begins at `out`.
fn put(out: u32, e: u32, x: f32) {
    if (RUN > 1u) {
        head_values[e] = x;
    } else {
        arena[out + e] = x;
    }
}

// Returns the first word of the cell at position `i` of those that a row sees.
fn cell_at(seen: u32, i: u32) -> u32 {
    let first = words[seen];
    let chain = words[seen + 1u] - first;
    var cell = first + i;
    if (i >= chain) {
        cell = words[p.extra + words[seen + 2u] + i - chain];
    }
    let page = words[p.pages + words[seen + 4u] + cell / p.page_len];
    return (page * p.page_len + cell % p.page_len) * 2u * plane_words(p.kv);
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, own: Invocation) {
    let thread = thread_of(own);
    let group = workgroup_number(id, groups);
    let span = group % p.spans;
    let head = group / p.spans % p.heads;
    let row = group / p.spans / p.heads;
    if (row >= p.rows) {
        return;
    }
    let seen = p.seen + row * 5u;
    let count = words[seen + 1u] - words[seen] + words[seen + 3u] - words[seen + 2u];
    let start = span * p.span_len;
    let end = min(count, start + p.span_len);
    let head_word = head / p.shared_by * HEAD_WORDS;
    for (var e = thread; e < WIDTH; e += THREADS) {
        head_values[e] = rotated(p.q + row * p.stride + head * WIDTH, e, p.table + row * 2u * p.pairs, p.pairs);
    }
    workgroupBarrier();
    if (RUN > 1u) {
        rotate_vector(WIDTH, thread);
    }
    let word = thread % min(HEAD_WORDS, THREADS);
    let team = thread / min(HEAD_WORDS, THREADS);
    var top = -3.0e38;
    var total = 0.0;
    var sum: array<vec4<f32>, WORDS_EACH>;
    // The values of the upper halves of bytes.
    var high: array<vec4<f32>, WORDS_EACH>;
    for (var chunk = start; chunk < end; chunk += CHUNK) {
        let n = min(CHUNK, end - chunk);
        var best = -3.0e38;
        for (var j = thread; j < n; j += THREADS) {
            let cell = cell_at(seen, chunk + j);
            let s = score(cell, head_word);
            cells[j] = cell;
            weights[j] = s;
            best = max(best, s);
        }
        let new_top = max(top, max_of_all(best, thread));
        var part = 0.0;
        for (var j = thread; j < n; j += THREADS) {
            let w = exp(weights[j] - new_top);
            weights[j] = w;
            part += w;
        }
        let kept = exp(top - new_top);
        top = new_top;
        total = total * kept + sum_of_all(part, thread);
        for (var i = 0u; i < WORDS_EACH; i++) {
            sum[i] *= kept;
            high[i] *= kept;
        }
        if (team < TEAMS) {
            for (var j = team; j < n; j += TEAMS) {
                let plane = cells[j] + plane_words(p.kv);
                let w = weights[j];
                for (var i = 0u; i < WORDS_EACH; i++) {
                    let at = head_word + min(word + i * THREADS, HEAD_WORDS - 1u);
                    var factor = w;
                    if (ELEMENT >= 2u) {
                        factor *= scale_of(plane, at);
                    }
                    sum[i] += factor * unpacked(cache[plane + at]);
                    if (ELEMENT == 3u) {
                        high[i] += factor * nibbles(cache[plane + at] >> 4u);
                    }
                }
            }
        }
        workgroupBarrier();
    }
    if (TEAMS > 1u) {
        sums[thread] = sum[0];
        workgroupBarrier();
        if (team == 0u) {
            for (var other = 1u; other < TEAMS; other++) {
                sum[0] += sums[thread + other * HEAD_WORDS];
            }
        }
        if (ELEMENT == 3u) {
            workgroupBarrier();
            sums[thread] = high[0];
            workgroupBarrier();
            if (team == 0u) {
                for (var other = 1u; other < TEAMS; other++) {
                    high[0] += sums[thread + other * HEAD_WORDS];
                }
            }
        }
    }
    var out = p.out + row * p.stride + head * WIDTH;
    var factor = 1.0 / total;
    if (SPLIT) {
        out = span_at(row, head, span) + 2u;
        factor = 1.0;
        if (thread == 0u) {
            arena[out - 2u] = top;
            arena[out - 1u] = total;
        }
    }
    if (team == 0u) {
        for (var i = 0u; i < WORDS_EACH; i++) {
            let at = word + i * THREADS;
            if (at < HEAD_WORDS) {
                for (var v = 0u; v < min(PER_WORD, 4u); v++) {
                    put(out, first_of(at) + v, sum[i][v] * factor);
                    if (ELEMENT == 3u) {
                        put(out, first_of(at) + v + 16u, high[i][v] * factor);
                    }
                }
            }
        }
    }
    if (RUN > 1u) {
        workgroupBarrier();
        rotate_vector(WIDTH, thread);
        for (var e = thread; e < WIDTH; e += THREADS) {
            arena[out + e] = head_values[e];
        }
    }
}
