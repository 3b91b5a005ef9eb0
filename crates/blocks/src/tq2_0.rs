//! TQ2_0: 256 ternary values in 66 bytes.
//!
//! `BlockTQ2_0`: `qs` u8\[64\] at 0, as in Q2_K; `d` f16 at 64. w = d (q - 1).

use crate::{
    Encoding,
    base::Overflow,
    codec::{Codec, Ggml, decode_blocks, encode_blocks, first_not_finite_field, half_at, put_half},
    k_quant::LEN,
    q2_k::place,
    table::{TERNARY, encode_single},
};

pub(crate) const CODEC: Codec = Codec {
    name: "tq2_0",
    display_name: "TQ2_0",
    ggml: Some(Ggml { id: 35, file_type: 37 }),
    block_len: LEN,
    block_bytes: BYTES,
    smaller_blocks: Some(Encoding::Q4_0),
    decode: |bytes, out| decode_blocks(bytes, out, decode),
    encode: |x, importance, out| encode_blocks(CODEC.display_name, x, importance, out, encode),
    first_not_finite: |bytes| first_not_finite_field::<BYTES>(bytes, LEN, |b| [half_at(b, D), 0.0]),
    grid: None,
};

const BYTES: usize = 66;

/// The offset of the scale.
const D: usize = 64;

fn decode(block: &[u8; BYTES], out: &mut [f32; LEN]) {
    let d = half_at(block, D);
    for (i, value) in out.iter_mut().enumerate() {
        let (at, shift) = place(i);
        *value = d * f32::from((block[at] >> shift & 3) as i8 - 1);
    }
}

fn encode(x: &[f32; LEN], importance: Option<&[f32; LEN]>, block: &mut [u8; BYTES]) -> Result<(), Overflow> {
    let (d, codes) = encode_single(&TERNARY, x, importance)?;
    *block = [0; BYTES];
    put_half(block, D, d);
    for (i, q) in codes.into_iter().enumerate() {
        let (at, shift) = place(i);
        block[at] |= q << shift;
    }
    Ok(())
}
