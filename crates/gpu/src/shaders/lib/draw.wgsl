// The non-greedy part of sampling. It selects tokens by digits of their keys instead of sorting them.

const BINS = 8u;

// The kept tokens: those above `low_key`, and those equal to it with ids up to `low_id`.
var<private> low_key: u32;
var<private> low_id: u32;
var<private> top_logit: f32;
var<private> temperature: f32;

var<workgroup> bins: array<f32, 2048>;
// Sums of the bins of some threads, 32 for each of them.
var<workgroup> stripes: array<f32, THREADS>;
var<workgroup> digit_sums: array<f32, BINS>;
var<workgroup> found_segment: u32;
var<workgroup> found_rest: f32;
var<workgroup> found_id: u32;
// The drawn token, or NONE.
var<workgroup> drawn: u32;

fn is_kept(key: u32, id: u32) -> bool {
    return key > low_key || (key == low_key && id <= low_id);
}

// Returns a token's probability times an unknown factor; 1 for the most likely token.
fn weight_of(logit: f32) -> f32 {
    let x = (logit - top_logit) / temperature;
    return select(exp_of(x), 0.0, x < -87.0);
}

// Returns the measure of a token: 1, or its weight.
fn measure(logit: f32, counts: bool) -> f32 {
    return select(weight_of(logit), 1.0, counts);
}

// Returns the sum of the weights of all kept tokens.
fn total_of(first: u32, thread: u32) -> f32 {
    var sum = 0.0;
    for (var i = thread; i * 4u < p.vocabulary; i += THREADS) {
        let logits = arena[first + i];
        for (var c = 0u; c < 4u; c++) {
            let id = i * 4u + c;
            if (id < p.vocabulary && is_kept(key_of(logits[c]), id)) {
                sum += weight_of(logits[c]);
            }
        }
    }
    return sum_of_all(sum, thread);
}

// Keeps the most likely of the kept tokens until their measures reach `wanted`, at least one. Equal tokens are kept in the order of
// their ids.
fn keep_most_likely(first: u32, wanted: f32, counts: bool, thread: u32) {
    // The key of the last token to keep, three bits at a time from the highest, and the measure of all tokens above it.
    var prefix = 0u;
    var above = 0.0;
    for (var digit = 11u; digit > 0u; digit--) {
        let shift = (digit - 1u) * 3u;
        for (var b = 0u; b < BINS; b++) {
            bins[b * THREADS + thread] = 0.0;
        }
        for (var i = thread; i * 4u < p.vocabulary; i += THREADS) {
            let logits = arena[first + i];
            for (var c = 0u; c < 4u; c++) {
                let id = i * 4u + c;
                let key = key_of(logits[c]);
                let same = digit == 11u || (key >> min(shift + 3u, 31u)) == prefix;
                if (id < p.vocabulary && same && is_kept(key, id)) {
                    bins[((key >> shift) & 7u) * THREADS + thread] += measure(logits[c], counts);
                }
            }
        }
        workgroupBarrier();
        var stripe = 0.0;
        for (var i = thread % 32u; i < THREADS; i += 32u) {
            stripe += bins[thread / 32u * THREADS + i];
        }
        stripes[thread] = stripe;
        workgroupBarrier();
        if (thread < BINS) {
            var sum = 0.0;
            for (var i = 0u; i < 32u; i++) {
                sum += stripes[thread * 32u + i];
            }
            digit_sums[thread] = sum;
        }
        workgroupBarrier();
        // The highest digit that reaches the measure, or the lowest that occurs if rounding hides it.
        var chosen = 0u;
        var sum = above;
        for (var b = BINS; b > 0u; b--) {
            let own = digit_sums[b - 1u];
            if (own > 0.0) {
                chosen = b - 1u;
                above = sum;
                sum += own;
                if (sum >= wanted) {
                    break;
                }
            }
        }
        prefix = (prefix << 3u) | chosen;
    }
    keep_first_equals(first, prefix, wanted - above, counts, thread);
}

// Lowers the bound to `key`. Of the tokens with this key, the first by id whose measures reach `wanted` are kept, at least one.
fn keep_first_equals(first: u32, key: u32, wanted: f32, counts: bool, thread: u32) {
    let quarters = (p.vocabulary + 3u) / 4u;
    let each = (quarters + THREADS - 1u) / THREADS;
    var equals = 0u;
    for (var i = thread * each; i < min((thread + 1u) * each, quarters); i++) {
        for (var c = 0u; c < 4u; c++) {
            let id = i * 4u + c;
            if (id < p.vocabulary && key_of(arena[first + i][c]) == key && is_kept(key, id)) {
                equals += 1u;
            }
        }
    }
    best_keys[thread] = equals;
    if (thread == 0u) {
        found_id = NONE;
    }
    workgroupBarrier();
    var before = 0u;
    for (var other = 0u; other < thread; other++) {
        before += best_keys[other];
    }
    let logit = bitcast<f32>(select(~key, key & 0x7fffffffu, key >= 0x80000000u));
    let needed = max(ceil(wanted / measure(logit, counts)), 1.0);
    if (equals > 0u && f32(before) < needed && f32(before + equals) >= needed) {
        var seen = before;
        for (var i = thread * each; i < min((thread + 1u) * each, quarters); i++) {
            for (var c = 0u; c < 4u; c++) {
                let id = i * 4u + c;
                if (id < p.vocabulary && key_of(arena[first + i][c]) == key && is_kept(key, id)) {
                    seen += 1u;
                    if (f32(seen) == needed) {
                        found_id = id;
                    }
                }
            }
        }
    }
    workgroupBarrier();
    // If they do not reach it, all are kept. An earlier bound on the same key stays.
    low_id = select(select(NONE, low_id, key == low_key), found_id, found_id != NONE);
    low_key = key;
    workgroupBarrier();
}

// Returns the weight for the draw.
fn drawn_weight(logit: f32, id: u32, min_p: f32) -> f32 {
    if (id >= p.vocabulary || !is_kept(key_of(logit), id)) {
        return 0.0;
    }
    let weight = weight_of(logit);
    return select(weight, 0.0, weight < min(min_p, 1.0));
}

// Stores the token in `drawn`. The row's logits start at `first`; the largest is `top`.
fn draw(first: u32, settings: Settings, top: f32, thread: u32) {
    low_key = 1u;
    low_id = NONE;
    top_logit = top;
    temperature = settings.temperature;
    // First top-k, then top-p, in one loop: inlined twice, the code takes twice as long to compile.
    for (var bound = 0u; bound < 2u; bound++) {
        let counts = bound == 0u;
        if (select(settings.has_nucleus, settings.top_k > 0u, counts)) {
            var wanted = f32(settings.top_k);
            if (!counts) {
                wanted = settings.top_p * total_of(first, thread);
            }
            keep_most_likely(first, wanted, counts, thread);
        }
    }
    let quarters = (p.vocabulary + 3u) / 4u;
    let each = (quarters + THREADS - 1u) / THREADS;
    var sum = 0.0;
    for (var i = thread * each; i < min((thread + 1u) * each, quarters); i++) {
        for (var c = 0u; c < 4u; c++) {
            sum += drawn_weight(arena[first + i][c], i * 4u + c, settings.min_p);
        }
    }
    bins[thread] = sum;
    workgroupBarrier();
    if (thread == 0u) {
        var total = 0.0;
        for (var t = 0u; t < THREADS; t++) {
            total += bins[t];
        }
        let goal = settings.draw * total;
        var before = 0.0;
        found_segment = NONE;
        for (var t = 0u; t < THREADS; t++) {
            if (bins[t] > 0.0) {
                // The last segment with a weight, used if rounding moves the goal past the end.
                found_segment = t;
                found_rest = goal - before;
                before += bins[t];
                if (before > goal) {
                    break;
                }
            }
        }
        drawn = NONE;
    }
    workgroupBarrier();
    if (thread == found_segment) {
        var cumulated = 0.0;
        for (var i = thread * each; i < min((thread + 1u) * each, quarters); i++) {
            for (var c = 0u; c < 4u; c++) {
                let weight = drawn_weight(arena[first + i][c], i * 4u + c, settings.min_p);
                if (weight > 0.0 && cumulated <= found_rest) {
                    cumulated += weight;
                    drawn = i * 4u + c;
                }
            }
        }
    }
    workgroupBarrier();
}
