//! F16: little-endian IEEE half precision, 2 bytes per value, rounded to nearest even.

use half::{f16, slice::HalfFloatSliceExt};

use crate::{
    BlockError,
    codec::{Codec, Ggml},
};

pub(crate) const CODEC: Codec = Codec {
    name: "f16",
    display_name: "F16",
    ggml: Some(Ggml { id: 1, file_type: 1 }),
    block_len: 1,
    block_bytes: 2,
    smaller_blocks: None,
    decode,
    encode,
    first_not_finite: |bytes| bytes.as_chunks().0.iter().position(|b| !f16::from_le_bytes(*b).is_finite()),
    grid: None,
};

/// The number of values converted at once. The slice conversion uses the CPU's instructions if it has them.
const TILE: usize = 64;

fn decode(bytes: &[u8], out: &mut [f32]) {
    let mut tile = [f16::ZERO; TILE];
    for (values, blocks) in out.chunks_mut(TILE).zip(bytes.as_chunks().0.chunks(TILE)) {
        let tile = &mut tile[..values.len()];
        for (half, block) in tile.iter_mut().zip(blocks) {
            *half = f16::from_le_bytes(*block);
        }
        tile.convert_to_f32_slice(values);
    }
}

fn encode(x: &[f32], _: Option<&[f32]>, out: &mut [u8]) -> Result<(), BlockError> {
    for (column, (&value, block)) in x.iter().zip(out.as_chunks_mut().0).enumerate() {
        let half = f16::from_f32(value);
        if !half.is_finite() {
            return Err(BlockError::ValueOverflow { row: 0, column, value, encoding: CODEC.display_name });
        }
        *block = half.to_le_bytes();
    }
    Ok(())
}
