//! The back end: handles, memory, and the recording of operations.

mod attention;
mod bytes;
mod cells;
mod kernels;
mod linear;
mod rows;
mod sample;
mod step;
mod submit;
mod tokens;

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use honelm_backend::{
    Activation, Attention, Backend, BackendError, Cache, CacheSpec, CacheType, Read, Rope, Sampling, Slots, Step,
    Tensor, Ticket, Weight,
};
use honelm_blocks::{BlockMatrix, Encoding, WeightData};
use honelm_tensor::{Bytes, Matrix};
use wgpu::BufferUsages;

use crate::memory::{Check, Growing};
use crate::pack::{Fallback, PackedWeight};
use crate::pipelines::Extra;
use crate::ranges::{Range, Ranges};
use crate::readback::{Pending, Signal, StagingPool};
use crate::recording::{Bound, Command, Pinned, Recording};
use crate::shaders::{Constant, SUBGROUPS, SUMMING, Variant};
use crate::timing::{KernelTime, KernelTimes};
use crate::weights::{self, Stored};
use crate::{Gpu, cache, pack};
use linear::After;
use rows::Map;
use submit::Refilled;
use tokens::Tokens;

pub use bytes::DeviceBytes;

/// The value of an optional offset that is absent.
const NONE: u32 = u32::MAX;

/// The bytes of a weight that are on the host at once.
const SLAB: usize = 8 << 20;

/// The number of steps in flight: while the device computes one, the host prepares the next.
const STEPS_IN_FLIGHT: usize = 2;

/// The back end that runs language models on a GPU. Operations are recorded, and encoded when the step is submitted.
pub struct GpuBackend {
    gpu: Gpu,
    /// The matrices, in vectors of four.
    tensors: Slots<Range>,
    weights: Slots<Stored>,
    caches: Slots<cache::Store>,
    store: weights::Store,
    arena: Growing,
    ranges: Ranges,
    /// The end of the last vector of four that the step uses.
    arena_peak: u32,
    ring: Growing,
    tokens: Tokens,
    params: Refilled,
    words: Refilled,
    /// The bind group of the step's own buffers, and the buffer of vectors that it was created for.
    base: Option<(wgpu::Buffer, wgpu::BindGroup)>,
    recording: Recording,
    pending: HashMap<Ticket, Pending>,
    staging: StagingPool,
    checks: Vec<Check>,
    submitted: u64,
    /// The number of rows of the table that the last step embedded with.
    vocabulary: Option<usize>,
    dispatches: usize,
    pass_each: bool,
    fallback: Fallback,
    times: Option<KernelTimes>,
    /// `true` if steps are recorded for their kernels alone ([`GpuBackend::for_kernels`]).
    only_requests: bool,
}

/// Returns the number of values from one row to the next.
fn stride(cols: usize) -> usize {
    cols.next_multiple_of(4)
}

impl GpuBackend {
    /// Creates a back end on an opened device. All back ends of a device share its kernels.
    ///
    /// # Errors
    /// Fails if the smallest buffers do not fit in the device's memory.
    pub fn new(gpu: &Gpu) -> Result<Self, BackendError> {
        let mut checks = Vec::new();
        Ok(Self {
            tensors: Slots::default(),
            weights: Slots::default(),
            caches: Slots::default(),
            store: weights::Store::new(gpu, &mut checks)?,
            arena: Growing::new(gpu, "activations", &mut checks)?,
            ranges: Ranges::default(),
            arena_peak: 0,
            ring: Growing::new(gpu, "sampled tokens", &mut checks)?,
            tokens: Tokens::default(),
            params: Refilled::new(gpu, "parameters", BufferUsages::UNIFORM, &mut checks)?,
            words: Refilled::new(gpu, "numbers of the step", BufferUsages::STORAGE, &mut checks)?,
            base: None,
            recording: Recording::default(),
            pending: HashMap::new(),
            staging: StagingPool::default(),
            checks,
            submitted: 0,
            vocabulary: None,
            dispatches: 0,
            pass_each: false,
            fallback: Fallback::Refuse,
            times: None,
            only_requests: false,
            gpu: gpu.clone(),
        })
    }

    /// Returns the device.
    #[must_use]
    pub fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    /// With `true`, records each dispatch in a compute pass of its own, to measure its cost.
    pub fn set_pass_each(&mut self, pass_each: bool) {
        self.pass_each = pass_each;
    }

    /// Sets the treatment of weights that no layout holds without loss. By default they are rejected.
    pub fn set_fallback(&mut self, fallback: Fallback) {
        self.fallback = fallback;
    }

    /// Times every kernel from the next step on, each in its own pass. If the device has no clock, there are no times.
    pub fn time_kernels(&mut self) {
        self.times.get_or_insert_default();
    }

    /// Returns the times of the kernels of all steps read so far, by name; empty without [`GpuBackend::time_kernels`].
    #[must_use]
    pub fn kernel_times(&self) -> BTreeMap<&'static str, KernelTime> {
        self.times.as_ref().map(|times| times.borrow().clone()).unwrap_or_default()
    }

    /// Returns the number of dispatches of the last submitted step.
    #[must_use]
    pub fn dispatches(&self) -> usize {
        self.dispatches
    }

    /// Waits until the device has received all uploads so far. Natively, uploads wait by themselves. In a browser, the loader of a
    /// large model must wait now and then, or the copies in transit fill the memory.
    pub fn uploaded(&self) -> impl Future<Output = ()> + 'static {
        let (gpu, submission) = (self.gpu.clone(), self.gpu.inner.queue.submit([]));
        let signal = Signal::default();
        let answer = signal.clone();
        gpu.inner.queue.on_submitted_work_done(move || answer.set(true));
        async move {
            signal.wait(&gpu, submission).await;
        }
    }

    /// Frees the objects whose handles are gone.
    fn collect(&mut self) {
        for range in self.tensors.collect() {
            self.ranges.give(range);
        }
        // Recorded commands may still read weights and caches.
        if self.recording.is_empty() {
            let freed = self.weights.collect();
            if !self.only_requests {
                freed.iter().for_each(|stored| self.store.free(stored));
            }
            drop(self.caches.collect());
        }
    }

    /// Allocates a matrix with unspecified contents.
    fn tensor(&mut self, rows: usize, cols: usize) -> Tensor {
        self.collect();
        let range = self.room(rows * stride(cols) / 4);
        Tensor::new(self.tensors.insert(range), rows, cols)
    }

    /// Allocates vectors of four in the arena. If it has no room, the step fails.
    fn room(&mut self, vectors: usize) -> Range {
        let most = (self.gpu.max_binding() / 16).min(u64::from(u32::MAX / 4)) as u32;
        let range = u32::try_from(vectors).ok().and_then(|len| self.ranges.take(len, most));
        let Some(range) = range else {
            self.recording.cut(self.gpu.out_of_memory(vectors as u64 * 16, "the activations of a step"));
            return Range { start: 0, len: 0 };
        };
        self.arena_peak = self.arena_peak.max(range.start + range.len);
        range
    }

    /// Returns the offset of a matrix, in values.
    fn at(&self, x: &Tensor) -> u32 {
        self.tensors.get(x.guard()).start * 4
    }

    /// Returns the offset of a matrix, in vectors of four.
    fn at4(&self, x: &Tensor) -> u32 {
        self.tensors.get(x.guard()).start
    }

    /// Records a dispatch of `groups` workgroups.
    fn dispatch(&mut self, mut variant: Variant, bound: Bound, params: &[u32], groups: usize) {
        if groups == 0 {
            return;
        }
        let extra = match bound {
            Bound::Nothing => Extra::Nothing,
            Bound::Weight(_) => Extra::Weight,
            Bound::Cache(..) => Extra::Cache,
        };
        if variant.format.is_some() {
            variant.constants.extend(self.gpu.variants().format_constants());
        }
        if self.gpu.variants().subgroups && SUMMING.contains(&variant.op) {
            variant.constants.push(SUBGROUPS);
        }
        let inner = &self.gpu.inner;
        let most = inner.limits.max_compute_workgroups_per_dimension as usize;
        let wide = groups.min(most);
        let grid = [wide as u32, groups.div_ceil(wide) as u32];
        if self.only_requests {
            return inner.pipelines.request(&inner.device, variant, extra);
        }
        let kernel = inner.pipelines.get(&inner.device, variant, extra);
        let slot = self.recording.slot(params);
        self.recording.commands.push(Command { kernel, bound, slot, grid });
    }

    fn vector(&self, weight: &Weight) -> &weights::Vector {
        match self.weights.get(weight.guard()) {
            Stored::Vector(vector) => vector,
            Stored::Matrix(_) => panic!("a matrix [{}, {}] where a vector is needed", weight.rows(), weight.cols()),
        }
    }

    fn matrix(&self, weight: &Weight) -> &weights::Matrix {
        match self.weights.get(weight.guard()) {
            Stored::Matrix(matrix) => matrix,
            Stored::Vector(_) => panic!("a vector of {} where a matrix is needed", weight.cols()),
        }
    }

    fn packed(&self, weight: &WeightData) -> Result<PackedWeight, BackendError> {
        pack::pack(weight, self.fallback).map_err(|error| BackendError::UnsupportedEncoding {
            device: self.gpu.describe(),
            encoding: format!("{} ({error})", weight.encoding_name()),
        })
    }

    fn bits(&mut self, values: &[f32]) -> Result<Range, BackendError> {
        if self.only_requests {
            return Ok(Range { start: 0, len: 0 });
        }
        self.store.vector(&self.gpu, bytemuck::cast_slice(values), &mut self.checks)
    }

    fn keep_vector(&mut self, values: &[f32], bias: Option<&[f32]>) -> Result<Weight, BackendError> {
        self.collect();
        let range = self.bits(values)?;
        let bias = bias.map(|bias| self.bits(bias)).transpose()?;
        let stored = Stored::Vector(weights::Vector { values: values.to_vec(), range, bias });
        Ok(Weight::new(self.weights.insert(stored), 1, values.len()))
    }
}

/// Creates a variant without a format.
fn variant<const N: usize>(op: &'static str, constants: [(&'static str, Constant); N]) -> Variant {
    Variant { op, constants: constants.to_vec(), format: None }
}

impl Backend for GpuBackend {
    fn describe(&self) -> String {
        self.gpu.describe()
    }

    fn steps_in_flight(&self) -> usize {
        STEPS_IN_FLIGHT
    }

    fn upload(&mut self, weight: WeightData, bias: Option<&[f32]>) -> Result<Weight, BackendError> {
        let (rows, cols) = (weight.rows(), weight.cols());
        assert!(bias.is_none_or(|b| b.len() == rows), "a bias for each of {rows} rows");
        self.collect();
        let packed = self.packed(&weight)?;
        drop(weight);
        let layout = packed.layout;
        let pieces = self.store.reserve(&self.gpu, layout, [rows, cols], &mut self.checks)?;
        self.store.write(&self.gpu, &pieces, layout.row_words(cols), 0, &packed.words);
        let bias = bias.map(|bias| self.bits(bias)).transpose()?;
        let order = match &packed.order {
            Some(order) => Some(self.store.vector(&self.gpu, order, &mut self.checks)?),
            None => None,
        };
        let stored = Stored::Matrix(weights::Matrix { layout, pieces, bias, order, filled: rows });
        Ok(Weight::new(self.weights.insert(stored), rows, cols))
    }

    fn slab_bytes(&self) -> Option<usize> {
        Some(SLAB)
    }

    fn begin_weight(&mut self, encoding: Encoding, rows: usize, cols: usize) -> Result<Weight, BackendError> {
        self.collect();
        // A weight without rows has the layout that its rows will have.
        let none = BlockMatrix { encoding, rows: 0, cols, bytes: Bytes::new() };
        let layout = self.packed(&none.into())?.layout;
        let pieces = self.store.reserve(&self.gpu, layout, [rows, cols], &mut self.checks)?;
        let stored = Stored::Matrix(weights::Matrix { layout, pieces, bias: None, order: None, filled: 0 });
        Ok(Weight::new(self.weights.insert(stored), rows, cols))
    }

    fn fill_weight(&mut self, weight: &Weight, first: usize, rows: BlockMatrix) -> Result<(), BackendError> {
        let end = first + rows.rows;
        assert!(rows.cols == weight.cols() && end <= weight.rows(), "rows {first} to {end} of {}", weight.rows());
        let packed = self.packed(&rows.into())?;
        let Stored::Matrix(matrix) = self.weights.get_mut(weight.guard()) else {
            panic!("rows for a vector of {}", weight.cols());
        };
        assert_eq!((matrix.filled, matrix.layout), (first, packed.layout), "rows in order, of one encoding");
        matrix.filled = end;
        self.store.write(&self.gpu, &matrix.pieces, packed.layout.row_words(weight.cols()), first, &packed.words);
        Ok(())
    }

    fn upload_vector(&mut self, values: &[f32]) -> Result<Weight, BackendError> {
        self.keep_vector(values, None)
    }

    fn upload_norm(&mut self, gain: &[f32], bias: Option<&[f32]>) -> Result<Weight, BackendError> {
        assert!(bias.is_none_or(|b| b.len() == gain.len()), "a bias for each of {} gains", gain.len());
        self.keep_vector(gain, bias)
    }

    fn create_cache(&mut self, spec: CacheSpec) -> Result<Cache, BackendError> {
        assert!(spec.page_len > 0 && 256usize.is_multiple_of(spec.page_len), "pages of {} cells", spec.page_len);
        assert!(spec.layers.iter().all(|l| l.group < spec.groups.len()), "a layer of no group");
        let name = spec.element.name();
        // Half-precision numbers share words.
        let block = if spec.element == CacheType::F16 { 2 } else { spec.element.block_len() };
        if let Some(layer) = spec.layers.iter().find(|l| !l.head_width.is_multiple_of(block)) {
            let encoding = format!("a {name} cache with heads of {} values (not blocks of {block})", layer.head_width);
            return Err(BackendError::UnsupportedEncoding { device: self.describe(), encoding });
        }
        self.collect();
        Ok(Cache::new(self.caches.insert(cache::Store::new(spec.clone())), Rc::new(spec)))
    }

    fn begin(&mut self, step: Step, cache: &Cache) -> Result<(), BackendError> {
        self.begin_step(&step, cache)
    }

    fn embed(&mut self, table: &Weight) -> Tensor {
        self.embed_tokens(table)
    }

    fn positions(&mut self, table: &Weight, offset: usize) -> Tensor {
        let ids: Vec<u32> = self.recording.frame.positions.iter().map(|p| p + offset as u32).collect();
        let last = ids.iter().max().map_or(0, |p| *p as usize);
        assert!(last < table.rows(), "position {last} of a table of {}", table.rows());
        let at = self.recording.append(ids);
        self.look_up(table, at, self.recording.frame.rows)
    }

    fn input(&mut self, x: &Matrix) -> Tensor {
        let at = self.recording.append(bytemuck::cast_slice(&x.data).iter().copied());
        self.copied(true, [x.rows, x.cols], at, x.cols, NONE)
    }

    fn select(&mut self, x: &Tensor, rows: &[u32]) -> Tensor {
        assert!(rows.iter().all(|&r| (r as usize) < x.rows()), "a selected row is outside of {}", x.rows());
        let list = self.recording.append(rows.iter().copied());
        self.copied(false, [rows.len(), x.cols()], self.at(x), stride(x.cols()), list)
    }

    fn columns(&mut self, x: &Tensor, start: usize, width: usize) -> Tensor {
        assert!(start + width <= x.cols(), "columns {start} to {} of {}", start + width, x.cols());
        self.copied(false, [x.rows(), width], self.at(x) + start as u32, stride(x.cols()), NONE)
    }

    fn linear(&mut self, x: &Tensor, w: &Weight) -> Tensor {
        self.products(x, None, &[w], After::Keep).swap_remove(0)
    }

    fn rms_norm(&mut self, x: &Tensor, gain: &Weight, eps: f32) -> Tensor {
        self.norm(x, gain, eps, false)
    }

    fn layer_norm(&mut self, x: &Tensor, norm: &Weight, eps: f32) -> Tensor {
        self.norm(x, norm, eps, true)
    }

    fn rope(&mut self, x: Tensor, rope: &Rope) -> Tensor {
        self.rotate(x, rope)
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
        self.attend(q, k, v, None, cache, layer, options)
    }

    fn gate(&mut self, gate: Tensor, up: &Tensor, f: Activation) -> Tensor {
        self.map(gate, Some(up), Map::Gate(f))
    }

    fn activate(&mut self, x: Tensor, f: Activation) -> Tensor {
        self.map(x, None, Map::Activate(f))
    }

    fn scale(&mut self, x: Tensor, factor: f32) -> Tensor {
        self.map(x, None, Map::Scale(factor))
    }

    fn add(&mut self, x: Tensor, y: &Tensor) -> Tensor {
        self.map(x, Some(y), Map::Add)
    }

    fn softcap(&mut self, x: Tensor, cap: f32) -> Tensor {
        self.map(x, None, Map::Softcap(cap))
    }

    fn sample(&mut self, key: u32, logits: &Tensor, samplings: &[(u32, Sampling)]) {
        self.sample_rows(key, logits, samplings);
    }

    fn output(&mut self, key: u32, x: &Tensor) {
        // Checks that the tensor belongs to this back end.
        let _ = self.tensors.get(x.guard());
        self.recording.pinned.push((key, Pinned::Floats(x.clone())));
    }

    fn export_cells(&mut self, key: u32, cache: &Cache, layer: usize, pages: &[u32]) -> Result<(), BackendError> {
        self.recording.pinned.push((key, Pinned::Cells(cache.clone(), layer, pages.to_vec())));
        Ok(())
    }

    fn import_cells(&mut self, cache: &Cache, layer: usize, pages: &[u32], cells: &[u8]) -> Result<(), BackendError> {
        self.upload_cells(cache, layer, pages, cells)
    }

    fn submit(&mut self) -> Ticket {
        self.submit_recording()
    }

    fn read(&mut self, ticket: Ticket) -> Read {
        match self.pending.remove(&ticket) {
            Some(pending) => Box::pin(pending.finish()),
            None => Box::pin(std::future::ready(Err(BackendError::UnknownTicket(ticket.0)))),
        }
    }

    fn norm_linears(&mut self, x: &Tensor, gain: &Weight, eps: f32, ws: &[&Weight]) -> Vec<Tensor> {
        self.products(x, Some((gain, eps)), ws, After::Keep)
    }

    fn linear_add(&mut self, x: &Tensor, w: &Weight, residual: Tensor) -> Tensor {
        self.products(x, None, &[w], After::AddTo(residual)).swap_remove(0)
    }

    fn norm_gated(&mut self, x: &Tensor, gain: &Weight, eps: f32, gate: &Weight, up: &Weight, f: Activation) -> Tensor {
        self.products(x, Some((gain, eps)), &[gate, up], After::Gate(f)).swap_remove(0)
    }

    fn rope_attention(
        &mut self,
        q: Tensor,
        k: Tensor,
        v: &Tensor,
        rope: &Rope,
        cache: &Cache,
        layer: usize,
        options: &Attention,
    ) -> Tensor {
        self.attend(&q, &k, v, Some(rope), cache, layer, options)
    }
}
