//! Q3_K: 256 values in 110 bytes, 16 sub-blocks of 16.
//!
//! `BlockQ3K`: `hmask` u8\[32\] at 0, the third bit of value k as bit k / 32 of byte k % 32; `qs` u8\[64\] at 32,
//! the lower bits as in Q2_K; `scales` u8\[12\] at 96, the 6-bit scale sc of sub-block j: its lower bits in nibble
//! j / 8 of byte j % 8, its upper bits at bit 2 (j / 4) of byte 8 + j % 4; `d` f16 at 108. w = d (sc - 32) (q - 4).

use crate::{
    Encoding, SuperblockScales, TwoLevel,
    base::Overflow,
    codec::{Codec, Ggml, decode_blocks, encode_blocks, first_not_finite_field, half_at, put_half},
    k_quant::{LEN, weights},
    q2_k::place,
    scaled::{Integers, search},
    search::Centred,
    superblock_grid::{Levels, SuperblockGrid},
};

pub(crate) const CODEC: Codec = Codec {
    name: "q3_k",
    display_name: "Q3_K",
    ggml: Some(Ggml { id: 11, file_type: 11 }),
    block_len: LEN,
    block_bytes: BYTES,
    smaller_blocks: Some(Encoding::Q4_0),
    decode: |bytes, out| decode_blocks(bytes, out, decode),
    encode: |x, importance, out| encode_blocks(CODEC.display_name, x, importance, out, encode),
    first_not_finite: |bytes| first_not_finite_field::<BYTES>(bytes, LEN, |b| [half_at(b, D), 0.0]),
    grid: Some(&GRID),
};

const BYTES: usize = 110;
const SUBS: usize = 16;
const SUB: usize = LEN / SUBS;
const CODES: Centred = Centred(4.0);

static GRID: SuperblockGrid = SuperblockGrid {
    encoding: Encoding::Q3K,
    sub: SUB,
    levels: Levels::Line { zero: 4, high: 7 },
    two_level: TwoLevel { scales: -32..=31, step: 1, minima: 0..=0 },
    search: |x, w| search::<SUBS, SUB>(&CODES, Integers::Signed(32), x, w).map(Into::into),
    pack_block,
};

/// The offsets of the fields.
const QS: usize = 32;
const SCALES: usize = 96;
const D: usize = 108;

fn decode(block: &[u8; BYTES], out: &mut [f32; LEN]) {
    let (d, scales) = (half_at(block, D), &block[SCALES..D]);
    for (j, values) in out.as_chunks_mut::<SUB>().0.iter_mut().enumerate() {
        let sc = scales[j % 8] >> (j / 8 * 4) & 15 | (scales[8 + j % 4] >> (j / 4 * 2) & 3) << 4;
        let scale = d * f32::from(sc as i8 - 32);
        let (at, shift) = place(j * SUB);
        let (low, high) = (&block[QS + at..QS + at + SUB], &block[j % 2 * SUB..]);
        for ((value, q), h) in values.iter_mut().zip(low).zip(high) {
            let q = q >> shift & 3 | (h >> (j / 2) & 1) << 2;
            *value = scale * f32::from(q as i8 - 4);
        }
    }
}

fn encode(x: &[f32; LEN], importance: Option<&[f32; LEN]>, block: &mut [u8; BYTES]) -> Result<(), Overflow> {
    GRID.encode(x, &weights(x, importance, SUB, |rms, x| rms * rms + x * x), block)
}

fn pack_block(scales: &SuperblockScales, codes: &[u8; LEN], block: &mut [u8]) {
    block.fill(0);
    put_half(block, D, scales.d);
    for (j, sc) in scales.sc.into_iter().enumerate() {
        let sc = (sc + 32) as u8;
        block[SCALES + j % 8] |= (sc & 15) << (j / 8 * 4);
        block[SCALES + 8 + j % 4] |= (sc >> 4) << (j / 4 * 2);
    }
    for (i, &q) in codes.iter().enumerate() {
        let (at, shift) = place(i);
        block[QS + at] |= (q & 3) << shift;
        block[i % 32] |= (q >> 2) << (i / 32);
    }
}
