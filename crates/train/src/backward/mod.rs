//! The gradients of the operations, from the last recorded one to the first.

mod attention;
mod norms;
mod pointwise;
mod products;

use std::collections::{BTreeMap, HashMap};

use honelm_backend::{Tensor, Token, Weight};
use honelm_tensor::Matrix;

use crate::tape::{Operation, Record, Tape};
use norms::NormGradient;

/// The gradient of a loss with respect to a weight and its bias.
#[derive(Debug, Clone, PartialEq)]
pub struct WeightGradient {
    /// That of the matrix `[out, in]`, or of a norm's gain `[1, n]`.
    pub weight: Matrix,
    /// That of the bias, if there is one. // `[out]`, for a norm `[n]`
    pub bias: Option<Vec<f32>>,
}

impl WeightGradient {
    /// Adds another gradient of the same weight.
    ///
    /// # Panics
    /// Panics if the shapes differ.
    pub fn add(&mut self, other: &Self) {
        add(&mut self.weight.data, &other.weight.data);
        if let (Some(bias), Some(other)) = (&mut self.bias, &other.bias) {
            add(bias, other);
        }
    }
}

/// The gradients of a loss with respect to the tensors and weights of a step.
#[derive(Debug, Default)]
pub struct Gradients {
    tensors: HashMap<u32, Matrix>,
    weights: BTreeMap<u32, WeightGradient>,
}

impl Gradients {
    /// Removes and returns the gradient with respect to a tensor that no operation of the step computed; `None` if the loss does
    /// not depend on it.
    pub fn take(&mut self, x: &Tensor) -> Option<Matrix> {
        self.tensors.remove(&x.index())
    }

    /// Removes and returns the gradient with respect to a weight; `None` if it was not wanted or not used.
    pub fn take_weight(&mut self, w: &Weight) -> Option<WeightGradient> {
        self.weights.remove(&w.index())
    }

    fn give(&mut self, x: &Tensor, gradient: Matrix) {
        match self.tensors.get_mut(&x.index()) {
            Some(sum) => add(&mut sum.data, &gradient.data),
            None => drop(self.tensors.insert(x.index(), gradient)),
        }
    }

    fn give_weight(&mut self, w: &Weight, gradient: WeightGradient) {
        match self.weights.get_mut(&w.index()) {
            Some(sum) => sum.add(&gradient),
            None => drop(self.weights.insert(w.index(), gradient)),
        }
    }
}

fn add(sum: &mut [f32], x: &[f32]) {
    assert_eq!(sum.len(), x.len(), "lengths of a sum");
    sum.iter_mut().zip(x).for_each(|(sum, x)| *sum += x);
}

impl Tape<'_> {
    /// Returns the gradients of a loss whose gradient with respect to `result` is `gradient`: those of the tensors that the step
    /// began with, and of the weights for which `wanted` is `true`.
    ///
    /// # Panics
    /// Panics if the step has not ended ([`Tape::finish`]), or if the shapes of `result` and `gradient` differ.
    #[must_use]
    pub fn backward(&self, result: &Tensor, gradient: Matrix, wanted: &dyn Fn(&Weight) -> bool) -> Gradients {
        assert_eq!((result.rows(), result.cols()), (gradient.rows, gradient.cols), "the shape of a gradient");
        let mut gradients = Gradients::default();
        gradients.give(result, gradient);
        for Record { operation, result } in self.records.iter().rev() {
            if let Some(dy) = gradients.take(result) {
                self.pull(operation, dy, wanted, &mut gradients);
            }
        }
        gradients
    }

    /// Adds the gradients of an operation's operands, given that of its result.
    fn pull(&self, operation: &Operation, dy: Matrix, wanted: &dyn Fn(&Weight) -> bool, to: &mut Gradients) {
        match operation {
            Operation::Embed(table) => {
                if wanted(table) {
                    let ids = self.step.tokens.iter().map(|token| match token {
                        Token::Id(id) => *id as usize,
                        Token::Sampled(..) => panic!("gradients of a token that was sampled"),
                    });
                    to.give_weight(table, of_table(table, ids, &dy));
                }
            }
            Operation::Positions(table, offset) => {
                if wanted(table) {
                    let rows = self.step.positions.iter().map(|position| *position as usize + offset);
                    to.give_weight(table, of_table(table, rows, &dy));
                }
            }
            Operation::Select(x, rows) => {
                let mut dx = Matrix::zeros(x.rows(), x.cols());
                for (&row, dy) in rows.iter().zip(dy.iter_rows()) {
                    add(dx.row_mut(row as usize), dy);
                }
                to.give(x, dx);
            }
            Operation::Columns(x, start) => {
                let mut dx = Matrix::zeros(x.rows(), x.cols());
                for (r, dy) in dy.iter_rows().enumerate() {
                    dx.row_mut(r)[*start..start + dy.len()].copy_from_slice(dy);
                }
                to.give(x, dx);
            }
            Operation::Linear(x, w) => {
                if wanted(w) {
                    let weight = products::transposed_times(self.pool, &dy, self.operand(x));
                    let bias = self.has_bias(w).then(|| products::column_sums(&dy));
                    to.give_weight(w, WeightGradient { weight, bias });
                }
                to.give(x, products::times(self.pool, &dy, self.matrix(w)));
            }
            Operation::RmsNorm(x, gain, eps) => {
                let NormGradient { x: dx, gain: dg, .. } =
                    norms::rms_norm(self.pool, self.operand(x), self.vector(gain), *eps, &dy);
                self.give_norm(gain, dg, None, wanted, to);
                to.give(x, dx);
            }
            Operation::LayerNorm(x, norm, eps) => {
                let NormGradient { x: dx, gain, bias } =
                    norms::layer_norm(self.pool, self.operand(x), self.vector(norm), *eps, &dy);
                self.give_norm(norm, gain, self.has_bias(norm).then_some(bias), wanted, to);
                to.give(x, dx);
            }
            Operation::Rope(x, rope) => {
                let frequencies = self.vector(&rope.inverse_frequencies);
                to.give(x, pointwise::rope(self.pool, dy, &self.step.positions, frequencies, rope));
            }
            Operation::Attention(qkv, heads) => {
                let values = [&qkv[0], &qkv[1], &qkv[2]].map(|x| self.operand(x));
                let gradients = attention::attention(self.pool, &self.step, values, heads, &dy);
                qkv.iter().zip(gradients).for_each(|(x, dx)| to.give(x, dx));
            }
            Operation::Gate(gate, up, f) => {
                let [dgate, dup] = pointwise::gate(self.pool, [self.operand(gate), self.operand(up)], *f, dy);
                to.give(gate, dgate);
                to.give(up, dup);
            }
            Operation::Activate(x, f) => to.give(x, pointwise::activate(self.pool, self.operand(x), *f, dy)),
            Operation::Scale(x, factor) => to.give(x, pointwise::scale(dy, *factor)),
            Operation::Add(x, y) => {
                to.give(y, dy.clone());
                to.give(x, dy);
            }
            Operation::Softcap(x, cap) => to.give(x, pointwise::softcap(self.pool, self.operand(x), *cap, dy)),
        }
    }

    fn give_norm(
        &self,
        w: &Weight,
        gain: Vec<f32>,
        bias: Option<Vec<f32>>,
        wanted: &dyn Fn(&Weight) -> bool,
        to: &mut Gradients,
    ) {
        if wanted(w) {
            to.give_weight(w, WeightGradient { weight: Matrix::new(1, gain.len(), gain), bias });
        }
    }
}

/// Adds each row of `dy` to the row of the table that it was looked up in.
fn of_table(table: &Weight, rows: impl Iterator<Item = usize>, dy: &Matrix) -> WeightGradient {
    let mut weight = Matrix::zeros(table.rows(), table.cols());
    for (row, dy) in rows.zip(dy.iter_rows()) {
        add(weight.row_mut(row), dy);
    }
    WeightGradient { weight, bias: None }
}
