//! IQ2_S: 256 values in 82 bytes, 16 sub-blocks of 16, groups of 8 in a lattice of 1024 points.
//!
//! `BlockIQ2S`: `d` f16 at 0; `qs` u8\[32\] at 2, the lower 8 bits of each group's point; `signs` u8\[32\] at 34;
//! `qh` u8\[8\] at 66, the upper 2 bits of the points; `scales` u8\[8\] at 74, one nibble s per sub-block. w = d (s
//! + 1/2) / 4 point, with the levels of IQ2_XXS.

use crate::{
    Encoding, SuperblockScales, TwoLevel,
    base::Overflow,
    codec::{Codec, Ggml, decode_blocks, encode_blocks, first_not_finite_field, half_at, put_half},
    iq2_xxs::LEVELS,
    k_quant::{LEN, weights},
    lattice::{Lattice, Signs, put_signed, split_signs},
    scaled::{Integers, search},
    superblock_grid::{Levels, SuperblockGrid},
};

pub(crate) const CODEC: Codec = Codec {
    name: "iq2_s",
    display_name: "IQ2_S",
    ggml: Some(Ggml { id: 22, file_type: 28 }),
    block_len: LEN,
    block_bytes: BYTES,
    smaller_blocks: Some(Encoding::IQ4NL),
    decode: |bytes, out| decode_blocks(bytes, out, decode),
    encode: |x, importance, out| encode_blocks(CODEC.display_name, x, importance, out, encode),
    first_not_finite: |bytes| first_not_finite_field::<BYTES>(bytes, LEN, |b| [half_at(b, 0), 0.0]),
    grid: Some(&GRID),
};

const BYTES: usize = 82;
const SUB: usize = 16;

/// The offsets of the fields.
const QS: usize = 2;
const SIGNS: usize = 34;
const QH: usize = 66;
const SCALES: usize = 74;

static LATTICE: Lattice<8> = Lattice::new(include_bytes!("lattices/iq2_s.bin"), LEVELS);

static GRID: SuperblockGrid = SuperblockGrid {
    encoding: Encoding::IQ2S,
    sub: SUB,
    levels: Levels::Lattice(&LATTICE),
    two_level: TwoLevel { scales: 1..=31, step: 2, minima: 0..=0 },
    search: |x, w| search::<16, SUB>(&LATTICE, Integers::Odd(31), &x.map(f32::abs), w).map(Into::into),
    pack_block: |scales, codes, block| {
        let points = codes.as_chunks::<8>().0.iter().map(|codes| LATTICE.point(&codes.map(|q| q >> 1)).unwrap_or(0));
        let sign_bits = |codes: &[u8; 8]| (0..8).fold(0u8, |bits, i| bits | (codes[i] & 1) << i);
        let signs: Vec<u8> = codes.as_chunks::<8>().0.iter().map(sign_bits).collect();
        put(scales, &signs, points, block);
    },
};

fn decode(block: &[u8; BYTES], out: &mut [f32; LEN]) {
    let d = half_at(block, 0);
    for (g, values) in out.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        let point = usize::from(block[QS + g]) | usize::from(block[QH + g / 4] >> (g % 4 * 2) & 3) << 8;
        let s = block[SCALES + g / 4] >> (g / 2 % 2 * 4) & 15;
        put_signed(d * f32::from(2 * s + 1), &LATTICE.values(point), block[SIGNS + g], values);
    }
}

fn encode(x: &[f32; LEN], importance: Option<&[f32; LEN]>, block: &mut [u8; BYTES]) -> Result<(), Overflow> {
    let w = weights(x, importance, SUB, |rms, x| rms * rms + x * x);
    let (magnitudes, signs) = split_signs(x, &w, Signs::Free);
    let s = search::<16, SUB>(&LATTICE, Integers::Odd(31), &magnitudes, &w)?;
    let groups = magnitudes.as_chunks::<8>().0.iter().zip(w.as_chunks::<8>().0);
    put(&s.into(), &signs, groups.enumerate().map(|(g, (x, w))| LATTICE.nearest(s.scale(g / 2), x, w).0), block);
    Ok(())
}

fn put(scales: &SuperblockScales, signs: &[u8], points: impl Iterator<Item = usize>, block: &mut [u8]) {
    block.fill(0);
    put_half(block, 0, scales.d);
    block[SIGNS..QH].copy_from_slice(signs);
    for (g, point) in points.enumerate() {
        block[QS + g] = point as u8;
        block[QH + g / 4] |= ((point >> 8) as u8) << (g % 4 * 2);
        block[SCALES + g / 4] |= if g % 2 == 0 { (scales.sc[g / 2] as u8 / 2) << (g / 2 % 2 * 4) } else { 0 };
    }
}
