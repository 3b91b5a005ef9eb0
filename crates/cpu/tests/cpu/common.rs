//! Random values, steps of a back end and comparisons.

use honelm_backend::{
    Backend, Cache, CacheKind, CacheSpec, CacheType, LayerCache, Seen, Segment, SequenceId, Step, StepGroup, Tensor,
    Token, Value, block_on,
};
use honelm_blocks::{BlockMatrix, Encoding, GroupMatrix, ScaleType, WeightData, Zeros};
use honelm_tensor::{AlignedVec, Matrix};

use honelm_cpu::{Compute, CpuBackend, CpuOptions, Isa};

/// A small generator (xorshift), enough for test values.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn bits(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Returns a number from a roughly normal distribution with deviation 1.
    pub fn value(&mut self) -> f32 {
        (0..4).map(|_| (self.bits() >> 40) as f32 / (1u32 << 24) as f32 - 0.5).sum::<f32>() * 1.7
    }
}

pub fn random(rows: usize, cols: usize, seed: u64) -> Matrix {
    let mut random = Random::new(seed);
    Matrix::new(rows, cols, (0..rows * cols).map(|_| random.value()).collect())
}

/// Returns `matrix` in every encoding that its columns allow.
pub fn test_weights(matrix: &Matrix) -> Vec<WeightData> {
    let fits = |e: &Encoding| matrix.cols.is_multiple_of(e.block_len());
    let blocks = Encoding::ALL.into_iter().filter(fits);
    let mut all: Vec<WeightData> = blocks.map(|e| BlockMatrix::quantize(matrix, e, None).unwrap().into()).collect();
    for (bits, group_size, ordered) in [(4, 128, false), (4, 32, true), (8, matrix.cols, false), (3, 48, false)] {
        all.push(groups(matrix.rows, matrix.cols, bits, group_size, ordered).into());
    }
    all
}

pub fn groups(rows: usize, cols: usize, bits: u8, group_size: usize, ordered: bool) -> GroupMatrix {
    let mut random = Random::new(u64::from(bits) + cols as u64);
    let groups = cols.div_ceil(group_size);
    let codes: Vec<u8> = (0..rows * cols).map(|_| (random.bits() >> 33) as u8 & (u8::MAX >> (8 - bits))).collect();
    let scale = |r: &mut Random| ScaleType::F16.round(0.01 + (r.bits() >> 60) as f32 * 0.001);
    let scales = (0..rows * groups).map(|_| scale(&mut random)).collect();
    let zeros = match (bits, ordered) {
        (8, _) => Zeros::Constant(128),
        (_, true) => Zeros::Bias((0..rows * groups).map(|_| ScaleType::F16.round(random.value() * 0.1)).collect()),
        _ => Zeros::Integer((0..rows * groups).map(|_| (random.bits() >> 35) as u8 & 7).collect()),
    };
    let order = ordered.then(|| (0..cols).map(|c| ((c * 7 + 3) % cols / group_size) as u32).collect());
    GroupMatrix {
        rows,
        cols,
        bits,
        group_size,
        scale_type: ScaleType::F16,
        codes: AlignedVec::from_slice(&codes),
        scales,
        zeros,
        order,
    }
    .validated()
    .unwrap()
}

/// Returns the instruction sets to test: all of the machine's, or the one that `HONELM_TEST_ISA` names. An emulated machine is
/// slow, and its sets differ in few operations.
pub fn instruction_sets() -> Vec<Isa> {
    let mut all = Isa::available();
    if let Ok(name) = std::env::var("HONELM_TEST_ISA") {
        all.retain(|isa| isa.name() == name);
        assert!(!all.is_empty(), "HONELM_TEST_ISA={name}: found no such instruction set on this machine");
    }
    all
}

pub fn backend(isa: Isa, threads: usize, compute: Compute) -> CpuBackend {
    CpuBackend::new(CpuOptions { threads: Some(threads), compute, isa: Some(isa) })
}

/// Ends the step and returns the values of a tensor.
pub fn values(b: &mut CpuBackend, x: &Tensor) -> Matrix {
    b.output(0, x);
    let ticket = b.submit();
    match block_on(b.read(ticket)).unwrap().swap_remove(0).1 {
        Value::Floats(matrix) => matrix,
        Value::Tokens(_) | Value::Cells(_) => panic!("no floats"),
    }
}

pub fn assert_close(found: &Matrix, expected: &Matrix, tolerance: f32, what: &str) {
    assert_eq!((found.rows, found.cols), (expected.rows, expected.cols), "{what}");
    for (i, (a, b)) in found.data.iter().zip(&expected.data).enumerate() {
        let close = (a - b).abs() <= tolerance * (1.0 + b.abs()) || (a.is_nan() && b.is_nan()) || a == b;
        assert!(close, "{what}: value {i} is {a}, not {b}");
    }
}

pub fn same_bits(a: &[f32], b: &[f32]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits())
}

/// Returns the description of a cache of one group and one layer.
pub fn cache_spec(kv_heads: usize, head_width: usize, page_len: usize, element: CacheType) -> CacheSpec {
    let layers = vec![LayerCache { kv_heads, head_width, group: 0 }];
    CacheSpec { groups: vec![CacheKind::Full], layers, page_len, element }
}

/// The rows of one sequence in a step.
#[derive(Debug, Clone)]
pub struct Rows {
    pub sequence: usize,
    /// The cell and position of each row.
    pub cells: Vec<u32>,
    /// The first and end of the contiguous cells, and the scattered cells, of each row.
    pub seen: Vec<(u32, u32, Vec<u32>)>,
}

impl Rows {
    /// Returns `count` rows after `past` tokens, each of which sees the last `window`.
    pub fn chain(sequence: usize, past: usize, count: usize, window: usize) -> Self {
        let cells: Vec<u32> = (past..past + count).map(|c| c as u32).collect();
        let seen = cells.iter().map(|c| ((c + 1).saturating_sub(window as u32), c + 1, Vec::new())).collect();
        Self { sequence, cells, seen }
    }
}

/// Returns a step of these rows. Every sequence owns `pages` pages, in an order that differs from that of its cells.
pub fn step(rows: &[Rows], pages: usize, sequences: usize) -> Step {
    let mut step = Step::default();
    let mut group = StepGroup { page_count: (pages * sequences) as u32, ..StepGroup::default() };
    for part in rows {
        let first = step.tokens.len();
        for (cell, (from, end, extra)) in part.cells.iter().zip(&part.seen) {
            step.tokens.push(Token::Id(0));
            step.positions.push(*cell);
            step.cells.push(*cell);
            let start = group.extra.len() as u32;
            group.extra.extend(extra);
            group.seen.push(Seen { first: *from, end: *end, extra: start..group.extra.len() as u32 });
        }
        let table = group.pages.len();
        group.pages.extend((0..pages).map(|p| (((p * 5 + 2) % pages) * sequences + part.sequence) as u32));
        group.tables.push(table..group.pages.len());
        step.segments.push(Segment { rows: first..step.tokens.len(), sequence: SequenceId(part.sequence as u32) });
    }
    step.groups.push(group);
    step
}

/// Begins a step of `n` rows, for operations that depend on positions alone.
pub fn begin_rows(b: &mut CpuBackend, positions: &[u32]) -> Cache {
    let cache = b.create_cache(cache_spec(1, 16, 16, CacheType::F32)).unwrap();
    let mut step = step(&[Rows::chain(0, 0, positions.len(), 1)], positions.len().div_ceil(16).max(1), 1);
    if step.groups[0].pages.len().is_multiple_of(5) {
        // The shuffle in `step` needs a number of pages without the factor 5.
        step.groups[0].pages = (0..step.groups[0].pages.len() as u32).collect();
    }
    step.positions = positions.to_vec();
    b.begin(step, &cache).unwrap();
    cache
}
