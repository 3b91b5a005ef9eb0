use std::cell::OnceCell;
use std::collections::{BTreeMap, HashMap};
use std::task::{Context, Poll, Waker};

use honelm_backend::{
    Activation, Attention, Backend, BackendError, Cache, CacheSpec, Outputs, Read, Rope, Sampling, Step, Tensor,
    Ticket, Value, Weight,
};
use honelm_blocks::WeightData;
use honelm_cpu::Pool;
use honelm_tensor::Matrix;

/// The bit that marks the keys of values that the tape reads for itself.
const KEY: u32 = 1 << 31;

/// An operation with its operands.
#[derive(Debug)]
pub(crate) enum Operation {
    Embed(Weight),
    Positions(Weight, usize),
    Select(Tensor, Vec<u32>),
    Columns(Tensor, usize),
    Linear(Tensor, Weight),
    RmsNorm(Tensor, Weight, f32),
    LayerNorm(Tensor, Weight, f32),
    Rope(Tensor, Rope),
    Attention([Tensor; 3], Heads),
    Gate(Tensor, Tensor, Activation),
    Activate(Tensor, Activation),
    Scale(Tensor, f32),
    Add(Tensor, Tensor),
    Softcap(Tensor, f32),
}

/// The shape and the settings of an attention.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Heads {
    pub how: Attention,
    pub kv_heads: usize,
    pub head_width: usize,
    /// The index of the group of [`Step::groups`] that says which cells a row sees.
    pub group: usize,
}

/// A recorded operation with the handle of its result.
#[derive(Debug)]
pub(crate) struct Record {
    pub operation: Operation,
    pub result: Tensor,
}

/// The values of an uploaded weight.
#[derive(Debug)]
struct Kept {
    /// Keeps the number of the weight from being used again.
    _weight: Weight,
    data: Data,
    has_bias: bool,
}

#[derive(Debug)]
enum Data {
    Matrix(WeightData, OnceCell<Matrix>),
    Vector(Vec<f32>),
}

/// A back end that records the operations of a step unfused, and computes gradients from the record.
///
/// It passes every operation on to the back end that it wraps, so values are those of that back end. Weights must be uploaded
/// through the tape. A step holds whole sequences: gradients do not reach the cells of earlier steps.
///
/// [`Tape::finish`] ends a step; [`Tape::backward`] then gives the gradients of a loss, given that of a result.
pub struct Tape<'a> {
    inner: &'a mut (dyn Backend + 'a),
    pub(crate) pool: &'a Pool,
    weights: BTreeMap<u32, Kept>,
    pub(crate) step: Step,
    pub(crate) records: Vec<Record>,
    /// The tensors whose values are read at the end of the step.
    wanted: Vec<Tensor>,
    values: HashMap<u32, Matrix>,
}

impl std::fmt::Debug for Tape<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tape").field("records", &self.records).finish_non_exhaustive()
    }
}

impl<'a> Tape<'a> {
    /// Wraps `inner`, a back end that computes a step when it is submitted. Gradients are computed on the threads of `pool`.
    pub fn new(inner: &'a mut (dyn Backend + 'a), pool: &'a Pool) -> Self {
        Self {
            inner,
            pool,
            weights: BTreeMap::new(),
            step: Step::default(),
            records: Vec::new(),
            wanted: Vec::new(),
            values: HashMap::new(),
        }
    }

    /// Asks for the value of `x` at the end of the step.
    pub fn keep(&mut self, x: &Tensor) {
        if self.wanted.iter().all(|other| other.index() != x.index()) {
            self.wanted.push(x.clone());
        }
    }

    /// Ends the step, and reads the values that were asked for and those that gradients need.
    ///
    /// # Errors
    /// An error of the device; [`BackendError::UnsupportedOperation`] if the device has not finished when the step is
    /// submitted.
    pub fn finish(&mut self) -> Result<(), BackendError> {
        for x in &self.wanted {
            self.inner.output(KEY | x.index(), x);
        }
        let outputs = read_now(&mut *self.inner)?;
        let kept = |(key, value): (u32, Value)| match value {
            Value::Floats(matrix) if key & KEY != 0 => Some((key & !KEY, matrix)),
            _ => None,
        };
        self.values = outputs.into_iter().filter_map(kept).collect();
        Ok(())
    }

    /// Returns the value of a tensor that was asked for, once the step has ended.
    #[must_use]
    pub fn value(&self, x: &Tensor) -> Option<&Matrix> {
        self.values.get(&x.index())
    }

    /// Returns the back end that it wraps, for steps that are not recorded. The values of a step that has ended stay.
    pub fn device(&mut self) -> &mut dyn Backend {
        &mut *self.inner
    }

    /// Returns the value of an operand.
    ///
    /// # Panics
    /// Panics if the step has not ended.
    pub(crate) fn operand(&self, x: &Tensor) -> &Matrix {
        self.value(x).expect("the step has ended, and recording asked for the operand")
    }

    /// Returns the values of a matrix in f32. // [M, K]
    pub(crate) fn matrix(&self, w: &Weight) -> &Matrix {
        match &self.kept(w).data {
            Data::Matrix(data, decoded) => decoded.get_or_init(|| data.dequantize()),
            Data::Vector(_) => panic!("a vector where a matrix is needed"),
        }
    }

    /// Returns the values of a vector.
    pub(crate) fn vector(&self, w: &Weight) -> &[f32] {
        match &self.kept(w).data {
            Data::Vector(values) => values,
            Data::Matrix(..) => panic!("a matrix where a vector is needed"),
        }
    }

    /// Returns `true` if the weight was uploaded with a bias.
    pub(crate) fn has_bias(&self, w: &Weight) -> bool {
        self.kept(w).has_bias
    }

    fn kept(&self, w: &Weight) -> &Kept {
        self.weights.get(&w.index()).expect("a weight that was uploaded through the tape")
    }

    fn put(&mut self, weight: Weight, data: Data, has_bias: bool) -> Weight {
        self.weights.insert(weight.index(), Kept { _weight: weight.clone(), data, has_bias });
        weight
    }

    fn record(&mut self, operation: Operation, result: Tensor) -> Tensor {
        self.records.push(Record { operation, result: result.clone() });
        result
    }

    /// Returns a second handle to `x`, so that an operation does not change its value in place.
    fn shared(x: &Tensor) -> Tensor {
        x.clone()
    }
}

/// Ends a step and returns its outputs.
pub(crate) fn read_now(backend: &mut dyn Backend) -> Result<Outputs, BackendError> {
    let ticket = backend.submit();
    let mut read = backend.read(ticket);
    match read.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(outputs) => outputs,
        Poll::Pending => {
            let operation = "results at once, which training needs";
            Err(BackendError::UnsupportedOperation { device: backend.describe(), operation })
        }
    }
}

/// Checks that a step holds whole sequences, of which each row is the cell of its own number.
fn check_whole(step: &Step, device: &str) -> Result<(), BackendError> {
    let is_whole = |segment: &honelm_backend::Segment| {
        let len = segment.rows.len() as u32;
        let rows = segment.rows.clone();
        let cells = rows.clone().zip(0..len).all(|(row, cell)| step.cells[row] == cell);
        let seen = |group: &honelm_backend::StepGroup| {
            group.seen[rows.clone()].iter().all(|seen| seen.end <= len && seen.extra.is_empty())
        };
        cells && step.groups.iter().all(seen)
    };
    if step.segments.iter().all(is_whole) {
        return Ok(());
    }
    let operation = "gradients of a step that continues a sequence or verifies a draft";
    Err(BackendError::UnsupportedOperation { device: device.to_owned(), operation })
}

impl Backend for Tape<'_> {
    fn describe(&self) -> String {
        self.inner.describe()
    }

    fn arithmetic(&self) -> String {
        self.inner.arithmetic()
    }

    fn is_batch_invariant(&self) -> bool {
        self.inner.is_batch_invariant()
    }

    fn upload(&mut self, weight: WeightData, bias: Option<&[f32]>) -> Result<Weight, BackendError> {
        let uploaded = self.inner.upload(weight.clone(), bias)?;
        Ok(self.put(uploaded, Data::Matrix(weight, OnceCell::new()), bias.is_some()))
    }

    fn upload_vector(&mut self, values: &[f32]) -> Result<Weight, BackendError> {
        let uploaded = self.inner.upload_vector(values)?;
        Ok(self.put(uploaded, Data::Vector(values.to_vec()), false))
    }

    fn upload_norm(&mut self, gain: &[f32], bias: Option<&[f32]>) -> Result<Weight, BackendError> {
        let uploaded = self.inner.upload_norm(gain, bias)?;
        Ok(self.put(uploaded, Data::Vector(gain.to_vec()), bias.is_some()))
    }

    fn create_cache(&mut self, spec: CacheSpec) -> Result<Cache, BackendError> {
        self.inner.create_cache(spec)
    }

    fn begin(&mut self, step: Step, cache: &Cache) -> Result<(), BackendError> {
        step.check(cache.spec())?;
        check_whole(&step, &self.inner.describe())?;
        self.inner.begin(step.clone(), cache)?;
        self.step = step;
        self.records.clear();
        self.wanted.clear();
        self.values.clear();
        Ok(())
    }

    fn embed(&mut self, table: &Weight) -> Tensor {
        let y = self.inner.embed(table);
        self.record(Operation::Embed(table.clone()), y)
    }

    fn positions(&mut self, table: &Weight, offset: usize) -> Tensor {
        let y = self.inner.positions(table, offset);
        self.record(Operation::Positions(table.clone(), offset), y)
    }

    fn input(&mut self, x: &Matrix) -> Tensor {
        self.inner.input(x)
    }

    fn select(&mut self, x: &Tensor, rows: &[u32]) -> Tensor {
        let y = self.inner.select(x, rows);
        self.record(Operation::Select(x.clone(), rows.to_vec()), y)
    }

    fn columns(&mut self, x: &Tensor, start: usize, width: usize) -> Tensor {
        let y = self.inner.columns(x, start, width);
        self.record(Operation::Columns(x.clone(), start), y)
    }

    fn linear(&mut self, x: &Tensor, w: &Weight) -> Tensor {
        let y = self.inner.linear(x, w);
        self.keep(x);
        self.record(Operation::Linear(x.clone(), w.clone()), y)
    }

    fn rms_norm(&mut self, x: &Tensor, gain: &Weight, eps: f32) -> Tensor {
        let y = self.inner.rms_norm(x, gain, eps);
        self.keep(x);
        self.record(Operation::RmsNorm(x.clone(), gain.clone(), eps), y)
    }

    fn layer_norm(&mut self, x: &Tensor, norm: &Weight, eps: f32) -> Tensor {
        let y = self.inner.layer_norm(x, norm, eps);
        self.keep(x);
        self.record(Operation::LayerNorm(x.clone(), norm.clone(), eps), y)
    }

    fn rope(&mut self, x: Tensor, rope: &Rope) -> Tensor {
        let y = self.inner.rope(Self::shared(&x), rope);
        self.record(Operation::Rope(x, rope.clone()), y)
    }

    fn attention(
        &mut self,
        q: &Tensor,
        k: &Tensor,
        v: &Tensor,
        cache: &Cache,
        layer: usize,
        how: &Attention,
    ) -> Tensor {
        let y = self.inner.attention(q, k, v, cache, layer, how);
        [q, k, v].into_iter().for_each(|x| self.keep(x));
        let of = cache.spec().layers[layer];
        let heads = Heads { how: *how, kv_heads: of.kv_heads, head_width: of.head_width, group: of.group };
        self.record(Operation::Attention([q, k, v].map(Clone::clone), heads), y)
    }

    fn gate(&mut self, gate: Tensor, up: &Tensor, f: Activation) -> Tensor {
        let y = self.inner.gate(Self::shared(&gate), up, f);
        self.keep(&gate);
        self.keep(up);
        self.record(Operation::Gate(gate, up.clone(), f), y)
    }

    fn activate(&mut self, x: Tensor, f: Activation) -> Tensor {
        let y = self.inner.activate(Self::shared(&x), f);
        self.keep(&x);
        self.record(Operation::Activate(x, f), y)
    }

    fn scale(&mut self, x: Tensor, factor: f32) -> Tensor {
        let y = self.inner.scale(Self::shared(&x), factor);
        self.record(Operation::Scale(x, factor), y)
    }

    fn add(&mut self, x: Tensor, y: &Tensor) -> Tensor {
        let sum = self.inner.add(Self::shared(&x), y);
        self.record(Operation::Add(x, y.clone()), sum)
    }

    fn softcap(&mut self, x: Tensor, cap: f32) -> Tensor {
        let y = self.inner.softcap(Self::shared(&x), cap);
        self.keep(&x);
        self.record(Operation::Softcap(x, cap), y)
    }

    fn sample(&mut self, key: u32, logits: &Tensor, how: &[(u32, Sampling)]) {
        self.inner.sample(key, logits, how);
    }

    fn output(&mut self, key: u32, x: &Tensor) {
        self.inner.output(key, x);
    }

    fn submit(&mut self) -> Ticket {
        self.inner.submit()
    }

    fn read(&mut self, ticket: Ticket) -> Read {
        self.inner.read(ticket)
    }
}
