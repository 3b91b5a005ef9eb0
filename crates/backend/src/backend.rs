use std::future::Future;
use std::pin::Pin;

use honelm_blocks::{BlockMatrix, Encoding, WeightData};
use honelm_tensor::Matrix;

use crate::{BackendError, Cache, CacheSpec, Sampling, Step, Tensor, Weight, fused};

/// Names a submitted step on its device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// What a step computed, by the key it was asked for with.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Activations, logits, hidden states.
    Floats(Matrix),
    /// Sampled tokens. // `[rows]`
    Tokens(Vec<u32>),
}

/// The pinned results of a step in the order of the [`Backend::output`] calls.
pub type Outputs = Vec<(u32, Value)>;

/// A read that borrows nothing, so that the next step can be recorded while it waits.
pub type Read = Pin<Box<dyn Future<Output = Result<Outputs, BackendError>> + 'static>>;

/// The non-linearity of a feed-forward layer.
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

/// Rotary position embedding (Su et al. 2021, eq. 34), first half paired with second half as in Hugging Face.
#[derive(Debug, Clone)]
pub struct Rope {
    /// Inverse frequencies, one a rotated pair, scaling already applied. // [1, pairs]
    pub inverse_frequencies: Weight,
    /// Head width (E); values from `2 * pairs` on pass unrotated.
    pub head_width: usize,
    /// Factor on sine and cosine (yarn's attention factor), usually 1.
    pub magnitude: f32,
}

/// How a layer attends.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Attention {
    /// Query heads (H), a multiple of the layer's key-value heads.
    pub heads: usize,
    /// Factor on the scores, usually 1 / sqrt(E).
    pub scale: f32,
    /// Scores become `cap * tanh(score / cap)` (gemma 2).
    pub softcap: Option<f32>,
}

/// A device that runs language models.
///
/// Operations are recorded between [`Backend::begin`] and [`Backend::submit`]; shapes are checked when
/// recording (a wrong one is a bug and panics), device errors surface at [`Backend::read`]. No operation's
/// result depends on the values of another row than those its definition names, nor on how many rows
/// stand beside it (batch invariance, class 1: bit for bit on the CPU).
pub trait Backend {
    /// What a user calls it, e.g. `cpu (avx512, 2 threads, fast)`.
    fn describe(&self) -> String;

    /// Takes a weight matrix `[out, in]` into the device's own layout, with the bias `[out]` that every
    /// [`Backend::linear`] with it adds.
    fn upload(&mut self, weight: WeightData, bias: Option<&[f32]>) -> Result<Weight, BackendError>;

    /// The most bytes of a weight that the device wants at once; larger ones come in slabs of rows, through
    /// [`Backend::begin_weight`]. `None` for a device that reads weights where they are, and takes no slabs.
    fn slab_bytes(&self) -> Option<usize> {
        None
    }

    /// Makes room for a weight matrix `[rows, cols]` without bias, whose rows follow.
    ///
    /// # Panics
    /// Where [`Backend::slab_bytes`] is `None`.
    fn begin_weight(&mut self, encoding: Encoding, rows: usize, cols: usize) -> Result<Weight, BackendError> {
        panic!("{} takes no slabs, here of a {encoding} matrix [{rows}, {cols}]", self.describe())
    }

    /// Gives the rows from `first` on of a weight that was begun. Rows come in order, each once, and the weight may be used
    /// when the last one is there.
    ///
    /// # Panics
    /// Where rows are left out, or come in another encoding or width: a bug of the caller.
    fn fill_weight(&mut self, weight: &Weight, first: usize, rows: BlockMatrix) -> Result<(), BackendError> {
        panic!("{} takes no slabs, here {} rows from {first} of {}", self.describe(), rows.rows, weight.rows())
    }

    /// Takes a vector (rotary frequencies, the gain of an RMS norm) as a weight `[1, n]` in f32.
    fn upload_vector(&mut self, values: &[f32]) -> Result<Weight, BackendError>;

    /// Takes a norm's gain as a weight `[1, n]` in f32, with the bias `[n]` that every [`Backend::layer_norm`] with it adds.
    fn upload_norm(&mut self, gain: &[f32], bias: Option<&[f32]>) -> Result<Weight, BackendError>;

    /// Makes an empty cache; its pages are allocated as steps need them.
    fn create_cache(&mut self, spec: CacheSpec) -> Result<Cache, BackendError>;

    /// Begins a step: applies its edits to `cache` and fixes tokens, positions and page tables for the
    /// operations that follow. Refuses before changing anything.
    fn begin(&mut self, step: Step, cache: &Cache) -> Result<(), BackendError>;

    /// Rows of `table` `[V, D]` for the step's tokens. // -> [N, D]
    fn embed(&mut self, table: &Weight) -> Tensor;

    /// Row `position + offset` of `table` `[P, D]` for each row of the step. // -> [N, D]
    fn positions(&mut self, table: &Weight, offset: usize) -> Tensor;

    /// Values from outside as a tensor: hidden states when blocks are streamed.
    fn input(&mut self, x: &Matrix) -> Tensor;

    /// The named rows of `x`, in that order. // [N, D] -> [rows, D]
    fn select(&mut self, x: &Tensor, rows: &[u32]) -> Tensor;

    /// Columns `start..start + width` of `x`: a part of what a fused projection gives. // [N, K] -> [N, width]
    fn columns(&mut self, x: &Tensor, start: usize, width: usize) -> Tensor;

    /// x W^T + bias. // [N, K], [M, K] -> [N, M]
    fn linear(&mut self, x: &Tensor, w: &Weight) -> Tensor;

    /// x / sqrt(mean(x^2) + eps) * gain over each run of `gain.cols()` values of a row: the whole row, or
    /// every head of it.
    fn rms_norm(&mut self, x: &Tensor, gain: &Weight, eps: f32) -> Tensor;

    /// (x - mean(x)) / sqrt(variance(x) + eps) * gain + bias over each run of `norm.cols()` values of a row, the variance
    /// being mean((x - mean(x))^2); the bias is the one that the norm was uploaded with.
    fn layer_norm(&mut self, x: &Tensor, norm: &Weight, eps: f32) -> Tensor;

    /// Rotates each head of each row to the row's position. // [N, heads * E]
    fn rope(&mut self, x: Tensor, rope: &Rope) -> Tensor;

    /// Writes k and v `[N, G * E]` to the rows' cells of `layer`, then lets every row of q `[N, H * E]` attend to the cells
    /// that it sees. // -> [N, H * E]
    fn attention(&mut self, q: &Tensor, k: &Tensor, v: &Tensor, cache: &Cache, layer: usize, how: &Attention)
    -> Tensor;

    /// f(gate) * up, value by value. // [N, F]
    fn gate(&mut self, gate: Tensor, up: &Tensor, f: Activation) -> Tensor;

    /// f(x), value by value. // [N, F]
    fn activate(&mut self, x: Tensor, f: Activation) -> Tensor;

    /// x * factor, value by value.
    fn scale(&mut self, x: Tensor, factor: f32) -> Tensor;

    /// x + y. // [N, D]
    fn add(&mut self, x: Tensor, y: &Tensor) -> Tensor;

    /// cap * tanh(x / cap), value by value.
    fn softcap(&mut self, x: Tensor, cap: f32) -> Tensor;

    /// One token for each row of `logits` `[rows, V]`, as [`crate::choose`] defines it; `row` and `how` name the step's row that the
    /// token belongs to ([`crate::Token::Sampled`] refers to it) and its settings. // `[rows]`
    fn sample(&mut self, key: u32, logits: &Tensor, how: &[(u32, Sampling)]);

    /// Pins `x` to be read under `key`.
    fn output(&mut self, key: u32, x: &Tensor);

    /// Ends the step.
    fn submit(&mut self) -> Ticket;

    /// The outputs of a step; ready at once on the CPU. Each ticket is read at most once.
    fn read(&mut self, ticket: Ticket) -> Read;

    /// [`Backend::rms_norm`], then each of `ws` on the result.
    fn norm_linears(&mut self, x: &Tensor, gain: &Weight, eps: f32, ws: &[&Weight]) -> Vec<Tensor> {
        fused::norm_linears(self, x, gain, eps, ws)
    }

    /// residual + linear(x, w).
    fn linear_add(&mut self, x: &Tensor, w: &Weight, residual: Tensor) -> Tensor {
        fused::linear_add(self, x, w, residual)
    }

    /// [`Backend::rms_norm`], then gate(linear(gate), linear(up)).
    fn norm_gated(&mut self, x: &Tensor, gain: &Weight, eps: f32, gate: &Weight, up: &Weight, f: Activation) -> Tensor {
        fused::norm_gated(self, x, gain, eps, gate, up, f)
    }

    /// [`Backend::rope`] of q and k, then [`Backend::attention`].
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
