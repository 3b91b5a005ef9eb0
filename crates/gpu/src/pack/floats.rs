//! F32, F16 and BF16: the numbers of a row in order, one or two per word, padded with zero columns to a multiple of 8.

use half::f16;

use super::blocks::{BlockLayout, align, half_bits, word};

pub(super) const F32: BlockLayout = BlockLayout {
    name: "f32",
    source: include_str!("../shaders/formats/f32.wgsl"),
    row_words: |cols| cols.next_multiple_of(8),
    pack: |row, cols, out| {
        for (i, out) in out.iter_mut().take(cols).enumerate() {
            *out = word(row, i);
        }
    },
    unpack: |words, out| {
        for (value, word) in out.iter_mut().zip(words) {
            *value = f32::from_bits(*word);
        }
    },
};

pub(super) const F16: BlockLayout = BlockLayout {
    name: "f16",
    source: include_str!("../shaders/formats/f16.wgsl"),
    row_words: two_per_word,
    pack: pack_halves,
    unpack: |words, out| unpack_halves(words, out, |bits| f16::from_bits(bits).to_f32()),
};

pub(super) const BF16: BlockLayout = BlockLayout {
    name: "bf16",
    source: include_str!("../shaders/formats/bf16.wgsl"),
    row_words: two_per_word,
    pack: pack_halves,
    unpack: |words, out| unpack_halves(words, out, |bits| f32::from_bits(u32::from(bits) << 16)),
};

fn two_per_word(cols: usize) -> usize {
    align(cols.div_ceil(2))
}

fn pack_halves(row: &[u8], cols: usize, out: &mut [u32]) {
    for i in 0..cols {
        out[i / 2] |= half_bits(row, 2 * i) << (16 * (i % 2));
    }
}

fn unpack_halves(words: &[u32], out: &mut [f32], number: impl Fn(u16) -> f32) {
    for (values, word) in out.chunks_mut(2).zip(words) {
        for (i, value) in values.iter_mut().enumerate() {
            *value = number((word >> (16 * i)) as u16);
        }
    }
}
