//! Tests of the operator table: a correct back end passes, and each kind of bug is detected.

use honelm_backend::{
    Activation, Attention, Backend, BackendError, Cache, CacheSpec, Read, Rope, Sampling, Step, Tensor, Ticket, Token,
    Weight,
};
use honelm_blocks::WeightData;
use honelm_tensor::Matrix;
use honelm_testing::{Naive, OperatorCase, Tolerance, invariance_cases, operator_cases, run_operator_table};

#[test]
fn the_naive_back_end_passes() {
    run_operator_table(&mut || Box::new(Naive::with_slabs(1 << 20)), &Tolerance::F32);
}

/// A bug of a back end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bug {
    Embed,
    Input,
    Select,
    Linear,
    LinearNan,
    Norm,
    NormNan,
    Rope,
    Window,
    Tree,
    Causal,
    CopyOnWrite,
    Compaction,
    LayerNorm,
    NormBias,
    Columns,
    Positions,
    Gate,
    Activate,
    Scale,
    Add,
    Softcap,
    Sample,
    Token,
    FusedNorm,
    FusedAdd,
    FusedGate,
    FusedRope,
    Neighbours,
}

struct Wrong(Naive, Bug);

impl Wrong {
    /// Adds a small error to the last value of `x`.
    fn shift(&mut self, x: Tensor) -> Tensor {
        let (rows, cols) = (x.rows(), x.cols());
        let mut error = Matrix::zeros(rows, cols);
        if let Some(last) = error.data.last_mut() {
            *last = 0.01;
        }
        let error = self.0.input(&error);
        self.0.add(x, &error)
    }

    fn is(&self, bug: Bug) -> bool {
        self.1 == bug
    }

    fn shift_if(&mut self, bug: Bug, x: Tensor) -> Tensor {
        if self.is(bug) { self.shift(x) } else { x }
    }
}

impl Backend for Wrong {
    fn describe(&self) -> String {
        format!("wrong: {:?}", self.1)
    }
    fn upload(&mut self, weight: WeightData, bias: Option<&[f32]>) -> Result<Weight, BackendError> {
        self.0.upload(weight, bias)
    }
    fn upload_vector(&mut self, values: &[f32]) -> Result<Weight, BackendError> {
        self.0.upload_vector(values)
    }
    fn upload_norm(&mut self, gain: &[f32], bias: Option<&[f32]>) -> Result<Weight, BackendError> {
        self.0.upload_norm(gain, bias.filter(|_| !self.is(Bug::NormBias)))
    }
    fn create_cache(&mut self, spec: CacheSpec) -> Result<Cache, BackendError> {
        self.0.create_cache(spec)
    }
    fn begin(&mut self, mut step: Step, cache: &Cache) -> Result<(), BackendError> {
        use honelm_backend::Edit;
        match self.1 {
            Bug::Window => {
                for seen in step.groups.last_mut().into_iter().flat_map(|g| &mut g.seen) {
                    seen.first = (seen.first + 1).min(seen.end - 1);
                }
            }
            Bug::Tree => step.groups.iter_mut().for_each(|g| g.extra.iter_mut().for_each(|c| *c = c.saturating_sub(1))),
            Bug::Causal => {
                for seen in step.groups.iter_mut().flat_map(|g| g.seen.iter_mut().zip(&step.cells)) {
                    seen.0.end = seen.0.end.min(seen.1 + 1);
                }
            }
            Bug::CopyOnWrite => step.edits.retain(|e| !matches!(e, Edit::CopyPage { .. })),
            Bug::Compaction => step.edits.retain(|e| !matches!(e, Edit::CopyCell { .. })),
            Bug::Token => {
                for token in &mut step.tokens {
                    if matches!(token, Token::Sampled(..)) {
                        *token = Token::Id(0);
                    }
                }
            }
            _ => {}
        }
        self.0.begin(step, cache)
    }
    fn embed(&mut self, table: &Weight) -> Tensor {
        let x = self.0.embed(table);
        self.shift_if(Bug::Embed, x)
    }
    fn positions(&mut self, table: &Weight, offset: usize) -> Tensor {
        self.0.positions(table, if self.is(Bug::Positions) { 0 } else { offset })
    }
    fn input(&mut self, x: &Matrix) -> Tensor {
        let x = self.0.input(x);
        self.shift_if(Bug::Input, x)
    }
    fn select(&mut self, x: &Tensor, rows: &[u32]) -> Tensor {
        let mut rows = rows.to_vec();
        if self.is(Bug::Select) {
            rows.sort_unstable();
        }
        self.0.select(x, &rows)
    }
    fn columns(&mut self, x: &Tensor, start: usize, width: usize) -> Tensor {
        self.0.columns(x, if self.is(Bug::Columns) { 0 } else { start }, width)
    }
    fn linear(&mut self, x: &Tensor, w: &Weight) -> Tensor {
        let y = self.0.linear(x, w);
        match self.1 {
            Bug::Linear => self.shift(y),
            Bug::Neighbours if y.rows() > 1 => self.shift(y),
            // Conversion to integers usually turns NaN into a number.
            Bug::LinearNan => self.0.softcap_nan(y),
            _ => y,
        }
    }
    fn rms_norm(&mut self, x: &Tensor, gain: &Weight, eps: f32) -> Tensor {
        let y = self.0.rms_norm(x, gain, if self.is(Bug::Norm) { 2.0 * eps } else { eps });
        if self.is(Bug::NormNan) { self.0.softcap_nan(y) } else { y }
    }
    fn layer_norm(&mut self, x: &Tensor, norm: &Weight, eps: f32) -> Tensor {
        self.0.layer_norm(x, norm, if self.is(Bug::LayerNorm) { 2.0 * eps } else { eps })
    }
    fn rope(&mut self, x: Tensor, rope: &Rope) -> Tensor {
        let x = self.0.rope(x, rope);
        self.shift_if(Bug::Rope, x)
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
        self.0.attention(q, k, v, cache, layer, how)
    }
    fn gate(&mut self, gate: Tensor, up: &Tensor, f: Activation) -> Tensor {
        let f = if self.is(Bug::Gate) && f == Activation::Gelu { Activation::GeluTanh } else { f };
        self.0.gate(gate, up, f)
    }
    fn activate(&mut self, x: Tensor, f: Activation) -> Tensor {
        let f = if self.is(Bug::Activate) && f == Activation::GeluTanh { Activation::Gelu } else { f };
        self.0.activate(x, f)
    }
    fn scale(&mut self, x: Tensor, factor: f32) -> Tensor {
        let x = self.0.scale(x, factor);
        self.shift_if(Bug::Scale, x)
    }
    fn add(&mut self, x: Tensor, y: &Tensor) -> Tensor {
        let x = self.0.add(x, y);
        self.shift_if(Bug::Add, x)
    }
    fn softcap(&mut self, x: Tensor, cap: f32) -> Tensor {
        let x = self.0.softcap(x, cap);
        self.shift_if(Bug::Softcap, x)
    }
    fn sample(&mut self, key: u32, logits: &Tensor, how: &[(u32, Sampling)]) {
        let mut how = how.to_vec();
        if self.is(Bug::Sample) {
            how.iter_mut().for_each(|h| h.1.stream = 0);
        }
        self.0.sample(key, logits, &how);
    }
    fn output(&mut self, key: u32, x: &Tensor) {
        self.0.output(key, x);
    }
    fn submit(&mut self) -> Ticket {
        self.0.submit()
    }
    fn read(&mut self, ticket: Ticket) -> Read {
        self.0.read(ticket)
    }
    fn norm_linears(&mut self, x: &Tensor, gain: &Weight, eps: f32, ws: &[&Weight]) -> Vec<Tensor> {
        let mut out = self.0.norm_linears(x, gain, eps, ws);
        if self.is(Bug::FusedNorm) {
            out.swap(0, 1);
        }
        out
    }
    fn linear_add(&mut self, x: &Tensor, w: &Weight, residual: Tensor) -> Tensor {
        let y = self.0.linear_add(x, w, residual);
        self.shift_if(Bug::FusedAdd, y)
    }
    fn norm_gated(&mut self, x: &Tensor, gain: &Weight, eps: f32, gate: &Weight, up: &Weight, f: Activation) -> Tensor {
        let (gate, up) = if self.is(Bug::FusedGate) { (up, gate) } else { (gate, up) };
        self.0.norm_gated(x, gain, eps, gate, up, f)
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
        if self.is(Bug::FusedRope) {
            return self.0.attention(&q, &k, v, cache, layer, how);
        }
        self.0.rope_attention(q, k, v, rope, cache, layer, how)
    }
}

/// An operation that turns NaN into numbers.
trait SoftcapNan {
    fn softcap_nan(&mut self, x: Tensor) -> Tensor;
}

impl SoftcapNan for Naive {
    fn softcap_nan(&mut self, x: Tensor) -> Tensor {
        self.map(&x, |v| if v.is_nan() { 0.0 } else { v })
    }
}

#[test]
fn each_bug_is_caught() {
    use Bug::*;
    let bugs = [
        (Embed, "embed"),
        (Input, "input"),
        (Select, "select"),
        (Linear, "linear"),
        (LinearNan, "linear"),
        (Norm, "rms_norm"),
        (NormNan, "rms_norm"),
        (Rope, "rope"),
        (Window, "attention"),
        (Tree, "attention"),
        (Causal, "bidirectional attention"),
        (CopyOnWrite, "attention"),
        (Compaction, "attention"),
        (LayerNorm, "layer_norm"),
        (NormBias, "layer_norm"),
        (Columns, "columns"),
        (Positions, "positions"),
        (Gate, "gate Gelu"),
        (Activate, "activate GeluTanh"),
        (Scale, "scale"),
        (Add, "add"),
        (Softcap, "softcap"),
        (Sample, "sample"),
        (Token, "a sampled token"),
        (FusedNorm, "norm_linears"),
        (FusedAdd, "linear_add"),
        (FusedGate, "norm_gated"),
        (FusedRope, "rope_attention"),
    ];
    for (bug, prefix) in bugs {
        assert!(finds(operator_cases(), prefix, bug), "no case named {prefix} ... finds the bug {bug:?}");
    }
    assert!(finds(invariance_cases(), "linear Q4_0", Neighbours), "rows that depend on their neighbours");
}

/// Returns `true` if one of the cases whose names begin with `prefix` fails.
fn finds(cases: Vec<OperatorCase>, prefix: &str, bug: Bug) -> bool {
    cases.iter().filter(|case| case.name.starts_with(prefix)).any(|case| {
        let mut b = Wrong(Naive::new(), bug);
        let run = std::panic::AssertUnwindSafe(|| case.run(&mut b, &Tolerance::F32));
        !matches!(std::panic::catch_unwind(run), Ok(Ok(())))
    })
}
