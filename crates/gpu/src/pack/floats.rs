//! Floats as they are, rows filled up with zeros.

use honelm_blocks::BlockMatrix;

use super::Layout;

/// One word a column.
pub(super) fn pack_f32(m: &BlockMatrix) -> Vec<u32> {
    let mut words = vec![0; m.rows * Layout::F32.row_words(m.cols)];
    for (r, out) in words.chunks_exact_mut(Layout::F32.row_words(m.cols).max(1)).enumerate() {
        for (word, bytes) in out.iter_mut().zip(m.row(r).as_chunks::<4>().0) {
            *word = u32::from_le_bytes(*bytes);
        }
    }
    words
}

/// Two columns a word, the lower half first.
pub(super) fn pack_f16(m: &BlockMatrix) -> Vec<u32> {
    let mut words = vec![0; m.rows * Layout::F16.row_words(m.cols)];
    for (r, out) in words.chunks_exact_mut(Layout::F16.row_words(m.cols).max(1)).enumerate() {
        for (i, bytes) in m.row(r).as_chunks::<2>().0.iter().enumerate() {
            out[i / 2] |= u32::from(u16::from_le_bytes(*bytes)) << (i % 2 * 16);
        }
    }
    words
}
