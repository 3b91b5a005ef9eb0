//! The test cases: small steps of the back end's own operations, each with its expected result.

use std::fmt::Display;

use honelm_backend::{
    Activation, Attention, Backend, Batch, Cache, CacheKind, CacheSpec, CacheType, LayerCache, Outputs, Parent, Rope,
    Sampling, SequenceId, Sequences, Tensor, Token, Value, Want, choose, hadamard,
};
use honelm_blocks::WeightData;
use honelm_tensor::Matrix;

use super::{
    Needed,
    weights::{self, draw, integer},
};
use crate::pack::Layout;

/// The number of rows of the step that fills the cache and tests the kernels for many rows.
const MANY: usize = 40;

/// The steps of every suite: the number of earlier rows, and the number of its own.
const STEPS: [(usize, usize); 2] = [(0, MANY), (MANY, 1)];

const HEADS: usize = 4;
const KV_HEADS: usize = 2;
const HEAD_WIDTH: usize = 32;
const WIDTH: usize = HEADS * HEAD_WIDTH;
const VOCABULARY: usize = 1000;

/// The allowed error of operations with transcendental functions or square roots, relative to the size of the values.
const NEAR: f64 = 2e-4;

/// The expected result of a test case.
enum Expected {
    /// Exactly these numbers, because no rounding is involved.
    Exactly(Matrix),
    /// These numbers, with an error of up to [`NEAR`] times the largest of the matrix.
    Nearly(Matrix),
    Tokens(Vec<u32>),
}

/// One operation of a step.
struct Case {
    name: String,
    expected: Expected,
}

/// A wrong result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wrong {
    /// The operation.
    pub what: String,
    /// The wrong value and the expected one.
    pub why: String,
}

/// The results of a round.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub tested: usize,
    pub wrong: Vec<Wrong>,
}

/// Test cases that have their own steps, first with many rows, then with one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Suite {
    Layout(Layout),
    Norms,
    /// The fused forms of linear modules, with weights of this layout.
    Fused(Layout),
    Values,
    Sampling,
    Cache(CacheType),
}

/// Returns the suites for everything that is needed, and with `others` the operations that all models use.
fn suites(needed: &Needed, others: bool) -> Vec<Suite> {
    let mut all: Vec<Suite> = needed.layouts.iter().copied().map(Suite::Layout).collect();
    if others {
        // The fused part is the same for every format, so any layout that is needed anyway tests it.
        let fused = needed.layouts.first().copied().unwrap_or(Layout::F32);
        all.extend([Suite::Norms, Suite::Fused(fused), Suite::Values, Suite::Sampling]);
    }
    all.extend(needed.caches.iter().copied().map(Suite::Cache));
    all
}

/// A step that is being recorded.
struct Recorder<'a> {
    b: &'a mut dyn Backend,
    rows: usize,
    /// The number of rows of the sequence before these.
    past: usize,
    /// The test cases; `None` if the step will not run.
    cases: Option<Vec<Case>>,
}

impl Recorder<'_> {
    fn check(&mut self, name: &str, x: &Tensor, expected: impl FnOnce() -> Expected) {
        let rows = self.rows;
        if let Some(cases) = &mut self.cases {
            self.b.output(cases.len() as u32, x);
            cases.push(Case { name: format!("{name}, {rows} rows"), expected: expected() });
        }
    }

    fn record(&mut self, suite: Suite, cache: &Cache) -> Result<(), String> {
        match suite {
            Suite::Layout(layout) => check_layout(self, layout),
            Suite::Norms => check_norms(self),
            Suite::Fused(layout) => check_fused(self, layout),
            Suite::Values => check_values(self),
            Suite::Sampling => {
                check_sampling(self);
                Ok(())
            }
            Suite::Cache(_) => {
                check_attention(self, cache);
                Ok(())
            }
        }
    }

    /// Submits the step and compares its results.
    async fn finish(self, outcome: &mut Outcome) -> Result<(), String> {
        let ticket = self.b.submit();
        let outputs = self.b.read(ticket).await.map_err(text)?;
        let cases = self.cases.unwrap_or_default();
        outcome.tested += cases.len();
        for (key, case) in (0..).zip(cases) {
            if let Err(why) = compare(&outputs, key, &case.expected) {
                outcome.wrong.push(Wrong { what: case.name, why });
            }
        }
        Ok(())
    }
}

fn compare(outputs: &Outputs, key: u32, expected: &Expected) -> Result<(), String> {
    let found = outputs.iter().find(|(k, _)| *k == key).map(|(_, value)| value);
    match (found, expected) {
        (Some(Value::Floats(found)), Expected::Exactly(matrix)) => near(found, matrix, 0.0),
        (Some(Value::Floats(found)), Expected::Nearly(matrix)) => {
            let largest = matrix.data.iter().fold(0.0, |m: f64, v| m.max(f64::from(v.abs())));
            near(found, matrix, NEAR * largest)
        }
        (Some(Value::Tokens(found)), Expected::Tokens(tokens)) if found == tokens => Ok(()),
        (Some(Value::Tokens(found)), Expected::Tokens(tokens)) => Err(format!("tokens {found:?}, not {tokens:?}")),
        _ => Err("the result has the wrong type".to_owned()),
    }
}

/// Returns the error's text.
fn text(error: impl Display) -> String {
    error.to_string()
}

/// Compares two matrices. The comparison is written so that NaN is wrong.
fn near(found: &Matrix, expected: &Matrix, allowed: f64) -> Result<(), String> {
    if (found.rows, found.cols) != (expected.rows, expected.cols) {
        return Err(format!("{} x {} values, not {} x {}", found.rows, found.cols, expected.rows, expected.cols));
    }
    let is_near = |(f, e): (&f32, &f32)| (f64::from(*f) - f64::from(*e)).abs() <= allowed;
    match found.data.iter().zip(&expected.data).position(|pair| !is_near(pair)) {
        None => Ok(()),
        Some(i) => {
            let (row, column) = (i / expected.cols, i % expected.cols);
            Err(format!("row {row}, column {column} is {:e}, not {:e}", found.data[i], expected.data[i]))
        }
    }
}

/// Returns integers from -`most` to `most`, times `factor`. // [rows, cols]
fn integers(seed: u32, rows: usize, cols: usize, most: i32, factor: f32) -> Matrix {
    Matrix::new(rows, cols, (0..rows * cols).map(|i| integer(seed, i, most) * factor).collect())
}

/// Creates a matrix from rows.
fn matrix(rows: impl ExactSizeIterator<Item = Vec<f64>>) -> Matrix {
    let count = rows.len();
    let data: Vec<f32> = rows.flatten().map(|v| v as f32).collect();
    Matrix::new(count, data.len() / count.max(1), data)
}

/// Creates a matrix of `f(row, column)`. // [rows, cols]
fn build(rows: usize, cols: usize, f: impl Fn(usize, usize) -> f64) -> Matrix {
    Matrix::new(rows, cols, (0..rows * cols).map(|i| f(i / cols, i % cols) as f32).collect())
}

/// Creates the cache and the sequence of a suite, with the rows before.
fn begin(b: &mut dyn Backend, suite: Suite) -> Result<(Cache, Sequences, SequenceId), String> {
    let spec = CacheSpec {
        groups: vec![CacheKind::Full],
        layers: vec![LayerCache { kv_heads: KV_HEADS, head_width: HEAD_WIDTH, group: 0 }],
        page_len: 16,
        element: if let Suite::Cache(element) = suite { element } else { CacheType::F32 },
    };
    let cache = b.create_cache(spec).map_err(text)?;
    let mut sequences = Sequences::new(&cache.spec().groups, cache.spec().page_len, 1 << 20, 0);
    let id = sequences.open();
    Ok((cache, sequences, id))
}

/// Records all cases of [`run`] and runs none of them, so that all their kernels are being built.
pub(super) fn build_kernels(b: &mut dyn Backend, needed: &Needed, others: bool) -> Result<(), String> {
    for suite in suites(needed, others) {
        let (cache, mut sequences, id) = begin(b, suite)?;
        for (past, rows) in STEPS {
            b.begin(sequences.step(&chain(id, rows)).map_err(text)?, &cache).map_err(text)?;
            Recorder { b: &mut *b, rows, past, cases: None }.record(suite, &cache)?;
        }
    }
    Ok(())
}

/// Tests what is needed, and with `others` the operations that all models use. `progress` receives the number of finished steps
/// and of all steps.
pub(super) async fn run(
    b: &mut dyn Backend,
    needed: &Needed,
    others: bool,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Outcome, String> {
    let mut outcome = Outcome::default();
    let suites = suites(needed, others);
    let (mut done, total) = (0, suites.len() * STEPS.len());
    progress(done, total);
    for suite in suites {
        let (cache, mut sequences, id) = begin(b, suite)?;
        for (past, rows) in STEPS {
            b.begin(sequences.step(&chain(id, rows)).map_err(text)?, &cache).map_err(text)?;
            let mut recorder = Recorder { b: &mut *b, rows, past, cases: Some(Vec::new()) };
            recorder.record(suite, &cache)?;
            recorder.finish(&mut outcome).await?;
            done += 1;
            progress(done, total);
        }
    }
    Ok(outcome)
}

/// Returns the next tokens of a sequence: 0, 1, 2, ...
fn chain(id: SequenceId, rows: usize) -> Batch {
    let mut batch = Batch::default();
    for row in 0..rows {
        batch.push(id, Token::Id(row as u32), Parent::Previous, Want::NOTHING);
    }
    batch
}

fn check_layout(recorder: &mut Recorder<'_>, layout: Layout) -> Result<(), String> {
    let weight = weights::of_layout(layout).map_err(text)?;
    let ordered = weights::ordered(&weight);
    check_weight(recorder, &layout.display_name(), weight)?;
    if let Some(ordered) = ordered {
        check_weight(recorder, &format!("{} in another order", layout.display_name()), ordered)?;
    }
    Ok(())
}

/// Tests a linear module and a table of one weight.
fn check_weight(recorder: &mut Recorder<'_>, name: &str, weight: WeightData) -> Result<(), String> {
    let w = weight.dequantize();
    let x = integers(1, recorder.rows, w.cols, 3, 1.0);
    let product =
        |r: usize, m: usize| -> f64 { x.row(r).iter().zip(w.row(m)).map(|(x, w)| f64::from(*x) * f64::from(*w)).sum() };
    let uploaded = recorder.b.upload(weight, None).map_err(text)?;
    let input = recorder.b.input(&x);
    let y = recorder.b.linear(&input, &uploaded);
    recorder.check(&format!("linear of {name}"), &y, || Expected::Exactly(build(x.rows, w.rows, product)));
    let rows = recorder.b.embed(&uploaded);
    let expected = || Expected::Exactly(build(x.rows, w.cols, |r, c| f64::from(w.row(r)[c])));
    recorder.check(&format!("rows of {name}"), &rows, expected);
    Ok(())
}

/// The input of the tests of norms. // [rows, width], [1, width]
struct Normed {
    x: Matrix,
    gains: Matrix,
}

impl Normed {
    const EPS: f64 = 1e-5;

    fn new(rows: usize, width: usize) -> Self {
        Self { x: integers(2, rows, width, 40, 1.0 / 16.0), gains: integers(3, 1, width, 20, 1.0 / 8.0) }
    }

    fn values(&self, r: usize) -> Vec<f64> {
        self.x.row(r).iter().map(|v| f64::from(*v)).collect()
    }

    /// Returns a row minus `mean`, divided by the root of its mean square, times the gains. // [width]
    fn normed(&self, r: usize, mean: f64) -> Vec<f64> {
        let centred: Vec<f64> = self.values(r).iter().map(|v| v - mean).collect();
        let root = (centred.iter().map(|v| v * v).sum::<f64>() / centred.len() as f64 + Self::EPS).sqrt();
        centred.iter().zip(&self.gains.data).map(|(v, gain)| v / root * f64::from(*gain)).collect()
    }
}

fn check_norms(recorder: &mut Recorder<'_>) -> Result<(), String> {
    let rows = recorder.rows;
    let known = Normed::new(rows, WIDTH);
    let gains = &known.gains.data;
    let gain = recorder.b.upload_norm(gains, Some(gains)).map_err(text)?;
    let input = recorder.b.input(&known.x);
    let y = recorder.b.rms_norm(&input, &gain, Normed::EPS as f32);
    recorder.check("RMS norm", &y, || Expected::Nearly(matrix((0..rows).map(|r| known.normed(r, 0.0)))));
    let y = recorder.b.layer_norm(&input, &gain, Normed::EPS as f32);
    let normed = |r: usize| -> Vec<f64> {
        let mean = known.values(r).iter().sum::<f64>() / WIDTH as f64;
        known.normed(r, mean).iter().zip(gains).map(|(y, bias)| y + f64::from(*bias)).collect()
    };
    recorder.check("layer norm", &y, || Expected::Nearly(matrix((0..rows).map(normed))));
    Ok(())
}

/// Tests the fused forms that most layers use.
fn check_fused(recorder: &mut Recorder<'_>, layout: Layout) -> Result<(), String> {
    let rows = recorder.rows;
    let weight = weights::of_layout(layout).map_err(text)?;
    let w = weight.dequantize();
    let known = Normed::new(rows, w.cols);
    let residual = integers(5, rows, w.rows, 40, 1.0 / 16.0);
    let gain = recorder.b.upload_vector(&known.gains.data).map_err(text)?;
    let uploaded = recorder.b.upload(weight, None).map_err(text)?;
    let times = |x: &[f64]| -> Vec<f64> {
        let product = |m: usize| x.iter().zip(w.row(m)).map(|(x, w)| x * f64::from(*w)).sum();
        (0..w.rows).map(product).collect()
    };
    let projected = |r: usize| times(&known.normed(r, 0.0));
    let input = recorder.b.input(&known.x);
    let y = recorder.b.norm_linears(&input, &gain, Normed::EPS as f32, &[&uploaded]);
    recorder.check("norm and linear", &y[0], || Expected::Nearly(matrix((0..rows).map(projected))));
    let y = recorder.b.norm_gated(&input, &gain, Normed::EPS as f32, &uploaded, &uploaded, Activation::Silu);
    let gated = |r: usize| projected(r).into_iter().map(|x| x / (1.0 + (-x).exp()) * x).collect();
    recorder.check("gated feed-forward", &y, || Expected::Nearly(matrix((0..rows).map(gated))));
    let added =
        |r: usize| times(&known.values(r)).iter().zip(residual.row(r)).map(|(y, r)| y + f64::from(*r)).collect();
    let residual_in = recorder.b.input(&residual);
    let y = recorder.b.linear_add(&input, &uploaded, residual_in);
    recorder.check("linear and sum", &y, || Expected::Nearly(matrix((0..rows).map(added))));
    Ok(())
}

/// Tests element-wise operations.
fn check_values(recorder: &mut Recorder<'_>) -> Result<(), String> {
    let x = integers(2, recorder.rows, WIDTH, 40, 1.0 / 16.0);
    check_rope(recorder, &x)?;
    let tanh = |x: f64| 0.5 * x * (1.0 + (0.797_884_560_802_865_4 * (x + 0.044_715 * x.powi(3))).tanh());
    let copy = recorder.b.input(&x);
    let y = recorder.b.activate(copy, Activation::GeluTanh);
    recorder.check("activation", &y, || Expected::Nearly(build(x.rows, WIDTH, |r, c| tanh(f64::from(x.row(r)[c])))));
    Ok(())
}

fn check_rope(recorder: &mut Recorder<'_>, x: &Matrix) -> Result<(), String> {
    let (half, past) = (HEAD_WIDTH / 2, recorder.past);
    let frequencies: Vec<f32> = (0..half).map(|i| 1.0 / (1 << i.min(10)) as f32).collect();
    let inverse_frequencies = recorder.b.upload_vector(&frequencies).map_err(text)?;
    let rope = Rope { inverse_frequencies, head_width: HEAD_WIDTH, magnitude: 1.0 };
    let rotated = |r: usize, c: usize| {
        let (head, i) = (c / HEAD_WIDTH * HEAD_WIDTH, c % half);
        let (a, b) = (f64::from(x.row(r)[head + i]), f64::from(x.row(r)[head + half + i]));
        let (sin, cos) = ((past + r) as f64 * f64::from(frequencies[i])).sin_cos();
        if c % HEAD_WIDTH < half { a * cos - b * sin } else { b * cos + a * sin }
    };
    let input = recorder.b.input(x);
    let y = recorder.b.rope(input, &rope);
    recorder.check("rotation", &y, || Expected::Nearly(build(x.rows, WIDTH, rotated)));
    Ok(())
}

/// Tests attention. Keys and values are integers over 64, with one of the largest in every 32, so that every number type of the
/// cache is exact; of a rotated cache, heads are the rotations of such numbers.
fn check_attention(recorder: &mut Recorder<'_>, cache: &Cache) {
    let (kv_width, past, rows) = (KV_HEADS * HEAD_WIDTH, recorder.past, recorder.rows);
    let element = cache.spec().element;
    // The largest of 4 bits is -8, and the others are at most 7.
    let (largest, others) = match element {
        CacheType::F16 | CacheType::F32 | CacheType::Q8_0 => (127.0, 127),
        CacheType::Q4_0 | CacheType::Q4_0Plain => (-8.0, 7),
    };
    let stored = |seed: u32, cell: usize, c: usize| {
        let number = integer(seed, cell * kv_width + c, others);
        (if c % HEAD_WIDTH == cell % HEAD_WIDTH { largest } else { number }) / 64.0
    };
    let [all_k, all_v] = [21, 22].map(|seed| {
        let mut all = build(past + rows, kv_width, |cell, c| f64::from(stored(seed, cell, c)));
        if element.is_rotated() {
            all.data.chunks_exact_mut(HEAD_WIDTH).for_each(hadamard);
        }
        all
    });
    let new = |all: &Matrix| Matrix::new(rows, kv_width, all.data[past * kv_width..].to_vec());
    let (k, v) = (new(&all_k), new(&all_v));
    let (all_k, all_v) = (&all_k, &all_v);
    let q = integers(23 + past as u32, rows, WIDTH, 15, 1.0 / 16.0);
    let options = Attention { heads: HEADS, scale: 0.25, softcap: None };
    let attended = |r: usize| -> Vec<f64> {
        let of_head = |head: usize| {
            let first = head / (HEADS / KV_HEADS) * HEAD_WIDTH;
            let score = |cell: usize| -> f64 {
                let of = |i: usize| f64::from(q.row(r)[head * HEAD_WIDTH + i]) * f64::from(all_k.row(cell)[first + i]);
                (0..HEAD_WIDTH).map(of).sum::<f64>() * 0.25
            };
            let weights: Vec<f64> = (0..=past + r).map(|cell| score(cell).exp()).collect();
            let total: f64 = weights.iter().sum();
            let value = move |e: usize| -> f64 {
                let of = |(cell, w): (usize, &f64)| w * f64::from(all_v.row(cell)[first + e]);
                (0..).zip(&weights).map(of).sum::<f64>() / total
            };
            (0..HEAD_WIDTH).map(value).collect::<Vec<f64>>()
        };
        (0..HEADS).flat_map(of_head).collect()
    };
    let [q_in, k, v] = [&q, &k, &v].map(|x| recorder.b.input(x));
    let y = recorder.b.attention(&q_in, &k, &v, cache, 0, &options);
    let name = format!("attention over a cache of {element:?}");
    recorder.check(&name, &y, || Expected::Nearly(matrix((0..rows).map(attended))));
}

/// Tests greedy sampling, and draws from all tokens, from the most likely ones and from a nucleus.
fn check_sampling(recorder: &mut Recorder<'_>) {
    let (rows, past) = (recorder.rows.min(4), recorder.past);
    let logits = Matrix::new(rows, VOCABULARY, (0..rows * VOCABULARY).map(|i| draw(31, i) as f32 / 8192.0).collect());
    let drawn = |top_k, top_p, stream| Sampling { temperature: 0.75, top_k, top_p, min_p: 0.0, seed: 9, stream };
    let settings = [Sampling::GREEDY, drawn(0, 1.0, 1), drawn(40, 1.0, 2), drawn(0, 0.5, 3)];
    let samplings: Vec<(u32, Sampling)> = (0..rows as u32).zip(settings).collect();
    let input = recorder.b.input(&logits);
    recorder.b.sample(0, &input, &samplings);
    if let Some(cases) = &mut recorder.cases {
        let token =
            |(r, sampling): &(u32, Sampling)| choose(logits.row(*r as usize), sampling, (past + *r as usize) as u64);
        let expected = Expected::Tokens(samplings.iter().map(token).collect());
        cases.push(Case { name: "sampling".to_owned(), expected });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_right_numbers_are_right() {
        let right = Matrix::new(1, 2, vec![100.0, -3.0]);
        let compared = |values: [f32; 2], expected| {
            compare(&vec![(0, Value::Floats(Matrix::new(1, 2, values.to_vec())))], 0, &expected)
        };
        let (exact, nearly) = (|| Expected::Exactly(right.clone()), || Expected::Nearly(right.clone()));
        assert_eq!(compared([100.0, -3.0], exact()), Ok(()));
        assert_eq!(
            compared([100.0, -3.000_000_2], exact()),
            Err("row 0, column 1 is -3.0000002e0, not -3e0".to_owned())
        );
        assert_eq!(compared([100.01, -3.01], nearly()), Ok(()));
        for wrong in [[100.03, -3.0], [100.0, -2.97], [f32::NAN, -3.0], [100.0, f32::INFINITY]] {
            assert!(compared(wrong, nearly()).is_err(), "{wrong:?}");
        }
        assert!(compared([100.0, -3.0], Expected::Tokens(vec![1])).is_err());
        let tokens = vec![(0, Value::Tokens(vec![1, 2]))];
        assert!(compare(&tokens, 0, &Expected::Tokens(vec![1, 2])).is_ok());
        assert!(compare(&tokens, 0, &Expected::Tokens(vec![1, 3])).is_err());
        assert!(compare(&tokens, 1, &Expected::Tokens(vec![1, 2])).is_err(), "no such key");
    }
}
