//! IQ1_M: 256 values in 56 bytes, 16 sub-blocks of 16, groups of 8 in the lattice of IQ1_S.
//!
//! `BlockIQ1M`: `qs` u8\[32\] at 0, the lower 8 bits of each group's point; `qh` u8\[16\] at 32, one nibble per
//! group: the upper 3 bits of the point, and the sign of the shift (set for minus); `scales` u16\[4\] at 48: the
//! scale s of sub-block j at bit 3 (j % 4) of scales\[j / 4\], and from bit 12 of each, lowest first, the nibbles
//! of `d` f16. w = d (2 s + 1) (point +- 1/8).

use half::f16;

use crate::{
    Encoding,
    base::Overflow,
    codec::{Codec, Ggml, decode_blocks, encode_blocks, first_not_finite_field},
    iq1::{Shifted, choose, put},
    k_quant::{LEN, weights},
    scaled::{Integers, search},
};

pub(crate) const CODEC: Codec = Codec {
    name: "iq1_m",
    display_name: "IQ1_M",
    ggml: Some(Ggml { id: 29, file_type: 31 }),
    block_len: LEN,
    block_bytes: BYTES,
    smaller_blocks: Some(Encoding::IQ4NL),
    decode: |bytes, out| decode_blocks(bytes, out, decode),
    encode: |x, importance, out| encode_blocks(CODEC.display_name, x, importance, out, encode),
    first_not_finite: |bytes| first_not_finite_field::<BYTES>(bytes, LEN, |b| [super_scale(b), 0.0]),
    grid: None,
};

const BYTES: usize = 56;
const SUB: usize = 16;

/// The number of values that share a shift.
const GROUP: usize = 8;

/// The offsets of the fields.
const QH: usize = 32;
const SCALES: usize = 48;

/// Returns the four fields of scales.
fn fields(block: &[u8; BYTES]) -> [u16; 4] {
    std::array::from_fn(|i| u16::from_le_bytes([block[SCALES + 2 * i], block[SCALES + 2 * i + 1]]))
}

fn super_scale(block: &[u8; BYTES]) -> f32 {
    let bits = fields(block).iter().rev().fold(0, |bits, field| bits << 4 | field >> 12);
    f16::from_bits(bits).to_f32()
}

fn decode(block: &[u8; BYTES], out: &mut [f32; LEN]) {
    let (d, fields) = (super_scale(block), fields(block));
    for (g, values) in out.as_chunks_mut::<GROUP>().0.iter_mut().enumerate() {
        let scale = d * f32::from(2 * (fields[g / 8] >> (g / 2 % 4 * 3) & 7) + 1);
        let nibble = block[QH + g / 2] >> (g % 2 * 4);
        put(scale, usize::from(block[g]) | usize::from(nibble & 7) << 8, nibble & 8 != 0, values);
    }
}

fn encode(x: &[f32; LEN], importance: Option<&[f32; LEN]>, block: &mut [u8; BYTES]) -> Result<(), Overflow> {
    let w = weights(x, importance, SUB, |rms, x| rms * rms + x * x);
    let s = search::<16, SUB>(&Shifted::<GROUP>, Integers::Odd(15), x, &w)?;
    *block = [0; BYTES];
    for (g, (x, w)) in x.as_chunks::<GROUP>().0.iter().zip(w.as_chunks::<GROUP>().0).enumerate() {
        let choice = choose(s.scale(g / 2), x, w);
        block[g] = choice.points[0] as u8;
        block[QH + g / 2] |= ((choice.points[0] >> 8) as u8 | u8::from(choice.minus) << 3) << (g % 2 * 4);
    }
    let d = f16::from_f32(s.d).to_bits();
    for (i, sc) in s.sc.as_chunks::<4>().0.iter().enumerate() {
        let scales = sc.iter().rev().fold(0, |field, sc| field << 3 | (*sc / 2) as u16);
        let field = scales | (d >> (4 * i) & 15) << 12;
        block[SCALES + 2 * i..SCALES + 2 * i + 2].copy_from_slice(&field.to_le_bytes());
    }
    Ok(())
}
