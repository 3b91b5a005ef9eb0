//! E4M3 numbers: a sign bit, 4 exponent bits (bias 7) and 3 mantissa bits. There are no infinities; NaN has all
//! exponent and mantissa bits set.

/// Returns the magnitude of the 7 lower bits; 480 for NaN.
pub(crate) const fn magnitude(code: u8) -> f32 {
    let (exponent, mantissa) = ((code >> 3 & 15) as u32, (code & 7) as u32);
    // Exponent 0 stands for mantissa / 8 * 2^-6.
    if exponent == 0 { mantissa as f32 / 512.0 } else { f32::from_bits((exponent + 120) << 23 | mantissa << 20) }
}

/// The largest number.
pub(crate) const LARGEST: f32 = 448.0;

/// Returns the number of a code.
pub(crate) const fn value(code: u8) -> f32 {
    let magnitude = if code & 0x7F == 0x7F { f32::NAN } else { magnitude(code) };
    if code & 0x80 == 0 { magnitude } else { -magnitude }
}

/// The numbers of all codes.
pub(crate) static VALUES: [f32; 256] = {
    let mut values = [0.0; 256];
    let mut code = 0;
    while code < 256 {
        values[code] = value(code as u8);
        code += 1;
    }
    values
};

/// Returns the code nearest to `x`, ties to even. Numbers beyond the range become the largest one.
pub(crate) fn code(x: f32) -> u8 {
    let (sign, x) = ((x.to_bits() >> 31 << 7) as u8, x.abs().min(LARGEST));
    if x < 1.0 / 64.0 {
        return sign | (x * 512.0).round_ties_even() as u8;
    }
    let bits = x.to_bits();
    let rounded = bits + 0x7_FFFF + (bits >> 20 & 1);
    sign | ((rounded >> 20) - (120 << 3)) as u8
}
