//! Q4_0: 32 values in 18 bytes.
//!
//! `BlockQ4_0`: `d` f16 at 0; `qs` u8\[16\] at 2, where byte j holds the codes of values j (low nibble) and j + 16
//! (high nibble). w = d (q - 8).

use crate::{
    BlockError,
    base::{Overflow, extreme, reciprocal, storable},
    block_grid::{BlockGrid, Origin, encode_searched},
    codec::{
        Codec, Ggml, decode_blocks, encode_blocks, first_not_finite_field, half_at, nibbles, put_half, put_nibbles,
    },
};

pub(crate) const CODEC: Codec = Codec {
    name: "q4_0",
    display_name: "Q4_0",
    ggml: Some(Ggml { id: 2, file_type: 2 }),
    block_len: 32,
    block_bytes: BYTES,
    smaller_blocks: None,
    decode: |bytes, out| decode_blocks(bytes, out, decode),
    encode,
    first_not_finite: |bytes| first_not_finite_field::<BYTES>(bytes, 32, |b| [half_at(b, 0), 0.0]),
    grid: Some(&GRID),
};

const BYTES: usize = 18;

static GRID: BlockGrid = BlockGrid {
    encoding: crate::Encoding::Q4_0,
    low: 0,
    high: 15,
    origin: Origin::Code(8),
    pack_block: |p, codes, out| {
        put_half(out, 0, p.scale);
        put_nibbles(codes, &mut out[2..]);
    },
};

fn decode(block: &[u8; BYTES], out: &mut [f32; 32]) {
    let d = half_at(block, 0);
    for (value, q) in out.iter_mut().zip(nibbles(&block[2..])) {
        *value = d * f32::from(q as i8 - 8);
    }
}

fn encode(x: &[f32], importance: Option<&[f32]>, out: &mut [u8]) -> Result<(), BlockError> {
    encode_blocks(CODEC.display_name, x, importance, out, |x, importance, block: &mut [u8; BYTES]| match importance {
        None => encode_plain(x, block),
        Some(importance) => encode_searched(&GRID, x, importance, block),
    })
}

/// Encodes a block as ggml's `quantize_row_q4_0_ref` does: the extreme value gets code 0 (-8).
fn encode_plain(x: &[f32; 32], block: &mut [u8; BYTES]) -> Result<(), Overflow> {
    let d = storable(extreme(x) / -8.0)?;
    let inverse = reciprocal(d);
    put_half(block, 0, d);
    put_nibbles(&x.map(|v| ((v * inverse + 8.5) as u8).min(15)), &mut block[2..]);
    Ok(())
}
