//! The table of operator tests. It compares every operation of a back end with its definition in f64, at shapes
//! around the boundaries of blocks and vectors, with NaN, zero, denormal and extreme rows. Every bug that was found
//! stays in it as a named case.

mod attention;
mod bidirectional;
mod cells;
mod elementwise;
mod fused;
mod invariance;
mod linear;

use std::panic::{AssertUnwindSafe, catch_unwind};

use honelm_backend::{
    Backend, BackendError, Batch, Cache, CacheKind, CacheSpec, CacheType, LayerCache, Outputs, Parent, SequenceId,
    Sequences, Tensor, Token, Value, Want, block_on,
};
use honelm_tensor::Matrix;

pub use invariance::{invariance_cases, run_invariance_table};

/// The allowed deviations from the definition's results.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tolerance {
    /// For linear modules: times the norms of row and weight row over the root of K, plus the bias.
    pub linear: f64,
    /// For attention: times the root mean square of one output row.
    pub attention: f64,
    /// For everything else: times the value (for a rotation: five times that, times the length of the pair).
    pub elementwise: f64,
}

impl Tolerance {
    /// For float weights and activations.
    pub const F32: Self = Self { linear: 1e-5, attention: 2e-5, elementwise: 1e-5 };
    /// For activations rounded to 8 bits in blocks of 32 before linear modules, and to half precision in attention.
    pub const FAST: Self = Self { linear: 0.03, attention: 4e-3, elementwise: 1e-5 };
}

/// The reason that a case does not pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// The back end reports that it has no kernel for the operation.
    Unsupported(String),
    /// The back end returns a wrong result.
    Wrong(String),
}

impl From<BackendError> for Failure {
    fn from(error: BackendError) -> Self {
        match error {
            BackendError::UnsupportedEncoding { .. } | BackendError::UnsupportedOperation { .. } => {
                Self::Unsupported(error.to_string())
            }
            _ => Self::Wrong(format!("{}: {error}", error.code())),
        }
    }
}

type Run = Box<dyn Fn(&mut dyn Backend, &Tolerance) -> Result<(), Failure>>;

/// A case of the table.
pub struct OperatorCase {
    /// The operation and its shapes.
    pub name: String,
    run: Run,
}

impl OperatorCase {
    fn new(
        name: impl Into<String>,
        run: impl Fn(&mut dyn Backend, &Tolerance) -> Result<(), Failure> + 'static,
    ) -> Self {
        Self { name: name.into(), run: Box::new(run) }
    }

    /// Runs the case on a back end without an open step.
    ///
    /// # Errors
    /// Returns the wrong result, or that the back end does not support the operation.
    pub fn run(&self, b: &mut dyn Backend, tolerance: &Tolerance) -> Result<(), Failure> {
        (self.run)(b, tolerance)
    }
}

/// Returns the whole table.
#[must_use]
pub fn operator_cases() -> Vec<OperatorCase> {
    let mut cases = Vec::new();
    cases.extend(linear::cases());
    cases.extend(elementwise::cases());
    cases.extend(attention::cases());
    cases.extend(bidirectional::cases());
    cases.extend(fused::cases());
    cases.extend(cells::cases());
    cases
}

/// Runs the table on back ends of `make`, a new one for each case, and lists unsupported cases on stderr.
///
/// # Panics
/// Panics if a case fails. The message lists all failing cases.
pub fn run_operator_table(make: &mut dyn FnMut() -> Box<dyn Backend>, tolerance: &Tolerance) {
    run_all(operator_cases(), make, tolerance);
}

fn run_all(cases: Vec<OperatorCase>, make: &mut dyn FnMut() -> Box<dyn Backend>, tolerance: &Tolerance) {
    let total = cases.len();
    let mut wrong = Vec::new();
    for case in cases {
        let mut b = make();
        let outcome = catch_unwind(AssertUnwindSafe(|| case.run(&mut *b, tolerance)));
        match outcome {
            Ok(Ok(())) => {}
            Ok(Err(Failure::Unsupported(why))) => eprintln!("SKIPPED {}: {why}", case.name),
            Ok(Err(Failure::Wrong(what))) => wrong.push(format!("{}: {what}", case.name)),
            Err(_) => wrong.push(format!("{}: panicked", case.name)),
        }
    }
    assert!(wrong.is_empty(), "{} of {total} operator cases fail:\n{}", wrong.len(), wrong.join("\n"));
}

/// Returns a cache of one layer with one head.
fn small_cache() -> CacheSpec {
    CacheSpec {
        groups: vec![CacheKind::Full],
        layers: vec![LayerCache { kv_heads: 1, head_width: 4, group: 0 }],
        page_len: 16,
        element: CacheType::F32,
    }
}

/// Runs one step with a new sequence for each entry of `segments` (its number of rows), and reads the tensors that
/// `record` returns. Row `r` of the step has token `r`.
fn step(
    b: &mut dyn Backend,
    segments: &[usize],
    record: impl FnOnce(&mut dyn Backend) -> Vec<Tensor>,
) -> Result<Vec<Matrix>, Failure> {
    step_with_cache(b, segments, |b, _| record(b))
}

/// Runs [`step`] with access to the step's cache of one layer.
fn step_with_cache(
    b: &mut dyn Backend,
    segments: &[usize],
    record: impl FnOnce(&mut dyn Backend, &Cache) -> Vec<Tensor>,
) -> Result<Vec<Matrix>, Failure> {
    let cache = b.create_cache(small_cache())?;
    let mut sequences = Sequences::new(&cache.spec().groups, cache.spec().page_len, 1 << 20, 0);
    let mut batch = Batch::default();
    for &rows in segments {
        let id = sequences.open();
        push(&mut batch, id, &vec![Parent::Previous; rows]);
    }
    b.begin(sequences.step(&batch)?, &cache)?;
    for (key, tensor) in (0..).zip(record(b, &cache)) {
        b.output(key, &tensor);
    }
    let ticket = b.submit();
    floats(block_on(b.read(ticket))?)
}

fn push(batch: &mut Batch, id: SequenceId, parents: &[Parent]) {
    for &parent in parents {
        batch.push(id, Token::Id(batch.rows() as u32), parent, Want::NOTHING);
    }
}

/// Returns the matrices among the outputs of a step, by key.
fn floats(mut outputs: Outputs) -> Result<Vec<Matrix>, Failure> {
    outputs.sort_by_key(|(key, _)| *key);
    let matrix = |(key, value)| match value {
        Value::Floats(m) => Ok(m),
        Value::Tokens(_) | Value::Cells(_) => Err(Failure::Wrong(format!("output {key} holds no floats"))),
    };
    outputs.into_iter().map(matrix).collect()
}

/// Fails if a value differs from `expected` by more than `tolerance` times its `scale`. NaN must be NaN.
fn compare(found: &Matrix, expected: &Matrix, scale: &Matrix, tolerance: f64) -> Result<(), Failure> {
    if (found.rows, found.cols) != (expected.rows, expected.cols) {
        let shape = |m: &Matrix| format!("{} x {}", m.rows, m.cols);
        return Err(Failure::Wrong(format!("found a result of {}, expected {}", shape(found), shape(expected))));
    }
    for (i, ((&f, &e), &s)) in found.data.iter().zip(&expected.data).zip(&scale.data).enumerate() {
        let same = f == e || (f.is_nan() && e.is_nan());
        // A device may flush denormal results.
        let allowed = tolerance * f64::from(s) + 1e-30;
        // Written so that a NaN difference fails.
        let close = (f64::from(f) - f64::from(e)).abs() <= allowed;
        if !same && !close {
            let (row, col) = (i / expected.cols, i % expected.cols);
            return Err(Failure::Wrong(format!(
                "row {row} of {}, column {col} of {}: found {f}, expected {e} (allowed {allowed:.2e})",
                expected.rows, expected.cols
            )));
        }
    }
    Ok(())
}

/// Returns the root mean square of each row as a scale for [`compare`].
fn row_scale(m: &Matrix) -> Matrix {
    let mut scale = m.clone();
    for r in 0..m.rows {
        let squares: f64 = m.row(r).iter().map(|&v| f64::from(v).powi(2)).sum();
        scale.row_mut(r).fill((squares / m.cols as f64).sqrt() as f32);
    }
    scale
}

/// Returns the magnitude of each value.
fn magnitudes(m: &Matrix) -> Matrix {
    Matrix::new(m.rows, m.cols, m.data.iter().map(|v| v.abs()).collect())
}

/// Overwrites rows 1 to 4, if they exist, with zeros, a NaN, denormals and extremes.
fn spoil(x: &mut Matrix) {
    for (row, kind) in (1..x.rows).zip(Special::ALL) {
        kind.apply(x.row_mut(row));
    }
}

/// Rows that kernels often get wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Special {
    Zero,
    Nan,
    Denormal,
    Extreme,
}

impl Special {
    const ALL: [Self; 4] = [Self::Zero, Self::Nan, Self::Denormal, Self::Extreme];

    fn apply(self, row: &mut [f32]) {
        let last = row.len() - 1;
        match self {
            Self::Zero => row.fill(0.0),
            Self::Nan => row[last] = f32::NAN,
            Self::Denormal => row.iter_mut().for_each(|v| *v *= 1e-40),
            Self::Extreme => row.iter_mut().for_each(|v| *v *= 1e8),
        }
    }
}
