//! The table entry of an encoding, and the loops and bit packing that encodings share.

use half::f16;

use crate::{BlockError, Encoding, Grid, GroupParams, base::Overflow};

/// Encodes a row into bytes, given its values and optionally their importances.
pub(crate) type Encode = fn(&[f32], Option<&[f32]>, &mut [u8]) -> Result<(), BlockError>;

/// The properties and functions of one encoding, from which [`crate::Encoding`] answers.
pub(crate) struct Codec {
    pub name: &'static str,
    pub display_name: &'static str,
    /// The encoding's numbers in GGUF files; `None` if ggml has no such type.
    pub ggml: Option<Ggml>,
    pub block_len: usize,
    pub block_bytes: usize,
    /// The encoding that llama.cpp uses instead for rows that are not whole blocks; `None` means F16.
    pub smaller_blocks: Option<Encoding>,
    /// Decodes whole blocks. The lengths of the two buffers must agree.
    pub decode: fn(&[u8], &mut [f32]),
    /// Encodes whole blocks of finite values. The lengths of the buffers must agree.
    pub encode: Encode,
    /// Returns the column of the first value or block that is not finite.
    pub first_not_finite: fn(&[u8]) -> Option<usize>,
    pub grid: Option<&'static dyn Grid>,
}

/// The numbers of an encoding in GGUF files.
pub(crate) struct Ggml {
    /// The type number of a tensor (`enum ggml_type`).
    pub id: u32,
    /// The `general.file_type` of a file that is mostly in this encoding (`enum llama_ftype`).
    pub file_type: u32,
}

/// Decodes a row block by block.
pub(crate) fn decode_blocks<const B: usize, const N: usize>(
    bytes: &[u8],
    out: &mut [f32],
    decode: impl Fn(&[u8; B], &mut [f32; N]),
) {
    for (block, values) in bytes.as_chunks::<B>().0.iter().zip(out.as_chunks_mut::<N>().0) {
        decode(block, values);
    }
}

/// Encodes a row block by block.
pub(crate) fn encode_blocks<const B: usize, const N: usize>(
    encoding: &'static str,
    x: &[f32],
    importance: Option<&[f32]>,
    out: &mut [u8],
    encode: impl Fn(&[f32; N], Option<&[f32; N]>, &mut [u8; B]) -> Result<(), Overflow>,
) -> Result<(), BlockError> {
    let importance = importance.map(|v| v.as_chunks::<N>().0);
    for (i, (values, block)) in x.as_chunks::<N>().0.iter().zip(out.as_chunks_mut::<B>().0).enumerate() {
        let weights = importance.and_then(|w| w.get(i));
        encode(values, weights, block).map_err(|Overflow(scale)| BlockError::ScaleOverflow {
            row: 0,
            column: i * N,
            scale,
            encoding,
            stored_as: "F16",
        })?;
    }
    Ok(())
}

/// Returns the first column of the first block in which one of the two `fields` is not finite.
pub(crate) fn first_not_finite_field<const B: usize>(
    bytes: &[u8],
    block_len: usize,
    fields: impl Fn(&[u8; B]) -> [f32; 2],
) -> Option<usize> {
    bytes.as_chunks::<B>().0.iter().position(|b| fields(b).iter().any(|v| !v.is_finite())).map(|i| i * block_len)
}

/// Reads a half-precision field.
pub(crate) fn half_at(bytes: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([bytes[at], bytes[at + 1]]).to_f32()
}

/// Writes a half-precision field, rounding `value` to nearest even.
pub(crate) fn put_half(bytes: &mut [u8], at: usize, value: f32) {
    bytes[at..at + 2].copy_from_slice(&f16::from_f32(value).to_le_bytes());
}

/// Packs the codes of a block of 32: the first half in the low nibbles, the second half in the high nibbles.
pub(crate) fn put_nibbles(codes: &[u8; 32], out: &mut [u8]) {
    for (j, byte) in out.iter_mut().enumerate() {
        *byte = codes[j] & 15 | codes[j + 16] << 4;
    }
}

/// Unpacks the codes that [`put_nibbles`] packed.
pub(crate) fn nibbles(bytes: &[u8]) -> [u8; 32] {
    let mut codes = [0; 32];
    let (first, second) = codes.split_at_mut(16);
    for ((low, high), &byte) in first.iter_mut().zip(second).zip(bytes) {
        *low = byte & 15;
        *high = byte >> 4;
    }
    codes
}

/// Packs 5-bit codes: bit 4 of code `k` as bit `k` of a little-endian `u32` at `at`, the nibbles behind it at `at +
/// 4`.
pub(crate) fn put_five_bits(codes: &[u8; 32], out: &mut [u8], at: usize) {
    let high = codes.iter().enumerate().fold(0u32, |bits, (k, &q)| bits | u32::from(q >> 4 & 1) << k);
    out[at..at + 4].copy_from_slice(&high.to_le_bytes());
    put_nibbles(codes, &mut out[at + 4..at + 20]);
}

/// Unpacks the codes that [`put_five_bits`] packed.
pub(crate) fn five_bits(bytes: &[u8], at: usize) -> [u8; 32] {
    let high = u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    let mut codes = nibbles(&bytes[at + 4..at + 20]);
    for (k, q) in codes.iter_mut().enumerate() {
        *q |= if high & 1 << k == 0 { 0 } else { 16 };
    }
    codes
}

/// Writes the scale of a block and, behind it, the offset, for encodings that store a minimum.
pub(crate) fn put_scale_and_min(p: GroupParams, out: &mut [u8]) {
    put_half(out, 0, p.scale);
    put_half(out, 2, p.offset);
}
