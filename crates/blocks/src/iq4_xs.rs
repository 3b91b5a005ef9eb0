//! IQ4_XS: 256 values in 136 bytes, 8 sub-blocks of 32, with codes that index the table of IQ4_NL.
//!
//! `BlockIQ4XS`: `d` f16 at 0; the 6-bit scale ls of sub-block j: `scales_h` u16 at 2 with its upper bits at bit 2
//! j, and `scales_l` u8\[4\] at 4 with its lower bits in nibble j; `qs` u8\[128\] at 8, 16 bytes per sub-block,
//! where byte l holds the codes of values l (low nibble) and l + 16 (high nibble). w = d (ls - 32) table\[q\].

use crate::{
    Encoding, SuperblockScales, TwoLevel,
    base::Overflow,
    codec::{
        Codec, Ggml, decode_blocks, encode_blocks, first_not_finite_field, half_at, nibbles, put_half, put_nibbles,
    },
    k_quant::{LEN, weights},
    scaled::{Integers, search},
    superblock_grid::{Levels, SuperblockGrid},
    table::NON_LINEAR,
};

pub(crate) const CODEC: Codec = Codec {
    name: "iq4_xs",
    display_name: "IQ4_XS",
    ggml: Some(Ggml { id: 23, file_type: 30 }),
    block_len: LEN,
    block_bytes: BYTES,
    smaller_blocks: Some(Encoding::IQ4NL),
    decode: |bytes, out| decode_blocks(bytes, out, decode),
    encode: |x, importance, out| encode_blocks(CODEC.display_name, x, importance, out, encode),
    first_not_finite: |bytes| first_not_finite_field::<BYTES>(bytes, LEN, |b| [half_at(b, 0), 0.0]),
    grid: Some(&GRID),
};

const BYTES: usize = 136;
const SUB: usize = 32;

/// The offset of the codes.
const QS: usize = 8;

static GRID: SuperblockGrid = SuperblockGrid {
    encoding: Encoding::IQ4XS,
    sub: SUB,
    levels: Levels::Table(&NON_LINEAR.0),
    two_level: TwoLevel { scales: -32..=31, step: 1, minima: 0..=0 },
    search: |x, w| search::<8, SUB>(&NON_LINEAR, Integers::Signed(32), x, w).map(Into::into),
    pack_block,
};

fn decode(block: &[u8; BYTES], out: &mut [f32; LEN]) {
    let d = half_at(block, 0);
    let high = u16::from_le_bytes([block[2], block[3]]);
    let subs = out.as_chunks_mut::<SUB>().0.iter_mut().zip(block[QS..].as_chunks::<16>().0);
    for (j, (values, qs)) in subs.enumerate() {
        let ls = block[4 + j / 2] >> (j % 2 * 4) & 15 | ((high >> (2 * j) & 3) as u8) << 4;
        let scale = d * f32::from(ls as i8 - 32);
        for (value, q) in values.iter_mut().zip(nibbles(qs)) {
            *value = scale * NON_LINEAR.0[usize::from(q)];
        }
    }
}

fn encode(x: &[f32; LEN], importance: Option<&[f32; LEN]>, block: &mut [u8; BYTES]) -> Result<(), Overflow> {
    GRID.encode(x, &weights(x, importance, SUB, |rms, x| rms * rms + x * x), block)
}

fn pack_block(scales: &SuperblockScales, codes: &[u8; LEN], block: &mut [u8]) {
    block.fill(0);
    put_half(block, 0, scales.d);
    let mut high = 0u16;
    for (j, codes) in codes.as_chunks::<SUB>().0.iter().enumerate() {
        let ls = (scales.sc[j] + 32) as u8;
        high |= u16::from(ls >> 4) << (2 * j);
        block[4 + j / 2] |= (ls & 15) << (j % 2 * 4);
        put_nibbles(codes, &mut block[QS + 16 * j..][..16]);
    }
    block[2..4].copy_from_slice(&high.to_le_bytes());
}
