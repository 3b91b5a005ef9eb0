//! TQ1_0: 256 ternary values in 54 bytes, five per byte.
//!
//! `BlockTQ1_0`: `qs` u8\[48\] at 0, `qh` u8\[4\] at 48, `d` f16 at 52. A byte holds the fraction 0.t0 t1 t2 t3 t4
//! in base 3, times 256 and rounded up. Multiplying it by 3^n (modulo 256) and then by 3 carries digit n out. Digit
//! n of byte m is the value at 32 n + m for m < 32, 160 + 16 n + (m - 32) for m < 48, and 240 + 4 n + (m - 48)
//! (four digits) otherwise. w = d (t - 1).

use crate::{
    Encoding,
    base::Overflow,
    codec::{Codec, Ggml, decode_blocks, encode_blocks, first_not_finite_field, half_at, put_half},
    k_quant::LEN,
    table::{TERNARY, encode_single},
};

pub(crate) const CODEC: Codec = Codec {
    name: "tq1_0",
    display_name: "TQ1_0",
    ggml: Some(Ggml { id: 34, file_type: 36 }),
    block_len: LEN,
    block_bytes: BYTES,
    smaller_blocks: Some(Encoding::Q4_0),
    decode: |bytes, out| decode_blocks(bytes, out, decode),
    encode: |x, importance, out| encode_blocks(CODEC.display_name, x, importance, out, encode),
    first_not_finite: |bytes| first_not_finite_field::<BYTES>(bytes, LEN, |b| [half_at(b, D), 0.0]),
    grid: None,
};

const BYTES: usize = 54;

/// The offset of the scale; the digits are before it.
const D: usize = 52;

/// Returns the first value of byte `m`, the distance between the values of its digits, and its number of digits.
fn digits(m: usize) -> (usize, usize, u32) {
    match m {
        0..32 => (m, 32, 5),
        32..48 => (160 + m - 32, 16, 5),
        _ => (240 + m - 48, 4, 4),
    }
}

fn decode(block: &[u8; BYTES], out: &mut [f32; LEN]) {
    let d = half_at(block, D);
    for (m, &byte) in block[..D].iter().enumerate() {
        let (first, step, count) = digits(m);
        let mut rest = byte;
        for value in out[first..].iter_mut().step_by(step).take(count as usize) {
            let carried = u16::from(rest) * 3;
            *value = d * f32::from((carried >> 8) as i8 - 1);
            rest = carried as u8;
        }
    }
}

fn encode(x: &[f32; LEN], importance: Option<&[f32; LEN]>, block: &mut [u8; BYTES]) -> Result<(), Overflow> {
    let (d, codes) = encode_single(&TERNARY, x, importance)?;
    put_half(block, D, d);
    for (m, byte) in block[..D].iter_mut().enumerate() {
        let (first, step, count) = digits(m);
        let number = codes[first..].iter().step_by(step).take(count as usize).fold(0, |n, t| 3 * n + u16::from(*t));
        *byte = (number * 3u16.pow(5 - count) * 256).div_ceil(243) as u8;
    }
    Ok(())
}
