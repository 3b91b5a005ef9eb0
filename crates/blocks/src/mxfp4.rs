//! MXFP4: 32 values in 17 bytes, E2M1 numbers with a power of two as scale (OCP microscaling formats, version 1.0).
//!
//! `BlockMXFP4`: `e` u8 at 0; `qs` u8\[16\] at 1, where byte j holds the codes of values j (low nibble) and j + 16
//! (high nibble). Bit 3 of a code is the sign; the other bits stand for 0, 1/2, 1, 3/2, 2, 3, 4 and 6. w = 2^(e -
//! 127) number. A block with an exponent beyond 252 is not finite if one of its values is not. The exponent 255
//! (NaN in the standard) never is.

use crate::{
    Encoding,
    base::{Overflow, extreme},
    codec::{Codec, Ggml, decode_blocks, encode_blocks, nibbles, put_nibbles},
    k_quant::weights,
    scaled::Codes,
    table::{E2M1, Table},
    table_grid::TableGrid,
};

pub(crate) const CODEC: Codec = Codec {
    name: "mxfp4",
    display_name: "MXFP4",
    ggml: Some(Ggml { id: 39, file_type: 38 }),
    block_len: LEN,
    block_bytes: BYTES,
    smaller_blocks: None,
    decode: |bytes, out| decode_blocks(bytes, out, decode),
    encode: |x, importance, out| encode_blocks(CODEC.display_name, x, importance, out, encode),
    first_not_finite,
    grid: Some(&GRID),
};

const BYTES: usize = 17;
const LEN: usize = 32;

static GRID: TableGrid<15, LEN> = TableGrid {
    encoding: Encoding::MXFP4,
    table: &E2M1,
    stored_as: "E8M0",
    search: |x, w| Ok(scale(exponent(x, w))),
    nearest: |x| {
        let below = exponent_of(x);
        let above = (below + 1).min(LARGEST);
        scale(if x - scale(below) < scale(above) - x { below } else { above })
    },
    around: Some(|x| {
        let e = exponent_of(x);
        [scale(e.saturating_sub(1)), scale((e + 1).min(LARGEST))]
    }),
    pack_block: |params, codes, block| {
        block[0] = exponent_of(params[0].scale);
        put_codes(codes, block);
    },
};

/// The largest exponent with which all numbers are finite.
const LARGEST: u8 = 252;

/// Returns the largest exponent, up to [`LARGEST`], whose scale is at most `x`; 0 if there is none.
fn exponent_of(x: f32) -> u8 {
    // Also 0 for negative numbers and NaN.
    if x >= scale(1) { ((x.to_bits() >> 23) as u8).saturating_add(1).min(LARGEST) } else { 0 }
}

fn put_codes(codes: &[u8], block: &mut [u8]) {
    if let Ok(codes) = <&[u8; LEN]>::try_from(codes) {
        put_nibbles(&codes.map(Table::e2m1_of_index), &mut block[1..]);
    }
}

/// Returns half of 2^(e - 127), because the table holds numbers twice as large.
fn scale(e: u8) -> f32 {
    f32::from_bits(if e < 2 { 0x0020_0000 << e } else { u32::from(e - 1) << 23 })
}

fn decode(block: &[u8; BYTES], out: &mut [f32; LEN]) {
    let d = scale(block[0]);
    for (value, q) in out.iter_mut().zip(nibbles(&block[1..])) {
        *value = d * Table::e2m1(q);
    }
}

fn first_not_finite(bytes: &[u8]) -> Option<usize> {
    let bad = |block: &[u8; BYTES]| {
        let mut values = [0.0; LEN];
        decode(block, &mut values);
        values.iter().any(|v| !v.is_finite())
    };
    bytes.as_chunks().0.iter().position(|b: &[u8; BYTES]| b[0] == 255 || b[0] > 252 && bad(b)).map(|i| i * LEN)
}

/// Returns ggml's exponent (the largest value is 4 to 8 times the scale) or one of its neighbours, whichever has the
/// smallest error.
fn exponent(x: &[f32; LEN], w: &[f32; LEN]) -> u8 {
    // Errors are measured on values divided by the largest, because the square of the scale must not overflow.
    let (top, exponent) = (extreme(x).abs(), i32::from((extreme(x).to_bits() >> 23) as u8));
    let (mut best, mut least) = (0, f32::INFINITY);
    for e in [exponent - 2, exponent - 1, exponent - 3].map(|e| e.clamp(0, i32::from(LARGEST)) as u8) {
        let error = E2M1.error(scale(e) / top, &x.map(|v| v / top), w, least);
        if error < least {
            (best, least) = (e, error);
        }
    }
    best
}

fn encode(x: &[f32; LEN], importance: Option<&[f32; LEN]>, block: &mut [u8; BYTES]) -> Result<(), Overflow> {
    block[0] = exponent(x, &weights(x, importance, LEN, |_, _| 1.0));
    let d = scale(block[0]);
    put_codes(&x.map(|v| E2M1.code_under(d, v)), block);
    Ok(())
}
