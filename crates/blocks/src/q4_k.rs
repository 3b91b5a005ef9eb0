//! Q4_K: 256 values in 144 bytes, 8 sub-blocks of 32.
//!
//! `BlockQ4K`: `d` f16 at 0, `dmin` f16 at 2; `scales` u8\[12\] at 4, the 6-bit scale sc and minimum m of each
//! sub-block; `qs` u8\[128\] at 16, 32 bytes per 64 values: the first 32 values in the low nibbles, the next 32 in
//! the high nibbles. w = d sc q - dmin m.
//!
//! Sub-blocks j < 4: sc = s\[j\] & 63, m = s\[j+4\] & 63; others: sc = (s\[j+4\] & 15) | (s\[j-4\] >> 6) << 4, m =
//! (s\[j+4\] >> 4) | (s\[j\] >> 6) << 4.

use crate::{
    Encoding, SuperblockScales, TwoLevel,
    base::Overflow,
    codec::{Codec, Ggml, decode_blocks, encode_blocks, first_not_finite_field, half_at, put_half},
    k_min::Ranges,
    k_quant::{LEN, put_scale_mins, scale_min, weights},
    superblock_grid::{Levels, SuperblockGrid},
};

pub(crate) const CODEC: Codec = Codec {
    name: "q4_k",
    display_name: "Q4_K",
    ggml: Some(Ggml { id: 12, file_type: 14 }),
    block_len: LEN,
    block_bytes: BYTES,
    smaller_blocks: Some(Encoding::Q5_0),
    decode: |bytes, out| decode_blocks(bytes, out, decode),
    encode: |x, importance, out| encode_blocks(CODEC.display_name, x, importance, out, encode),
    first_not_finite: |bytes| first_not_finite_field::<BYTES>(bytes, LEN, |b| [half_at(b, 0), half_at(b, 2)]),
    grid: Some(&GRID),
};

const BYTES: usize = 144;
const SUB: usize = 32;
const RANGES: Ranges = Ranges { top: 63, high: 15.0 };

static GRID: SuperblockGrid = SuperblockGrid {
    encoding: Encoding::Q4K,
    sub: SUB,
    levels: Levels::Line { zero: 0, high: 15 },
    two_level: TwoLevel { scales: 0..=63, step: 1, minima: 0..=63 },
    search: |x, w| RANGES.search::<8, SUB>(x, w).map(Into::into),
    pack_block,
};

fn decode(block: &[u8; BYTES], out: &mut [f32; LEN]) {
    let (d, dmin) = (half_at(block, 0), half_at(block, 2));
    let (pairs, bytes) = (out.as_chunks_mut::<{ 2 * SUB }>().0, block[16..].as_chunks::<SUB>().0);
    for (p, (values, qs)) in pairs.iter_mut().zip(bytes).enumerate() {
        let (first, second) = values.split_at_mut(SUB);
        for (half, (values, shift)) in [(first, 0), (second, 4)].into_iter().enumerate() {
            let (sc, m) = scale_min(&block[4..16], 2 * p + half);
            let (scale, min) = (d * f32::from(sc), dmin * f32::from(m));
            for (value, q) in values.iter_mut().zip(qs) {
                *value = scale * f32::from(q >> shift & 15) - min;
            }
        }
    }
}

fn encode(x: &[f32; LEN], importance: Option<&[f32; LEN]>, block: &mut [u8; BYTES]) -> Result<(), Overflow> {
    GRID.encode(x, &weights(x, importance, SUB, |rms, x| rms + x), block)
}

fn pack_block(scales: &SuperblockScales, codes: &[u8; LEN], block: &mut [u8]) {
    put_half(block, 0, scales.d);
    put_half(block, 2, scales.dmin);
    put_scale_mins(&scales.sc, &scales.m, &mut block[4..16]);
    for (i, byte) in block[16..].iter_mut().enumerate() {
        let first = i / SUB * 2 * SUB + i % SUB;
        *byte = codes[first] | codes[first + SUB] << 4;
    }
}
