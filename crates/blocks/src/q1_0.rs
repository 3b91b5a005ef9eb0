//! Q1_0: the signs of 128 values in 18 bytes.
//!
//! `BlockQ1_0`: `d` f16 at 0; `qs` u8\[16\] at 2, with value k at bit k % 8 of byte k / 8. w = d if the bit is set,
//! -d otherwise.

use crate::{
    Encoding,
    base::{Overflow, storable},
    codec::{Codec, Ggml, decode_blocks, encode_blocks, first_not_finite_field, half_at, put_half},
    k_quant::weights,
};

pub(crate) const CODEC: Codec = Codec {
    name: "q1_0",
    display_name: "Q1_0",
    ggml: Some(Ggml { id: 41, file_type: 40 }),
    block_len: LEN,
    block_bytes: BYTES,
    smaller_blocks: Some(Encoding::Q4_0),
    decode: |bytes, out| decode_blocks(bytes, out, decode),
    encode: |x, importance, out| encode_blocks(CODEC.display_name, x, importance, out, encode),
    first_not_finite: |bytes| first_not_finite_field::<BYTES>(bytes, LEN, |b| [half_at(b, 0), 0.0]),
    grid: None,
};

const BYTES: usize = 18;
const LEN: usize = 128;

fn decode(block: &[u8; BYTES], out: &mut [f32; LEN]) {
    let d = half_at(block, 0);
    for (values, byte) in out.as_chunks_mut::<8>().0.iter_mut().zip(&block[2..]) {
        for (k, value) in values.iter_mut().enumerate() {
            *value = if byte >> k & 1 == 1 { d } else { -d };
        }
    }
}

/// Encodes a block with the mean magnitude as scale, as ggml does. This is the least-squares scale.
fn encode(x: &[f32; LEN], importance: Option<&[f32; LEN]>, block: &mut [u8; BYTES]) -> Result<(), Overflow> {
    let w = weights(x, importance, LEN, |_, _| 1.0);
    let (sum, total) = x.iter().zip(&w).fold((0.0, 0.0), |(sum, total), (x, w)| (sum + w * x.abs(), total + w));
    *block = [0; BYTES];
    put_half(block, 0, if total == 0.0 { 0.0 } else { storable(sum / total)? });
    for (k, &v) in x.iter().enumerate() {
        block[2 + k / 8] |= u8::from(v >= 0.0) << (k % 8);
    }
    Ok(())
}
