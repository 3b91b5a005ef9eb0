//! Q5_0: 32 values in 22 bytes.
//!
//! `BlockQ5_0`: `d` f16 at 0; `qh` u32 at 2, with bit k the fifth bit of value k; `qs` u8\[16\] at 6, where byte j
//! holds the lower bits of values j (low nibble) and j + 16 (high nibble). w = d (q - 16).

use crate::{
    BlockError,
    base::{Overflow, extreme, reciprocal, storable},
    block_grid::{BlockGrid, Origin, encode_searched},
    codec::{
        Codec, Ggml, decode_blocks, encode_blocks, first_not_finite_field, five_bits, half_at, put_five_bits, put_half,
    },
};

pub(crate) const CODEC: Codec = Codec {
    name: "q5_0",
    display_name: "Q5_0",
    ggml: Some(Ggml { id: 6, file_type: 8 }),
    block_len: 32,
    block_bytes: BYTES,
    smaller_blocks: None,
    decode: |bytes, out| decode_blocks(bytes, out, decode),
    encode,
    first_not_finite: |bytes| first_not_finite_field::<BYTES>(bytes, 32, |b| [half_at(b, 0), 0.0]),
    grid: Some(&GRID),
};

const BYTES: usize = 22;

static GRID: BlockGrid = BlockGrid {
    encoding: crate::Encoding::Q5_0,
    low: 0,
    high: 31,
    origin: Origin::Code(16),
    pack_block: |p, codes, out| {
        put_half(out, 0, p.scale);
        put_five_bits(codes, out, 2);
    },
};

fn decode(block: &[u8; BYTES], out: &mut [f32; 32]) {
    let d = half_at(block, 0);
    for (value, q) in out.iter_mut().zip(five_bits(block, 2)) {
        *value = d * f32::from(q as i8 - 16);
    }
}

fn encode(x: &[f32], importance: Option<&[f32]>, out: &mut [u8]) -> Result<(), BlockError> {
    encode_blocks(CODEC.display_name, x, importance, out, |x, importance, block: &mut [u8; BYTES]| match importance {
        None => encode_plain(x, block),
        Some(importance) => encode_searched(&GRID, x, importance, block),
    })
}

/// Encodes a block as ggml's `quantize_row_q5_0_ref` does: the extreme value gets code 0 (-16).
fn encode_plain(x: &[f32; 32], block: &mut [u8; BYTES]) -> Result<(), Overflow> {
    let d = storable(extreme(x) / -16.0)?;
    let inverse = reciprocal(d);
    put_half(block, 0, d);
    put_five_bits(&x.map(|v| ((v * inverse + 16.5) as u8).min(31)), block, 2);
    Ok(())
}
