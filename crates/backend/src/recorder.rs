use std::collections::BTreeMap;
use std::rc::Rc;

use honelm_blocks::WeightData;
use honelm_tensor::Matrix;

use crate::{
    Activation, Attention, Backend, BackendError, Cache, CacheSpec, Outputs, Read, Rope, Sampling, Slots, Step, Tensor,
    Ticket, Value, Weight,
};

/// The counts of a [`Recorder`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recorded {
    /// The bytes of all weights, as the recorder's closure counts them, and of biases and vectors in f32.
    pub weight_bytes: usize,
    /// The bytes of all cache pages that the steps so far need.
    pub cache_bytes: usize,
    /// The bytes of the live activations in f32, including pinned outputs.
    pub activation_bytes: usize,
    /// The largest value of `activation_bytes` so far.
    pub activation_bytes_peak: usize,
    /// The number of operations by their name in [`Backend`]. Fused forms count as their plain operations.
    pub operations: BTreeMap<&'static str, u64>,
}

struct Pages {
    spec: Rc<CacheSpec>,
    /// The number of pages of each group.
    counts: Vec<u32>,
}

/// A back end without a device and without values. It tracks shapes, counts operations and bytes, and answers reads
/// with zeros. It serves the planning of memory and tests of logic.
pub struct Recorder {
    weight_bytes: Box<dyn Fn(&WeightData) -> usize>,
    tensors: Slots<usize>,
    weights: Slots<usize>,
    caches: Slots<Pages>,
    rows: usize,
    recorded: Recorded,
    pinned: Vec<(u32, Pinned)>,
    finished: BTreeMap<u64, Outputs>,
    next: u64,
}

enum Pinned {
    Tensor(Tensor),
    Tokens(usize),
}

impl Recorder {
    /// Returns a recorder that counts `weight_bytes` for each weight: the bytes that the planned device would
    /// allocate.
    #[must_use]
    pub fn new(weight_bytes: impl Fn(&WeightData) -> usize + 'static) -> Self {
        Self {
            weight_bytes: Box::new(weight_bytes),
            tensors: Slots::default(),
            weights: Slots::default(),
            caches: Slots::default(),
            rows: 0,
            recorded: Recorded::default(),
            pinned: Vec::new(),
            finished: BTreeMap::new(),
            next: 0,
        }
    }

    /// Declares a weight `[rows, cols]` of which only the size is known.
    pub fn declare(&mut self, rows: usize, cols: usize, bytes: usize) -> Weight {
        for freed in self.weights.collect() {
            self.recorded.weight_bytes -= freed;
        }
        self.recorded.weight_bytes += bytes;
        Weight::new(self.weights.insert(bytes), rows, cols)
    }

    /// Returns the counts so far.
    pub fn recorded(&mut self) -> &Recorded {
        self.collect();
        for freed in self.weights.collect() {
            self.recorded.weight_bytes -= freed;
        }
        &self.recorded
    }

    /// Resets the counts of operations and the peak of activations, to measure one step.
    pub fn reset(&mut self) {
        self.collect();
        self.recorded.operations.clear();
        self.recorded.activation_bytes_peak = self.recorded.activation_bytes;
    }

    fn collect(&mut self) {
        for freed in self.tensors.collect() {
            self.recorded.activation_bytes -= freed;
        }
    }

    fn count(&mut self, name: &'static str) {
        *self.recorded.operations.entry(name).or_default() += 1;
    }

    fn tensor(&mut self, rows: usize, cols: usize) -> Tensor {
        self.collect();
        let bytes = rows * cols * size_of::<f32>();
        self.recorded.activation_bytes += bytes;
        self.recorded.activation_bytes_peak = self.recorded.activation_bytes_peak.max(self.recorded.activation_bytes);
        Tensor::new(self.tensors.insert(bytes), rows, cols)
    }

    /// Returns the result of an operation that works in place if possible.
    fn in_place(&mut self, x: Tensor) -> Tensor {
        self.check(&x);
        if x.is_unique() { x } else { self.tensor(x.rows(), x.cols()) }
    }

    fn normed(&mut self, x: &Tensor, gain: &Weight) -> Tensor {
        self.check(x);
        assert!(x.cols().is_multiple_of(gain.cols()), "{} columns in runs of {}", x.cols(), gain.cols());
        self.tensor(x.rows(), x.cols())
    }

    fn check(&self, x: &Tensor) {
        let _ = self.tensors.get(x.guard());
    }
}

impl Backend for Recorder {
    fn describe(&self) -> String {
        "recorder (no device)".to_owned()
    }

    fn upload(&mut self, weight: WeightData, bias: Option<&[f32]>) -> Result<Weight, BackendError> {
        let bytes = (self.weight_bytes)(&weight) + bias.map_or(0, size_of_val);
        let (rows, cols) = (weight.rows(), weight.cols());
        assert!(bias.is_none_or(|b| b.len() == rows), "a bias of {:?} for {rows} rows", bias.map(<[f32]>::len));
        Ok(self.declare(rows, cols, bytes))
    }

    fn upload_vector(&mut self, values: &[f32]) -> Result<Weight, BackendError> {
        Ok(self.declare(1, values.len(), size_of_val(values)))
    }

    fn upload_norm(&mut self, gain: &[f32], bias: Option<&[f32]>) -> Result<Weight, BackendError> {
        assert!(bias.is_none_or(|b| b.len() == gain.len()), "a bias for {} gains", gain.len());
        Ok(self.declare(1, gain.len(), size_of_val(gain) + bias.map_or(0, size_of_val)))
    }

    fn create_cache(&mut self, spec: CacheSpec) -> Result<Cache, BackendError> {
        let spec = Rc::new(spec);
        let pages = Pages { spec: Rc::clone(&spec), counts: vec![0; spec.groups.len()] };
        Ok(Cache::new(self.caches.insert(pages), spec))
    }

    fn begin(&mut self, step: Step, cache: &Cache) -> Result<(), BackendError> {
        let pages = self.caches.get_mut(cache.guard());
        assert_eq!(step.groups.len(), pages.counts.len(), "groups of the step and of the cache");
        for (g, (count, group)) in pages.counts.iter_mut().zip(&step.groups).enumerate() {
            let more = group.page_count.saturating_sub(*count);
            *count += more;
            self.recorded.cache_bytes += more as usize * pages.spec.page_bytes(g);
        }
        self.rows = step.rows();
        Ok(())
    }

    fn embed(&mut self, table: &Weight) -> Tensor {
        self.count("embed");
        self.tensor(self.rows, table.cols())
    }

    fn positions(&mut self, table: &Weight, _offset: usize) -> Tensor {
        self.count("positions");
        self.tensor(self.rows, table.cols())
    }

    fn input(&mut self, x: &Matrix) -> Tensor {
        self.count("input");
        self.tensor(x.rows, x.cols)
    }

    fn select(&mut self, x: &Tensor, rows: &[u32]) -> Tensor {
        self.count("select");
        self.check(x);
        assert!(rows.iter().all(|&r| (r as usize) < x.rows()), "a selected row outside of {}", x.rows());
        self.tensor(rows.len(), x.cols())
    }

    fn columns(&mut self, x: &Tensor, start: usize, width: usize) -> Tensor {
        self.count("columns");
        self.check(x);
        assert!(start + width <= x.cols(), "columns {start} to {} of {}", start + width, x.cols());
        self.tensor(x.rows(), width)
    }

    fn linear(&mut self, x: &Tensor, w: &Weight) -> Tensor {
        self.count("linear");
        self.check(x);
        assert_eq!(x.cols(), w.cols(), "columns of x and of the weight");
        self.tensor(x.rows(), w.rows())
    }

    fn rms_norm(&mut self, x: &Tensor, gain: &Weight, _eps: f32) -> Tensor {
        self.count("rms_norm");
        self.normed(x, gain)
    }

    fn layer_norm(&mut self, x: &Tensor, norm: &Weight, _eps: f32) -> Tensor {
        self.count("layer_norm");
        self.normed(x, norm)
    }

    fn rope(&mut self, x: Tensor, rope: &Rope) -> Tensor {
        self.count("rope");
        assert!(x.cols().is_multiple_of(rope.head_width), "{} columns in heads of {}", x.cols(), rope.head_width);
        self.in_place(x)
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
        self.count("attention");
        for x in [q, k, v] {
            self.check(x);
        }
        let of = cache.spec().layers[layer];
        assert_eq!(q.cols(), how.heads * of.head_width, "columns of q");
        assert_eq!((k.cols(), v.cols()), (of.kv_heads * of.head_width, of.kv_heads * of.head_width), "columns of k, v");
        self.tensor(q.rows(), q.cols())
    }

    fn gate(&mut self, gate: Tensor, up: &Tensor, _f: Activation) -> Tensor {
        self.count("gate");
        self.check(up);
        assert_eq!((gate.rows(), gate.cols()), (up.rows(), up.cols()), "shapes of gate and up");
        self.in_place(gate)
    }

    fn activate(&mut self, x: Tensor, _f: Activation) -> Tensor {
        self.count("activate");
        self.in_place(x)
    }

    fn scale(&mut self, x: Tensor, _factor: f32) -> Tensor {
        self.count("scale");
        self.in_place(x)
    }

    fn add(&mut self, x: Tensor, y: &Tensor) -> Tensor {
        self.count("add");
        self.check(y);
        assert_eq!((x.rows(), x.cols()), (y.rows(), y.cols()), "shapes of a sum");
        self.in_place(x)
    }

    fn softcap(&mut self, x: Tensor, _cap: f32) -> Tensor {
        self.count("softcap");
        self.in_place(x)
    }

    fn sample(&mut self, key: u32, logits: &Tensor, how: &[(u32, Sampling)]) {
        self.count("sample");
        self.check(logits);
        assert_eq!(logits.rows(), how.len(), "rows of logits and settings");
        self.pinned.push((key, Pinned::Tokens(how.len())));
    }

    fn output(&mut self, key: u32, x: &Tensor) {
        self.check(x);
        self.pinned.push((key, Pinned::Tensor(x.clone())));
    }

    fn submit(&mut self) -> Ticket {
        let zeros = |pinned| match pinned {
            Pinned::Tensor(x) => Value::Floats(Matrix::zeros(x.rows(), x.cols())),
            Pinned::Tokens(n) => Value::Tokens(vec![0; n]),
        };
        let outputs = std::mem::take(&mut self.pinned).into_iter().map(|(key, p)| (key, zeros(p))).collect();
        let ticket = self.next;
        self.next += 1;
        self.finished.insert(ticket, outputs);
        Ticket(ticket)
    }

    fn read(&mut self, ticket: Ticket) -> Read {
        let outputs = self.finished.remove(&ticket.0).ok_or(BackendError::UnknownTicket(ticket.0));
        Box::pin(std::future::ready(outputs))
    }
}

#[cfg(test)]
#[path = "recorder_tests.rs"]
mod tests;
