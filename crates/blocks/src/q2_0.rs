//! Q2_0: 64 values in 18 bytes.
//!
//! `BlockQ2_0`: `d` f16 at 0; `qs` u8\[16\] at 2, with value k at bit 2 (k % 4) of byte k / 4. w = d (q - 1).

use crate::{
    Encoding,
    base::Overflow,
    codec::{Codec, Ggml, decode_blocks, encode_blocks, first_not_finite_field, half_at, put_half},
    table::{Table, encode_single},
};

pub(crate) const CODEC: Codec = Codec {
    name: "q2_0",
    display_name: "Q2_0",
    ggml: Some(Ggml { id: 42, file_type: 41 }),
    block_len: LEN,
    block_bytes: BYTES,
    smaller_blocks: Some(Encoding::Q4_0),
    decode: |bytes, out| decode_blocks(bytes, out, decode),
    encode: |x, importance, out| encode_blocks(CODEC.display_name, x, importance, out, encode),
    first_not_finite: |bytes| first_not_finite_field::<BYTES>(bytes, LEN, |b| [half_at(b, 0), 0.0]),
    grid: None,
};

const BYTES: usize = 18;
const LEN: usize = 64;

static CODES: Table<4> = Table([-1.0, 0.0, 1.0, 2.0]);

fn decode(block: &[u8; BYTES], out: &mut [f32; LEN]) {
    let d = half_at(block, 0);
    for (values, byte) in out.as_chunks_mut::<4>().0.iter_mut().zip(&block[2..]) {
        for (k, value) in values.iter_mut().enumerate() {
            *value = f32::from((byte >> (2 * k) & 3) as i8 - 1) * d;
        }
    }
}

fn encode(x: &[f32; LEN], importance: Option<&[f32; LEN]>, block: &mut [u8; BYTES]) -> Result<(), Overflow> {
    let (d, codes) = encode_single(&CODES, x, importance)?;
    put_half(block, 0, d);
    for (byte, four) in block[2..].iter_mut().zip(codes.as_chunks::<4>().0) {
        *byte = four.iter().rev().fold(0, |byte, q| byte << 2 | q);
    }
    Ok(())
}
