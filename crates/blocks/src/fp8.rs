//! FP8: 32 values in 36 bytes, E4M3 numbers with a single-precision scale. This is HoneLM's own format. It holds
//! FP8 checkpoints with any grid of scales without loss; ggml has no such type.
//!
//! `BlockFP8`: `scale` f32 at 0; `qs` u8\[32\] at 4. w = scale E4M3(q).

use crate::{
    BlockError, BlockMatrix, Encoding,
    base::{Overflow, extreme, reciprocal},
    codec::{Codec, decode_blocks, encode_blocks},
    e4m3,
    group::check_length,
    k_quant::weights,
};

pub(crate) const CODEC: Codec = Codec {
    name: "fp8",
    display_name: "FP8",
    ggml: None,
    block_len: LEN,
    block_bytes: BYTES,
    smaller_blocks: None,
    decode: |bytes, out| decode_blocks(bytes, out, decode),
    encode: |x, importance, out| encode_blocks(CODEC.display_name, x, importance, out, encode),
    first_not_finite,
    grid: None,
};

const BYTES: usize = 36;
const LEN: usize = 32;

/// The offset of the codes.
const QS: usize = 4;

fn decode(block: &[u8; BYTES], out: &mut [f32; LEN]) {
    let scale = f32::from_le_bytes([block[0], block[1], block[2], block[3]]);
    for (value, &q) in out.iter_mut().zip(&block[QS..]) {
        *value = e4m3::VALUES[usize::from(q)] * scale;
    }
}

fn first_not_finite(bytes: &[u8]) -> Option<usize> {
    let bad = |block: &[u8; BYTES]| {
        let mut values = [0.0; LEN];
        decode(block, &mut values);
        values.iter().any(|v| !v.is_finite())
    };
    bytes.as_chunks().0.iter().position(bad).map(|i| i * LEN)
}

/// Encodes a block with the scale that maps the largest value to 448, or with `importance` the best of several
/// smaller scales.
fn encode(x: &[f32; LEN], importance: Option<&[f32; LEN]>, block: &mut [u8; BYTES]) -> Result<(), Overflow> {
    let plain = extreme(x).abs() / e4m3::LARGEST;
    let codes = |scale: f32| x.map(|v| e4m3::code(v * reciprocal(scale)));
    let (mut best, mut best_codes) = (plain, codes(plain));
    if importance.is_some() && plain > 0.0 {
        let w = weights(x, importance, LEN, |_, _| 1.0);
        let mut least = f32::INFINITY;
        // A power of two changes no code of a normal number, so the factors of one octave suffice.
        for scale in (0..16).map(|i| plain * (1.0 - i as f32 / 32.0)) {
            let codes = codes(scale);
            let term = |((x, w), q): ((&f32, &f32), &u8)| w * (x - e4m3::VALUES[usize::from(*q)] * scale).powi(2);
            let error: f32 = x.iter().zip(&w).zip(&codes).map(term).sum();
            if error < least {
                (best, best_codes, least) = (scale, codes, error);
            }
        }
    }
    block[..QS].copy_from_slice(&best.to_le_bytes());
    block[QS..].copy_from_slice(&best_codes);
    Ok(())
}

impl BlockMatrix {
    /// Returns the encoding that [`BlockMatrix::from_fp8`] uses for `cols` columns of which `wide` share a scale: FP8
    /// if both are whole blocks, otherwise F32.
    #[must_use]
    pub const fn fp8_encoding(cols: usize, wide: usize) -> Encoding {
        let fits = cols.is_multiple_of(LEN) && (wide >= cols || wide.is_multiple_of(LEN));
        if fits { Encoding::FP8 } else { Encoding::F32 }
    }

    /// Builds a matrix from E4M3 `codes` `[rows, cols]` and a grid of `scales`. Each scale applies to `block` = (rows,
    /// columns) of the matrix; the last block may be smaller. One scale for the whole matrix is a block of (rows,
    /// cols), one per row a block of (1, cols). Nothing is lost: a grid that does not fit FP8's blocks of 32 columns
    /// becomes F32 ([`BlockMatrix::fp8_encoding`]).
    /// // scales [ceil(rows / block.0), ceil(cols / block.1)]
    ///
    /// # Errors
    /// Returns an error if the lengths do not agree.
    pub fn from_fp8(
        rows: usize,
        cols: usize,
        codes: &[u8],
        scales: &[f32],
        block: (usize, usize),
    ) -> Result<Self, BlockError> {
        let (high, wide) = (block.0.clamp(1, rows.max(1)), block.1.clamp(1, cols.max(1)));
        let encoding = Self::fp8_encoding(cols, wide);
        let too_large = BlockError::TooLarge { rows, cols };
        check_length("codes of a matrix", codes.len(), rows.checked_mul(cols).ok_or(too_large.clone())?)?;
        let across = cols.div_ceil(wide);
        check_length("scales of a matrix", scales.len(), rows.div_ceil(high) * across)?;
        let mut bytes = Vec::with_capacity(encoding.row_bytes(cols)?.checked_mul(rows).ok_or(too_large)?);
        for (row, codes) in codes.chunks_exact(cols.max(1)).enumerate() {
            for (codes, scale) in codes.chunks(wide).zip(&scales[row / high * across..]) {
                if encoding == Encoding::F32 {
                    bytes.extend(codes.iter().flat_map(|&q| (e4m3::VALUES[usize::from(q)] * scale).to_le_bytes()));
                    continue;
                }
                for codes in codes.chunks_exact(LEN) {
                    bytes.extend(scale.to_le_bytes());
                    bytes.extend(codes);
                }
            }
        }
        Self::new(encoding, rows, cols, bytes.into())
    }
}
