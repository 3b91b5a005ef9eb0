//! IQ2_XXS: 256 values in 66 bytes, 8 sub-blocks of 32, groups of 8 in a lattice of 256 points.
//!
//! `BlockIQ2XXS`: `d` f16 at 0; from 2, 8 bytes per sub-block: 4 points u8\[4\], then a u32 with 7 signs of each
//! group from bit 0 (the eighth makes the number of minus signs even) and the scale s at bit 28. w = d (s + 1/2) /
//! 4 point, with the levels 8, 25 and 43. The code computes d (2 s + 1) times an eighth of the point.

use crate::{
    Encoding,
    base::Overflow,
    codec::{Codec, Ggml, decode_blocks, encode_blocks, first_not_finite_field, half_at, put_half},
    k_quant::{LEN, weights},
    lattice::{Lattice, Signs, even_signs, put_signed, split_signs},
    scaled::{Integers, search},
};

pub(crate) const CODEC: Codec = Codec {
    name: "iq2_xxs",
    display_name: "IQ2_XXS",
    ggml: Some(Ggml { id: 16, file_type: 19 }),
    block_len: LEN,
    block_bytes: BYTES,
    smaller_blocks: Some(Encoding::IQ4NL),
    decode: |bytes, out| decode_blocks(bytes, out, decode),
    encode: |x, importance, out| encode_blocks(CODEC.display_name, x, importance, out, encode),
    first_not_finite: |bytes| first_not_finite_field::<BYTES>(bytes, LEN, |b| [half_at(b, 0), 0.0]),
    grid: None,
};

const BYTES: usize = 66;
const SUB: usize = 32;

/// The levels of IQ2_XXS, IQ2_XS and IQ2_S, divided by 8.
pub(crate) const LEVELS: &[f32] = &[1.0, 3.125, 5.375];

static LATTICE: Lattice<8> = Lattice::new(include_bytes!("lattices/iq2_xxs.bin"), LEVELS);

fn decode(block: &[u8; BYTES], out: &mut [f32; LEN]) {
    let d = half_at(block, 0);
    for (values, bytes) in out.as_chunks_mut::<SUB>().0.iter_mut().zip(block[2..].as_chunks::<8>().0) {
        let [a, b, c, e, signs @ ..] = *bytes;
        let signs = u32::from_le_bytes(signs);
        let scale = d * (2 * (signs >> 28) + 1) as f32;
        for (g, (values, point)) in values.as_chunks_mut::<8>().0.iter_mut().zip([a, b, c, e]).enumerate() {
            put_signed(scale, &LATTICE.values(point.into()), even_signs((signs >> (7 * g)) as u8), values);
        }
    }
}

fn encode(x: &[f32; LEN], importance: Option<&[f32; LEN]>, block: &mut [u8; BYTES]) -> Result<(), Overflow> {
    let w = weights(x, importance, SUB, |rms, x| rms * rms + x * x);
    let (magnitudes, signs) = split_signs(x, &w, Signs::Even);
    let s = search::<8, SUB>(&LATTICE, Integers::Odd(31), &magnitudes, &w)?;
    *block = [0; BYTES];
    put_half(block, 0, s.d);
    let groups = magnitudes.as_chunks::<8>().0.iter().zip(w.as_chunks::<8>().0);
    for (g, (x, w)) in groups.enumerate() {
        let j = g / 4;
        let field =
            u32::from(signs[g] & 127) << (7 * (g % 4)) | if g % 4 == 0 { (s.sc[j] as u32 / 2) << 28 } else { 0 };
        block[2 + 8 * j + g % 4] = LATTICE.nearest(s.scale(j), x, w).0 as u8;
        for (byte, bits) in block[6 + 8 * j..].iter_mut().zip(field.to_le_bytes()) {
            *byte |= bits;
        }
    }
    Ok(())
}
