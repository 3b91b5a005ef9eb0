//! F32: little-endian IEEE single precision, 4 bytes per value.

use crate::{
    BlockError,
    codec::{Codec, Ggml},
};

pub(crate) const CODEC: Codec = Codec {
    name: "f32",
    display_name: "F32",
    ggml: Some(Ggml { id: 0, file_type: 0 }),
    block_len: 1,
    block_bytes: 4,
    smaller_blocks: None,
    decode,
    encode,
    first_not_finite: |bytes| bytes.as_chunks().0.iter().position(|b| !f32::from_le_bytes(*b).is_finite()),
    grid: None,
};

fn decode(bytes: &[u8], out: &mut [f32]) {
    for (value, block) in out.iter_mut().zip(bytes.as_chunks().0) {
        *value = f32::from_le_bytes(*block);
    }
}

fn encode(x: &[f32], _: Option<&[f32]>, out: &mut [u8]) -> Result<(), BlockError> {
    for (value, block) in x.iter().zip(out.as_chunks_mut().0) {
        *block = value.to_le_bytes();
    }
    Ok(())
}
