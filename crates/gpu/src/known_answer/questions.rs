//! What is asked: small steps through the back end's own operations, each with its answer.

use std::fmt::Display;

use honelm_backend::{
    Activation, Attention, Backend, Batch, Cache, CacheKind, CacheSpec, CacheType, LayerCache, Outputs, Parent, Rope,
    Sampling, SequenceId, Sequences, Tensor, Token, Value, Want, choose,
};
use honelm_blocks::WeightData;
use honelm_tensor::Matrix;

use super::{
    Needed,
    weights::{self, draw, integer},
};
use crate::pack::Layout;

/// Rows of the step that fills the cache, and of the kernels for many rows.
const MANY: usize = 40;

/// The steps of every sheet: the rows before it, and its own.
const STEPS: [(usize, usize); 2] = [(0, MANY), (MANY, 1)];

const HEADS: usize = 4;
const KV_HEADS: usize = 2;
const HEAD_WIDTH: usize = 32;
const WIDTH: usize = HEADS * HEAD_WIDTH;
const VOCABULARY: usize = 1000;

/// How far an operation with a transcendental function or a square root may be from its definition, times the value's size.
const NEAR: f64 = 2e-4;

/// The answer to one question.
enum Expected {
    /// These numbers: no rounding is involved.
    Exactly(Matrix),
    /// Numbers as near to these as [`NEAR`] times the largest of the matrix.
    Nearly(Matrix),
    Tokens(Vec<u32>),
}

/// One operation of a step.
struct Question {
    name: String,
    expected: Expected,
}

/// What was found wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wrong {
    /// The operation.
    pub what: String,
    /// What it gave, and what it should.
    pub why: String,
}

/// What a round of questions found.
#[derive(Debug, Default)]
pub(super) struct Marks {
    pub asked: usize,
    pub wrong: Vec<Wrong>,
}

/// Questions that are asked in steps of their own, first of many rows, then of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sheet {
    Layout(Layout),
    Norms,
    /// The fused forms of linear layers, with weights of this layout.
    Fused(Layout),
    Values,
    Sampling,
    Cache(CacheType),
}

/// All that is needed, and with `others` the operations that all models have.
fn sheets(needed: &Needed, others: bool) -> Vec<Sheet> {
    let mut all: Vec<Sheet> = needed.layouts.iter().copied().map(Sheet::Layout).collect();
    if others {
        // What is fused is the same around every format: the one that is there anyway tests it.
        let fused = needed.layouts.first().copied().unwrap_or(Layout::F32);
        all.extend([Sheet::Norms, Sheet::Fused(fused), Sheet::Values, Sheet::Sampling]);
    }
    all.extend(needed.caches.iter().copied().map(Sheet::Cache));
    all
}

/// A step being recorded.
struct Paper<'a> {
    b: &'a mut dyn Backend,
    rows: usize,
    /// Rows of the sequence before these.
    past: usize,
    /// None where the step will not be run.
    questions: Option<Vec<Question>>,
}

impl Paper<'_> {
    fn ask(&mut self, name: &str, x: &Tensor, expected: impl FnOnce() -> Expected) {
        let rows = self.rows;
        if let Some(questions) = &mut self.questions {
            self.b.output(questions.len() as u32, x);
            questions.push(Question { name: format!("{name}, {rows} rows"), expected: expected() });
        }
    }

    fn record(&mut self, sheet: Sheet, cache: &Cache) -> Result<(), String> {
        match sheet {
            Sheet::Layout(layout) => ask_layout(self, layout),
            Sheet::Norms => ask_norms(self),
            Sheet::Fused(layout) => ask_fused(self, layout),
            Sheet::Values => ask_values(self),
            Sheet::Sampling => {
                ask_sampling(self);
                Ok(())
            }
            Sheet::Cache(_) => {
                ask_attention(self, cache);
                Ok(())
            }
        }
    }

    /// Ends the step and compares.
    async fn mark(self, marks: &mut Marks) -> Result<(), String> {
        let ticket = self.b.submit();
        let outputs = self.b.read(ticket).await.map_err(text)?;
        let questions = self.questions.unwrap_or_default();
        marks.asked += questions.len();
        for (key, question) in (0..).zip(questions) {
            if let Err(why) = compare(&outputs, key, &question.expected) {
                marks.wrong.push(Wrong { what: question.name, why });
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
        _ => Err("no result of its kind".to_owned()),
    }
}

/// What went wrong, in words.
fn text(error: impl Display) -> String {
    error.to_string()
}

/// Written so that a NaN is wrong.
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

/// Integers from -`most` to `most` times `factor`. // [rows, cols]
fn integers(seed: u32, rows: usize, cols: usize, most: i32, factor: f32) -> Matrix {
    Matrix::new(rows, cols, (0..rows * cols).map(|i| integer(seed, i, most) * factor).collect())
}

/// A matrix of these rows.
fn matrix(rows: impl ExactSizeIterator<Item = Vec<f64>>) -> Matrix {
    let count = rows.len();
    let data: Vec<f32> = rows.flatten().map(|v| v as f32).collect();
    Matrix::new(count, data.len() / count.max(1), data)
}

/// `f` of every row and column. // [rows, cols]
fn build(rows: usize, cols: usize, f: impl Fn(usize, usize) -> f64) -> Matrix {
    Matrix::new(rows, cols, (0..rows * cols).map(|i| f(i / cols, i % cols) as f32).collect())
}

/// The steps of a sheet: a cache of its own, rows that were seen before, rows.
fn begin(b: &mut dyn Backend, sheet: Sheet) -> Result<(Cache, Sequences, SequenceId), String> {
    let spec = CacheSpec {
        groups: vec![CacheKind::Full],
        layers: vec![LayerCache { kv_heads: KV_HEADS, head_width: HEAD_WIDTH, group: 0 }],
        page_len: 16,
        element: if let Sheet::Cache(element) = sheet { element } else { CacheType::F32 },
    };
    let cache = b.create_cache(spec).map_err(text)?;
    let mut sequences = Sequences::new(&cache.spec().groups, cache.spec().page_len, 1 << 20, 0);
    let id = sequences.open();
    Ok((cache, sequences, id))
}

/// Records all questions that [`ask`] would ask and runs none of them: all kernels that they need are being built from now on.
pub(super) fn rehearse(b: &mut dyn Backend, needed: &Needed, others: bool) -> Result<(), String> {
    for sheet in sheets(needed, others) {
        let (cache, mut sequences, id) = begin(b, sheet)?;
        for (past, rows) in STEPS {
            b.begin(sequences.step(&chain(id, rows)).map_err(text)?, &cache).map_err(text)?;
            Paper { b: &mut *b, rows, past, questions: None }.record(sheet, &cache)?;
        }
    }
    Ok(())
}

/// Asks for what is needed, and with `others` for the operations that all models have, a few questions a step; `progress` is told
/// how many steps of how many are done.
pub(super) async fn ask(
    b: &mut dyn Backend,
    needed: &Needed,
    others: bool,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Marks, String> {
    let mut marks = Marks::default();
    let sheets = sheets(needed, others);
    let (mut done, total) = (0, sheets.len() * STEPS.len());
    progress(done, total);
    for sheet in sheets {
        let (cache, mut sequences, id) = begin(b, sheet)?;
        for (past, rows) in STEPS {
            b.begin(sequences.step(&chain(id, rows)).map_err(text)?, &cache).map_err(text)?;
            let mut paper = Paper { b: &mut *b, rows, past, questions: Some(Vec::new()) };
            paper.record(sheet, &cache)?;
            paper.mark(&mut marks).await?;
            done += 1;
            progress(done, total);
        }
    }
    Ok(marks)
}

/// The next tokens of a sequence, 0, 1, 2, ...
fn chain(id: SequenceId, rows: usize) -> Batch {
    let mut batch = Batch::default();
    for row in 0..rows {
        batch.push(id, Token::Id(row as u32), Parent::Previous, Want::NOTHING);
    }
    batch
}

fn ask_layout(paper: &mut Paper<'_>, layout: Layout) -> Result<(), String> {
    let weight = weights::of_layout(layout).map_err(text)?;
    let ordered = weights::ordered(&weight);
    ask_weight(paper, &layout.display_name(), weight)?;
    if let Some(ordered) = ordered {
        ask_weight(paper, &format!("{} in another order", layout.display_name()), ordered)?;
    }
    Ok(())
}

/// A linear layer and a table of one weight.
fn ask_weight(paper: &mut Paper<'_>, name: &str, weight: WeightData) -> Result<(), String> {
    let w = weight.dequantize();
    let x = integers(1, paper.rows, w.cols, 3, 1.0);
    let product =
        |r: usize, m: usize| -> f64 { x.row(r).iter().zip(w.row(m)).map(|(x, w)| f64::from(*x) * f64::from(*w)).sum() };
    let uploaded = paper.b.upload(weight, None).map_err(text)?;
    let input = paper.b.input(&x);
    let y = paper.b.linear(&input, &uploaded);
    paper.ask(&format!("linear of {name}"), &y, || Expected::Exactly(build(x.rows, w.rows, product)));
    let rows = paper.b.embed(&uploaded);
    let expected = || Expected::Exactly(build(x.rows, w.cols, |r, c| f64::from(w.row(r)[c])));
    paper.ask(&format!("rows of {name}"), &rows, expected);
    Ok(())
}

/// What norms are tested with. // [rows, width], [1, width]
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

    /// What is left of a row without `mean`, over the root of its mean square, times the gains. // [width]
    fn normed(&self, r: usize, mean: f64) -> Vec<f64> {
        let centred: Vec<f64> = self.values(r).iter().map(|v| v - mean).collect();
        let root = (centred.iter().map(|v| v * v).sum::<f64>() / centred.len() as f64 + Self::EPS).sqrt();
        centred.iter().zip(&self.gains.data).map(|(v, gain)| v / root * f64::from(*gain)).collect()
    }
}

fn ask_norms(paper: &mut Paper<'_>) -> Result<(), String> {
    let rows = paper.rows;
    let known = Normed::new(rows, WIDTH);
    let gains = &known.gains.data;
    let gain = paper.b.upload_norm(gains, Some(gains)).map_err(text)?;
    let input = paper.b.input(&known.x);
    let y = paper.b.rms_norm(&input, &gain, Normed::EPS as f32);
    paper.ask("RMS norm", &y, || Expected::Nearly(matrix((0..rows).map(|r| known.normed(r, 0.0)))));
    let y = paper.b.layer_norm(&input, &gain, Normed::EPS as f32);
    let normed = |r: usize| -> Vec<f64> {
        let mean = known.values(r).iter().sum::<f64>() / WIDTH as f64;
        known.normed(r, mean).iter().zip(gains).map(|(y, bias)| y + f64::from(*bias)).collect()
    };
    paper.ask("layer norm", &y, || Expected::Nearly(matrix((0..rows).map(normed))));
    Ok(())
}

/// The fused forms that most layers have.
fn ask_fused(paper: &mut Paper<'_>, layout: Layout) -> Result<(), String> {
    let rows = paper.rows;
    let weight = weights::of_layout(layout).map_err(text)?;
    let w = weight.dequantize();
    let known = Normed::new(rows, w.cols);
    let residual = integers(5, rows, w.rows, 40, 1.0 / 16.0);
    let gain = paper.b.upload_vector(&known.gains.data).map_err(text)?;
    let uploaded = paper.b.upload(weight, None).map_err(text)?;
    let times = |x: &[f64]| -> Vec<f64> {
        let product = |m: usize| x.iter().zip(w.row(m)).map(|(x, w)| x * f64::from(*w)).sum();
        (0..w.rows).map(product).collect()
    };
    let projected = |r: usize| times(&known.normed(r, 0.0));
    let input = paper.b.input(&known.x);
    let y = paper.b.norm_linears(&input, &gain, Normed::EPS as f32, &[&uploaded]);
    paper.ask("norm and linear", &y[0], || Expected::Nearly(matrix((0..rows).map(projected))));
    let y = paper.b.norm_gated(&input, &gain, Normed::EPS as f32, &uploaded, &uploaded, Activation::Silu);
    let gated = |r: usize| projected(r).into_iter().map(|x| x / (1.0 + (-x).exp()) * x).collect();
    paper.ask("gated feed-forward", &y, || Expected::Nearly(matrix((0..rows).map(gated))));
    let added =
        |r: usize| times(&known.values(r)).iter().zip(residual.row(r)).map(|(y, r)| y + f64::from(*r)).collect();
    let residual_in = paper.b.input(&residual);
    let y = paper.b.linear_add(&input, &uploaded, residual_in);
    paper.ask("linear and sum", &y, || Expected::Nearly(matrix((0..rows).map(added))));
    Ok(())
}

/// Operations on single values.
fn ask_values(paper: &mut Paper<'_>) -> Result<(), String> {
    let x = integers(2, paper.rows, WIDTH, 40, 1.0 / 16.0);
    ask_rope(paper, &x)?;
    let tanh = |x: f64| 0.5 * x * (1.0 + (0.797_884_560_802_865_4 * (x + 0.044_715 * x.powi(3))).tanh());
    let copy = paper.b.input(&x);
    let y = paper.b.activate(copy, Activation::GeluTanh);
    paper.ask("activation", &y, || Expected::Nearly(build(x.rows, WIDTH, |r, c| tanh(f64::from(x.row(r)[c])))));
    Ok(())
}

fn ask_rope(paper: &mut Paper<'_>, x: &Matrix) -> Result<(), String> {
    let (half, past) = (HEAD_WIDTH / 2, paper.past);
    let frequencies: Vec<f32> = (0..half).map(|i| 1.0 / (1 << i.min(10)) as f32).collect();
    let inverse_frequencies = paper.b.upload_vector(&frequencies).map_err(text)?;
    let rope = Rope { inverse_frequencies, head_width: HEAD_WIDTH, magnitude: 1.0 };
    let rotated = |r: usize, c: usize| {
        let (head, i) = (c / HEAD_WIDTH * HEAD_WIDTH, c % half);
        let (a, b) = (f64::from(x.row(r)[head + i]), f64::from(x.row(r)[head + half + i]));
        let (sin, cos) = ((past + r) as f64 * f64::from(frequencies[i])).sin_cos();
        if c % HEAD_WIDTH < half { a * cos - b * sin } else { b * cos + a * sin }
    };
    let input = paper.b.input(x);
    let y = paper.b.rope(input, &rope);
    paper.ask("rotation", &y, || Expected::Nearly(build(x.rows, WIDTH, rotated)));
    Ok(())
}

/// Keys and values are integers over 64 with one of the largest in every 32, so that every number type of the cache holds them.
fn ask_attention(paper: &mut Paper<'_>, cache: &Cache) {
    let (kv_width, past) = (KV_HEADS * HEAD_WIDTH, paper.past);
    let stored = |seed: u32, cell: usize, c: usize| {
        let largest = c % HEAD_WIDTH == cell % HEAD_WIDTH;
        (if largest { 127.0 } else { integer(seed, cell * kv_width + c, 127) }) / 64.0
    };
    let rows = paper.rows;
    let [k, v] = [21, 22].map(|seed| {
        Matrix::new(
            rows,
            kv_width,
            (0..rows * kv_width).map(|i| stored(seed, past + i / kv_width, i % kv_width)).collect(),
        )
    });
    let q = integers(23 + past as u32, rows, WIDTH, 15, 1.0 / 16.0);
    let how = Attention { heads: HEADS, scale: 0.25, softcap: None };
    let attended = |r: usize| -> Vec<f64> {
        let of_head = |head: usize| {
            let first = head / (HEADS / KV_HEADS) * HEAD_WIDTH;
            let score = |cell: usize| -> f64 {
                let of = |i: usize| f64::from(q.row(r)[head * HEAD_WIDTH + i]) * f64::from(stored(21, cell, first + i));
                (0..HEAD_WIDTH).map(of).sum::<f64>() * 0.25
            };
            let weights: Vec<f64> = (0..=past + r).map(|cell| score(cell).exp()).collect();
            let total: f64 = weights.iter().sum();
            let value = move |e: usize| -> f64 {
                let of = |(cell, w): (usize, &f64)| w * f64::from(stored(22, cell, first + e));
                (0..).zip(&weights).map(of).sum::<f64>() / total
            };
            (0..HEAD_WIDTH).map(value).collect::<Vec<f64>>()
        };
        (0..HEADS).flat_map(of_head).collect()
    };
    let [q_in, k, v] = [&q, &k, &v].map(|x| paper.b.input(x));
    let y = paper.b.attention(&q_in, &k, &v, cache, 0, &how);
    let name = format!("attention over a cache of {:?}", cache.spec().element);
    paper.ask(&name, &y, || Expected::Nearly(matrix((0..rows).map(attended))));
}

/// Greedy, and drawn from all, from the most likely ones, from a nucleus.
fn ask_sampling(paper: &mut Paper<'_>) {
    let (rows, past) = (paper.rows.min(4), paper.past);
    let logits = Matrix::new(rows, VOCABULARY, (0..rows * VOCABULARY).map(|i| draw(31, i) as f32 / 8192.0).collect());
    let drawn = |top_k, top_p, stream| Sampling { temperature: 0.75, top_k, top_p, min_p: 0.0, seed: 9, stream };
    let settings = [Sampling::GREEDY, drawn(0, 1.0, 1), drawn(40, 1.0, 2), drawn(0, 0.5, 3)];
    let how: Vec<(u32, Sampling)> = (0..rows as u32).zip(settings).collect();
    let input = paper.b.input(&logits);
    paper.b.sample(0, &input, &how);
    if let Some(questions) = &mut paper.questions {
        let token = |(r, how): &(u32, Sampling)| choose(logits.row(*r as usize), how, (past + *r as usize) as u64);
        let expected = Expected::Tokens(how.iter().map(token).collect());
        questions.push(Question { name: "sampling".to_owned(), expected });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_right_numbers_are_right() {
        let right = Matrix::new(1, 2, vec![100.0, -3.0]);
        let mark = |values: [f32; 2], expected| {
            compare(&vec![(0, Value::Floats(Matrix::new(1, 2, values.to_vec())))], 0, &expected)
        };
        let (exact, nearly) = (|| Expected::Exactly(right.clone()), || Expected::Nearly(right.clone()));
        assert_eq!(mark([100.0, -3.0], exact()), Ok(()));
        assert_eq!(mark([100.0, -3.000_000_2], exact()), Err("row 0, column 1 is -3.0000002e0, not -3e0".to_owned()));
        assert_eq!(mark([100.01, -3.01], nearly()), Ok(()));
        for wrong in [[100.03, -3.0], [100.0, -2.97], [f32::NAN, -3.0], [100.0, f32::INFINITY]] {
            assert!(mark(wrong, nearly()).is_err(), "{wrong:?}");
        }
        assert!(mark([100.0, -3.0], Expected::Tokens(vec![1])).is_err());
        let tokens = vec![(0, Value::Tokens(vec![1, 2]))];
        assert!(compare(&tokens, 0, &Expected::Tokens(vec![1, 2])).is_ok());
        assert!(compare(&tokens, 0, &Expected::Tokens(vec![1, 3])).is_err());
        assert!(compare(&tokens, 1, &Expected::Tokens(vec![1, 2])).is_err(), "no such key");
    }
}
