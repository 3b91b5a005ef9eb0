//! Q4_1: 32 values in 20 bytes.
//!
//! `BlockQ4_1`: `d` f16 at 0, `m` f16 at 2; `qs` u8\[16\] at 4, where byte j holds the codes of values j (low
//! nibble) and j + 16 (high nibble). w = d q + m.

use crate::{
    BlockError, GroupParams,
    base::{Overflow, bounds, reciprocal, storable},
    block_grid::{BlockGrid, Origin, encode_searched},
    codec::{
        Codec, Ggml, decode_blocks, encode_blocks, first_not_finite_field, half_at, nibbles, put_nibbles,
        put_scale_and_min,
    },
};

pub(crate) const CODEC: Codec = Codec {
    name: "q4_1",
    display_name: "Q4_1",
    ggml: Some(Ggml { id: 3, file_type: 3 }),
    block_len: 32,
    block_bytes: BYTES,
    smaller_blocks: None,
    decode: |bytes, out| decode_blocks(bytes, out, decode),
    encode,
    first_not_finite: |bytes| first_not_finite_field::<BYTES>(bytes, 32, |b| [half_at(b, 0), half_at(b, 2)]),
    grid: Some(&GRID),
};

const BYTES: usize = 20;

static GRID: BlockGrid = BlockGrid {
    encoding: crate::Encoding::Q4_1,
    low: 0,
    high: 15,
    origin: Origin::Minimum,
    pack_block: |p, codes, out| {
        put_scale_and_min(p, out);
        put_nibbles(codes, &mut out[4..]);
    },
};

fn decode(block: &[u8; BYTES], out: &mut [f32; 32]) {
    let (d, m) = (half_at(block, 0), half_at(block, 2));
    for (value, q) in out.iter_mut().zip(nibbles(&block[4..])) {
        *value = d * f32::from(q) + m;
    }
}

fn encode(x: &[f32], importance: Option<&[f32]>, out: &mut [u8]) -> Result<(), BlockError> {
    encode_blocks(CODEC.display_name, x, importance, out, |x, importance, block: &mut [u8; BYTES]| match importance {
        None => encode_plain(x, block),
        Some(importance) => encode_searched(&GRID, x, importance, block),
    })
}

/// Encodes a block as ggml's `quantize_row_q4_1_ref` does: the codes span the smallest to the largest value.
fn encode_plain(x: &[f32; 32], block: &mut [u8; BYTES]) -> Result<(), Overflow> {
    let (low, high) = bounds(x);
    let (d, m) = (storable((high - low) / 15.0)?, storable(low)?);
    let inverse = reciprocal(d);
    put_scale_and_min(GroupParams { scale: d, offset: m }, block);
    put_nibbles(&x.map(|v| (((v - m) * inverse + 0.5) as u8).min(15)), &mut block[4..]);
    Ok(())
}
