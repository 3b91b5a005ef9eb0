//! NVFP4: 64 values in 36 bytes, 4 sub-blocks of 16 E2M1 numbers, each with an E4M3 scale.
//!
//! `BlockNVFP4`: `d` u8\[4\] at 0, the scale of each sub-block; `qs` u8\[32\] at 4, 8 bytes per sub-block, where
//! byte j holds the codes of values j (low nibble) and j + 8 (high nibble), as in MXFP4. w = d number. As in ggml,
//! the sign of a scale is ignored and NaN (0x7F) stands for 0.

use crate::{
    Encoding, GroupParams,
    base::{Overflow, extreme},
    codec::{Codec, Ggml, decode_blocks, encode_blocks},
    e4m3,
    k_quant::weights,
    scaled::Codes,
    table::{E2M1, Table},
    table_grid::TableGrid,
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
    grid: Some(&GRID),
};

const BYTES: usize = 36;
const LEN: usize = 64;
const SUB: usize = 16;

/// The offset of the codes.
const QS: usize = 4;

/// The code of the largest scale.
const LARGEST: u8 = 0x7E;

static GRID: TableGrid<15, SUB> = TableGrid {
    encoding: Encoding::NVFP4,
    table: &E2M1,
    stored_as: "E4M3",
    search: |x, w| Ok(scale(search(x, w)?)),
    nearest: |x| scale(e4m3::code((2.0 * x).max(0.0))),
    around: Some(|x| {
        let code = e4m3::code(2.0 * x);
        [scale(code.saturating_sub(1)), scale((code + 1).min(LARGEST))]
    }),
    pack_block,
};

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

/// Returns the code of the scale that maps the largest value to 6 or of one of the scales around it, whichever has the
/// smallest error.
fn search(x: &[f32; SUB], w: &[f32; SUB]) -> Result<u8, Overflow> {
    let plain = extreme(x).abs() / 6.0;
    if plain > e4m3::LARGEST {
        return Err(Overflow(plain));
    }
    let nearest = e4m3::code(plain);
    let (mut best, mut least) = (nearest, f32::INFINITY);
    for code in [nearest, nearest.saturating_sub(1), nearest.saturating_sub(2), nearest + 1, nearest + 2] {
        let error = E2M1.error(scale(code), x, w, least);
        if code <= LARGEST && error < least {
            (best, least) = (code, error);
        }
    }
    Ok(best)
}

fn encode(x: &[f32; LEN], importance: Option<&[f32; LEN]>, block: &mut [u8; BYTES]) -> Result<(), Overflow> {
    let w = weights(x, importance, LEN, |_, _| 1.0);
    let mut params = [GroupParams { scale: 0.0, offset: 0.0 }; LEN / SUB];
    let mut codes = [0; LEN];
    let groups = x.as_chunks::<SUB>().0.iter().zip(w.as_chunks::<SUB>().0);
    for ((p, codes), (x, w)) in params.iter_mut().zip(codes.as_chunks_mut::<SUB>().0).zip(groups) {
        p.scale = scale(search(x, w)?);
        *codes = x.map(|v| E2M1.code_under(p.scale, v));
    }
    pack_block(&params, &codes, block);
    Ok(())
}

fn pack_block(params: &[GroupParams], codes: &[u8], block: &mut [u8]) {
    block.fill(0);
    for (j, (p, codes)) in params.iter().zip(codes.as_chunks::<SUB>().0).enumerate() {
        block[j] = e4m3::code(2.0 * p.scale);
        for (k, &index) in codes.iter().enumerate() {
            block[QS + 8 * j + k % 8] |= Table::e2m1_of_index(index) << (k / 8 * 4);
        }
    }
}
