// Parameters of integer groups of GROUP columns. GROUP_SCALE: 0 half precision, 1 bfloat16, 2 single precision. GROUP_ZEROS: 0 the
// same zero point GROUP_ZERO for all, 1 one zero point per group, 2 one bias per group. w = scale (q - zero) + bias.

struct Group {
    scale: f32,
    zero: f32,
    bias: f32,
}

// Returns group g of those whose parameters begin at weight[at].
fn group_at(at: u32, g: u32) -> Group {
    var pair: vec2<f32>;
    if (GROUP_ZEROS == 0u) {
        if (GROUP_SCALE == 2u) {
            pair.x = bitcast<f32>(weight[at + g]);
        } else {
            pair.x = group_numbers(weight[at + (g >> 1u)] >> (16u * (g & 1u))).x;
        }
        return Group(pair.x, f32(GROUP_ZERO), 0.0);
    }
    if (GROUP_SCALE == 2u) {
        pair = vec2<f32>(bitcast<f32>(weight[at + 2u * g]), bitcast<f32>(weight[at + 2u * g + 1u]));
    } else {
        pair = group_numbers(weight[at + g]);
    }
    if (GROUP_ZEROS == 1u) {
        return Group(pair.x, pair.y, 0.0);
    }
    return Group(pair.x, 0.0, pair.y);
}

// Returns the two 16-bit numbers of a word.
fn group_numbers(word: u32) -> vec2<f32> {
    if (GROUP_SCALE == 1u) {
        return vec2<f32>(bitcast<f32>(word << 16u), bitcast<f32>(word & 0xffff0000u));
    }
    return halves_of(word);
}

fn group_weights(codes: array<vec4<f32>, 2>, group: Group) -> array<vec4<f32>, 2> {
    return array<vec4<f32>, 2>(
        group.scale * (codes[0] - group.zero) + group.bias,
        group.scale * (codes[1] - group.zero) + group.bias,
    );
}
