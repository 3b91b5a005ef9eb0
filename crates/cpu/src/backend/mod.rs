//! The back end: handles, memory, and the order in which kernels run.

mod options;
mod products;
mod rows;

use std::collections::{HashMap, VecDeque};
use std::rc::Rc;

use honelm_backend::{
    Activation, Attention, Backend, BackendError, Cache, CacheSpec, Outputs, Read, Rope, Sampling, Slots, Step, Tensor,
    Ticket, Token, Value as Outcome, Weight, choose,
};
use honelm_blocks::WeightData;
use honelm_tensor::{AlignedVec, Matrix};

use crate::attention::{self, Results, Scratch};
use crate::cache::Store;
use crate::linear::{self, Linear};
use crate::rope::Table;
use crate::values::{Memory, Value};
use crate::weights::Stored;
use crate::{Isa, Output, Pool, activation};
use rows::by_rows;

pub use options::{AllocatedBytes, Compute, CpuOptions};

/// The number of steps whose sampled tokens a later step can refer to.
const SAMPLED_STEPS: usize = 64;

/// The working memory of one thread.
#[derive(Debug)]
struct ThreadMemory {
    linear: AlignedVec<f32>,
    attention: Scratch,
}

impl AsMut<[f32]> for ThreadMemory {
    fn as_mut(&mut self) -> &mut [f32] {
        &mut self.linear
    }
}

impl AsMut<Scratch> for ThreadMemory {
    fn as_mut(&mut self) -> &mut Scratch {
        &mut self.attention
    }
}

/// The step that is being recorded.
#[derive(Debug, Default)]
struct Recording {
    step: Step,
    tokens: Vec<u32>,
    /// Rotation tables, by weight and the bits of the magnitude.
    tables: Vec<((u32, u32), Table)>,
    outputs: Outputs,
    sampled: Vec<(u32, u32)>,
    failure: Option<BackendError>,
}

/// The back end that runs language models on the CPU. Operations run as they are recorded.
#[derive(Debug)]
pub struct CpuBackend {
    compute: Compute,
    isa: Isa,
    pool: Pool,
    threads: Vec<ThreadMemory>,
    /// Results of chunks of attention that threads share.
    chunks: Results,
    values: Slots<Value>,
    weights: Slots<Linear>,
    caches: Slots<Store>,
    memory: Memory,
    weight_bytes: usize,
    cache_bytes: usize,
    recording: Recording,
    results: HashMap<Ticket, Result<Outputs, BackendError>>,
    sampled: VecDeque<(Ticket, Vec<(u32, u32)>)>,
    submitted: u64,
    /// The number of rows of the table that the last step embedded with.
    vocabulary: Option<usize>,
    /// The numbers of the weights whose inputs are rounded although the products are computed in f32.
    rounded: Vec<u32>,
}

impl CpuBackend {
    /// Creates a back end with its own threads.
    #[must_use]
    pub fn new(options: CpuOptions) -> Self {
        let pool = Pool::new(options.threads);
        let memory = || ThreadMemory { linear: AlignedVec::zeroed(linear::SCRATCH), attention: Scratch::default() };
        Self {
            compute: options.compute,
            isa: options.isa.unwrap_or_else(Isa::detect),
            threads: (0..pool.threads()).map(|_| memory()).collect(),
            chunks: Results::default(),
            pool,
            values: Slots::default(),
            weights: Slots::default(),
            caches: Slots::default(),
            memory: Memory::default(),
            weight_bytes: 0,
            cache_bytes: 0,
            recording: Recording::default(),
            results: HashMap::new(),
            sampled: VecDeque::new(),
            submitted: 0,
            vocabulary: None,
            rounded: Vec::new(),
        }
    }

    /// Returns the bytes that are in use, by purpose.
    #[must_use]
    pub fn allocated_bytes(&mut self) -> AllocatedBytes {
        self.collect();
        let tables: usize = self.recording.tables.iter().map(|(_, table)| table.bytes()).sum();
        let scratch = |t: &ThreadMemory| size_of_val(&*t.linear) + t.attention.bytes();
        AllocatedBytes {
            weights: self.weight_bytes,
            cache: self.cache_bytes,
            activations: self.memory.bytes() + tables,
            scratch: self.threads.iter().map(scratch).sum::<usize>() + self.chunks.bytes(),
        }
    }

    /// Rounds the inputs of `weights`, and of no others, to the 8 bits that [`Compute::Fast`] rounds them to. The products are
    /// computed in f32, so that they differ from the exact ones by the rounding alone.
    ///
    /// Weights without an 8-bit kernel keep their inputs. The choice holds until the next call; the handles must live as long.
    ///
    /// # Panics
    /// Panics if the products are not computed in f32.
    pub fn round_inputs(&mut self, weights: &[&Weight]) {
        assert_eq!(self.compute, Compute::F32, "the arithmetic of a back end that rounds chosen inputs");
        self.rounded = weights.iter().map(|w| w.index()).collect();
    }

    /// Frees the objects whose handles are gone.
    fn collect(&mut self) {
        for value in self.values.collect() {
            self.memory.give_back(value);
        }
        for weight in self.weights.collect() {
            self.weight_bytes -= bytes(&weight);
        }
        for cache in self.caches.collect() {
            self.cache_bytes -= cache.bytes();
        }
    }

    fn value(&mut self, rows: usize, cols: usize) -> Value {
        self.collect();
        self.memory.value(rows * cols)
    }

    fn tensor(&mut self, value: Value, rows: usize, cols: usize) -> Tensor {
        self.collect();
        Tensor::new(self.values.insert(value), rows, cols)
    }

    fn keep_weight(&mut self, linear: Linear) -> Weight {
        self.collect();
        self.weight_bytes += bytes(&linear);
        let (rows, cols) = (linear.weight.rows(), linear.weight.cols());
        Weight::new(self.weights.insert(linear), rows, cols)
    }

    /// Returns a vector that was uploaded as a weight.
    fn vector(&self, weight: &Weight) -> &[f32] {
        match &self.weights.get(weight.guard()).weight {
            Stored::Vector(values) => values,
            _ => panic!("a matrix [{}, {}] where a vector is needed", weight.rows(), weight.cols()),
        }
    }

    /// Returns the index of the rotations of the step's rows, computed once per set of frequencies.
    fn table(&mut self, rope: &Rope) -> usize {
        let key = (rope.inverse_frequencies.index(), rope.magnitude.to_bits());
        if let Some(i) = self.recording.tables.iter().position(|(k, _)| *k == key) {
            return i;
        }
        let frequencies = self.vector(&rope.inverse_frequencies);
        let table = Table::new(&self.pool, &self.recording.step.positions, frequencies, rope.magnitude);
        self.recording.tables.push((key, table));
        self.recording.tables.len() - 1
    }

    fn resolve(&self, token: Token) -> Result<u32, BackendError> {
        let id = match token {
            Token::Id(id) => id,
            Token::Sampled(ticket, row) => {
                let rows = self.sampled.iter().find(|(t, _)| *t == ticket).map(|(_, rows)| rows);
                let found = rows.and_then(|rows| rows.iter().find(|(r, _)| *r == row));
                found.map(|(_, token)| *token).ok_or(BackendError::UnknownTicket(ticket.0))?
            }
        };
        match self.vocabulary {
            Some(vocabulary) if id as usize >= vocabulary => Err(BackendError::UnknownToken { token: id, vocabulary }),
            _ => Ok(id),
        }
    }
}

fn bytes(linear: &Linear) -> usize {
    linear.weight.bytes() + linear.bias.as_ref().map_or(0, |b| size_of_val(b.as_slice()))
}

impl Backend for CpuBackend {
    fn describe(&self) -> String {
        let compute = if self.compute == Compute::Fast { "fast" } else { "f32" };
        let threads = self.pool.threads();
        format!("cpu ({}, {threads} thread{}, {compute})", self.isa, if threads == 1 { "" } else { "s" })
    }

    fn is_batch_invariant(&self) -> bool {
        true
    }

    fn arithmetic(&self) -> String {
        format!("cpu ({}, {})", self.isa, if self.compute == Compute::Fast { "fast" } else { "f32" })
    }

    fn upload(&mut self, weight: WeightData, bias: Option<&[f32]>) -> Result<Weight, BackendError> {
        assert!(bias.is_none_or(|b| b.len() == weight.rows()), "a bias for each of {} rows", weight.rows());
        let weight = Stored::new(weight, self.compute, self.isa, &self.pool);
        Ok(self.keep_weight(Linear { weight, bias: bias.map(<[f32]>::to_vec) }))
    }

    fn upload_vector(&mut self, values: &[f32]) -> Result<Weight, BackendError> {
        Ok(self.keep_weight(Linear { weight: Stored::Vector(values.to_vec()), bias: None }))
    }

    fn upload_norm(&mut self, gain: &[f32], bias: Option<&[f32]>) -> Result<Weight, BackendError> {
        assert!(bias.is_none_or(|b| b.len() == gain.len()), "a bias for each of {} gains", gain.len());
        Ok(self.keep_weight(Linear { weight: Stored::Vector(gain.to_vec()), bias: bias.map(<[f32]>::to_vec) }))
    }

    fn create_cache(&mut self, spec: CacheSpec) -> Result<Cache, BackendError> {
        assert!(spec.page_len > 0 && 256usize.is_multiple_of(spec.page_len), "pages of {} cells", spec.page_len);
        assert!(spec.layers.iter().all(|l| l.group < spec.groups.len()), "a layer of no group");
        let block = spec.element.block_len();
        if let Some(layer) = spec.layers.iter().find(|l| !l.head_width.is_multiple_of(block)) {
            let (name, width) = (spec.element.name(), layer.head_width);
            let encoding = format!("a {name} cache with heads of {width} values (not blocks of {block})");
            return Err(BackendError::UnsupportedEncoding { device: self.describe(), encoding });
        }
        self.collect();
        Ok(Cache::new(self.caches.insert(Store::new(spec.clone())), Rc::new(spec)))
    }

    fn begin(&mut self, step: Step, cache: &Cache) -> Result<(), BackendError> {
        step.check(cache.spec())?;
        let tokens = step.tokens.iter().map(|token| self.resolve(*token)).collect::<Result<_, _>>()?;
        self.collect();
        let store = self.caches.get_mut(cache.guard());
        self.cache_bytes -= store.bytes();
        store.reserve(&step);
        store.apply(&step.edits);
        self.cache_bytes += store.bytes();
        self.recording = Recording { step, tokens, ..Recording::default() };
        Ok(())
    }

    fn embed(&mut self, table: &Weight) -> Tensor {
        self.vocabulary = Some(table.rows());
        if let Some(token) = self.recording.tokens.iter().copied().find(|t| *t as usize >= table.rows()) {
            self.recording.failure = Some(BackendError::UnknownToken { token, vocabulary: table.rows() });
        }
        let ids = std::mem::take(&mut self.recording.tokens);
        let out = self.lookup(table, &ids, 0);
        self.recording.tokens = ids;
        out
    }

    fn positions(&mut self, table: &Weight, offset: usize) -> Tensor {
        let positions = std::mem::take(&mut self.recording.step.positions);
        let last = positions.iter().max().map_or(0, |p| *p as usize + offset);
        assert!(last < table.rows(), "position {last} of a table of {}", table.rows());
        let out = self.lookup(table, &positions, offset);
        self.recording.step.positions = positions;
        out
    }

    fn input(&mut self, x: &Matrix) -> Tensor {
        let mut value = self.value(x.rows, x.cols);
        value.data_mut().copy_from_slice(&x.data);
        self.tensor(value, x.rows, x.cols)
    }

    fn select(&mut self, x: &Tensor, rows: &[u32]) -> Tensor {
        let cols = x.cols();
        let mut value = self.value(rows.len(), cols);
        let source = self.values.get(x.guard()).data();
        for (out, r) in value.data_mut().chunks_exact_mut(cols.max(1)).zip(rows) {
            out.copy_from_slice(&source[*r as usize * cols..][..cols]);
        }
        self.tensor(value, rows.len(), cols)
    }

    fn columns(&mut self, x: &Tensor, start: usize, width: usize) -> Tensor {
        let (rows, cols) = (x.rows(), x.cols());
        assert!(start + width <= cols, "columns {start} to {} of {cols}", start + width);
        let mut out = self.value(rows, width);
        let source = self.values.get(x.guard()).data();
        by_rows(&self.pool, out.data_mut(), width, |first, part| {
            for (out, row) in part.chunks_exact_mut(width.max(1)).zip(source[first * cols..].chunks_exact(cols.max(1)))
            {
                out.copy_from_slice(&row[start..start + width]);
            }
        });
        self.tensor(out, rows, width)
    }

    fn linear(&mut self, x: &Tensor, w: &Weight) -> Tensor {
        self.products(x, &[w]).swap_remove(0)
    }

    fn rms_norm(&mut self, x: &Tensor, gain: &Weight, eps: f32) -> Tensor {
        assert!(gain.cols() > 0 && x.cols().is_multiple_of(gain.cols()), "runs of {} in {}", gain.cols(), x.cols());
        let mut out = self.value(x.rows(), x.cols());
        let (source, gain) = (self.values.get(x.guard()).data(), self.vector(gain));
        let (isa, cols) = (self.isa, x.cols());
        by_rows(&self.pool, out.data_mut(), cols, |first, part| {
            activation::rms_norm(isa, &source[first * cols..][..part.len()], gain, eps, part);
        });
        self.tensor(out, x.rows(), x.cols())
    }

    fn layer_norm(&mut self, x: &Tensor, norm: &Weight, eps: f32) -> Tensor {
        assert!(norm.cols() > 0 && x.cols().is_multiple_of(norm.cols()), "runs of {} in {}", norm.cols(), x.cols());
        let mut out = self.value(x.rows(), x.cols());
        let (source, gain) = (self.values.get(x.guard()).data(), self.vector(norm));
        let bias = self.weights.get(norm.guard()).bias.as_deref().unwrap_or_default();
        let (isa, cols) = (self.isa, x.cols());
        by_rows(&self.pool, out.data_mut(), cols, |first, part| {
            activation::layer_norm(isa, &source[first * cols..][..part.len()], gain, bias, eps, part);
        });
        self.tensor(out, x.rows(), x.cols())
    }

    fn rope(&mut self, x: Tensor, rope: &Rope) -> Tensor {
        let (cols, width) = (x.cols(), rope.head_width);
        assert!(
            2 * rope.inverse_frequencies.cols() <= width && cols.is_multiple_of(width),
            "heads of {width} in {cols}"
        );
        assert_eq!(x.rows(), self.recording.step.rows(), "the number of rows of the step");
        let table = self.table(rope);
        self.change(x, |b, data| {
            let (isa, table) = (b.isa, &b.recording.tables[table].1);
            by_rows(&b.pool, data, cols, |first, part| {
                for (i, row) in part.chunks_exact_mut(cols).enumerate() {
                    table.rotate(isa, first + i, row, width);
                }
            });
        })
    }

    fn attention(
        &mut self,
        q: &Tensor,
        k: &Tensor,
        v: &Tensor,
        cache: &Cache,
        layer: usize,
        options: &Attention,
    ) -> Tensor {
        let shape = cache.spec().layers[layer];
        let (rows, kv) = (self.recording.step.rows(), shape.kv_heads * shape.head_width);
        assert!(shape.kv_heads > 0 && options.heads.is_multiple_of(shape.kv_heads), "{} heads", options.heads);
        assert_eq!((q.rows(), q.cols()), (rows, options.heads * shape.head_width), "the shape of queries");
        assert_eq!((k.rows(), k.cols()), (rows, kv), "the shape of keys");
        assert_eq!((v.rows(), v.cols()), (rows, kv), "the shape of values");
        let mut out = self.value(rows, q.cols());
        let data = |x: &Tensor| self.values.get(x.guard()).data();
        let call = attention::Call { step: &self.recording.step, layer, options, q: data(q), k: data(k), v: data(v) };
        let store = self.caches.get_mut(cache.guard());
        let result = Output::new(out.data_mut(), rows, q.cols());
        attention::run(&self.pool, self.isa, (&mut self.threads, &mut self.chunks), store, &call, &result);
        self.tensor(out, rows, q.cols())
    }

    fn gate(&mut self, gate: Tensor, up: &Tensor, f: Activation) -> Tensor {
        assert_eq!((gate.rows(), gate.cols()), (up.rows(), up.cols()), "shapes of a gate");
        let cols = up.cols();
        self.change(gate, |b, data| {
            let (isa, up) = (b.isa, b.values.get(up.guard()).data());
            by_rows(&b.pool, data, cols, |first, part| {
                activation::gate(isa, part, &up[first * cols..], f);
            });
        })
    }

    fn add(&mut self, x: Tensor, y: &Tensor) -> Tensor {
        assert_eq!((x.rows(), x.cols()), (y.rows(), y.cols()), "shapes of a sum");
        let cols = y.cols();
        self.change(x, |b, data| {
            let (isa, y) = (b.isa, b.values.get(y.guard()).data());
            by_rows(&b.pool, data, cols, |first, part| activation::add(isa, part, &y[first * cols..]));
        })
    }

    fn activate(&mut self, x: Tensor, f: Activation) -> Tensor {
        self.each_value(x, |isa, part| activation::activate(isa, part, f))
    }

    fn scale(&mut self, x: Tensor, factor: f32) -> Tensor {
        self.each_value(x, |isa, part| activation::scale(isa, part, factor))
    }

    fn softcap(&mut self, x: Tensor, cap: f32) -> Tensor {
        self.each_value(x, |isa, part| activation::softcap(isa, part, cap))
    }

    fn sample(&mut self, key: u32, logits: &Tensor, samplings: &[(u32, Sampling)]) {
        assert_eq!(logits.rows(), samplings.len(), "settings for each row of logits");
        let data = self.values.get(logits.guard()).data();
        let step = &self.recording.step;
        let rows = data.chunks_exact(logits.cols().max(1)).zip(samplings);
        let tokens: Vec<u32> = rows
            .map(|(logits, (row, sampling))| choose(logits, sampling, u64::from(step.positions[*row as usize])))
            .collect();
        self.recording.sampled.extend(samplings.iter().map(|(row, _)| *row).zip(tokens.iter().copied()));
        self.recording.outputs.push((key, Outcome::Tokens(tokens)));
    }

    fn output(&mut self, key: u32, x: &Tensor) {
        let values = self.values.get(x.guard()).data().to_vec();
        self.recording.outputs.push((key, Outcome::Floats(Matrix::new(x.rows(), x.cols(), values))));
    }

    fn export_cells(&mut self, key: u32, cache: &Cache, layer: usize, pages: &[u32]) -> Result<(), BackendError> {
        let cells = self.caches.get(cache.guard()).export(layer, pages);
        self.recording.outputs.push((key, Outcome::Cells(cells)));
        Ok(())
    }

    fn import_cells(&mut self, cache: &Cache, layer: usize, pages: &[u32], cells: &[u8]) -> Result<(), BackendError> {
        self.caches.get_mut(cache.guard()).import(layer, pages, cells);
        Ok(())
    }

    fn submit(&mut self) -> Ticket {
        let recording = std::mem::take(&mut self.recording);
        self.submitted += 1;
        let ticket = Ticket(self.submitted);
        if !recording.sampled.is_empty() {
            if self.sampled.len() == SAMPLED_STEPS {
                self.sampled.pop_front();
            }
            self.sampled.push_back((ticket, recording.sampled));
        }
        self.results.insert(ticket, recording.failure.map_or(Ok(recording.outputs), Err));
        self.collect();
        self.memory.end_step();
        ticket
    }

    fn read(&mut self, ticket: Ticket) -> Read {
        let result = self.results.remove(&ticket).unwrap_or(Err(BackendError::UnknownTicket(ticket.0)));
        Box::pin(std::future::ready(result))
    }

    fn norm_linears(&mut self, x: &Tensor, gain: &Weight, eps: f32, ws: &[&Weight]) -> Vec<Tensor> {
        let h = self.rms_norm(x, gain, eps);
        self.products(&h, ws)
    }

    fn linear_add(&mut self, x: &Tensor, w: &Weight, residual: Tensor) -> Tensor {
        self.product_added(x, w, residual)
    }

    fn norm_gated(&mut self, x: &Tensor, gain: &Weight, eps: f32, gate: &Weight, up: &Weight, f: Activation) -> Tensor {
        let h = self.rms_norm(x, gain, eps);
        self.products_gated(&h, gate, up, f)
    }
}
