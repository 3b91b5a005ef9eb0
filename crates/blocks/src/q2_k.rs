//! Q2_K: 256 values in 84 bytes, 16 sub-blocks of 16.
//!
//! `BlockQ2K`: `scales` u8\[16\] at 0, the scale sc (low nibble) and minimum m (high nibble) of each sub-block;
//! `qs` u8\[64\] at 16, 32 bytes per 128 values, where byte l holds value 32 t + l at bit 2 t; `d` f16 at 80,
//! `dmin` f16 at 82. w = d sc q - dmin m.

use crate::{
    Encoding, SuperblockScales, TwoLevel,
    base::Overflow,
    codec::{Codec, Ggml, decode_blocks, encode_blocks, first_not_finite_field, half_at, put_half},
    k_min::Ranges,
    k_quant::{LEN, weights},
    superblock_grid::{Levels, SuperblockGrid},
};

pub(crate) const CODEC: Codec = Codec {
    name: "q2_k",
    display_name: "Q2_K",
    ggml: Some(Ggml { id: 10, file_type: 10 }),
    block_len: LEN,
    block_bytes: BYTES,
    smaller_blocks: Some(Encoding::Q4_0),
    decode: |bytes, out| decode_blocks(bytes, out, decode),
    encode: |x, importance, out| encode_blocks(CODEC.display_name, x, importance, out, encode),
    first_not_finite: |bytes| first_not_finite_field::<BYTES>(bytes, LEN, |b| [half_at(b, D), half_at(b, DMIN)]),
    grid: Some(&GRID),
};

const BYTES: usize = 84;
const SUB: usize = 16;
const RANGES: Ranges = Ranges { top: 15, high: 3.0 };

static GRID: SuperblockGrid = SuperblockGrid {
    encoding: Encoding::Q2K,
    sub: SUB,
    levels: Levels::Line { zero: 0, high: 3 },
    two_level: TwoLevel { scales: 0..=15, step: 1, minima: 0..=15 },
    search: |x, w| RANGES.search::<16, SUB>(x, w).map(Into::into),
    pack_block,
};

/// The offsets of the fields.
const QS: usize = 16;
const D: usize = 80;
const DMIN: usize = 82;

fn decode(block: &[u8; BYTES], out: &mut [f32; LEN]) {
    let (d, dmin) = (half_at(block, D), half_at(block, DMIN));
    for (j, values) in out.as_chunks_mut::<SUB>().0.iter_mut().enumerate() {
        let (scale, min) = (d * f32::from(block[j] & 15), dmin * f32::from(block[j] >> 4));
        let (at, shift) = place(j * SUB);
        for (value, q) in values.iter_mut().zip(&block[QS + at..]) {
            *value = scale * f32::from(q >> shift & 3) - min;
        }
    }
}

/// Returns the byte (of `qs`) and the bit of value `i`, in Q2_K, Q3_K and TQ2_0.
pub(crate) fn place(i: usize) -> (usize, usize) {
    (i / 128 * 32 + i % 32, i % 128 / 32 * 2)
}

fn encode(x: &[f32; LEN], importance: Option<&[f32; LEN]>, block: &mut [u8; BYTES]) -> Result<(), Overflow> {
    GRID.encode(x, &weights(x, importance, SUB, |rms, x| rms + x), block)
}

fn pack_block(scales: &SuperblockScales, codes: &[u8; LEN], block: &mut [u8]) {
    block.fill(0);
    put_half(block, D, scales.d);
    put_half(block, DMIN, scales.dmin);
    for (byte, (sc, m)) in block.iter_mut().zip(scales.sc.iter().zip(scales.m)) {
        *byte = (sc | m << 4) as u8;
    }
    for (i, &q) in codes.iter().enumerate() {
        let (at, shift) = place(i);
        block[QS + at] |= q << shift;
    }
}
