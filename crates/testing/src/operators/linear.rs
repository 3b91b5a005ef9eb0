use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use honelm_backend::{Backend, Batch, Parent, Sampling, Sequences, Token, Value, Want, block_on};
use honelm_blocks::{BlockMatrix, Encoding, GroupMatrix, ScaleType, WeightData, Zeros};
use honelm_tensor::{AlignedVec, Matrix, f16};

use super::{Failure, OperatorCase, Special, Tolerance, compare, magnitudes, small_cache, spoil, step};
use crate::values::matrix;

/// Rows, output rows and blocks of columns.
const SHAPES: [[usize; 3]; 15] = [
    [1, 1, 1],
    [1, 3, 1],
    [1, 17, 2],
    [1, 70, 8],
    [2, 5, 3],
    [3, 16, 1],
    [4, 33, 2],
    [5, 8, 5],
    [7, 31, 4],
    [8, 64, 3],
    [15, 70, 2],
    [16, 32, 9],
    [17, 19, 3],
    [33, 35, 2],
    [130, 37, 3],
];

/// The columns of float weights, by index into `SHAPES`.
const FLOAT_COLS: [usize; 15] = [1, 2, 3, 256, 7, 15, 16, 17, 31, 33, 63, 64, 100, 129, 257];

/// The number of rows after which a weight repeats. It is a prime, so that rows from a wrong vector or tile are
/// detected.
const DISTINCT_ROWS: usize = 13;

/// Returns weights `[m, k]` in `encoding`.
pub(super) fn weight(encoding: Encoding, m: usize, k: usize, seed: u64) -> WeightData {
    if encoding.is_float() {
        return quantized(encoding, m, k, seed).into();
    }
    // Quantisation takes most of the table's time, so results are shared.
    type Known = BTreeMap<(Encoding, usize, usize, u64), BlockMatrix>;
    static KNOWN: Mutex<Known> = Mutex::new(BTreeMap::new());
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let rows = m.min(DISTINCT_ROWS);
    let blocks = known.entry((encoding, rows, k, seed)).or_insert_with(|| quantized(encoding, rows, k, seed));
    let row = blocks.bytes.len() / rows;
    let bytes: Vec<u8> = blocks.bytes.iter().copied().cycle().take(m * row).collect();
    BlockMatrix { encoding, rows: m, cols: k, bytes: bytes.into() }.into()
}

fn quantized(encoding: Encoding, m: usize, k: usize, seed: u64) -> BlockMatrix {
    BlockMatrix::quantize(&matrix(m, k, seed), encoding, None).expect("finite values in whole blocks")
}

/// The settings of a group matrix.
#[derive(Debug, Clone, Copy)]
pub(super) struct Groups {
    bits: u8,
    /// The columns per group; 0 for one group per row.
    group_size: usize,
    zeros: ZeroKind,
    ordered: bool,
}

#[derive(Debug, Clone, Copy)]
enum ZeroKind {
    Constant,
    Integer,
    Bias,
}

pub(super) const GROUPS: [Groups; 12] = {
    use ZeroKind::{Bias, Constant, Integer};
    const fn of(bits: u8, group_size: usize, zeros: ZeroKind, ordered: bool) -> Groups {
        Groups { bits, group_size, zeros, ordered }
    }
    [
        of(4, 32, Constant, false),
        of(4, 32, Integer, false),
        of(4, 64, Bias, false),
        of(4, 128, Integer, false),
        of(4, 128, Integer, true),
        of(4, 0, Constant, false),
        of(8, 32, Constant, false),
        of(8, 64, Integer, true),
        of(8, 128, Integer, false),
        of(8, 0, Bias, false),
        of(3, 64, Integer, false),
        of(2, 32, Bias, false),
    ]
};

impl Groups {
    /// Returns random codes, scales and zero points. // [m, k]
    pub(super) fn weight(self, m: usize, k: usize, seed: u64) -> WeightData {
        let group_size = if self.group_size == 0 { k } else { self.group_size };
        let groups = k.div_ceil(group_size);
        let top = (1u32 << self.bits) - 1;
        let draw = |i: usize, n: u32, what: u64| (honelm_backend::uniform(seed, what, i as u64, 0) * n as f32) as u32;
        let codes: Vec<u8> = (0..m * k).map(|i| draw(i, top + 1, 0) as u8).collect();
        let rounded = |v: f32| f16::from_f32(v).to_f32();
        let scale = |i: usize| rounded((0.5 + draw(i, 100, 1) as f32 / 100.0) / top as f32);
        let zeros = match self.zeros {
            ZeroKind::Constant => Zeros::Constant(1 << (self.bits - 1)),
            ZeroKind::Integer => Zeros::Integer((0..m * groups).map(|i| draw(i, top + 1, 2) as u8).collect()),
            ZeroKind::Bias => Zeros::Bias((0..m * groups).map(|i| rounded(-0.01 * draw(i, 100, 3) as f32)).collect()),
        };
        // The group of every column is drawn independently, because act-order scatters the columns.
        let order = self.ordered.then(|| (0..k).map(|i| draw(i, groups as u32, 4)).collect());
        let matrix = GroupMatrix {
            rows: m,
            cols: k,
            bits: self.bits,
            group_size,
            scale_type: ScaleType::F16,
            codes: AlignedVec::from_slice(&codes),
            scales: (0..m * groups).map(scale).collect(),
            zeros,
            order,
        };
        matrix.validated().expect("a valid group matrix").into()
    }
}

/// Returns x W^T + bias in f64, and the scale of each result. // [N, M]
fn product(x: &Matrix, w: &Matrix, bias: Option<&[f32]>) -> (Matrix, Matrix) {
    let (mut y, mut scale) = (Matrix::zeros(x.rows, w.rows), Matrix::zeros(x.rows, w.rows));
    for n in 0..x.rows {
        for m in 0..w.rows {
            let sum: f64 = x.row(n).iter().zip(w.row(m)).map(|(&x, &w)| f64::from(x) * f64::from(w)).sum();
            let bias = bias.map_or(0.0, |b| f64::from(b[m]));
            y.row_mut(n)[m] = (sum + bias) as f32;
            let size = norm(x.row(n)) * norm(w.row(m)) / (x.cols as f64).sqrt();
            scale.row_mut(n)[m] = (size + bias.abs()) as f32;
        }
    }
    (y, scale)
}

fn norm(values: &[f32]) -> f64 {
    values.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>().sqrt()
}

fn check(
    b: &mut dyn Backend,
    tolerance: &Tolerance,
    x: &Matrix,
    weight: WeightData,
    with_bias: bool,
) -> Result<(), Failure> {
    let bias = with_bias.then(|| matrix(1, weight.rows(), 77).data);
    let (y, scale) = product(x, &weight.dequantize(), bias.as_deref());
    let w = b.upload(weight, bias.as_deref())?;
    let found = step(b, &[x.rows], |b| {
        let x = b.input(x);
        vec![b.linear(&x, &w)]
    })?;
    compare(&found[0], &y, &scale, tolerance.linear).map_err(|e| match e {
        Failure::Wrong(what) => Failure::Wrong(format!("{} x {} x {}: {what}", x.rows, w.rows(), w.cols())),
        other => other,
    })
}

pub(super) fn cases() -> Vec<OperatorCase> {
    let mut cases = Vec::new();
    for encoding in Encoding::ALL {
        let k = move |i: usize| {
            if encoding.is_float() {
                FLOAT_COLS[i]
            } else {
                SHAPES[i][2].min(2560 / encoding.block_len()) * encoding.block_len()
            }
        };
        cases.push(OperatorCase::new(format!("linear {encoding}"), move |b, tolerance| {
            for (i, [n, m, _]) in SHAPES.into_iter().enumerate() {
                let mut x = matrix(n, k(i), 5 + i as u64);
                spoil(&mut x);
                check(b, tolerance, &x, weight(encoding, m, k(i), 100 + i as u64), i % 2 == 1)?;
            }
            Ok(())
        }));
        cases.push(OperatorCase::new(format!("linear {encoding}, one special row"), move |b, tolerance| {
            for special in Special::ALL {
                let mut x = matrix(1, k(3), 5);
                special.apply(x.row_mut(0));
                check(b, tolerance, &x, weight(encoding, 9, k(3), 6), false)?;
            }
            Ok(())
        }));
        cases.push(OperatorCase::new(format!("linear {encoding}, uploaded in slabs"), move |b, _| {
            if b.slab_bytes().is_none() {
                return Ok(());
            }
            let w = weight(encoding, 41, k(11), 8);
            slabs(b, encoding, &w)
        }));
        cases.push(OperatorCase::new(format!("embed {encoding}"), move |b, _| embed(b, encoding, k(11))));
    }
    for groups in GROUPS {
        cases.push(OperatorCase::new(format!("linear {groups:?}"), move |b, tolerance| {
            for (i, [n, m, blocks]) in SHAPES.into_iter().enumerate() {
                // Some shapes have a short last group.
                let k = blocks * 128 - if i % 3 == 1 && groups.group_size != 0 { 64 } else { 0 };
                let mut x = matrix(n, k, 5 + i as u64);
                spoil(&mut x);
                check(b, tolerance, &x, groups.weight(m, k, 100 + i as u64), i % 2 == 1)?;
            }
            Ok(())
        }));
    }
    cases.push(OperatorCase::new("a sampled token is fed back on the device", |b, _| sampled(b)));
    cases
}

/// Checks that a weight uploaded in slabs gives exactly the results of the same weight uploaded at once.
fn slabs(b: &mut dyn Backend, encoding: Encoding, weight: &WeightData) -> Result<(), Failure> {
    let WeightData::Blocks(matrix) = weight else { return Err(Failure::Wrong("no blocks".to_owned())) };
    let whole = b.upload(weight.clone(), None)?;
    let slabbed = b.begin_weight(encoding, matrix.rows, matrix.cols)?;
    let (row, mut first) = (matrix.bytes.len() / matrix.rows, 0);
    for rows in [1, 16, 7, 17] {
        let bytes = matrix.bytes.slice(first * row..(first + rows) * row);
        b.fill_weight(&slabbed, first, BlockMatrix { encoding, rows, cols: matrix.cols, bytes })?;
        first += rows;
    }
    for n in [1, 5, 40] {
        let x = crate::values::matrix(n, matrix.cols, 5);
        let found = step(b, &[n], |b| {
            let x = b.input(&x);
            vec![b.linear(&x, &whole), b.linear(&x, &slabbed), b.embed(&whole), b.embed(&slabbed)]
        })?;
        if found[0] != found[1] || found[2] != found[3] {
            return Err(Failure::Wrong(format!("{n} rows: not the results of the weight uploaded at once")));
        }
    }
    Ok(())
}

/// Embeds token `r` in row `r` from a table of which some rows are unused.
fn embed(b: &mut dyn Backend, encoding: Encoding, cols: usize) -> Result<(), Failure> {
    for rows in [1, 6, 40] {
        let table = weight(encoding, 41, cols, 8);
        let mut expected = table.dequantize();
        expected.data.truncate(rows * cols);
        expected.rows = rows;
        let table = b.upload(table, None)?;
        let found = step(b, &[rows], |b| vec![b.embed(&table)])?;
        compare(&found[0], &expected, &magnitudes(&expected), 1e-6)?;
    }
    Ok(())
}

/// Checks that a token sampled in one step can be the input of the next before it was read.
fn sampled(b: &mut dyn Backend) -> Result<(), Failure> {
    let table = matrix(5, 32, 3);
    let weight = b.upload(BlockMatrix::quantize(&table, Encoding::F32, None).expect("floats").into(), None)?;
    let cache = b.create_cache(small_cache())?;
    let mut sequences = Sequences::new(&cache.spec().groups, cache.spec().page_len, 100, 0);
    let (one, two) = (sequences.open(), sequences.open());
    let mut batch = Batch::default();
    batch.extend(one, &[0, 1], Want::NOTHING);
    batch.extend(two, &[2], Want::NOTHING);
    b.begin(sequences.step(&batch)?, &cache)?;
    let logits = b.input(&Matrix::new(2, 5, vec![0.0, 1.0, 0.0, 3.0, 3.0, 0.0, 0.0, 9.0, 0.0, 0.0]));
    b.sample(4, &logits, &[(1, Sampling::GREEDY), (2, Sampling::GREEDY)]);
    let first = b.submit();
    let mut next = Batch::default();
    next.push(two, Token::Sampled(first, 2), Parent::Previous, Want::NOTHING);
    next.push(one, Token::Sampled(first, 1), Parent::Previous, Want::NOTHING);
    b.begin(sequences.step(&next)?, &cache)?;
    let x = b.embed(&weight);
    b.output(0, &x);
    let second = b.submit();
    let found = super::floats(block_on(b.read(second))?)?;
    let expected = [table.row(2), table.row(3)].concat();
    if found[0].data != expected {
        return Err(Failure::Wrong("the embeddings are not those of the sampled tokens".to_owned()));
    }
    match &block_on(b.read(first))?[..] {
        [(4, Value::Tokens(tokens))] if tokens[..] == [3, 2] => Ok(()),
        other => Err(Failure::Wrong(format!("sampled {other:?}, not tokens 3 and 2 under key 4"))),
    }
}
