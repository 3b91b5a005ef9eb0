use honelm_blocks::{BlockMatrix, Encoding, WeightData};
use honelm_tensor::Matrix;

use crate::{
    Activation, Attention, Backend, BackendError, Cache, CacheSpec, Read, Rope, Sampling, Slots, Step, Tensor, Ticket,
    Weight,
};

/// The state behind a handle that [`Observe`] created itself.
#[derive(Debug)]
enum Deferred {
    /// An operation that has not run yet.
    Waiting(Operation),
    /// The wrapped back end's handle of a result.
    Done(Tensor),
}

/// An operation with its operands.
#[derive(Debug)]
enum Operation {
    Embed(Weight),
    Positions(Weight, usize),
    Select(Tensor, Vec<u32>),
    Columns(Tensor, usize, usize),
    Linear(Tensor, Weight),
    RmsNorm(Tensor, Weight, f32),
    LayerNorm(Tensor, Weight, f32),
    Rope(Tensor, Rope),
    Attention([Tensor; 3], Cache, usize, Attention),
    Gate(Tensor, Tensor, Activation),
    Activate(Tensor, Activation),
    Scale(Tensor, f32),
    Add(Tensor, Tensor),
    Softcap(Tensor, f32),
}

/// The input of linear modules, known from an earlier step.
struct Known<'a> {
    weights: Vec<Weight>,
    input: &'a Matrix,
    /// The input on the back end, once it was needed.
    uploaded: Option<Tensor>,
}

/// A back end that records the inputs of chosen linear modules: the activations that calibration needs.
///
/// It pins the input of each watched linear module as an output under [`Observe::KEY`]` | index`. The input of a weight
/// that is used twice in a step is pinned twice.
///
/// Operations wait until a watched input or an output of the step needs their result, and then run unfused on the back
/// end that it wraps. With `stop`, outputs and samples that nothing has computed yet are ignored once each watched weight
/// has been seen. With q, k and v watched, for example, only the norm before them runs.
///
/// With [`Observe::knowing`], modules take their inputs from an earlier step, and what led to these is not computed again.
pub struct Observe<'a> {
    inner: &'a mut (dyn Backend + 'a),
    watched: Vec<Weight>,
    seen: Vec<bool>,
    stop: bool,
    known: Vec<Known<'a>>,
    rows: usize,
    deferred: Slots<Deferred>,
}

impl<'a> Observe<'a> {
    /// The bit that marks the keys of observed inputs among the outputs of a step.
    pub const KEY: u32 = 1 << 31;

    /// Wraps `inner` and watches the linear modules with these weights.
    pub fn new(inner: &'a mut (dyn Backend + 'a), watched: &[&Weight], stop: bool) -> Self {
        Self {
            inner,
            seen: vec![false; watched.len()],
            watched: watched.iter().map(|&w| w.clone()).collect(),
            stop,
            known: Vec::new(),
            rows: 0,
            deferred: Slots::default(),
        }
    }

    /// Gives the linear modules with these weights `input` as their input, for one step. Such modules are not watched.
    #[must_use]
    pub fn knowing(mut self, weights: &[&Weight], input: &'a Matrix) -> Self {
        let weights = weights.iter().map(|&w| w.clone()).collect();
        self.known.push(Known { weights, input, uploaded: None });
        self
    }

    /// Returns `true` if every watched weight was seen in this step.
    #[must_use]
    pub fn complete(&self) -> bool {
        self.seen.iter().all(|&seen| seen)
    }

    fn stopped(&self) -> bool {
        self.stop && self.complete()
    }

    /// Returns a handle `[rows, cols]` to the result of an operation that waits.
    fn wait(&mut self, rows: usize, cols: usize, operation: Operation) -> Tensor {
        Tensor::new(self.deferred.insert(Deferred::Waiting(operation)), rows, cols)
    }

    /// Returns the input of a linear module that is known.
    fn known(&mut self, w: &Weight) -> Option<Tensor> {
        let is_same = |other: &Weight| other.index() == w.index();
        let known = self.known.iter_mut().find(|known| known.weights.iter().any(is_same))?;
        Some(known.uploaded.get_or_insert_with(|| self.inner.input(known.input)).clone())
    }

    /// Returns the wrapped back end's handle for `x`, after the operations that lead to it.
    fn resolve(&mut self, x: &Tensor) -> Tensor {
        if !self.deferred.owns(x.guard()) {
            return x.clone();
        }
        // A placeholder for the operation while it runs; no operation needs its own result.
        let state = std::mem::replace(self.deferred.get_mut(x.guard()), Deferred::Done(x.clone()));
        let y = match state {
            Deferred::Done(y) => y,
            Deferred::Waiting(operation) => self.run(operation),
        };
        *self.deferred.get_mut(x.guard()) = Deferred::Done(y.clone());
        y
    }

    /// Resolves an operand of which nothing else may need the value, so that it can be changed in place.
    fn take(&mut self, x: Tensor) -> Tensor {
        let y = self.resolve(&x);
        drop(x);
        drop(self.deferred.collect());
        y
    }

    fn run(&mut self, operation: Operation) -> Tensor {
        match operation {
            Operation::Embed(table) => self.inner.embed(&table),
            Operation::Positions(table, offset) => self.inner.positions(&table, offset),
            Operation::Select(x, rows) => {
                let x = self.take(x);
                self.inner.select(&x, &rows)
            }
            Operation::Columns(x, start, width) => {
                let x = self.take(x);
                self.inner.columns(&x, start, width)
            }
            Operation::Linear(x, w) => {
                let x = self.take(x);
                self.inner.linear(&x, &w)
            }
            Operation::RmsNorm(x, gain, eps) => {
                let x = self.take(x);
                self.inner.rms_norm(&x, &gain, eps)
            }
            Operation::LayerNorm(x, norm, eps) => {
                let x = self.take(x);
                self.inner.layer_norm(&x, &norm, eps)
            }
            Operation::Rope(x, rope) => {
                let x = self.take(x);
                self.inner.rope(x, &rope)
            }
            Operation::Attention(qkv, cache, layer, how) => {
                let [q, k, v] = qkv.map(|x| self.take(x));
                self.inner.attention(&q, &k, &v, &cache, layer, &how)
            }
            Operation::Gate(gate, up, f) => {
                let (gate, up) = (self.take(gate), self.take(up));
                self.inner.gate(gate, &up, f)
            }
            Operation::Activate(x, f) => {
                let x = self.take(x);
                self.inner.activate(x, f)
            }
            Operation::Scale(x, factor) => {
                let x = self.take(x);
                self.inner.scale(x, factor)
            }
            Operation::Add(x, y) => {
                let (y, x) = (self.take(y), self.take(x));
                self.inner.add(x, &y)
            }
            Operation::Softcap(x, cap) => {
                let x = self.take(x);
                self.inner.softcap(x, cap)
            }
        }
    }

    /// Returns the wrapped back end's handle of an output, unless the observation ended before it was computed.
    fn wanted(&mut self, x: &Tensor) -> Option<Tensor> {
        let is_waiting = self.deferred.owns(x.guard()) && matches!(self.deferred.get(x.guard()), Deferred::Waiting(_));
        (!(is_waiting && self.stopped())).then(|| self.resolve(x))
    }
}

impl Backend for Observe<'_> {
    fn describe(&self) -> String {
        self.inner.describe()
    }

    fn upload(&mut self, weight: WeightData, bias: Option<&[f32]>) -> Result<Weight, BackendError> {
        self.inner.upload(weight, bias)
    }

    fn slab_bytes(&self) -> Option<usize> {
        self.inner.slab_bytes()
    }

    fn begin_weight(&mut self, encoding: Encoding, rows: usize, cols: usize) -> Result<Weight, BackendError> {
        self.inner.begin_weight(encoding, rows, cols)
    }

    fn fill_weight(&mut self, weight: &Weight, first: usize, rows: BlockMatrix) -> Result<(), BackendError> {
        self.inner.fill_weight(weight, first, rows)
    }

    fn upload_vector(&mut self, values: &[f32]) -> Result<Weight, BackendError> {
        self.inner.upload_vector(values)
    }

    fn upload_norm(&mut self, gain: &[f32], bias: Option<&[f32]>) -> Result<Weight, BackendError> {
        self.inner.upload_norm(gain, bias)
    }

    fn create_cache(&mut self, spec: CacheSpec) -> Result<Cache, BackendError> {
        self.inner.create_cache(spec)
    }

    fn begin(&mut self, step: Step, cache: &Cache) -> Result<(), BackendError> {
        let rows = step.rows();
        self.inner.begin(step, cache)?;
        self.rows = rows;
        self.seen.fill(false);
        Ok(())
    }

    fn embed(&mut self, table: &Weight) -> Tensor {
        self.wait(self.rows, table.cols(), Operation::Embed(table.clone()))
    }

    fn positions(&mut self, table: &Weight, offset: usize) -> Tensor {
        self.wait(self.rows, table.cols(), Operation::Positions(table.clone(), offset))
    }

    fn input(&mut self, x: &Matrix) -> Tensor {
        self.inner.input(x)
    }

    fn select(&mut self, x: &Tensor, rows: &[u32]) -> Tensor {
        self.wait(rows.len(), x.cols(), Operation::Select(x.clone(), rows.to_vec()))
    }

    fn columns(&mut self, x: &Tensor, start: usize, width: usize) -> Tensor {
        self.wait(x.rows(), width, Operation::Columns(x.clone(), start, width))
    }

    fn linear(&mut self, x: &Tensor, w: &Weight) -> Tensor {
        let (rows, cols) = (x.rows(), w.rows());
        let mut input = x.clone();
        if let Some(known) = self.known(w) {
            input = known;
        } else if let Some(index) = self.watched.iter().position(|watched| watched.index() == w.index()) {
            input = self.resolve(x);
            self.inner.output(Self::KEY | index as u32, &input);
            self.seen[index] = true;
        }
        self.wait(rows, cols, Operation::Linear(input, w.clone()))
    }

    fn rms_norm(&mut self, x: &Tensor, gain: &Weight, eps: f32) -> Tensor {
        self.wait(x.rows(), x.cols(), Operation::RmsNorm(x.clone(), gain.clone(), eps))
    }

    fn layer_norm(&mut self, x: &Tensor, norm: &Weight, eps: f32) -> Tensor {
        self.wait(x.rows(), x.cols(), Operation::LayerNorm(x.clone(), norm.clone(), eps))
    }

    fn rope(&mut self, x: Tensor, rope: &Rope) -> Tensor {
        self.wait(x.rows(), x.cols(), Operation::Rope(x, rope.clone()))
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
        let qkv = [q, k, v].map(Clone::clone);
        self.wait(q.rows(), q.cols(), Operation::Attention(qkv, cache.clone(), layer, *how))
    }

    fn gate(&mut self, gate: Tensor, up: &Tensor, f: Activation) -> Tensor {
        self.wait(gate.rows(), gate.cols(), Operation::Gate(gate, up.clone(), f))
    }

    fn activate(&mut self, x: Tensor, f: Activation) -> Tensor {
        self.wait(x.rows(), x.cols(), Operation::Activate(x, f))
    }

    fn scale(&mut self, x: Tensor, factor: f32) -> Tensor {
        self.wait(x.rows(), x.cols(), Operation::Scale(x, factor))
    }

    fn add(&mut self, x: Tensor, y: &Tensor) -> Tensor {
        self.wait(x.rows(), x.cols(), Operation::Add(x, y.clone()))
    }

    fn softcap(&mut self, x: Tensor, cap: f32) -> Tensor {
        self.wait(x.rows(), x.cols(), Operation::Softcap(x, cap))
    }

    fn sample(&mut self, key: u32, logits: &Tensor, how: &[(u32, Sampling)]) {
        if let Some(logits) = self.wanted(logits) {
            self.inner.sample(key, &logits, how);
        }
    }

    /// Pins `x`. A tensor computed before the observation was complete can still be read after it.
    fn output(&mut self, key: u32, x: &Tensor) {
        if let Some(x) = self.wanted(x) {
            self.inner.output(key, &x);
        }
    }

    fn submit(&mut self) -> Ticket {
        self.known.iter_mut().for_each(|known| known.uploaded = None);
        drop(self.deferred.collect());
        self.inner.submit()
    }

    fn read(&mut self, ticket: Ticket) -> Read {
        self.inner.read(ticket)
    }
}
