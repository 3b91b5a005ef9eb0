// Cached keys and values of a layer. A cell is one position: its keys [G * E], their scales, its values, their scales. F32 (ELEMENT 0)
// has one value per word, F16 (1) two, Q8_0 (2) four codes, Q4_0 (3) eight. Codes have a half-precision scale per 32 values, two per
// word. Byte i of a block of Q4_0 has the codes of values i (low) and i + 16 (high).
// PER_WORD is the number of values or codes per word.

// Returns the words of the keys or the values of a cell of `kv` values, including scales.
fn plane_words(kv: u32) -> u32 {
    if (ELEMENT >= 2u) {
        return kv / PER_WORD + (kv / 32u + 1u) / 2u;
    }
    return kv / PER_WORD;
}
