//! Helpers of the tests.

use honelm_blocks::Encoding;

/// A small reproducible generator (splitmix64).
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Returns a number uniform in (0, 1].
    pub fn uniform(&mut self) -> f32 {
        ((self.next() >> 40) + 1) as f32 / (1u32 << 24) as f32
    }

    /// Returns a standard normal number.
    pub fn normal(&mut self) -> f32 {
        (-2.0 * self.uniform().ln()).sqrt() * (std::f32::consts::TAU * self.uniform()).cos()
    }

    /// Returns a normal number; one in 32 is `1 + tail` times as large.
    pub fn heavy(&mut self, tail: f32) -> f32 {
        let outlier = self.uniform() < 1.0 / 32.0;
        self.normal() * if outlier { 1.0 + tail } else { 1.0 }
    }
}

pub fn encoded(encoding: Encoding, x: &[f32], importance: Option<&[f32]>) -> Vec<u8> {
    let mut out = vec![0xA5; encoding.row_bytes(x.len()).expect("whole blocks")];
    encoding.quantize_row(x, importance, &mut out).unwrap_or_else(|e| panic!("{encoding}: {e}"));
    out
}

pub fn decoded(encoding: Encoding, bytes: &[u8]) -> Vec<f32> {
    let mut out = vec![f32::NAN; bytes.len() / encoding.block_bytes() * encoding.block_len()];
    encoding.dequantize_row(bytes, &mut out);
    out
}
