use std::future::Future;
use std::pin::Pin;

use honelm_blocks::{BlockMatrix, Encoding, WeightData};
use honelm_tensor::Matrix;

use crate::{BackendError, Cache, CacheSpec, Sampling, Step, Tensor, Weight, fused};

/// The identifier of a submitted step on its device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// A result of a step, read by the key under which it was requested.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Activations, logits or hidden states.
    Floats(Matrix),
    /// Sampled tokens. // `[rows]`
    Tokens(Vec<u32>),
    /// The bytes of cached cells, as [`Backend::export_cells`] describes them.
    Cells(Vec<u8>),
}

/// The pinned results of a step, in the order of the [`Backend::output`] calls.
pub type Outputs = Vec<(u32, Value)>;

/// A pending read. It borrows nothing, so that the next step can be recorded in the meantime.
pub type Read = Pin<Box<dyn Future<Output = Result<Outputs, BackendError>> + 'static>>;

/// The non-linearity of a feed-forward network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// max(x, 0)
    Relu,
    /// x * sigmoid(x)
    Silu,
    /// x * Phi(x), exact.
    Gelu,
    /// The tanh approximation of [`Activation::Gelu`].
    GeluTanh,
}

/// Rotary position embedding (Su et al. 2021, eq. 34). The first half of a head is paired with the second half, as
/// in Hugging Face.
#[derive(Debug, Clone)]
pub struct Rope {
    /// The inverse frequencies, one per rotated pair, with scaling already applied. // [1, pairs]
    pub inverse_frequencies: Weight,
    /// The head width (E). Values from `2 * pairs` on are not rotated.
    pub head_width: usize,
    /// The factor on sine and cosine (yarn's attention factor), usually 1.
    pub magnitude: f32,
}

/// The attention settings of a layer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Attention {
    /// The number of query heads (H), a multiple of the layer's key-value heads.
    pub heads: usize,
    /// The factor on the scores, usually 1 / sqrt(E).
    pub scale: f32,
    /// The cap of the scores, which become `cap * tanh(score / cap)` (Gemma 2).
    pub softcap: Option<f32>,
}

/// A device that runs language models.
///
/// Operations are recorded between [`Backend::begin`] and [`Backend::submit`]. Shapes are checked during recording;
/// a wrong shape is a bug and panics. Device errors are returned by [`Backend::read`]. The result of an operation
/// depends only on the rows that its definition names, not on the values of other rows or on how many rows the step
/// has (batch invariance, class 1: bit for bit on the CPU).
pub trait Backend {
    /// Returns a description for the user, e.g. `cpu (avx512, 2 threads, fast)`.
    fn describe(&self) -> String;

    /// Returns the name of the device's arithmetic. The same weights, tokens and options give the same bits wherever it is the
    /// same.
    fn arithmetic(&self) -> String {
        self.describe()
    }

    /// Returns `true` if the bits of a row depend neither on the other rows of its step nor on their number.
    fn is_batch_invariant(&self) -> bool {
        false
    }

    /// Returns the number of steps that should be submitted before the first of them is read, so that the device never waits
    /// for the host. It is 1 for a device that computes a step when it is submitted.
    fn steps_in_flight(&self) -> usize {
        1
    }

    /// Uploads a weight matrix `[out, in]` in the device's own layout. Every [`Backend::linear`] with it adds the bias
    /// `[out]`, if there is one.
    fn upload(&mut self, weight: WeightData, bias: Option<&[f32]>) -> Result<Weight, BackendError>;

    /// Returns the largest slab that the device accepts, in bytes. Larger weights are uploaded in slabs of rows
    /// through [`Backend::begin_weight`]. Returns `None` for a device that reads weights in place and accepts no
    /// slabs.
    fn slab_bytes(&self) -> Option<usize> {
        None
    }

    /// Allocates a weight matrix `[rows, cols]` without bias, whose rows follow in slabs.
    ///
    /// # Panics
    /// Panics if [`Backend::slab_bytes`] is `None`.
    fn begin_weight(&mut self, encoding: Encoding, rows: usize, cols: usize) -> Result<Weight, BackendError> {
        panic!("{} accepts no slabs; found one of a {encoding} matrix [{rows}, {cols}]", self.describe())
    }

    /// Uploads rows of an allocated weight, from row `first` on. Every row must be uploaded once, in order. The weight
    /// may be used after the last row.
    ///
    /// # Panics
    /// Panics if rows are left out or have another encoding or width, which is a bug of the caller.
    fn fill_weight(&mut self, weight: &Weight, first: usize, rows: BlockMatrix) -> Result<(), BackendError> {
        panic!("{} accepts no slabs; found {} rows from {first} of {}", self.describe(), rows.rows, weight.rows())
    }

    /// Uploads a vector (rotary frequencies, the gain of an RMS norm) as an f32 weight `[1, n]`.
    fn upload_vector(&mut self, values: &[f32]) -> Result<Weight, BackendError>;

    /// Uploads a norm's gain as an f32 weight `[1, n]`. Every [`Backend::layer_norm`] with it adds the bias `[n]`, if
    /// there is one.
    fn upload_norm(&mut self, gain: &[f32], bias: Option<&[f32]>) -> Result<Weight, BackendError>;

    /// Creates an empty cache. Its pages are allocated when steps need them.
    fn create_cache(&mut self, spec: CacheSpec) -> Result<Cache, BackendError>;

    /// Begins a step: applies its edits to `cache`, and fixes the tokens, positions and page tables for the operations
    /// that follow. On an error, nothing has changed.
    fn begin(&mut self, step: Step, cache: &Cache) -> Result<(), BackendError>;

    /// Returns the rows of `table` `[V, D]` for the step's tokens. // -> [N, D]
    fn embed(&mut self, table: &Weight) -> Tensor;

    /// Returns row `position + offset` of `table` `[P, D]` for each row of the step. // -> [N, D]
    fn positions(&mut self, table: &Weight, offset: usize) -> Tensor;

    /// Uploads values as a tensor, such as the hidden states when layers are streamed.
    fn input(&mut self, x: &Matrix) -> Tensor;

    /// Returns the given rows of `x`, in the given order. // [N, D] -> [rows, D]
    fn select(&mut self, x: &Tensor, rows: &[u32]) -> Tensor;

    /// Returns columns `start..start + width` of `x`, such as a part of a fused projection. // [N, K] -> [N, width]
    fn columns(&mut self, x: &Tensor, start: usize, width: usize) -> Tensor;

    /// Computes x W^T + bias. // [N, K], [M, K] -> [N, M]
    fn linear(&mut self, x: &Tensor, w: &Weight) -> Tensor;

    /// Computes x / sqrt(mean(x^2) + eps) * gain over each run of `gain.cols()` values of a row: the whole row, or
    /// each head.
    fn rms_norm(&mut self, x: &Tensor, gain: &Weight, eps: f32) -> Tensor;

    /// Computes (x - mean(x)) / sqrt(variance(x) + eps) * gain + bias over each run of `norm.cols()` values of a row,
    /// where variance(x) = mean((x - mean(x))^2). The bias was uploaded with the norm.
    fn layer_norm(&mut self, x: &Tensor, norm: &Weight, eps: f32) -> Tensor;

    /// Rotates each head of each row to the row's position. // [N, heads * E]
    fn rope(&mut self, x: Tensor, rope: &Rope) -> Tensor;

    /// Writes k and v `[N, G * E]` to the rows' cells of `layer`, then computes the attention of every row of q `[N, H
    /// * E]` over the cells visible to it. // -> [N, H * E]
    fn attention(&mut self, q: &Tensor, k: &Tensor, v: &Tensor, cache: &Cache, layer: usize, how: &Attention)
    -> Tensor;

    /// Computes f(gate) * up per value. // [N, F]
    fn gate(&mut self, gate: Tensor, up: &Tensor, f: Activation) -> Tensor;

    /// Computes f(x) per value. // [N, F]
    fn activate(&mut self, x: Tensor, f: Activation) -> Tensor;

    /// Computes x * factor per value.
    fn scale(&mut self, x: Tensor, factor: f32) -> Tensor;

    /// Computes x + y. // [N, D]
    fn add(&mut self, x: Tensor, y: &Tensor) -> Tensor;

    /// Computes cap * tanh(x / cap) per value.
    fn softcap(&mut self, x: Tensor, cap: f32) -> Tensor;

    /// Samples one token per row of `logits` `[rows, V]` as [`crate::choose`] does. Each entry of `how` is the row of
    /// the step to which the token belongs ([`crate::Token::Sampled`] refers to it) and its settings. // `[rows]`
    fn sample(&mut self, key: u32, logits: &Tensor, how: &[(u32, Sampling)]);

    /// Pins `x` for reading under `key`.
    fn output(&mut self, key: u32, x: &Tensor);

    /// Pins the cells of `pages` of `layer` for reading under `key`, as [`Value::Cells`]: page after page, in each all cells
    /// in order, and in each cell the keys of all heads, then the values of all heads, as [`crate::LayerCache::plane_bytes`] bytes
    /// each. Numbers are little-endian. A Q8_0 plane holds all codes, then the scales, and is filled up to whole words. The
    /// step has no rows.
    ///
    /// # Errors
    /// [`BackendError::UnsupportedOperation`] if the device cannot do this.
    fn export_cells(&mut self, _key: u32, _cache: &Cache, _layer: usize, _pages: &[u32]) -> Result<(), BackendError> {
        Err(BackendError::UnsupportedOperation { device: self.describe(), operation: "export of cached cells" })
    }

    /// Replaces the cells of `pages` of `layer` by those that [`Backend::export_cells`] of a cache of the same shape gave. The
    /// pages are among those that the step declares. The step has no rows.
    ///
    /// # Errors
    /// [`BackendError::UnsupportedOperation`] if the device cannot do this, or the errors of an upload.
    ///
    /// # Panics
    /// Panics if `cells` has another length, which is a bug of the caller.
    fn import_cells(
        &mut self,
        _cache: &Cache,
        _layer: usize,
        _pages: &[u32],
        _cells: &[u8],
    ) -> Result<(), BackendError> {
        Err(BackendError::UnsupportedOperation { device: self.describe(), operation: "import of cached cells" })
    }

    /// Ends the step.
    fn submit(&mut self) -> Ticket;

    /// Reads the outputs of a step, which are ready at once on the CPU. A ticket can be read once.
    fn read(&mut self, ticket: Ticket) -> Read;

    /// Computes [`Backend::rms_norm`], then [`Backend::linear`] of the result with each of `ws`.
    fn norm_linears(&mut self, x: &Tensor, gain: &Weight, eps: f32, ws: &[&Weight]) -> Vec<Tensor> {
        fused::norm_linears(self, x, gain, eps, ws)
    }

    /// Computes residual + linear(x, w).
    fn linear_add(&mut self, x: &Tensor, w: &Weight, residual: Tensor) -> Tensor {
        fused::linear_add(self, x, w, residual)
    }

    /// Computes [`Backend::rms_norm`], then gate(linear(gate), linear(up)).
    fn norm_gated(&mut self, x: &Tensor, gain: &Weight, eps: f32, gate: &Weight, up: &Weight, f: Activation) -> Tensor {
        fused::norm_gated(self, x, gain, eps, gate, up, f)
    }

    /// Computes [`Backend::rope`] of q and k, then [`Backend::attention`].
    #[allow(clippy::too_many_arguments, reason = "the operands of one fused operation")]
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
        fused::rope_attention(self, q, k, v, rope, cache, layer, how)
    }
}
