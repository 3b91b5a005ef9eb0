//! IQ3_XXS: 256 values in 98 bytes, 8 sub-blocks of 32, groups of 4 in a lattice of 256 points.
//!
//! `BlockIQ3XXS`: `d` f16 at 0; `qs` u8\[64\] at 2, the point of each group; from 66, one u32 per sub-block: 7
//! signs of every 8 values from bit 0 (the eighth makes the number of minus signs even) and the scale s at bit 28.
//! w = d (s + 1/2) / 2 point, with the levels 4, 12, ..., 52, 62. The code computes d (2 s + 1) times a quarter of
//! the point.

use crate::{
    Encoding,
    base::Overflow,
    codec::{Codec, Ggml, decode_blocks, encode_blocks, first_not_finite_field, half_at, put_half},
    k_quant::{LEN, weights},
    lattice::{Lattice, Signs, even_signs, put_signed, split_signs},
    scaled::{Integers, search},
};

pub(crate) const CODEC: Codec = Codec {
    name: "iq3_xxs",
    display_name: "IQ3_XXS",
    ggml: Some(Ggml { id: 18, file_type: 23 }),
    block_len: LEN,
    block_bytes: BYTES,
    smaller_blocks: Some(Encoding::IQ4NL),
    decode: |bytes, out| decode_blocks(bytes, out, decode),
    encode: |x, importance, out| encode_blocks(CODEC.display_name, x, importance, out, encode),
    first_not_finite: |bytes| first_not_finite_field::<BYTES>(bytes, LEN, |b| [half_at(b, 0), 0.0]),
    grid: None,
};

const BYTES: usize = 98;
const SUB: usize = 32;

/// The offsets of the fields.
const QS: usize = 2;
const SIGNS: usize = 66;

/// The levels divided by 4.
static LATTICE: Lattice<4> =
    Lattice::new(include_bytes!("lattices/iq3_xxs.bin"), &[1.0, 3.0, 5.0, 7.0, 9.0, 11.0, 13.0, 15.5]);

/// Returns the 8 magnitudes of two points.
pub(crate) fn pair(lattice: &Lattice<4>, first: usize, second: usize) -> [f32; 8] {
    let mut out = [0.0; 8];
    out[..4].copy_from_slice(&lattice.values(first));
    out[4..].copy_from_slice(&lattice.values(second));
    out
}

fn decode(block: &[u8; BYTES], out: &mut [f32; LEN]) {
    let d = half_at(block, 0);
    let fields = block[SIGNS..].as_chunks::<4>().0;
    for (i, values) in out.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        let field = u32::from_le_bytes(fields[i / 4]);
        let magnitudes = pair(&LATTICE, block[QS + 2 * i].into(), block[QS + 2 * i + 1].into());
        let scale = d * (2 * (field >> 28) + 1) as f32;
        put_signed(scale, &magnitudes, even_signs((field >> (7 * (i % 4))) as u8), values);
    }
}

fn encode(x: &[f32; LEN], importance: Option<&[f32; LEN]>, block: &mut [u8; BYTES]) -> Result<(), Overflow> {
    let w = weights(x, importance, SUB, |rms, x| rms * rms + x * x);
    let (magnitudes, signs) = split_signs(x, &w, Signs::Even);
    let s = search::<8, SUB>(&LATTICE, Integers::Odd(31), &magnitudes, &w)?;
    *block = [0; BYTES];
    put_half(block, 0, s.d);
    let groups = magnitudes.as_chunks::<4>().0.iter().zip(w.as_chunks::<4>().0);
    for (g, (x, w)) in groups.enumerate() {
        block[QS + g] = LATTICE.nearest(s.scale(g / 8), x, w).0 as u8;
    }
    for (j, (bytes, signs)) in
        block[SIGNS..].as_chunks_mut::<4>().0.iter_mut().zip(signs.as_chunks::<4>().0).enumerate()
    {
        let scale = (s.sc[j] as u32 / 2) << 28;
        let field = signs.iter().rev().fold(0, |field, signs| field << 7 | u32::from(signs & 127));
        *bytes = (scale | field).to_le_bytes();
    }
    Ok(())
}
