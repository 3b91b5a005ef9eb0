//! IQ1_S: 256 values in 50 bytes, 8 sub-blocks of 32, groups of 8 in a lattice of 2048 points.
//!
//! `BlockIQ1S`: `d` f16 at 0; `qs` u8\[32\] at 2, the lower 8 bits of each group's point; `qh` u16\[8\] at 34, one
//! per sub-block: the upper 3 bits of its 4 points from bit 0, the scale s at bit 12, the sign of the shift at bit
//! 15 (set for minus). w = d (2 s + 1) (point +- 1/8), with the levels -1, 0 and 1.

use crate::{
    Encoding,
    base::Overflow,
    codec::{Codec, Ggml, decode_blocks, encode_blocks, first_not_finite_field, half_at, put_half},
    iq1::{Shifted, choose, put},
    k_quant::{LEN, weights},
    scaled::{Integers, search},
};

pub(crate) const CODEC: Codec = Codec {
    name: "iq1_s",
    display_name: "IQ1_S",
    ggml: Some(Ggml { id: 19, file_type: 24 }),
    block_len: LEN,
    block_bytes: BYTES,
    smaller_blocks: Some(Encoding::IQ4NL),
    decode: |bytes, out| decode_blocks(bytes, out, decode),
    encode: |x, importance, out| encode_blocks(CODEC.display_name, x, importance, out, encode),
    first_not_finite: |bytes| first_not_finite_field::<BYTES>(bytes, LEN, |b| [half_at(b, 0), 0.0]),
    grid: None,
};

const BYTES: usize = 50;
const SUB: usize = 32;

/// The offsets of the fields.
const QS: usize = 2;
const QH: usize = 34;

fn decode(block: &[u8; BYTES], out: &mut [f32; LEN]) {
    let d = half_at(block, 0);
    let fields = block[QH..].as_chunks::<2>().0;
    for (g, values) in out.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        let field = u16::from_le_bytes(fields[g / 4]);
        let scale = d * f32::from(2 * (field >> 12 & 7) + 1);
        let point = usize::from(block[QS + g]) | usize::from(field >> (g % 4 * 3) & 7) << 8;
        put(scale, point, field >> 15 == 1, values);
    }
}

fn encode(x: &[f32; LEN], importance: Option<&[f32; LEN]>, block: &mut [u8; BYTES]) -> Result<(), Overflow> {
    let w = weights(x, importance, SUB, |rms, x| rms * rms + x * x);
    let s = search::<8, SUB>(&Shifted::<SUB>, Integers::Odd(15), x, &w)?;
    *block = [0; BYTES];
    put_half(block, 0, s.d);
    for (j, (x, w)) in x.as_chunks::<SUB>().0.iter().zip(w.as_chunks::<SUB>().0).enumerate() {
        let choice = choose(s.scale(j), x, w);
        let mut field = u16::from(choice.minus) << 15 | (s.sc[j] as u16 / 2) << 12;
        for (g, point) in choice.points.into_iter().enumerate() {
            block[QS + 4 * j + g] = point as u8;
            field |= (point as u16 >> 8) << (3 * g);
        }
        block[QH + 2 * j..QH + 2 * j + 2].copy_from_slice(&field.to_le_bytes());
    }
    Ok(())
}
