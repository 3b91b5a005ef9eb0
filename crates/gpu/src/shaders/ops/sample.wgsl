// Draws a token for each row of logits: temperature, top-k, top-p, min-p, then the first kept token in the order of ids whose
// cumulative probability exceeds the draw. One workgroup per row. GREEDY: every row takes its most likely token.
//!include lib/step
//!include lib/arena4
//!include lib/maths

struct Params {
    rows: u32,
    vocabulary: u32,
    logits: u32,
    stride: u32,
    settings: u32, // eight words per row: see `Settings`
}

@group(0) @binding(3) var<storage, read_write> ring: array<u32>;

struct Settings {
    temperature: f32,
    top_k: u32, // 0 keeps all
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

//!include lib/reduce

var<workgroup> best_keys: array<u32, THREADS>;
var<workgroup> best_ids: array<u32, THREADS>;

// Returns a key in the order of the logits, with negative zero below zero. A NaN gives 0, below all others.
fn key_of(logit: f32) -> u32 {
    let bits = bitcast<u32>(logit);
    if ((bits & 0x7fffffffu) > 0x7f800000u) {
        return 0u;
    }
    return select(bits | 0x80000000u, ~bits, bits >= 0x80000000u);
}

struct Likely {
    key: u32,
    id: u32,
}

fn likelier(a: Likely, b: Likely) -> Likely {
    let second = b.key > a.key || (b.key == a.key && b.id < a.id);
    return Likely(select(a.key, b.key, second), select(a.id, b.id, second));
}

// Returns the most likely token, the lowest id among equals, in every thread.
fn most_likely(first: u32, thread: u32) -> Likely {
    var best = Likely(0u, 0u);
    for (var i = thread; i * 4u < p.vocabulary; i += THREADS) {
        let logits = arena[first + i];
        for (var c = 0u; c < 4u; c++) {
            // Zeros of both signs are equal here.
            let exact = key_of(logits[c]);
            let key = select(exact, 0x80000000u, exact == 0x7fffffffu);
            if (key > best.key && i * 4u + c < p.vocabulary) {
                best = Likely(key, i * 4u + c);
            }
        }
    }
    best_keys[thread] = best.key;
    best_ids[thread] = best.id;
    workgroupBarrier();
    if (thread < SPREAD) {
        for (var i = thread + SPREAD; i < THREADS; i += SPREAD) {
            best = likelier(best, Likely(best_keys[i], best_ids[i]));
        }
        best_keys[thread] = best.key;
        best_ids[thread] = best.id;
    }
    workgroupBarrier();
    best = Likely(best_keys[0], best_ids[0]);
    for (var i = 1u; i < SPREAD; i++) {
        best = likelier(best, Likely(best_keys[i], best_ids[i]));
    }
    return best;
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
    let settings = settings_of(row);
    let best = most_likely(first, thread);
    if (GREEDY) {
        if (thread == 0u) {
            ring[settings.slot] = best.id;
        }
    } else {
        let top = best.key;
        // top is neither infinite nor NaN.
        let finite = top > 0x007fffffu && top < 0xff800000u;
        draw(first, settings, select(0.0, bitcast<f32>(select(~top, top & 0x7fffffffu, top >= 0x80000000u)), finite), thread);
        if (thread == 0u) {
            var token = drawn;
            if (settings.is_greedy || !finite || token == NONE) {
                token = best.id;
            }
            ring[settings.slot] = token;
        }
    }
}
