//! NVFP4: 64 values in 36 bytes, 4 sub-blocks of 16 E2M1 numbers, each with an E4M3 scale.
//!
//! `BlockNVFP4`: `d` u8\[4\] at 0, the scale of each sub-block; `qs` u8\[32\] at 4, 8 bytes per sub-block, where
//! byte j holds the codes of values j (low nibble) and j + 8 (high nibble), as in MXFP4. w = d number. As in ggml,
//! the sign of a scale is ignored and NaN (0x7F) stands for 0.

use crate::{
    Encoding,
    base::{Overflow, extreme},
    codec::{Codec, Ggml, decode_blocks, encode_blocks},
    e4m3,
    k_quant::weights,
    scaled::Codes,
    table::{E2M1, Table},
};

pub(crate) const CODEC: Codec = Codec {
    name: "nvfp4",
    display_name: "NVFP4",
    ggml: Some(Ggml { id: 40, file_type: 39 }),
    block_len: LEN,
    block_bytes: BYTES,
    smaller_blocks: Some(Encoding::MXFP4),
    decode: |bytes, out| decode_blocks(bytes, out, decode),
    encode: |x, importance, out| encode_blocks(CODEC.display_name, x, importance, out, encode),
    first_not_finite: |_| None,
    grid: None,
};

const BYTES: usize = 36;
const LEN: usize = 64;
const SUB: usize = 16;

/// The offset of the codes.
const QS: usize = 4;

/// Returns half of the scale, because the table holds numbers twice as large.
fn scale(code: u8) -> f32 {
    if code == 0x7F { 0.0 } else { 0.5 * e4m3::magnitude(code) }
}

fn decode(block: &[u8; BYTES], out: &mut [f32; LEN]) {
    for (j, values) in out.as_chunks_mut::<SUB>().0.iter_mut().enumerate() {
        let d = scale(block[j]);
        for (k, value) in values.iter_mut().enumerate() {
            let q = block[QS + 8 * j + k % 8] >> (k / 8 * 4) & 15;
            *value = d * Table::e2m1(q);
        }
    }
}

/// Encodes a block with the scale that maps the largest value to 6 or one of the scales around it, whichever has
/// the smallest error.
fn encode(x: &[f32; LEN], importance: Option<&[f32; LEN]>, block: &mut [u8; BYTES]) -> Result<(), Overflow> {
    let w = weights(x, importance, LEN, |_, _| 1.0);
    *block = [0; BYTES];
    for (j, (x, w)) in x.as_chunks::<SUB>().0.iter().zip(w.as_chunks::<SUB>().0).enumerate() {
        let plain = extreme(x).abs() / 6.0;
        if plain > e4m3::LARGEST {
            return Err(Overflow(plain));
        }
        let nearest = e4m3::code(plain);
        let (mut best, mut least) = (nearest, f32::INFINITY);
        for code in [nearest, nearest.saturating_sub(1), nearest.saturating_sub(2), nearest + 1, nearest + 2] {
            let error = E2M1.error(scale(code), x, w, least);
            if code < 0x7F && error < least {
                (best, least) = (code, error);
            }
        }
        block[j] = best;
        for (k, &v) in x.iter().enumerate() {
            block[QS + 8 * j + k % 8] |= Table::e2m1_code(scale(best), v) << (k / 8 * 4);
        }
    }
    Ok(())
}
