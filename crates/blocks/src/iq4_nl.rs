//! IQ4_NL: 32 values in 18 bytes, with codes that index a table whose steps are finer near zero.
//!
//! `BlockIQ4NL`: `d` f16 at 0; `qs` u8\[16\] at 2, where byte j holds the codes of values j (low nibble) and j + 16
//! (high nibble). w = d table\[q\].

use crate::{
    Encoding, ScaleType,
    base::Overflow,
    codec::{
        Codec, Ggml, decode_blocks, encode_blocks, first_not_finite_field, half_at, nibbles, put_half, put_nibbles,
    },
    k_quant::weights,
    scaled::single,
    table::NON_LINEAR,
    table_grid::TableGrid,
};

pub(crate) const CODEC: Codec = Codec {
    name: "iq4_nl",
    display_name: "IQ4_NL",
    ggml: Some(Ggml { id: 20, file_type: 25 }),
    block_len: LEN,
    block_bytes: BYTES,
    smaller_blocks: None,
    decode: |bytes, out| decode_blocks(bytes, out, decode),
    encode: |x, importance, out| encode_blocks(CODEC.display_name, x, importance, out, encode),
    first_not_finite: |bytes| first_not_finite_field::<BYTES>(bytes, LEN, |b| [half_at(b, 0), 0.0]),
    grid: Some(&GRID),
};

const BYTES: usize = 18;
const LEN: usize = 32;

static GRID: TableGrid<16, LEN> = TableGrid {
    encoding: Encoding::IQ4NL,
    table: &NON_LINEAR,
    stored_as: "F16",
    search: |x, w| single(&NON_LINEAR, x, w),
    nearest: |scale| ScaleType::F16.round(scale),
    around: None,
    pack_block: |params, codes, block| {
        put_half(block, 0, params[0].scale);
        if let Ok(codes) = codes.try_into() {
            put_nibbles(codes, &mut block[2..]);
        }
    },
};

fn decode(block: &[u8; BYTES], out: &mut [f32; LEN]) {
    let d = half_at(block, 0);
    for (value, q) in out.iter_mut().zip(nibbles(&block[2..])) {
        *value = d * NON_LINEAR.0[usize::from(q)];
    }
}

fn encode(x: &[f32; LEN], importance: Option<&[f32; LEN]>, block: &mut [u8; BYTES]) -> Result<(), Overflow> {
    let w = weights(x, importance, LEN, |rms, x| rms * rms + x * x);
    let d = single(&NON_LINEAR, x, &w)?;
    put_half(block, 0, d);
    put_nibbles(&x.map(|v| NON_LINEAR.code_under(d, v)), &mut block[2..]);
    Ok(())
}
