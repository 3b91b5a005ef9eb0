// Rounding of keys and values to blocks. The kernel defines `value(source, i)`, value `i` of the row's keys or values.
//!include lib/half

// Rounds block `block` of 32 values to scale * code and returns the bits of the scale. A value that is not finite makes the scale NaN.
fn write_block(source: u32, block: u32, plane: u32) -> u32 {
    var top = 0u;
    var extreme = 0.0;
    for (var i = 0u; i < 32u; i++) {
        let x = value(source, block * 32u + i);
        let magnitude = bitcast<u32>(x) & 0x7fffffffu;
        if (magnitude > top) {
            top = magnitude;
            extreme = x;
        }
    }
    let finite = top < 0x7f800000u;
    let scale = select(bitcast<f32>(top) / 127.0, extreme * -0.125, ELEMENT == 3u);
    var inverse = 0.0;
    if (finite && scale != 0.0) {
        inverse = 1.0 / scale;
    }
    for (var w = 0u; w < 32u / PER_WORD; w++) {
        var word = 0u;
        for (var i = 0u; i < 4u; i++) {
            let x = value(source, block * 32u + w * 4u + i) * inverse;
            if (ELEMENT == 3u) {
                let high = value(source, block * 32u + 16u + w * 4u + i) * inverse;
                word |= (min(u32(x + 8.5), 15u) | (min(u32(high + 8.5), 15u) << 4u)) << (8u * i);
            } else {
                // Rounds halves away from zero.
                let code = i32(sign(x) * floor(abs(x) + 0.5));
                word |= (u32(code) & 0xffu) << (8u * i);
            }
        }
        cache[plane + block * (32u / PER_WORD) + w] = select(0u, word, finite);
    }
    return select(0x7e00u, half_bits(scale), finite);
}
