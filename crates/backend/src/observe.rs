use honelm_blocks::{BlockMatrix, Encoding, WeightData};
use honelm_tensor::Matrix;

use crate::{
    Activation, Attention, Backend, BackendError, Cache, CacheSpec, Read, Rope, Sampling, Slots, Step, Tensor, Ticket,
    Weight,
};

/// The state behind a handle that [`Observe`] created itself.
#[derive(Debug)]
enum Deferred {
    /// A watched linear module whose result has not been needed yet.
    Linear { x: Tensor, w: Weight },
    /// A watched linear module that was computed because its result was needed.
    Done(Tensor),
    /// An operation after the end of the observation.
    Void,
}

/// A back end that records the inputs of chosen linear modules: the activations that calibration needs.
///
/// It forwards every operation, unfused, to the back end that it wraps, and pins the input of each watched linear
/// module as an output under [`Observe::KEY`]` | index`. The input of a weight that is used twice in a step is
/// pinned twice.
///
/// With `stop`, a step costs only what precedes the watched modules. A watched module is computed only if another
/// operation needs its result before the observation is complete. Once each watched weight has been seen, nothing
/// more is computed: operations return void handles of the right shape, and outputs and samples of void tensors are
/// ignored. With q, k and v watched, for example, only the norm before them runs.
pub struct Observe<'a> {
    inner: &'a mut (dyn Backend + 'a),
    watched: Vec<Weight>,
    seen: Vec<bool>,
    stop: bool,
    rows: Option<usize>,
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
            rows: None,
            deferred: Slots::default(),
        }
    }

    /// Returns `true` if every watched weight was seen in this step.
    #[must_use]
    pub fn complete(&self) -> bool {
        self.seen.iter().all(|&seen| seen)
    }

    fn stopped(&self) -> bool {
        self.stop && self.complete()
    }

    fn void(&mut self, rows: usize, cols: usize) -> Tensor {
        Tensor::new(self.deferred.insert(Deferred::Void), rows, cols)
    }

    /// Returns the wrapped back end's handle for `x`, computing a deferred result, or `None` for a void handle.
    fn resolve(&mut self, x: &Tensor) -> Option<Tensor> {
        if !self.deferred.owns(x.guard()) {
            return Some(x.clone());
        }
        let (input, weight) = match self.deferred.get(x.guard()) {
            Deferred::Linear { x, w } => (x.clone(), w.clone()),
            Deferred::Done(y) => return Some(y.clone()),
            Deferred::Void => return None,
        };
        let y = self.inner.linear(&input, &weight);
        *self.deferred.get_mut(x.guard()) = Deferred::Done(y.clone());
        Some(y)
    }

    /// Resolves a handle passed by value as [`Observe::resolve`] does. If it was the only handle to its value, so is
    /// the result.
    fn take(&mut self, x: Tensor) -> Option<Tensor> {
        if !self.deferred.owns(x.guard()) {
            return Some(x);
        }
        let y = self.resolve(&x);
        drop(x);
        drop(self.deferred.collect());
        y
    }

    /// Returns the wrapped back end's handle for `x` while the observation continues.
    fn wanted(&mut self, x: &Tensor) -> Option<Tensor> {
        if self.stopped() { None } else { self.resolve(x) }
    }

    /// Returns the handle as [`Observe::wanted`] does, for one passed by value.
    fn wanted_owned(&mut self, x: Tensor) -> Option<Tensor> {
        if self.stopped() { None } else { self.take(x) }
    }

    /// Runs an operation of the wrapped back end on one tensor, which keeps its shape.
    fn changed(&mut self, x: Tensor, f: impl FnOnce(&mut dyn Backend, Tensor) -> Tensor) -> Tensor {
        let (rows, cols) = (x.rows(), x.cols());
        match self.wanted_owned(x) {
            Some(x) => f(self.inner, x),
            None => self.void(rows, cols),
        }
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
        self.rows = Some(rows);
        self.seen.fill(false);
        Ok(())
    }

    fn embed(&mut self, table: &Weight) -> Tensor {
        match self.rows {
            Some(rows) if self.stopped() => self.void(rows, table.cols()),
            _ => self.inner.embed(table),
        }
    }

    fn positions(&mut self, table: &Weight, offset: usize) -> Tensor {
        match self.rows {
            Some(rows) if self.stopped() => self.void(rows, table.cols()),
            _ => self.inner.positions(table, offset),
        }
    }

    fn input(&mut self, x: &Matrix) -> Tensor {
        if self.stopped() { self.void(x.rows, x.cols) } else { self.inner.input(x) }
    }

    fn select(&mut self, x: &Tensor, rows: &[u32]) -> Tensor {
        match self.wanted(x) {
            Some(x) => self.inner.select(&x, rows),
            None => self.void(rows.len(), x.cols()),
        }
    }

    fn columns(&mut self, x: &Tensor, start: usize, width: usize) -> Tensor {
        match self.wanted(x) {
            Some(x) => self.inner.columns(&x, start, width),
            None => self.void(x.rows(), width),
        }
    }

    fn linear(&mut self, x: &Tensor, w: &Weight) -> Tensor {
        let (rows, cols) = (x.rows(), w.rows());
        let Some(x) = self.wanted(x) else { return self.void(rows, cols) };
        let Some(index) = self.watched.iter().position(|watched| watched.index() == w.index()) else {
            return self.inner.linear(&x, w);
        };
        self.inner.output(Self::KEY | index as u32, &x);
        self.seen[index] = true;
        if self.stop {
            let guard = self.deferred.insert(Deferred::Linear { x, w: w.clone() });
            return Tensor::new(guard, rows, cols);
        }
        self.inner.linear(&x, w)
    }

    fn rms_norm(&mut self, x: &Tensor, gain: &Weight, eps: f32) -> Tensor {
        match self.wanted(x) {
            Some(x) => self.inner.rms_norm(&x, gain, eps),
            None => self.void(x.rows(), x.cols()),
        }
    }

    fn layer_norm(&mut self, x: &Tensor, norm: &Weight, eps: f32) -> Tensor {
        match self.wanted(x) {
            Some(x) => self.inner.layer_norm(&x, norm, eps),
            None => self.void(x.rows(), x.cols()),
        }
    }

    fn rope(&mut self, x: Tensor, rope: &Rope) -> Tensor {
        self.changed(x, |b, x| b.rope(x, rope))
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
        match (self.wanted(q), self.wanted(k), self.wanted(v)) {
            (Some(q), Some(k), Some(v)) => self.inner.attention(&q, &k, &v, cache, layer, how),
            _ => self.void(q.rows(), q.cols()),
        }
    }

    fn gate(&mut self, gate: Tensor, up: &Tensor, f: Activation) -> Tensor {
        let (rows, cols) = (gate.rows(), gate.cols());
        match (self.wanted_owned(gate), self.wanted(up)) {
            (Some(gate), Some(up)) => self.inner.gate(gate, &up, f),
            _ => self.void(rows, cols),
        }
    }

    fn add(&mut self, x: Tensor, y: &Tensor) -> Tensor {
        let (rows, cols) = (x.rows(), x.cols());
        match (self.wanted_owned(x), self.wanted(y)) {
            (Some(x), Some(y)) => self.inner.add(x, &y),
            _ => self.void(rows, cols),
        }
    }

    fn activate(&mut self, x: Tensor, f: Activation) -> Tensor {
        self.changed(x, |b, x| b.activate(x, f))
    }

    fn scale(&mut self, x: Tensor, factor: f32) -> Tensor {
        self.changed(x, |b, x| b.scale(x, factor))
    }

    fn softcap(&mut self, x: Tensor, cap: f32) -> Tensor {
        self.changed(x, |b, x| b.softcap(x, cap))
    }

    fn sample(&mut self, key: u32, logits: &Tensor, how: &[(u32, Sampling)]) {
        if let Some(logits) = self.wanted(logits) {
            self.inner.sample(key, &logits, how);
        }
    }

    /// Pins `x`. A tensor computed before the observation was complete can still be read after it.
    fn output(&mut self, key: u32, x: &Tensor) {
        if self.stopped() && self.deferred.owns(x.guard()) && !matches!(self.deferred.get(x.guard()), Deferred::Done(_))
        {
            return;
        }
        if let Some(x) = self.resolve(x) {
            self.inner.output(key, &x);
        }
    }

    fn submit(&mut self) -> Ticket {
        drop(self.deferred.collect());
        self.inner.submit()
    }

    fn read(&mut self, ticket: Ticket) -> Read {
        self.inner.read(ticket)
    }
}
