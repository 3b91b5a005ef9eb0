// Cached keys and values of a layer. A cell is one position: its keys [G * E], their scales, its values, their scales; F32 (ELEMENT 0)
// has one value a word, F16 (1) two, Q8_0 (2) four codes a word and one half-precision scale for 32 values, two a word; PER_WORD
// is the number of values or codes a word.

// Words of the keys or the values of a cell of `kv` values, scales included.
fn plane_words(kv: u32) -> u32 {
    if (ELEMENT == 2u) {
        return kv / 4u + (kv / 32u + 1u) / 2u;
    }
    return kv / PER_WORD;
}
