use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use honelm_blocks::{BlockMatrix, Encoding, WeightData};
use honelm_tensor::Matrix;

use crate::{
    Activation, Attention, Backend, BackendError, Cache, CacheSpec, Read, Rope, Sampling, Step, Tensor, Ticket, Weight,
};

/// A function that returns the seconds since any fixed moment.
pub type Clock = Box<dyn Fn() -> f64>;

/// The cost of one operation.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct OperationCost {
    /// The number of calls.
    pub calls: u64,
    /// The seconds spent in the back end. On a device that only records, this is the time of recording; the
    /// computation is part of `submit` and `read`.
    pub seconds: f64,
    /// The bytes of the weights that it read, as they were given to the device.
    pub weight_bytes: u64,
    /// The bytes of its operands and result in f32.
    pub activation_bytes: u64,
}

/// The operations that ran on a device, and their costs.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Placement {
    /// The device's description.
    pub device: String,
    /// The costs by the operation's name in [`Backend`]. Fused forms that the model requested are counted as such.
    pub operations: BTreeMap<&'static str, OperationCost>,
}

/// A back end that forwards every operation, including fused ones, and records the cost of each.
pub struct Profile {
    inner: Rc<RefCell<dyn Backend>>,
    clock: Clock,
    placement: Rc<RefCell<Placement>>,
    /// The bytes of weights by the number of their handles.
    weights: HashMap<u32, u64>,
}

impl Profile {
    /// Wraps `inner`. The placement returned with it is updated while the model runs.
    #[must_use]
    pub fn new(inner: Rc<RefCell<dyn Backend>>, clock: Clock) -> (Self, Rc<RefCell<Placement>>) {
        let placement = Placement { device: inner.borrow().describe(), operations: BTreeMap::new() };
        let placement = Rc::new(RefCell::new(placement));
        (Self { inner, clock, placement: Rc::clone(&placement), weights: HashMap::new() }, placement)
    }

    fn note<T>(&mut self, name: &'static str, bytes: Bytes<'_>, f: impl FnOnce(&mut dyn Backend) -> T) -> T {
        let weights: u64 = bytes.weights.iter().filter_map(|w| self.weights.get(&w.index())).sum();
        let begin = (self.clock)();
        let result = f(&mut *self.inner.borrow_mut());
        let seconds = (self.clock)() - begin;
        let mut placement = self.placement.borrow_mut();
        let cost = placement.operations.entry(name).or_default();
        cost.calls += 1;
        cost.seconds += seconds;
        cost.weight_bytes += weights;
        cost.activation_bytes += 4 * bytes.values as u64;
        result
    }

    fn uploaded(&mut self, bytes: usize, weight: Result<Weight, BackendError>) -> Result<Weight, BackendError> {
        weight.inspect(|weight| {
            self.weights.insert(weight.index(), bytes as u64);
        })
    }
}

/// The data that an operation accesses.
struct Bytes<'a> {
    /// The weights that it reads completely.
    weights: &'a [&'a Weight],
    /// The number of activations that it reads or writes.
    values: usize,
}

fn size(x: &Tensor) -> usize {
    x.rows() * x.cols()
}

fn touches<'a>(weights: &'a [&'a Weight], values: usize) -> Bytes<'a> {
    Bytes { weights, values }
}

fn bytes_of(weight: &WeightData) -> usize {
    match weight {
        WeightData::Blocks(matrix) => matrix.bytes.len(),
        WeightData::Groups(matrix) => {
            let zeros = if matches!(matrix.zeros, honelm_blocks::Zeros::Constant(_)) { 0 } else { 2 };
            matrix.rows * matrix.cols * usize::from(matrix.bits) / 8 + matrix.scales.len() * (2 + zeros)
        }
    }
}

impl Backend for Profile {
    fn describe(&self) -> String {
        self.inner.borrow().describe()
    }

    fn arithmetic(&self) -> String {
        self.inner.borrow().arithmetic()
    }

    fn is_batch_invariant(&self) -> bool {
        self.inner.borrow().is_batch_invariant()
    }

    fn steps_in_flight(&self) -> usize {
        self.inner.borrow().steps_in_flight()
    }

    fn upload(&mut self, weight: WeightData, bias: Option<&[f32]>) -> Result<Weight, BackendError> {
        let bytes = bytes_of(&weight);
        let weight = self.inner.borrow_mut().upload(weight, bias);
        self.uploaded(bytes, weight)
    }

    fn slab_bytes(&self) -> Option<usize> {
        self.inner.borrow().slab_bytes()
    }

    fn begin_weight(&mut self, encoding: Encoding, rows: usize, cols: usize) -> Result<Weight, BackendError> {
        let bytes = encoding.row_bytes(cols).unwrap_or(0) * rows;
        let weight = self.inner.borrow_mut().begin_weight(encoding, rows, cols);
        self.uploaded(bytes, weight)
    }

    fn fill_weight(&mut self, weight: &Weight, first: usize, rows: BlockMatrix) -> Result<(), BackendError> {
        self.inner.borrow_mut().fill_weight(weight, first, rows)
    }

    fn upload_vector(&mut self, values: &[f32]) -> Result<Weight, BackendError> {
        let weight = self.inner.borrow_mut().upload_vector(values);
        self.uploaded(size_of_val(values), weight)
    }

    fn upload_norm(&mut self, gain: &[f32], bias: Option<&[f32]>) -> Result<Weight, BackendError> {
        let weight = self.inner.borrow_mut().upload_norm(gain, bias);
        self.uploaded(size_of_val(gain) + bias.map_or(0, size_of_val), weight)
    }

    fn create_cache(&mut self, spec: CacheSpec) -> Result<Cache, BackendError> {
        self.inner.borrow_mut().create_cache(spec)
    }

    fn begin(&mut self, step: Step, cache: &Cache) -> Result<(), BackendError> {
        self.note("begin", touches(&[], 0), |b| b.begin(step, cache))
    }

    // Only as many table values are read as are written.
    fn embed(&mut self, table: &Weight) -> Tensor {
        let x = self.note("embed", touches(&[], 0), |b| b.embed(table));
        self.add_values("embed", 2 * size(&x));
        x
    }

    fn positions(&mut self, table: &Weight, offset: usize) -> Tensor {
        let x = self.note("positions", touches(&[], 0), |b| b.positions(table, offset));
        self.add_values("positions", 2 * size(&x));
        x
    }

    fn input(&mut self, x: &Matrix) -> Tensor {
        self.note("input", touches(&[], x.data.len()), |b| b.input(x))
    }

    fn select(&mut self, x: &Tensor, rows: &[u32]) -> Tensor {
        self.note("select", touches(&[], 2 * rows.len() * x.cols()), |b| b.select(x, rows))
    }

    fn columns(&mut self, x: &Tensor, start: usize, width: usize) -> Tensor {
        self.note("columns", touches(&[], 2 * x.rows() * width), |b| b.columns(x, start, width))
    }

    fn linear(&mut self, x: &Tensor, w: &Weight) -> Tensor {
        self.note("linear", touches(&[w], size(x) + x.rows() * w.rows()), |b| b.linear(x, w))
    }

    fn rms_norm(&mut self, x: &Tensor, gain: &Weight, eps: f32) -> Tensor {
        self.note("rms_norm", touches(&[gain], 2 * size(x)), |b| b.rms_norm(x, gain, eps))
    }

    fn layer_norm(&mut self, x: &Tensor, norm: &Weight, eps: f32) -> Tensor {
        self.note("layer_norm", touches(&[norm], 2 * size(x)), |b| b.layer_norm(x, norm, eps))
    }

    fn rope(&mut self, x: Tensor, rope: &Rope) -> Tensor {
        self.note("rope", touches(&[&rope.inverse_frequencies], 2 * size(&x)), |b| b.rope(x, rope))
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
        let values = 2 * size(q) + size(k) + size(v);
        self.note("attention", touches(&[], values), |b| b.attention(q, k, v, cache, layer, how))
    }

    fn gate(&mut self, gate: Tensor, up: &Tensor, f: Activation) -> Tensor {
        self.note("gate", touches(&[], 3 * size(up)), |b| b.gate(gate, up, f))
    }

    fn activate(&mut self, x: Tensor, f: Activation) -> Tensor {
        self.note("activate", touches(&[], 2 * size(&x)), |b| b.activate(x, f))
    }

    fn scale(&mut self, x: Tensor, factor: f32) -> Tensor {
        self.note("scale", touches(&[], 2 * size(&x)), |b| b.scale(x, factor))
    }

    fn add(&mut self, x: Tensor, y: &Tensor) -> Tensor {
        self.note("add", touches(&[], 3 * size(y)), |b| b.add(x, y))
    }

    fn softcap(&mut self, x: Tensor, cap: f32) -> Tensor {
        self.note("softcap", touches(&[], 2 * size(&x)), |b| b.softcap(x, cap))
    }

    fn sample(&mut self, key: u32, logits: &Tensor, how: &[(u32, Sampling)]) {
        self.note("sample", touches(&[], size(logits)), |b| b.sample(key, logits, how));
    }

    fn output(&mut self, key: u32, x: &Tensor) {
        self.note("output", touches(&[], size(x)), |b| b.output(key, x));
    }

    fn export_cells(&mut self, key: u32, cache: &Cache, layer: usize, pages: &[u32]) -> Result<(), BackendError> {
        self.inner.borrow_mut().export_cells(key, cache, layer, pages)
    }

    fn import_cells(&mut self, cache: &Cache, layer: usize, pages: &[u32], cells: &[u8]) -> Result<(), BackendError> {
        self.inner.borrow_mut().import_cells(cache, layer, pages, cells)
    }

    fn submit(&mut self) -> Ticket {
        self.note("submit", touches(&[], 0), |b| b.submit())
    }

    fn read(&mut self, ticket: Ticket) -> Read {
        self.note("read", touches(&[], 0), |b| b.read(ticket))
    }

    fn norm_linears(&mut self, x: &Tensor, gain: &Weight, eps: f32, ws: &[&Weight]) -> Vec<Tensor> {
        let results: usize = ws.iter().map(|w| x.rows() * w.rows()).sum();
        let weights: Vec<&Weight> = ws.iter().copied().chain([gain]).collect();
        self.note("norm_linears", touches(&weights, size(x) + results), |b| b.norm_linears(x, gain, eps, ws))
    }

    fn linear_add(&mut self, x: &Tensor, w: &Weight, residual: Tensor) -> Tensor {
        let values = size(x) + 2 * size(&residual);
        self.note("linear_add", touches(&[w], values), |b| b.linear_add(x, w, residual))
    }

    fn norm_gated(&mut self, x: &Tensor, gain: &Weight, eps: f32, gate: &Weight, up: &Weight, f: Activation) -> Tensor {
        let values = size(x) + x.rows() * up.rows();
        self.note("norm_gated", touches(&[gain, gate, up], values), |b| b.norm_gated(x, gain, eps, gate, up, f))
    }

    fn rope_attention(
        &mut self,
        q: Tensor,
        k: Tensor,
        v: &Tensor,
        rope: &Rope,
        cache: &Cache,
        layer: usize,
        how: &Attention,
    ) -> Tensor {
        let values = 2 * size(&q) + size(&k) + size(v);
        self.note("rope_attention", touches(&[&rope.inverse_frequencies], values), |b| {
            b.rope_attention(q, k, v, rope, cache, layer, how)
        })
    }
}

impl Profile {
    fn add_values(&mut self, name: &'static str, values: usize) {
        let mut placement = self.placement.borrow_mut();
        placement.operations.entry(name).or_default().activation_bytes += 4 * values as u64;
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::Recorder;

    #[test]
    fn every_call_is_timed_and_its_bytes_are_counted() {
        let now = Cell::new(0.0);
        let clock = move || {
            now.set(now.get() + 0.5);
            now.get()
        };
        let (mut b, placement) = Profile::new(Rc::new(RefCell::new(Recorder::new(|_| 0))), Box::new(clock));
        let matrix = BlockMatrix::quantize(&Matrix::zeros(4, 32), Encoding::Q8_0, None).expect("zeros");
        let w = b.upload(matrix.into(), Some(&[0.0; 4])).expect("no device to refuse");
        let gain = b.upload_norm(&[1.0; 32], None).expect("no device to refuse");
        let x = b.input(&Matrix::zeros(3, 32));
        let y = b.norm_linears(&x, &gain, 1e-5, &[&w, &w]);
        let z = b.linear(&x, &w);
        let _ = b.add(z, &y[0]);
        let placement = placement.borrow();
        let names: Vec<&str> = placement.operations.keys().copied().collect();
        assert_eq!(names, ["add", "input", "linear", "norm_linears"], "fused forms stay fused");
        let cost = |calls: u64, weight_bytes, values: u64| OperationCost {
            calls,
            seconds: 0.5,
            weight_bytes,
            activation_bytes: 4 * values,
        };
        assert_eq!(placement.operations["linear"], cost(1, 4 * 34, 3 * 32 + 3 * 4));
        assert_eq!(placement.operations["norm_linears"], cost(1, 2 * 4 * 34 + 128, 3 * 32 + 2 * 3 * 4));
        assert_eq!(placement.operations["add"], cost(1, 0, 3 * 3 * 4));
    }
}
