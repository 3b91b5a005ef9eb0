//! Codes of a few bits packed in 32-bit words, in the ways that the formats use.

/// The way in which codes fill the words of a row (or of a column).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Packing {
    /// One stream, least significant bits first: code k starts at bit k * bits.
    Stream,
    /// 32 div bits codes per word, from the least significant bit; the remaining bits are 0.
    Whole,
    /// Planes of bits for every 32 codes, the plane of the lowest bits first (3 = 2 + 1 bits, 5 = 4 + 1, 6 = 4 + 2,
    /// 7 = 4 + 2 + 1). A plane of width w holds 32 / w codes per word.
    Planes,
    /// Eight codes of 4 bits per word, code k in nibble [`NIBBLES`]`[k]`.
    Interleaved,
}

/// The nibble of each of eight interleaved codes.
const NIBBLES: [usize; 8] = [0, 4, 1, 5, 2, 6, 3, 7];

/// The words of one unit, and one more word so that the last code can be read as part of a pair of words.
type Unit = [u32; 9];

impl Packing {
    /// Returns the numbers of codes and words after which the pattern repeats.
    fn unit(self, bits: u8) -> (usize, usize) {
        match self {
            Self::Stream | Self::Planes => (32, bits.into()),
            Self::Whole => (32 / usize::from(bits.max(1)), 1),
            Self::Interleaved => (8, 1),
        }
    }

    /// Returns the number of words that `count` codes take.
    pub(crate) fn words(self, bits: u8, count: usize) -> usize {
        let (codes, words) = self.unit(bits);
        let rest = count % codes;
        let rest_words = if self == Self::Stream { (rest * usize::from(bits)).div_ceil(32) } else { words };
        (count / codes).saturating_mul(words).saturating_add(if rest == 0 { 0 } else { rest_words })
    }

    fn unpack_unit(self, bits: u8, words: &Unit, out: &mut [u8]) {
        let width = usize::from(bits);
        let mask = u32::MAX >> (32 - u32::from(bits));
        match self {
            Self::Stream => {
                for (k, code) in out.iter_mut().enumerate() {
                    let (word, shift) = (k * width / 32, k * width % 32);
                    let pair = u64::from(words[word]) | u64::from(words[word + 1]) << 32;
                    *code = ((pair >> shift) as u32 & mask) as u8;
                }
            }
            Self::Whole => {
                for (k, code) in out.iter_mut().enumerate() {
                    *code = (words[0] >> (k * width) & mask) as u8;
                }
            }
            Self::Planes => {
                out.fill(0);
                let (mut first, mut shift) = (0, 0);
                for &plane in planes(bits) {
                    for (k, code) in out.iter_mut().enumerate() {
                        let word = words[first + k * plane / 32];
                        let field = word >> (k * plane % 32) & ((1 << plane) - 1);
                        *code |= (field << shift) as u8;
                    }
                    first += plane;
                    shift += plane;
                }
            }
            Self::Interleaved => {
                for (code, nibble) in out.iter_mut().zip(NIBBLES) {
                    *code = (words[0] >> (4 * nibble) & 15) as u8;
                }
            }
        }
    }

    fn pack_unit(self, bits: u8, codes: &[u8], words: &mut Unit) {
        let width = usize::from(bits);
        words.fill(0);
        let codes = codes.iter().map(|&code| u32::from(code)).enumerate();
        match self {
            Self::Stream => {
                for (k, code) in codes {
                    let (word, shift) = (k * width / 32, k * width % 32);
                    let pair = u64::from(code) << shift;
                    words[word] |= pair as u32;
                    words[word + 1] |= (pair >> 32) as u32;
                }
            }
            Self::Whole => codes.for_each(|(k, code)| words[0] |= code << (k * width)),
            Self::Planes => {
                let (mut first, mut shift) = (0, 0);
                for &plane in planes(bits) {
                    for (k, code) in codes.clone() {
                        words[first + k * plane / 32] |= (code >> shift & ((1 << plane) - 1)) << (k * plane % 32);
                    }
                    first += plane;
                    shift += plane;
                }
            }
            Self::Interleaved => codes.for_each(|(k, code)| words[0] |= code << (4 * NIBBLES[k])),
        }
    }

    /// Unpacks codes that are packed along rows. // words [rows, words of cols] -> out [rows, cols]
    pub(crate) fn unpack_rows(self, bits: u8, words: &[u32], cols: usize, out: &mut [u8]) {
        let (codes, per_unit) = self.unit(bits);
        let width = self.words(bits, cols);
        if width == 0 {
            return;
        }
        let mut unit: Unit = [0; 9];
        for (words, row) in words.chunks_exact(width).zip(out.chunks_exact_mut(cols)) {
            for (words, out) in words.chunks(per_unit).zip(row.chunks_mut(codes)) {
                unit[..words.len()].copy_from_slice(words);
                self.unpack_unit(bits, &unit, out);
            }
        }
    }

    /// Unpacks codes that are packed along columns, and transposes them. // words [words of cols, rows] -> out [rows, cols]
    pub(crate) fn unpack_columns(self, bits: u8, words: &[u32], rows: usize, cols: usize, out: &mut [u8]) {
        let (codes, per_unit) = self.unit(bits);
        if rows == 0 || cols == 0 {
            return;
        }
        let mut unit: Unit = [0; 9];
        for (u, lines) in words.chunks(per_unit * rows).enumerate() {
            let count = codes.min(cols - u * codes);
            for (r, row) in out.chunks_exact_mut(cols).enumerate() {
                for (word, line) in unit.iter_mut().zip(lines.chunks_exact(rows)) {
                    *word = line[r];
                }
                self.unpack_unit(bits, &unit, &mut row[u * codes..][..count]);
            }
        }
    }

    /// Packs codes along rows: the inverse of [`Packing::unpack_rows`].
    pub(crate) fn pack_rows(self, bits: u8, codes: &[u8], cols: usize) -> Vec<u32> {
        let (per_unit, _) = self.unit(bits);
        let width = self.words(bits, cols);
        let mut out = Vec::with_capacity(codes.len().div_ceil(cols.max(1)) * width);
        let mut unit: Unit = [0; 9];
        for row in codes.chunks_exact(cols.max(1)) {
            for codes in row.chunks(per_unit) {
                self.pack_unit(bits, codes, &mut unit);
                out.extend_from_slice(&unit[..self.words(bits, codes.len())]);
            }
        }
        out
    }

    /// Packs codes along columns: the inverse of [`Packing::unpack_columns`]. // codes [rows, cols] -> [words of cols, rows]
    pub(crate) fn pack_columns(self, bits: u8, codes: &[u8], cols: usize) -> Vec<u32> {
        let width = self.words(bits, cols);
        transposed(&self.pack_rows(bits, codes, cols), width)
    }
}

/// Returns the widths of the planes of codes of `bits` bits.
fn planes(bits: u8) -> &'static [usize] {
    match bits {
        2 => &[2],
        3 => &[2, 1],
        4 => &[4],
        5 => &[4, 1],
        6 => &[4, 2],
        7 => &[4, 2, 1],
        _ => &[8],
    }
}

/// Returns the transpose. // [rows, cols] -> [cols, rows]
pub(crate) fn transposed<T: Copy + Default>(values: &[T], cols: usize) -> Vec<T> {
    /// The rows and columns of a tile: whole cache lines of bytes in both directions.
    const TILE: usize = 64;
    let rows = values.len().checked_div(cols).unwrap_or(0);
    let mut out = vec![T::default(); values.len()];
    for r0 in (0..rows).step_by(TILE) {
        for c0 in (0..cols).step_by(TILE) {
            for c in c0..cols.min(c0 + TILE) {
                for r in r0..rows.min(r0 + TILE) {
                    out[c * rows + r] = values[r * cols + c];
                }
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Packing; 4] = [Packing::Stream, Packing::Whole, Packing::Planes, Packing::Interleaved];

    fn codes(bits: u8, count: usize) -> Vec<u8> {
        (0..count).map(|i| ((i * 37 + i / 5) & ((1 << bits) - 1)) as u8).collect()
    }

    #[test]
    fn what_is_packed_is_unpacked_along_rows_and_columns() {
        for packing in ALL {
            for bits in if packing == Packing::Interleaved { 4..=4 } else { 2..=8 } {
                for cols in [1, 7, 8, 10, 31, 32, 33, 64, 96] {
                    let codes = codes(bits, 3 * cols);
                    let rows = packing.pack_rows(bits, &codes, cols);
                    assert_eq!(rows.len(), 3 * packing.words(bits, cols), "{packing:?} {bits} {cols}");
                    let mut found = vec![0xff; codes.len()];
                    packing.unpack_rows(bits, &rows, cols, &mut found);
                    assert_eq!(found, codes, "{packing:?} {bits} {cols}");
                    found.fill(0xff);
                    packing.unpack_columns(bits, &packing.pack_columns(bits, &codes, cols), 3, cols, &mut found);
                    assert_eq!(found, codes, "{packing:?} {bits} {cols}");
                }
            }
        }
    }

    #[test]
    fn planes_of_2_4_and_8_bits_are_the_stream() {
        for bits in [2, 4, 8] {
            let codes = codes(bits, 64);
            assert_eq!(Packing::Planes.pack_rows(bits, &codes, 64), Packing::Stream.pack_rows(bits, &codes, 64));
        }
    }

    #[test]
    fn word_counts_of_hostile_sizes_do_not_overflow() {
        for packing in ALL {
            assert!(packing.words(8, usize::MAX) >= usize::MAX / 8, "{packing:?}");
        }
    }

    #[test]
    fn transposing_twice_changes_nothing() {
        let values: Vec<u32> = (0..70 * 130).collect();
        assert_eq!(transposed(&transposed(&values, 130), 70), values);
        assert_eq!(transposed(&[1, 2, 3, 4, 5, 6], 3), [1, 4, 2, 5, 3, 6]);
        assert_eq!(transposed::<u8>(&[], 0), Vec::<u8>::new());
    }
}
