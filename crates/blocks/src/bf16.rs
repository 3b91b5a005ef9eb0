//! BF16: the upper half of a little-endian f32, 2 bytes per value, rounded to nearest even.

use half::bf16;

use crate::{
    BlockError,
    codec::{Codec, Ggml},
};

pub(crate) const CODEC: Codec = Codec {
    name: "bf16",
    display_name: "BF16",
    ggml: Some(Ggml { id: 30, file_type: 32 }),
    block_len: 1,
    block_bytes: 2,
    smaller_blocks: None,
    decode,
    encode,
    first_not_finite: |bytes| bytes.as_chunks().0.iter().position(|b| !bf16::from_le_bytes(*b).is_finite()),
    grid: None,
};

fn decode(bytes: &[u8], out: &mut [f32]) {
    for (value, block) in out.iter_mut().zip(bytes.as_chunks().0) {
        *value = f32::from_bits(u32::from(u16::from_le_bytes(*block)) << 16);
    }
}

fn encode(x: &[f32], _: Option<&[f32]>, out: &mut [u8]) -> Result<(), BlockError> {
    for (column, (&value, block)) in x.iter().zip(out.as_chunks_mut().0).enumerate() {
        let half = bf16::from_f32(value);
        if !half.is_finite() {
            return Err(BlockError::ValueOverflow { row: 0, column, value, encoding: CODEC.display_name });
        }
        *block = half.to_le_bytes();
    }
    Ok(())
}
