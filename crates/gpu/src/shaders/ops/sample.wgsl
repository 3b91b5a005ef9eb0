// Draws a token for each row of logits: temperature, top-k, top-p, min-p, then the first kept token in the order of ids whose
// cumulated probability exceeds the draw. A workgroup each. GREEDY: every row takes its most likely token.
//!include lib/step
//!include lib/arena4
//!include lib/maths

struct Params {
    rows: u32,
    vocabulary: u32,
    logits: u32,
    stride: u32,
    settings: u32, // of each row, eight words: see `Settings`
}

@group(0) @binding(3) var<storage, read_write> ring: array<u32>;

struct Settings {
    temperature: f32,
    top_k: u32, // 0 where it keeps all
    top_p: f32,
    min_p: f32,
    draw: f32,
    is_greedy: bool,
    has_nucleus: bool,
    slot: u32, // of the ring
}

fn settings_of(row: u32) -> Settings {
    let at = p.settings + row * 8u;
    return Settings(
        bitcast<f32>(words[at]),
        words[at + 1u],
        bitcast<f32>(words[at + 2u]),
        bitcast<f32>(words[at + 3u]),
        bitcast<f32>(words[at + 4u]),
        words[at + 5u] != 0u,
        words[at + 6u] != 0u,
        words[at + 7u],
    );
}

const THREADS = 256u;

var<workgroup> best_keys: array<u32, THREADS>;
var<workgroup> best_ids: array<u32, THREADS>;

// Ordered as the logits are, a negative zero before zero; a NaN is 0, below all others.
fn key_of(logit: f32) -> u32 {
    let bits = bitcast<u32>(logit);
    if ((bits & 0x7fffffffu) > 0x7f800000u) {
        return 0u;
    }
    return select(bits | 0x80000000u, ~bits, bits >= 0x80000000u);
}

// The most likely token, the lowest id among equals: its key in every thread; the id is `best_ids[0]`.
fn most_likely(first: u32, thread: u32) -> u32 {
    var key = 0u;
    var id = 0u;
    for (var i = thread; i * 4u < p.vocabulary; i += THREADS) {
        let logits = arena[first + i];
        for (var c = 0u; c < 4u; c++) {
            // Here zeros are equal.
            let exact = key_of(logits[c]);
            let k = select(exact, 0x80000000u, exact == 0x7fffffffu);
            if (k > key && i * 4u + c < p.vocabulary) {
                key = k;
                id = i * 4u + c;
            }
        }
    }
    best_keys[thread] = key;
    best_ids[thread] = id;
    workgroupBarrier();
    for (var half = THREADS / 2u; half > 0u; half /= 2u) {
        if (thread < half) {
            let other = best_keys[thread + half];
            let other_id = best_ids[thread + half];
            let own = best_keys[thread];
            if (other > own || (other == own && other_id < best_ids[thread])) {
                best_keys[thread] = other;
                best_ids[thread] = other_id;
            }
        }
        workgroupBarrier();
    }
    return best_keys[0];
}

//!include lib/draw

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let row = workgroup_number(id, groups);
    if (row >= p.rows) {
        return;
    }
    let first = p.logits + row * p.stride;
    let how = settings_of(row);
    let top = most_likely(first, thread);
    if (GREEDY) {
        if (thread == 0u) {
            ring[how.slot] = best_ids[0];
        }
    } else {
        // Neither infinite nor NaN.
        let finite = top > 0x007fffffu && top < 0xff800000u;
        draw(first, how, select(0.0, bitcast<f32>(select(~top, top & 0x7fffffffu, top >= 0x80000000u)), finite), thread);
        if (thread == 0u) {
            var token = drawn;
            if (how.is_greedy || !finite || token == NONE) {
                token = best_ids[0];
            }
            ring[how.slot] = token;
        }
    }
}
