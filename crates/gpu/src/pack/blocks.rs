//! Functions that the layouts of block encodings share. A quad is the codes of four columns, in the four bytes of a word.
//!
//! A word holds the 4-bit codes of 8 columns: byte j holds column j in its low nibble and column 4 + j in its high nibble, so
//! that two masks give two quads. A word holds the fifth bits of 32 columns: bit t of byte j is for column 4 t + j.

use half::f16;

/// A layout that holds the blocks of one encoding.
pub(super) struct BlockLayout {
    /// The name of the format include.
    pub name: &'static str,
    /// The format include.
    pub source: &'static str,
    /// Returns the words of a row with this number of columns.
    pub row_words: fn(usize) -> usize,
    /// Packs a row of whole blocks into `row_words` words, which must be 0.
    pub pack: fn(&[u8], usize, &mut [u32]),
    /// Decodes a packed row to the same values as the encoding's own decoder.
    pub unpack: fn(&[u32], &mut [f32]),
}

const LOW: u32 = 0x0f0f_0f0f;
const ONES: u32 = 0x0101_0101;

/// Rounds a number of words up to a whole number of vectors of four words.
pub(super) fn align(words: usize) -> usize {
    words.next_multiple_of(4)
}

/// Returns word `i` of `bytes`.
pub(super) fn word(bytes: &[u8], i: usize) -> u32 {
    u32::from_le_bytes([bytes[4 * i], bytes[4 * i + 1], bytes[4 * i + 2], bytes[4 * i + 3]])
}

/// Returns the half-precision field at byte `at`, in the low half of a word.
pub(super) fn half_bits(bytes: &[u8], at: usize) -> u32 {
    u32::from(u16::from_le_bytes([bytes[at], bytes[at + 1]]))
}

/// Returns number `i` of halves that are stored two per word.
pub(super) fn half(words: &[u32], i: usize) -> f32 {
    f16::from_bits((words[i / 2] >> (16 * (i % 2))) as u16).to_f32()
}

/// Stores `bits` as number `i` of halves that are stored two per word.
pub(super) fn put_half(words: &mut [u32], i: usize, bits: u32) {
    words[i / 2] |= bits << (16 * (i % 2));
}

/// Returns nibble `shift / 4` of each byte.
pub(super) fn nibbles(word: u32, shift: usize) -> u32 {
    word >> shift & LOW
}

/// Returns the quads of 32 codes in the order of Q4_0: columns j and j + 16 in byte j.
pub(super) fn halves_of_32(bytes: &[u8]) -> [u32; 8] {
    std::array::from_fn(|t| nibbles(word(bytes, t % 4), t / 4 * 4))
}

/// Returns the quads with the bits of `high` as fifth bits; bit k is for column k.
pub(super) fn with_fifth_bits(quads: [u32; 8], high: u32) -> [u32; 8] {
    // The product moves bit j of 4 to bit 0 of byte j.
    let spread = |bits: u32| (bits & 15).wrapping_mul(0x0020_4081) & ONES;
    std::array::from_fn(|t| quads[t] | spread(high >> (4 * t)) << 4)
}

/// Writes the low nibbles of the codes of consecutive columns, two quads per word.
pub(super) fn put_nibbles(quads: &[u32], out: &mut [u32]) {
    for (out, pair) in out.iter_mut().zip(quads.as_chunks::<2>().0) {
        *out = pair[0] & LOW | (pair[1] & LOW) << 4;
    }
}

/// Returns the fifth bits of 32 codes.
pub(super) fn fifth_bits(quads: &[u32; 8]) -> u32 {
    quads.iter().enumerate().fold(0, |bits, (t, quad)| bits | (quad >> 4 & ONES) << t)
}

/// Returns the codes of columns `k..k + 4`, whose low nibbles are in `words`.
pub(super) fn nibble_codes(words: &[u32], k: usize) -> [u8; 4] {
    nibbles(words[k / 8], k % 8).to_le_bytes()
}

/// Returns the same as [`nibble_codes`], with fifth bits from `high`.
pub(super) fn five_bit_codes(words: &[u32], high: &[u32], k: usize) -> [u8; 4] {
    (nibbles(words[k / 8], k % 8) | (high[k / 32] >> (k % 32 / 4) & ONES) << 4).to_le_bytes()
}
