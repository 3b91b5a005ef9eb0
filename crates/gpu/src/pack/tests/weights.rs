//! Weights of every kind: random codes and random scales, including extremes and subnormals.

use honelm_blocks::{BlockMatrix, Encoding, GroupMatrix, ScaleType, WeightData, Zeros};
use honelm_tensor::AlignedVec;

/// A small generator (xorshift).
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn bits(&mut self) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 32) as u32
    }

    fn below(&mut self, n: u32) -> u32 {
        self.bits() % n
    }

    /// Returns a finite number of the type with any exponent, sometimes 0 or the largest.
    fn number(&mut self, of: ScaleType) -> f32 {
        loop {
            let value = match (self.below(16), of) {
                (0, _) => 0.0,
                (1, ScaleType::F16) => -65504.0,
                (_, ScaleType::F16) => of.round(f32::from_bits(self.bits() & 0x8fff_ffff | 0x3800_0000)),
                // Products with codes must stay finite.
                _ => of.round(f32::from_bits(self.bits() & 0xbfff_ffff)),
            };
            if value.is_finite() {
                return value;
            }
        }
    }
}

/// Returns blocks of random bytes that decode to finite numbers.
pub(crate) fn blocks(encoding: Encoding, rows: usize, cols: usize, random: &mut Random) -> WeightData {
    let count = rows * cols / encoding.block_len();
    let mut bytes = Vec::new();
    for _ in 0..count {
        loop {
            let block: Vec<u8> = (0..encoding.block_bytes()).map(|_| random.bits() as u8).collect();
            let one = BlockMatrix::new(encoding, 1, encoding.block_len(), block.clone().into()).unwrap();
            if one.check_finite().is_ok() {
                bytes.extend(block);
                break;
            }
        }
    }
    BlockMatrix::new(encoding, rows, cols, bytes.into()).unwrap().into()
}

/// The kind of zero points of a group matrix.
#[derive(Debug, Clone, Copy)]
pub(crate) enum ZeroChoice {
    Constant,
    Integer,
    Bias,
}

pub(crate) const ZEROS: [ZeroChoice; 3] = [ZeroChoice::Constant, ZeroChoice::Integer, ZeroChoice::Bias];
pub(crate) const SCALES: [ScaleType; 3] = [ScaleType::F16, ScaleType::BF16, ScaleType::F32];

/// Returns a random group matrix.
pub(crate) fn groups(
    (rows, cols): (usize, usize),
    (bits, group_size): (u8, usize),
    scale_type: ScaleType,
    zeros: ZeroChoice,
    ordered: bool,
    random: &mut Random,
) -> GroupMatrix {
    let (groups, limit) = (cols.div_ceil(group_size), Zeros::limit(bits));
    let codes: Vec<u8> = (0..rows * cols).map(|_| random.bits() as u8 >> (8 - bits)).collect();
    let zeros = match zeros {
        ZeroChoice::Constant => Zeros::Constant(1 << (bits - 1)),
        ZeroChoice::Integer => Zeros::integers((0..rows * groups).map(|_| random.below(limit + 1)), bits).unwrap(),
        ZeroChoice::Bias => Zeros::Bias((0..rows * groups).map(|_| random.number(scale_type)).collect()),
    };
    // Each group has its number of columns, spread over the row.
    let mut order: Vec<u32> = (0..cols).map(|c| (c / group_size) as u32).collect();
    for i in (1..cols).rev() {
        order.swap(i, random.below(i as u32 + 1) as usize);
    }
    GroupMatrix {
        rows,
        cols,
        bits,
        group_size,
        scale_type,
        codes: AlignedVec::from_slice(&codes),
        scales: (0..rows * groups).map(|_| random.number(scale_type)).collect(),
        zeros,
        order: ordered.then_some(order),
    }
    .validated()
    .unwrap()
}

/// Returns weights of every kind that has a layout, with row lengths around all edges.
pub(crate) fn of_every_kind(random: &mut Random) -> Vec<WeightData> {
    let mut all = Vec::new();
    for encoding in Encoding::ALL {
        let lengths: &[usize] = if encoding.is_float() { &[1, 7, 8, 9, 17, 34] } else { &[1, 2, 3, 5] };
        for (i, length) in lengths.iter().enumerate() {
            all.push(blocks(encoding, 1 + i % 3, length * encoding.block_len(), random));
        }
    }
    for scale_type in SCALES {
        for zeros in ZEROS {
            for (bits, group_size, cols, ordered) in [
                (4, 32, 160, false),
                (4, 128, 200, true),
                (4, 77, 77, false),
                (8, 16, 68, false),
                (8, 64, 192, true),
                (3, 8, 24, false),
                (2, 96, 96, false),
                (6, 24, 100, true),
            ] {
                all.push(groups((3, cols), (bits, group_size), scale_type, zeros, ordered, random).into());
            }
        }
    }
    all
}
