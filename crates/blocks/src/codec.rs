//! What the file of an encoding provides, and the loops that all of them share.

use half::f16;

use crate::{BlockError, Encoding, Grid, GroupParams, block_grid::BlockGrid};

/// Encodes a row `x` with optional importances into bytes.
pub(crate) type Encode = fn(&[f32], Option<&[f32]>, &mut [u8]) -> Result<(), BlockError>;

/// Everything that [`crate::Encoding`] knows about one encoding.
pub(crate) struct Codec {
    pub name: &'static str,
    pub display_name: &'static str,
    /// Its numbers in GGUF files; `None` where ggml has no such type.
    pub ggml: Option<Ggml>,
    pub block_len: usize,
    pub block_bytes: usize,
    /// What rows that its blocks do not fill take instead, as in llama.cpp; `None` for F16.
    pub smaller_blocks: Option<Encoding>,
    /// Whole blocks of agreeing length.
    pub decode: fn(&[u8], &mut [f32]),
    /// Whole blocks of agreeing length, finite values.
    pub encode: Encode,
    /// Column of the first value or block that is not finite.
    pub first_not_finite: fn(&[u8]) -> Option<usize>,
    pub grid: Option<&'static dyn Grid>,
}

/// The numbers of an encoding in GGUF files.
pub(crate) struct Ggml {
    /// `enum ggml_type`.
    pub id: u32,
    /// "Mostly this encoding", `enum llama_ftype`.
    pub file_type: u32,
}

/// A scale or minimum that the type it is stored in (half precision for most) cannot hold.
pub(crate) struct Overflow(pub f32);

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

/// Encodes one block of 32 onto `grid` with searched parameters.
pub(crate) fn encode_searched<const B: usize>(
    grid: &BlockGrid,
    x: &[f32; 32],
    importance: &[f32; 32],
    out: &mut [u8; B],
) -> Result<(), Overflow> {
    let p = grid.fit(x, importance);
    if !p.is_finite() {
        return Err(Overflow(if p.scale.is_finite() { p.offset } else { p.scale }));
    }
    let codes = std::array::from_fn(|j| grid.round(p, x[j]));
    (grid.pack_block)(p, &codes, out);
    Ok(())
}

/// First column of the first block that has a field (half precision, at one of `fields`) that is not finite.
pub(crate) fn first_not_finite_field<const B: usize>(
    bytes: &[u8],
    block_len: usize,
    fields: impl Fn(&[u8; B]) -> [f32; 2],
) -> Option<usize> {
    bytes.as_chunks::<B>().0.iter().position(|b| fields(b).iter().any(|v| !v.is_finite())).map(|i| i * block_len)
}

/// A half-precision field.
pub(crate) fn half_at(bytes: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([bytes[at], bytes[at + 1]]).to_f32()
}

/// Writes a half-precision field; `value` has been rounded or is rounded to nearest even.
pub(crate) fn put_half(bytes: &mut [u8], at: usize, value: f32) {
    bytes[at..at + 2].copy_from_slice(&f16::from_f32(value).to_le_bytes());
}

/// `value` if half precision can hold it.
pub(crate) fn storable(value: f32) -> Result<f32, Overflow> {
    if f16::from_f32(value).is_finite() { Ok(value) } else { Err(Overflow(value)) }
}

/// `1 / d`, or 0 where the reciprocal is not a number to multiply by (d = 0 or so small that it
/// overflows; half precision rounds such a scale to 0).
pub(crate) fn reciprocal(d: f32) -> f32 {
    let inverse = 1.0 / d;
    if inverse.is_finite() { inverse } else { 0.0 }
}

/// The value of greatest magnitude with its sign, the first of equals.
pub(crate) fn extreme(x: &[f32]) -> f32 {
    let mut best = 0.0f32;
    for &v in x {
        if v.abs() > best.abs() {
            best = v;
        }
    }
    best
}

/// Smallest and largest value.
pub(crate) fn bounds(x: &[f32]) -> (f32, f32) {
    x.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), &v| (low.min(v), high.max(v)))
}

/// Low nibbles hold the first half of a block of 32, high nibbles the second.
pub(crate) fn put_nibbles(codes: &[u8; 32], out: &mut [u8]) {
    for (j, byte) in out.iter_mut().enumerate() {
        *byte = codes[j] & 15 | codes[j + 16] << 4;
    }
}

/// The inverse of [`put_nibbles`].
pub(crate) fn nibbles(bytes: &[u8]) -> [u8; 32] {
    let mut codes = [0; 32];
    let (first, second) = codes.split_at_mut(16);
    for ((low, high), &byte) in first.iter_mut().zip(second).zip(bytes) {
        *low = byte & 15;
        *high = byte >> 4;
    }
    codes
}

/// Nibbles at `at + 4`, the fifth bit of value k as bit k of the little-endian u32 at `at`.
pub(crate) fn put_five_bits(codes: &[u8; 32], out: &mut [u8], at: usize) {
    let high = codes.iter().enumerate().fold(0u32, |bits, (k, &q)| bits | u32::from(q >> 4 & 1) << k);
    out[at..at + 4].copy_from_slice(&high.to_le_bytes());
    put_nibbles(codes, &mut out[at + 4..at + 20]);
}

/// The inverse of [`put_five_bits`].
pub(crate) fn five_bits(bytes: &[u8], at: usize) -> [u8; 32] {
    let high = u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    let mut codes = nibbles(&bytes[at + 4..at + 20]);
    for (k, q) in codes.iter_mut().enumerate() {
        *q |= if high & 1 << k == 0 { 0 } else { 16 };
    }
    codes
}

/// Writes `scale`, and `offset` behind it, for the formats that have a minimum.
pub(crate) fn put_scale_and_min(p: GroupParams, out: &mut [u8]) {
    put_half(out, 0, p.scale);
    put_half(out, 2, p.offset);
}
