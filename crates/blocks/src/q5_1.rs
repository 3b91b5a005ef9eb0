//! Q5_1: 32 values in 24 bytes.
//!
//! `BlockQ5_1`: `d` f16 at 0, `m` f16 at 2; `qh` u32 at 4, with bit k the fifth bit of value k; `qs` u8\[16\] at 8,
//! where byte j holds the lower bits of values j (low nibble) and j + 16 (high nibble). w = d q + m.

use crate::{
    BlockError, GroupParams,
    base::{Overflow, bounds, reciprocal, storable},
    block_grid::{BlockGrid, Origin, encode_searched},
    codec::{
        Codec, Ggml, decode_blocks, encode_blocks, first_not_finite_field, five_bits, half_at, put_five_bits,
        put_scale_and_min,
    },
};

pub(crate) const CODEC: Codec = Codec {
    name: "q5_1",
    display_name: "Q5_1",
    ggml: Some(Ggml { id: 7, file_type: 9 }),
    block_len: 32,
    block_bytes: BYTES,
    smaller_blocks: None,
    decode: |bytes, out| decode_blocks(bytes, out, decode),
    encode,
    first_not_finite: |bytes| first_not_finite_field::<BYTES>(bytes, 32, |b| [half_at(b, 0), half_at(b, 2)]),
    grid: Some(&GRID),
};

const BYTES: usize = 24;

static GRID: BlockGrid = BlockGrid {
    encoding: crate::Encoding::Q5_1,
    low: 0,
    high: 31,
    origin: Origin::Minimum,
    pack_block: |p, codes, out| {
        put_scale_and_min(p, out);
        put_five_bits(codes, out, 4);
    },
};

fn decode(block: &[u8; BYTES], out: &mut [f32; 32]) {
    let (d, m) = (half_at(block, 0), half_at(block, 2));
    for (value, q) in out.iter_mut().zip(five_bits(block, 4)) {
        *value = d * f32::from(q) + m;
    }
}

fn encode(x: &[f32], importance: Option<&[f32]>, out: &mut [u8]) -> Result<(), BlockError> {
    encode_blocks(CODEC.display_name, x, importance, out, |x, importance, block: &mut [u8; BYTES]| match importance {
        None => encode_plain(x, block),
        Some(importance) => encode_searched(&GRID, x, importance, block),
    })
}

/// Encodes a block as ggml's `quantize_row_q5_1_ref` does: the codes span the smallest to the largest value.
fn encode_plain(x: &[f32; 32], block: &mut [u8; BYTES]) -> Result<(), Overflow> {
    let (low, high) = bounds(x);
    let (d, m) = (storable((high - low) / 31.0)?, storable(low)?);
    let inverse = reciprocal(d);
    put_scale_and_min(GroupParams { scale: d, offset: m }, block);
    put_five_bits(&x.map(|v| (((v - m) * inverse + 0.5) as u8).min(31)), block, 4);
    Ok(())
}
