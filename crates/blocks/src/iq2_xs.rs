//! IQ2_XS: 256 values in 74 bytes, 16 sub-blocks of 16, groups of 8 in a lattice of 512 points.
//!
//! `BlockIQ2XS`: `d` f16 at 0; `qs` u16\[32\] at 2, one per group: the point in 9 bits, 7 signs at bit 9 (the
//! eighth makes the number of minus signs even); `scales` u8\[8\] at 66, one nibble s per sub-block. w = d (s +
//! 1/2) / 4 point, with the levels of IQ2_XXS.

use crate::{
    Encoding,
    base::Overflow,
    codec::{Codec, Ggml, decode_blocks, encode_blocks, first_not_finite_field, half_at, put_half},
    iq2_xxs::LEVELS,
    k_quant::{LEN, weights},
    lattice::{Lattice, Signs, even_signs, put_signed, split_signs},
    scaled::{Integers, search},
};

pub(crate) const CODEC: Codec = Codec {
    name: "iq2_xs",
    display_name: "IQ2_XS",
    ggml: Some(Ggml { id: 17, file_type: 20 }),
    block_len: LEN,
    block_bytes: BYTES,
    smaller_blocks: Some(Encoding::IQ4NL),
    decode: |bytes, out| decode_blocks(bytes, out, decode),
    encode: |x, importance, out| encode_blocks(CODEC.display_name, x, importance, out, encode),
    first_not_finite: |bytes| first_not_finite_field::<BYTES>(bytes, LEN, |b| [half_at(b, 0), 0.0]),
    grid: None,
};

const BYTES: usize = 74;
const SUB: usize = 16;

/// The offset of the sub-blocks' scales.
const SCALES: usize = 66;

static LATTICE: Lattice<8> = Lattice::new(include_bytes!("lattices/iq2_xs.bin"), LEVELS);

fn decode(block: &[u8; BYTES], out: &mut [f32; LEN]) {
    let d = half_at(block, 0);
    let groups = out.as_chunks_mut::<8>().0.iter_mut().zip(block[2..SCALES].as_chunks::<2>().0);
    for (g, (values, bytes)) in groups.enumerate() {
        let q = u16::from_le_bytes(*bytes);
        let s = block[SCALES + g / 4] >> (g / 2 % 2 * 4) & 15;
        put_signed(d * f32::from(2 * s + 1), &LATTICE.values((q & 511).into()), even_signs((q >> 9) as u8), values);
    }
}

fn encode(x: &[f32; LEN], importance: Option<&[f32; LEN]>, block: &mut [u8; BYTES]) -> Result<(), Overflow> {
    let w = weights(x, importance, SUB, |rms, x| rms * rms + x * x);
    let (magnitudes, signs) = split_signs(x, &w, Signs::Even);
    let s = search::<16, SUB>(&LATTICE, Integers::Odd(31), &magnitudes, &w)?;
    *block = [0; BYTES];
    put_half(block, 0, s.d);
    let groups = magnitudes.as_chunks::<8>().0.iter().zip(w.as_chunks::<8>().0);
    for (g, (x, w)) in groups.enumerate() {
        let q = LATTICE.nearest(s.scale(g / 2), x, w).0 as u16 | u16::from(signs[g] & 127) << 9;
        block[2 + 2 * g..4 + 2 * g].copy_from_slice(&q.to_le_bytes());
        block[SCALES + g / 4] |= if g % 2 == 0 { (s.sc[g / 2] as u8 / 2) << (g / 2 % 2 * 4) } else { 0 };
    }
    Ok(())
}
