//! Q5_K: 256 values in 176 bytes, 8 sub-blocks of 32.
//!
//! `BlockQ5K`: `d` f16 at 0, `dmin` f16 at 2; `scales` u8\[12\] at 4 as in Q4_K; `qh` u8\[32\] at 16, the fifth bit
//! of value k as bit k / 32 of byte k % 32; `qs` u8\[128\] at 48, 32 bytes per 64 values: the first 32 values in
//! the low nibbles, the next 32 in the high nibbles. w = d sc q - dmin m.

use crate::{
    Encoding, SuperblockScales, TwoLevel,
    base::Overflow,
    codec::{Codec, Ggml, decode_blocks, encode_blocks, first_not_finite_field, half_at, put_half},
    k_min::Ranges,
    k_quant::{LEN, put_scale_mins, scale_min, weights},
    superblock_grid::{Levels, SuperblockGrid},
};

pub(crate) const CODEC: Codec = Codec {
    name: "q5_k",
    display_name: "Q5_K",
    ggml: Some(Ggml { id: 13, file_type: 16 }),
    block_len: LEN,
    block_bytes: BYTES,
    smaller_blocks: Some(Encoding::Q5_1),
    decode: |bytes, out| decode_blocks(bytes, out, decode),
    encode: |x, importance, out| encode_blocks(CODEC.display_name, x, importance, out, encode),
    first_not_finite: |bytes| first_not_finite_field::<BYTES>(bytes, LEN, |b| [half_at(b, 0), half_at(b, 2)]),
    grid: Some(&GRID),
};

const BYTES: usize = 176;
const SUB: usize = 32;

/// The offsets of the fields.
const QH: usize = 16;
const QS: usize = 48;

const RANGES: Ranges = Ranges { top: 63, high: 31.0 };

static GRID: SuperblockGrid = SuperblockGrid {
    encoding: Encoding::Q5K,
    sub: SUB,
    levels: Levels::Line { zero: 0, high: 31 },
    two_level: TwoLevel { scales: 0..=63, step: 1, minima: 0..=63 },
    search: |x, w| RANGES.search::<8, SUB>(x, w).map(Into::into),
    pack_block,
};

fn decode(block: &[u8; BYTES], out: &mut [f32; LEN]) {
    let (d, dmin) = (half_at(block, 0), half_at(block, 2));
    let (high, low) = (&block[QH..QS], block[QS..].as_chunks::<SUB>().0);
    for (j, values) in out.as_chunks_mut::<SUB>().0.iter_mut().enumerate() {
        let (sc, m) = scale_min(&block[4..QH], j);
        let (scale, min) = (d * f32::from(sc), dmin * f32::from(m));
        for ((value, q), h) in values.iter_mut().zip(&low[j / 2]).zip(high) {
            *value = scale * f32::from(q >> (j % 2 * 4) & 15 | (h >> j & 1) << 4) - min;
        }
    }
}

fn encode(x: &[f32; LEN], importance: Option<&[f32; LEN]>, block: &mut [u8; BYTES]) -> Result<(), Overflow> {
    GRID.encode(x, &weights(x, importance, SUB, |rms, x| rms + x), block)
}

fn pack_block(scales: &SuperblockScales, codes: &[u8; LEN], block: &mut [u8]) {
    block.fill(0);
    put_half(block, 0, scales.d);
    put_half(block, 2, scales.dmin);
    put_scale_mins(&scales.sc, &scales.m, &mut block[4..QH]);
    for (i, &q) in codes.iter().enumerate() {
        let (j, l) = (i / SUB, i % SUB);
        block[QH + l] |= (q >> 4) << j;
        block[QS + j / 2 * SUB + l] |= (q & 15) << (j % 2 * 4);
    }
}
