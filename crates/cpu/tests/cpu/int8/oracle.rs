//! Random weights, and the product computed directly from its definition.

use half::f16;

use super::*;

pub(super) struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub fn below(&mut self, end: usize) -> usize {
        (self.next() >> 33) as usize % end
    }

    /// Returns a number in -1..1.
    pub fn float(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1 << 23) as f32 - 1.0
    }

    /// Returns a matrix whose rows have different magnitudes, with outliers.
    pub fn matrix(&mut self, rows: usize, cols: usize) -> Matrix {
        let mut out = Matrix::zeros(rows, cols);
        for r in 0..rows {
            let size = [1.0, 30.0, 1e-3][r % 3];
            for v in out.row_mut(r) {
                let outlier = [1.0, 9.0, 90.0][2usize.saturating_sub(self.below(32))];
                *v = size * outlier * self.float();
            }
        }
        out
    }
}

/// Returns blocks of random codes (or all bytes `fill`), with half-precision fields of about `scale`.
pub(super) fn blocks(
    encoding: Encoding,
    rows: usize,
    cols: usize,
    scale: f32,
    fill: Option<u8>,
    random: &mut Random,
) -> WeightData {
    let size = encoding.block_bytes();
    let mut bytes = vec![0; encoding.row_bytes(cols).expect("whole blocks") * rows];
    for block in bytes.chunks_exact_mut(size) {
        block.iter_mut().for_each(|byte| *byte = fill.unwrap_or((random.next() >> 32) as u8));
        let fields: &[usize] = match encoding {
            Encoding::Q4_1 | Encoding::Q5_1 | Encoding::Q4K | Encoding::Q5K => &[0, 2],
            Encoding::Q2K => &[80, 82],
            Encoding::Q3K => &[108],
            Encoding::Q6K => &[208],
            // Exponents of every size that give finite numbers.
            Encoding::MXFP4 => {
                block[0] = (122.0 + 5.0 * scale.clamp(-20.0, 20.0)) as u8 + (random.next() >> 62) as u8;
                &[]
            }
            _ => &[0],
        };
        for &at in fields {
            let varied = if scale.abs() == 1.0 { scale * random.float() } else { scale };
            block[at..at + 2].copy_from_slice(&f16::from_f32(varied).to_le_bytes());
        }
    }
    BlockMatrix::new(encoding, rows, cols, bytes.into()).expect("the right length").into()
}

pub(super) fn random_blocks(
    encoding: Encoding,
    rows: usize,
    cols: usize,
    scale: f32,
    random: &mut Random,
) -> WeightData {
    blocks(encoding, rows, cols, scale, None, random)
}

/// Returns integer groups with `zeros`: 0 constant, 1 integers, 2 biases.
pub(super) fn groups(
    bits: u8,
    rows: usize,
    cols: usize,
    group_size: usize,
    scale_type: ScaleType,
    zeros: usize,
    random: &mut Random,
) -> GroupMatrix {
    let count = rows * cols.div_ceil(group_size);
    let codes: Vec<u8> = (0..rows * cols).map(|_| (random.next() >> 40) as u8 >> (8 - bits)).collect();
    let mut floats = || (0..count).map(|_| scale_type.round(random.float())).collect::<Vec<_>>();
    let scales = floats();
    let biases = floats();
    GroupMatrix {
        rows,
        cols,
        bits,
        group_size,
        scale_type,
        codes: AlignedVec::from_slice(&codes),
        scales,
        zeros: match zeros {
            0 => Zeros::Constant(1 << (bits - 1)),
            1 => Zeros::Integer((0..count).map(|_| (random.next() >> 40) as u8 >> (8 - bits)).collect()),
            _ => Zeros::Bias(biases),
        },
        order: None,
    }
    .validated()
    .expect("a sound matrix")
}

/// Returns the scale and codes of every block of every row, by the definition.
pub(super) fn round_rows(x: &Matrix) -> Vec<Vec<(f32, [i16; 32])>> {
    let largest = |values: &[f32]| values.iter().fold(0.0f32, |top, v| top.max(v.abs()));
    let block = |values: &[f32]| {
        let top = largest(values);
        let at = values.iter().position(|v| v.abs() == top).unwrap_or(0) / 4 * 4;
        let rest = largest(&values[..at]).max(largest(&values[at + 4..]));
        let d = (rest / 127.0).max(top / 4096.0);
        let d = if d < f32::MIN_POSITIVE { 0.0 } else { d };
        let code = |v: f32| if d == 0.0 { 0 } else { (v / d).round_ties_even() as i16 };
        (d, std::array::from_fn(|j| code(values[j])))
    };
    x.iter_rows().map(|row| row.chunks(32).map(block).collect()).collect()
}

/// 32 weights as integers with scales and offsets, for each half if the halves differ.
struct Weights {
    /// q - z, or q if there is an offset.
    integers: [i32; 32],
    scales: [f32; 2],
    offsets: Option<[f32; 2]>,
    /// `true` if the halves have different scales.
    halves: bool,
}

/// The tables of IQ4_NL and IQ4_XS, and twice the numbers of MXFP4.
const NON_LINEAR: [i32; 16] = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];
const E2M1: [i32; 16] = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];

fn half(bytes: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([bytes[at], bytes[at + 1]]).to_f32()
}

fn nibble(qs: &[u8], k: usize) -> i32 {
    i32::from(if k < 16 { qs[k] & 15 } else { qs[k - 16] >> 4 })
}

fn bit(bytes: &[u8], k: usize) -> i32 {
    i32::from(bytes[k / 8] >> (k % 8) & 1)
}

/// Returns block `b` (of 32 columns) of `row`, from the description of the format.
fn block_weights(encoding: Encoding, row: &[u8], b: usize) -> Weights {
    let size = encoding.block_bytes();
    let per = encoding.block_len() / 32;
    let (bytes, j) = (&row[b / per * size..][..size], b % per);
    let d = match encoding {
        Encoding::Q2K => half(bytes, 80),
        Encoding::Q3K => half(bytes, 108),
        Encoding::Q6K => half(bytes, 208),
        Encoding::MXFP4 => 2f32.powi(i32::from(bytes[0]) - 128),
        _ => half(bytes, 0),
    };
    let mut out = Weights { integers: [0; 32], scales: [d; 2], offsets: None, halves: false };
    // Two bits of column 32 j + k of Q2_K and Q3_K.
    let pair = |qs: &[u8], k: usize| i32::from(qs[j / 4 * 32 + k] >> (j % 4 * 2) & 3);
    let pair = &pair;
    let q: Box<dyn Fn(usize) -> i32 + '_> = match encoding {
        Encoding::Q4_0 => Box::new(|k| nibble(&bytes[2..], k) - 8),
        Encoding::Q4_1 => Box::new(|k| nibble(&bytes[4..], k)),
        Encoding::Q5_0 => Box::new(|k| nibble(&bytes[6..], k) + 16 * bit(&bytes[2..], k) - 16),
        Encoding::Q5_1 => Box::new(|k| nibble(&bytes[8..], k) + 16 * bit(&bytes[4..], k)),
        Encoding::Q8_0 => Box::new(|k| i32::from(bytes[2 + k] as i8)),
        Encoding::Q4K => Box::new(move |k| i32::from(bytes[16 + j / 2 * 32 + k] >> (j % 2 * 4) & 15)),
        Encoding::Q5K => Box::new(move |k| {
            let low = i32::from(bytes[48 + j / 2 * 32 + k] >> (j % 2 * 4) & 15);
            low + 16 * i32::from(bytes[16 + k] >> j & 1)
        }),
        Encoding::Q2K => Box::new(move |k| pair(&bytes[16..80], k)),
        Encoding::Q3K => Box::new(move |k| pair(&bytes[32..96], k) - if bytes[k] >> j & 1 == 1 { 0 } else { 4 }),
        Encoding::IQ4NL => Box::new(|k| NON_LINEAR[nibble(&bytes[2..], k) as usize]),
        Encoding::IQ4XS => Box::new(move |k| NON_LINEAR[nibble(&bytes[8 + 16 * j..], k) as usize]),
        Encoding::MXFP4 => Box::new(|k| E2M1[nibble(&bytes[1..], k) as usize]),
        Encoding::Q6K => Box::new(move |k| {
            let low = bytes[j / 4 * 64 + j % 2 * 32 + k] >> (j % 4 / 2 * 4) & 15;
            let high = bytes[128 + j / 4 * 32 + k] >> (j % 4 * 2) & 3;
            i32::from(low | high << 4) - 32
        }),
        other => panic!("{other:?}"),
    };
    out.integers = std::array::from_fn(&*q);
    match encoding {
        Encoding::Q4_1 | Encoding::Q5_1 => out.offsets = Some([half(bytes, 2); 2]),
        Encoding::Q4K | Encoding::Q5K => {
            let s = &bytes[4..16];
            let (scale, min) = match j {
                0..4 => (s[j] & 63, s[j + 4] & 63),
                _ => (s[j + 4] & 15 | s[j - 4] >> 6 << 4, s[j + 4] >> 4 | s[j] >> 6 << 4),
            };
            out.scales = [d * f32::from(scale); 2];
            out.offsets = Some([-(half(bytes, 2) * f32::from(min)); 2]);
        }
        Encoding::Q2K => {
            out.halves = true;
            out.scales = [0, 1].map(|h| d * f32::from(bytes[2 * j + h] & 15));
            out.offsets = Some([0, 1].map(|h| -(half(bytes, 82) * f32::from(bytes[2 * j + h] >> 4))));
        }
        Encoding::Q3K => {
            out.halves = true;
            out.scales = [2 * j, 2 * j + 1].map(|g| {
                let s = &bytes[96..108];
                let low = if g < 8 { s[g] & 15 } else { s[g - 8] >> 4 };
                let high = s[8 + g % 4] >> (2 * (g / 4)) & 3;
                d * (f32::from(low | high << 4) - 32.0)
            });
        }
        Encoding::Q6K => {
            out.halves = true;
            out.scales = [0, 1].map(|h| d * f32::from(bytes[192 + 2 * j + h] as i8));
        }
        Encoding::IQ4XS => {
            let low = i32::from(bytes[4 + j / 2] >> (j % 2 * 4) & 15);
            let high = i32::from(u16::from_le_bytes([bytes[2], bytes[3]]) >> (2 * j) & 3);
            out.scales = [d * (low + 16 * high - 32) as f32; 2];
        }
        _ => {}
    }
    out
}

/// Returns the 32 weights of `row` in the columns `columns`, which share a group.
fn group_weights(m: &GroupMatrix, row: usize, columns: &[usize]) -> Weights {
    let codes = m.row_codes(row);
    let zero = m.zero(row, columns[0]).unwrap_or(0);
    Weights {
        integers: std::array::from_fn(|k| i32::from(codes[columns[k]]) - i32::from(zero)),
        scales: [m.scale(row, columns[0]); 2],
        offsets: m.bias(row, columns[0]).map(|bias| [bias; 2]),
        halves: false,
    }
}

/// Computes the product by its definition, block after block, with exact sums per block. // [N, M]
pub(super) fn product(weight: &WeightData, x: &Matrix) -> Matrix {
    let (rows, cols) = (weight.rows(), weight.cols());
    let mut columns: Vec<usize> = (0..cols).collect();
    if let WeightData::Groups(m) = weight {
        columns.sort_by_key(|&c| m.group_of(c));
    }
    let mut ordered = Matrix::zeros(x.rows, cols);
    for r in 0..x.rows {
        for (to, &from) in ordered.row_mut(r).iter_mut().zip(&columns) {
            *to = x.row(r)[from];
        }
    }
    let activations = round_rows(&ordered);
    let mut out = Matrix::zeros(x.rows, rows);
    for m in 0..rows {
        let blocks: Vec<Weights> = (0..cols / 32)
            .map(|b| match weight {
                WeightData::Blocks(w) => block_weights(w.encoding, w.row(m), b),
                WeightData::Groups(w) => group_weights(w, m, &columns[b * 32..][..32]),
            })
            .collect();
        for (n, row) in activations.iter().enumerate() {
            let mut sum = 0.0f32;
            for (w, (d, codes)) in blocks.iter().zip(row) {
                sum = term(w, codes).mul_add(*d, sum);
            }
            out.row_mut(n)[m] = sum;
        }
    }
    out
}

/// Returns the term of one block, before the scale of the activations.
fn term(w: &Weights, codes: &[i16; 32]) -> f32 {
    let dot = |span: Range<usize>| span.map(|k| w.integers[k] * i32::from(codes[k])).sum::<i32>() as f32;
    let sum = |span: Range<usize>| codes[span].iter().map(|&c| i32::from(c)).sum::<i32>() as f32;
    match (w.offsets, w.halves) {
        (None, false) => dot(0..32) * w.scales[0],
        (Some(offsets), false) => dot(0..32).mul_add(w.scales[0], offsets[0] * sum(0..32)),
        (None, true) => dot(16..32).mul_add(w.scales[1], dot(0..16) * w.scales[0]),
        (Some(offsets), true) => {
            let offset = offsets[1].mul_add(sum(16..32), offsets[0] * sum(0..16));
            dot(16..32).mul_add(w.scales[1], dot(0..16).mul_add(w.scales[0], offset))
        }
    }
}
