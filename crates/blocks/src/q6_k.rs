//! Q6_K: 256 values in 210 bytes, 16 sub-blocks of 16.
//!
//! `BlockQ6K`: `ql` u8\[128\] at 0, `qh` u8\[64\] at 128, `scales` i8\[16\] at 192, `d` f16 at 208. Every 128
//! values take 64 bytes of ql and 32 of qh. For l < 32, the values l, l + 32, l + 64 and l + 96 have their lower
//! bits in ql\[l\] low, ql\[l + 32\] low, ql\[l\] high and ql\[l + 32\] high, and their upper two bits in qh\[l\]
//! at bits 0, 2, 4 and 6. w = d sc (q - 32).

use crate::{
    Encoding, SuperblockScales, TwoLevel,
    base::Overflow,
    codec::{Codec, Ggml, decode_blocks, encode_blocks, first_not_finite_field, half_at, put_half},
    k_quant::{LEN, weights},
    scaled::{Integers, search},
    search::Centred,
    superblock_grid::{Levels, SuperblockGrid},
};

pub(crate) const CODEC: Codec = Codec {
    name: "q6_k",
    display_name: "Q6_K",
    ggml: Some(Ggml { id: 14, file_type: 18 }),
    block_len: LEN,
    block_bytes: BYTES,
    smaller_blocks: Some(Encoding::Q8_0),
    decode: |bytes, out| decode_blocks(bytes, out, decode),
    encode: |x, importance, out| encode_blocks(CODEC.display_name, x, importance, out, encode),
    first_not_finite: |bytes| first_not_finite_field::<BYTES>(bytes, LEN, |b| [half_at(b, D), 0.0]),
    grid: Some(&GRID),
};

const BYTES: usize = 210;
const SUBS: usize = 16;
const SUB: usize = LEN / SUBS;
const CODES: Centred = Centred(32.0);

static GRID: SuperblockGrid = SuperblockGrid {
    encoding: Encoding::Q6K,
    sub: SUB,
    levels: Levels::Line { zero: 32, high: 63 },
    two_level: TwoLevel { scales: -128..=127, step: 1, minima: 0..=0 },
    search: |x, w| search::<SUBS, SUB>(&CODES, Integers::Signed(128), x, w).map(Into::into),
    pack_block,
};

/// The offsets of the fields.
const QH: usize = 128;
const SCALES: usize = 192;
const D: usize = 208;

fn decode(block: &[u8; BYTES], out: &mut [f32; LEN]) {
    let d = half_at(block, D);
    let scales: [f32; SUBS] = std::array::from_fn(|j| d * f32::from(block[SCALES + j] as i8));
    let (ql, qh) = (block[..QH].as_chunks::<32>().0, block[QH..SCALES].as_chunks::<32>().0);
    for (quarter, values) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        // Quarters 0..4 are the first 128 values.
        let (half, part) = (quarter / 4, quarter % 4);
        let (low, high) = (&ql[2 * half + part % 2], &qh[half]);
        let (shift_low, shift_high) = (part / 2 * 4, part * 2);
        for (l, value) in values.iter_mut().enumerate() {
            let q = low[l] >> shift_low & 15 | (high[l] >> shift_high & 3) << 4;
            *value = scales[2 * quarter + l / SUB] * f32::from(q as i8 - 32);
        }
    }
}

fn encode(x: &[f32; LEN], importance: Option<&[f32; LEN]>, block: &mut [u8; BYTES]) -> Result<(), Overflow> {
    GRID.encode(x, &weights(x, importance, SUB, |_, x| x * x), block)
}

fn pack_block(scales: &SuperblockScales, codes: &[u8; LEN], block: &mut [u8]) {
    block.fill(0);
    put_half(block, D, scales.d);
    for (byte, sc) in block[SCALES..D].iter_mut().zip(scales.sc) {
        *byte = sc as i8 as u8;
    }
    for (i, &q) in codes.iter().enumerate() {
        let (half, part, l) = (i / 128, i % 128 / 32, i % 32);
        block[64 * half + 32 * (part % 2) + l] |= (q & 15) << (part / 2 * 4);
        block[QH + 32 * half + l] |= (q >> 4) << (part * 2);
    }
}
