//! Q8_0: 32 values in 34 bytes.
//!
//! `BlockQ8_0`: `d` f16 at 0; `qs` i8\[32\] at 2. w = d q. Encoders use only -127..=127.

use crate::{
    BlockError,
    base::{Overflow, extreme, reciprocal, storable},
    block_grid::{BlockGrid, Origin, encode_searched},
    codec::{Codec, Ggml, decode_blocks, encode_blocks, first_not_finite_field, half_at, put_half},
};

pub(crate) const CODEC: Codec = Codec {
    name: "q8_0",
    display_name: "Q8_0",
    ggml: Some(Ggml { id: 8, file_type: 7 }),
    block_len: 32,
    block_bytes: BYTES,
    smaller_blocks: None,
    decode: |bytes, out| decode_blocks(bytes, out, decode),
    encode,
    first_not_finite: |bytes| first_not_finite_field::<BYTES>(bytes, 32, |b| [half_at(b, 0), 0.0]),
    grid: Some(&GRID),
};

const BYTES: usize = 34;

/// Codes of the grid are unsigned: the stored byte plus 128.
static GRID: BlockGrid = BlockGrid {
    encoding: crate::Encoding::Q8_0,
    low: 1,
    high: 255,
    origin: Origin::Code(128),
    pack_block: |p, codes, out| {
        put_half(out, 0, p.scale);
        for (byte, q) in out[2..].iter_mut().zip(codes) {
            *byte = q ^ 128;
        }
    },
};

fn decode(block: &[u8; BYTES], out: &mut [f32; 32]) {
    let d = half_at(block, 0);
    for (value, &q) in out.iter_mut().zip(&block[2..]) {
        *value = d * f32::from(q as i8);
    }
}

fn encode(x: &[f32], importance: Option<&[f32]>, out: &mut [u8]) -> Result<(), BlockError> {
    encode_blocks(CODEC.display_name, x, importance, out, |x, importance, block: &mut [u8; BYTES]| match importance {
        None => encode_plain(x, block),
        Some(importance) => encode_searched(&GRID, x, importance, block),
    })
}

/// Encodes a block as ggml's `quantize_row_q8_0_ref` does: the extreme value gets +-127.
fn encode_plain(x: &[f32; 32], block: &mut [u8; BYTES]) -> Result<(), Overflow> {
    let d = storable(extreme(x).abs() / 127.0)?;
    let inverse = reciprocal(d);
    put_half(block, 0, d);
    for (byte, v) in block[2..].iter_mut().zip(x) {
        *byte = (v * inverse).round() as i8 as u8;
    }
    Ok(())
}
