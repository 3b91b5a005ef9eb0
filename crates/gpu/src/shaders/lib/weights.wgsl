// Functions that the formats share. A format defines weights4x2: columns k..k+8 (k a multiple of 8) of the row that begins at
// weight[row_word]. COLS stands for the columns of the weight; the padding of the last 8 decodes to finite numbers.

fn weights8(row_word: u32, k: u32) -> array<f32, 8> {
    let w = weights4x2(row_word, k);
    return array<f32, 8>(w[0].x, w[0].y, w[0].z, w[0].w, w[1].x, w[1].y, w[1].z, w[1].w);
}

// Returns the two half-precision numbers of a word. A device's own conversion may flush subnormal numbers to 0; PLAIN_HALF
// avoids it.
fn halves_of(word: u32) -> vec2<f32> {
    if (PLAIN_HALF) {
        let bits = vec2<u32>(word & 0xffffu, word >> 16u);
        let magnitude = bits & vec2<u32>(0x7fffu);
        let normal = bitcast<vec2<f32>>((magnitude << vec2<u32>(13u)) + vec2<u32>(112u << 23u));
        let value = select(normal, vec2<f32>(magnitude) * (1.0 / 16777216.0), magnitude < vec2<u32>(0x400u));
        return select(value, -value, (bits & vec2<u32>(0x8000u)) != vec2<u32>(0u));
    }
    return unpack2x16float(word);
}

// Returns half number i of those that are stored two per word from weight[at] on.
fn half_at(at: u32, i: u32) -> f32 {
    return halves_of(weight[at + (i >> 1u)] >> (16u * (i & 1u))).x;
}

// Returns the four bytes of a word.
fn bytes_of(quad: u32) -> vec4<f32> {
    return vec4<f32>((vec4<u32>(quad) >> vec4<u32>(0u, 8u, 16u, 24u)) & vec4<u32>(255u));
}

// Returns the four bytes of a word, signed.
fn signed_bytes_of(quad: u32) -> vec4<f32> {
    return vec4<f32>(vec4<i32>(vec4<u32>(quad) << vec4<u32>(24u, 16u, 8u, 0u)) >> vec4<u32>(24u));
}

// Returns the codes of 8 columns; the first four are in the low nibbles.
fn nibbles_of(word: u32) -> array<vec4<f32>, 2> {
    return array<vec4<f32>, 2>(bytes_of(word & 0x0f0f0f0fu), bytes_of((word >> 4u) & 0x0f0f0f0fu));
}

// Returns the same as nibbles_of with the fifth bits of columns k..k+8, from the word of their 32 columns.
fn five_bits_of(word: u32, high: u32, k: u32) -> array<vec4<f32>, 2> {
    let fifth = high >> ((k & 31u) >> 2u);
    return array<vec4<f32>, 2>(
        bytes_of((word & 0x0f0f0f0fu) | ((fifth & 0x01010101u) << 4u)),
        bytes_of(((word >> 4u) & 0x0f0f0f0fu) | ((fifth & 0x02020202u) << 3u)),
    );
}

// Rounds a number of words up to a whole number of vectors of four words.
fn aligned(words: u32) -> u32 {
    return (words + 3u) & ~3u;
}
