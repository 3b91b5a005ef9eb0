//! What is asked: small steps through the back end's own operations, each with its answer.

use std::fmt::Display;

use honelm_backend::{
    Activation, Attention, Backend, Batch, Cache, CacheKind, CacheSpec, CacheType, LayerCache, Outputs, Parent, Rope,
    Sampling, SequenceId, Sequences, Tensor, Token, Value, Want, choose,
};
use honelm_blocks::{BlockMatrix, Encoding, WeightData};
use honelm_tensor::Matrix;

use super::{
    Needed,
    weights::{self, draw, integer},
};
use crate::pack::Layout;

/// Rows of the step that fills the cache, and of the kernels for many rows.
const MANY: usize = 40;
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

/// A step being recorded.
struct Paper<'a> {
    b: &'a mut dyn Backend,
    rows: usize,
    questions: Vec<Question>,
}

impl Paper<'_> {
    fn ask(&mut self, name: impl Into<String>, x: &Tensor, expected: Expected) {
        self.b.output(self.questions.len() as u32, x);
        self.questions.push(Question { name: format!("{}, {} rows", name.into(), self.rows), expected });
    }

    /// Ends the step and compares.
    async fn mark(self, marks: &mut Marks) -> Result<(), String> {
        let ticket = self.b.submit();
        let outputs = self.b.read(ticket).await.map_err(text)?;
        marks.asked += self.questions.len();
        for (key, question) in (0..).zip(self.questions) {
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

/// `f` of every row and column. // [rows, cols]
fn build(rows: usize, cols: usize, f: impl Fn(usize, usize) -> f64) -> Matrix {
    Matrix::new(rows, cols, (0..rows * cols).map(|i| f(i / cols, i % cols) as f32).collect())
}

/// Asks for what is needed, and with `others` for the operations that all models have.
pub(super) async fn ask(b: &mut dyn Backend, needed: &Needed, others: bool) -> Result<Marks, String> {
    let mut marks = Marks::default();
    // Layers and other operations go with the first cache; where none is asked for, it stays empty.
    let caches = needed.caches.iter().map(|cache| (*cache, true));
    let caches = if needed.caches.is_empty() { vec![(CacheType::F32, false)] } else { caches.collect() };
    for (i, (element, attend)) in caches.into_iter().enumerate() {
        let spec = CacheSpec {
            groups: vec![CacheKind::Full],
            layers: vec![LayerCache { kv_heads: KV_HEADS, head_width: HEAD_WIDTH, group: 0 }],
            page_len: 16,
            element,
        };
        let cache = b.create_cache(spec).map_err(text)?;
        let mut sequences = Sequences::new(&cache.spec().groups, cache.spec().page_len, 1 << 20, 0);
        let id = sequences.open();
        let mut past = 0;
        for rows in [MANY, 1] {
            b.begin(sequences.step(&chain(id, rows)).map_err(text)?, &cache).map_err(text)?;
            let mut paper = Paper { b: &mut *b, rows, questions: Vec::new() };
            if i == 0 {
                ask_layouts(&mut paper, &needed.layouts)?;
            }
            if i == 0 && others {
                ask_others(&mut paper, past)?;
            }
            if attend {
                ask_attention(&mut paper, &cache, past);
            }
            paper.mark(&mut marks).await?;
            past += rows;
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

fn ask_layouts(paper: &mut Paper<'_>, layouts: &[Layout]) -> Result<(), String> {
    for &layout in layouts {
        let weight = weights::of_layout(layout).map_err(text)?;
        let ordered = weights::ordered(&weight);
        ask_weight(paper, &layout.display_name(), weight)?;
        if let Some(ordered) = ordered {
            ask_weight(paper, &format!("{} in another order", layout.display_name()), ordered)?;
        }
    }
    Ok(())
}

/// A linear layer and a table of one weight.
fn ask_weight(paper: &mut Paper<'_>, name: &str, weight: WeightData) -> Result<(), String> {
    let w = weight.dequantize();
    let x = integers(1, paper.rows, w.cols, 3, 1.0);
    let product =
        |r: usize, m: usize| -> f64 { x.row(r).iter().zip(w.row(m)).map(|(x, w)| f64::from(*x) * f64::from(*w)).sum() };
    let expected = Expected::Exactly(build(paper.rows, w.rows, product));
    let uploaded = paper.b.upload(weight, None).map_err(text)?;
    let input = paper.b.input(&x);
    let y = paper.b.linear(&input, &uploaded);
    paper.ask(format!("linear of {name}"), &y, expected);
    let rows = paper.b.embed(&uploaded);
    let expected = Expected::Exactly(build(paper.rows, w.cols, |r, c| f64::from(w.row(r)[c])));
    paper.ask(format!("rows of {name}"), &rows, expected);
    Ok(())
}

/// Norms, rotations, activations, sampling, and the fused form that most layers begin with.
fn ask_others(paper: &mut Paper<'_>, past: usize) -> Result<(), String> {
    let rows = paper.rows;
    let x = integers(2, rows, WIDTH, 40, 1.0 / 16.0);
    let values = |r: usize| x.row(r).iter().map(|v| f64::from(*v));
    let gains = integers(3, 1, WIDTH, 20, 1.0 / 8.0);
    let gain = paper.b.upload_norm(&gains.data, Some(&gains.data)).map_err(text)?;
    let root = |r: usize| (values(r).map(|v| v * v).sum::<f64>() / WIDTH as f64 + 1e-5).sqrt();
    let normed = build(rows, WIDTH, |r, c| f64::from(x.row(r)[c]) / root(r) * f64::from(gains.data[c]));
    let input = paper.b.input(&x);
    let y = paper.b.rms_norm(&input, &gain, 1e-5);
    paper.ask("RMS norm", &y, Expected::Nearly(normed.clone()));

    let mean = |r: usize| values(r).sum::<f64>() / WIDTH as f64;
    let deviation = |r: usize| (values(r).map(|v| (v - mean(r)).powi(2)).sum::<f64>() / WIDTH as f64 + 1e-5).sqrt();
    let y = paper.b.layer_norm(&input, &gain, 1e-5);
    let expected = |r: usize, c: usize| {
        let g = f64::from(gains.data[c]);
        (f64::from(x.row(r)[c]) - mean(r)) / deviation(r) * g + g
    };
    paper.ask("layer norm", &y, Expected::Nearly(build(rows, WIDTH, expected)));

    let square = integers(4, WIDTH, WIDTH, 7, 1.0 / 8.0);
    let data = BlockMatrix::quantize(&square, Encoding::F32, None).map_err(text)?;
    let w = paper.b.upload(data.into(), None).map_err(text)?;
    let projected = |r: usize, m: usize| -> f64 {
        normed.row(r).iter().zip(square.row(m)).map(|(x, w)| f64::from(*x) * f64::from(*w)).sum()
    };
    let silu = |x: f64| x / (1.0 + (-x).exp());
    let y = paper.b.norm_linears(&input, &gain, 1e-5, &[&w]);
    paper.ask("norm and linear", &y[0], Expected::Nearly(build(rows, WIDTH, projected)));
    let y = paper.b.norm_gated(&input, &gain, 1e-5, &w, &w, Activation::Silu);
    let gated = build(rows, WIDTH, |r, m| silu(projected(r, m)) * projected(r, m));
    paper.ask("gated feed-forward", &y, Expected::Nearly(gated));
    let y = paper.b.linear_add(&input, &w, input.clone());
    let added = |r: usize, m: usize| -> f64 {
        values(r).zip(square.row(m)).map(|(x, w)| x * f64::from(*w)).sum::<f64>() + f64::from(x.row(r)[m])
    };
    paper.ask("linear and sum", &y, Expected::Nearly(build(rows, WIDTH, added)));

    ask_rope(paper, &x, past)?;
    let tanh = |x: f64| 0.5 * x * (1.0 + (0.797_884_560_802_865_4 * (x + 0.044_715 * x.powi(3))).tanh());
    let copy = paper.b.input(&x);
    let y = paper.b.activate(copy, Activation::GeluTanh);
    paper.ask("activation", &y, Expected::Nearly(build(rows, WIDTH, |r, c| tanh(f64::from(x.row(r)[c])))));
    ask_sampling(paper, past);
    Ok(())
}

fn ask_rope(paper: &mut Paper<'_>, x: &Matrix, past: usize) -> Result<(), String> {
    let half = HEAD_WIDTH / 2;
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
    paper.ask("rotation", &y, Expected::Nearly(build(paper.rows, WIDTH, rotated)));
    Ok(())
}

/// Keys and values are integers over 64 with one of the largest in every 32, so that every number type of the cache holds them.
fn ask_attention(paper: &mut Paper<'_>, cache: &Cache, past: usize) {
    let kv_width = KV_HEADS * HEAD_WIDTH;
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
    let expected = build(rows, WIDTH, |r, c| {
        let (head, e) = (c / HEAD_WIDTH, c % HEAD_WIDTH);
        let first = head / (HEADS / KV_HEADS) * HEAD_WIDTH;
        let score = |cell: usize| -> f64 {
            let of = |i: usize| f64::from(q.row(r)[head * HEAD_WIDTH + i]) * f64::from(stored(21, cell, first + i));
            (0..HEAD_WIDTH).map(of).sum::<f64>() * 0.25
        };
        let weights: Vec<f64> = (0..=past + r).map(|cell| score(cell).exp()).collect();
        let sum: f64 = (0..).zip(&weights).map(|(cell, w)| w * f64::from(stored(22, cell, first + e))).sum();
        sum / weights.iter().sum::<f64>()
    });
    let [q, k, v] = [&q, &k, &v].map(|x| paper.b.input(x));
    let y = paper.b.attention(&q, &k, &v, cache, 0, &how);
    paper.ask(format!("attention over a cache of {:?}", cache.spec().element), &y, Expected::Nearly(expected));
}

/// Greedy, and drawn from all, from the most likely ones, from a nucleus.
fn ask_sampling(paper: &mut Paper<'_>, past: usize) {
    let rows = paper.rows.min(4);
    let logits = Matrix::new(rows, VOCABULARY, (0..rows * VOCABULARY).map(|i| draw(31, i) as f32 / 8192.0).collect());
    let drawn = |top_k, top_p, stream| Sampling { temperature: 0.75, top_k, top_p, min_p: 0.0, seed: 9, stream };
    let settings = [Sampling::GREEDY, drawn(0, 1.0, 1), drawn(40, 1.0, 2), drawn(0, 0.5, 3)];
    let how: Vec<(u32, Sampling)> = (0..rows as u32).zip(settings).collect();
    let expected =
        how.iter().map(|(r, how)| choose(logits.row(*r as usize), how, (past + *r as usize) as u64)).collect();
    let input = paper.b.input(&logits);
    let key = paper.questions.len() as u32;
    paper.b.sample(key, &input, &how);
    paper.questions.push(Question { name: "sampling".to_owned(), expected: Expected::Tokens(expected) });
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
