//! IQ3_S: 256 values in 110 bytes, 8 sub-blocks of 32, groups of 4 in a lattice of 512 points.
//!
//! `BlockIQ3S`: `d` f16 at 0; `qs` u8\[64\] at 2, the lower 8 bits of each group's point; `qh` u8\[8\] at 66, the
//! upper bits of the points; `signs` u8\[32\] at 74; `scales` u8\[4\] at 106, one nibble s per sub-block. w = d (2
//! s + 1) point, with the levels 1, 3, ..., 15.

use crate::{
    Encoding, SuperblockScales, TwoLevel,
    base::Overflow,
    codec::{Codec, Ggml, decode_blocks, encode_blocks, first_not_finite_field, half_at, put_half},
    iq3_xxs::pair,
    k_quant::{LEN, weights},
    lattice::{Lattice, Signs, put_signed, split_signs},
    scaled::{Integers, search},
    superblock_grid::{Levels, SuperblockGrid},
};

pub(crate) const CODEC: Codec = Codec {
    name: "iq3_s",
    display_name: "IQ3_S",
    ggml: Some(Ggml { id: 21, file_type: 26 }),
    block_len: LEN,
    block_bytes: BYTES,
    smaller_blocks: Some(Encoding::IQ4NL),
    decode: |bytes, out| decode_blocks(bytes, out, decode),
    encode: |x, importance, out| encode_blocks(CODEC.display_name, x, importance, out, encode),
    first_not_finite: |bytes| first_not_finite_field::<BYTES>(bytes, LEN, |b| [half_at(b, 0), 0.0]),
    grid: Some(&GRID),
};

const BYTES: usize = 110;
const SUB: usize = 32;

/// The offsets of the fields.
const QS: usize = 2;
const QH: usize = 66;
const SIGNS: usize = 74;
const SCALES: usize = 106;

static LATTICE: Lattice<4> =
    Lattice::new(include_bytes!("lattices/iq3_s.bin"), &[1.0, 3.0, 5.0, 7.0, 9.0, 11.0, 13.0, 15.0]);

static GRID: SuperblockGrid = SuperblockGrid {
    encoding: Encoding::IQ3S,
    sub: SUB,
    levels: Levels::Lattice(&LATTICE),
    two_level: TwoLevel { scales: 1..=31, step: 2, minima: 0..=0 },
    search: |x, w| search::<8, SUB>(&LATTICE, Integers::Odd(31), &x.map(f32::abs), w).map(Into::into),
    pack_block: |scales, codes, block| {
        let points = codes.as_chunks::<4>().0.iter().map(|codes| LATTICE.point(&codes.map(|q| q >> 1)).unwrap_or(0));
        let sign_bits = |codes: &[u8; 8]| (0..8).fold(0u8, |bits, i| bits | (codes[i] & 1) << i);
        let signs: Vec<u8> = codes.as_chunks::<8>().0.iter().map(sign_bits).collect();
        put(scales, &signs, points, block);
    },
};

fn decode(block: &[u8; BYTES], out: &mut [f32; LEN]) {
    let d = half_at(block, 0);
    let point = |g: usize| usize::from(block[QS + g]) | usize::from(block[QH + g / 8] >> (g % 8) & 1) << 8;
    for (i, values) in out.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        let s = block[SCALES + i / 8] >> (i / 4 % 2 * 4) & 15;
        let magnitudes = pair(&LATTICE, point(2 * i), point(2 * i + 1));
        put_signed(d * f32::from(2 * s + 1), &magnitudes, block[SIGNS + i], values);
    }
}

fn encode(x: &[f32; LEN], importance: Option<&[f32; LEN]>, block: &mut [u8; BYTES]) -> Result<(), Overflow> {
    let w = weights(x, importance, SUB, |rms, x| rms * rms + x * x);
    let (magnitudes, signs) = split_signs(x, &w, Signs::Free);
    let s = search::<8, SUB>(&LATTICE, Integers::Odd(31), &magnitudes, &w)?;
    let groups = magnitudes.as_chunks::<4>().0.iter().zip(w.as_chunks::<4>().0);
    put(&s.into(), &signs, groups.enumerate().map(|(g, (x, w))| LATTICE.nearest(s.scale(g / 8), x, w).0), block);
    Ok(())
}

fn put(scales: &SuperblockScales, signs: &[u8], points: impl Iterator<Item = usize>, block: &mut [u8]) {
    block.fill(0);
    put_half(block, 0, scales.d);
    block[SIGNS..SCALES].copy_from_slice(signs);
    for (g, point) in points.enumerate() {
        block[QS + g] = point as u8;
        block[QH + g / 8] |= ((point >> 8) as u8) << (g % 8);
    }
    for (byte, sc) in block[SCALES..].iter_mut().zip(scales.sc.as_chunks::<2>().0) {
        *byte = ((sc[0] / 2) | (sc[1] / 2) << 4) as u8;
    }
}
