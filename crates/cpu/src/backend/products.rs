//! Matrix products: the forms of the activations, and the buffers of the results.

use honelm_backend::{Activation, Backend, Slots, Tensor, Weight};
use honelm_tensor::Matrix;

use super::CpuBackend;
use crate::Output;
use crate::int8::Rounding;
use crate::linear::{self, Finish, Input, Linear, Part, Product};
use crate::values::Value;
use crate::weights::Stored;

impl CpuBackend {
    /// Creates the forms of `x` that products with `ws` need.
    fn prepare(&mut self, x: &Tensor, ws: &[&Weight]) {
        let (rows, cols) = (x.rows(), x.cols());
        for w in ws {
            assert_eq!(w.cols(), cols, "a product of [{rows}, {cols}] with [{}, {}]", w.rows(), w.cols());
            let weight = &self.weights.get(w.guard()).weight;
            let value = self.values.get_mut(x.guard());
            if let Stored::Int8(weight) = weight {
                let order = weight.column_order();
                if !value.quantized.iter().any(|(o, _)| o.as_deref() == order) {
                    let made = self.memory.quantize(value.data(), (rows, cols), order, self.isa, &self.pool);
                    value.quantized.push((order.map(<[u32]>::to_vec), made));
                }
            } else if rows > 1 && value.packed.is_none() {
                let mut packed = self.memory.buffer(rows * cols);
                linear::pack(&self.pool, self.isa, value.data(), cols, &mut packed[..rows * cols]);
                value.packed = Some(packed);
            }
        }
    }

    /// Returns the rounding that is chosen for the inputs of `w`.
    fn rounding(&self, w: &Weight) -> Option<Rounding> {
        match &self.weights.get(w.guard()).weight {
            Stored::Encoded(weight) if self.rounded.contains(&w.index()) => Rounding::of(weight),
            _ => None,
        }
    }

    /// Returns `true` if the same rounding is chosen for the inputs of all of `ws`.
    fn round_alike(&self, ws: &[&Weight]) -> bool {
        self.rounded.is_empty() || ws.windows(2).all(|pair| self.rounding(pair[0]) == self.rounding(pair[1]))
    }

    /// Returns `x`, rounded if that is chosen for `w`.
    fn rounded(&mut self, x: &Tensor, w: &Weight) -> Tensor {
        let Some(rounding) = self.rounding(w) else { return x.clone() };
        let exact = Matrix::new(x.rows(), x.cols(), self.values.get(x.guard()).data().to_vec());
        let rounded = rounding.values(&rounding.quantize(&exact, self.isa));
        let mut value = self.value(x.rows(), x.cols());
        value.data_mut().copy_from_slice(&rounded.data);
        self.tensor(value, x.rows(), x.cols())
    }

    /// Returns the product of `x` with each of `ws`.
    pub(super) fn products(&mut self, x: &Tensor, ws: &[&Weight]) -> Vec<Tensor> {
        if !self.round_alike(ws) {
            return ws.iter().flat_map(|w| self.products(x, &[w])).collect();
        }
        let x = &ws.first().map_or_else(|| x.clone(), |w| self.rounded(x, w));
        self.prepare(x, ws);
        let mut outs: Vec<Value> = ws.iter().map(|w| self.value(x.rows(), w.rows())).collect();
        let values = self.values.get(x.guard());
        let parts = ws.iter().zip(&mut outs).map(|(w, out)| part(&self.weights, (x, values), w, out));
        let products: Vec<_> = parts.map(|part| Product { part, finish: Finish::Keep }).collect();
        linear::run(&self.pool, self.isa, &mut self.threads, input(x, values), &products);
        drop(products);
        outs.into_iter().zip(ws).map(|(out, w)| self.tensor(out, x.rows(), w.rows())).collect()
    }

    /// Returns `residual` plus the product of `x` with `w`.
    pub(super) fn product_added(&mut self, x: &Tensor, w: &Weight, residual: Tensor) -> Tensor {
        assert_eq!((residual.rows(), residual.cols()), (x.rows(), w.rows()), "the shape of a residual");
        let x = &self.rounded(x, w);
        self.prepare(x, &[w]);
        let residual = self.own(residual);
        let mut sum = self.take(&residual);
        let mut out = self.value(x.rows(), w.rows());
        let values = self.values.get(x.guard());
        let product = Product {
            part: part(&self.weights, (x, values), w, &mut out),
            finish: Finish::AddTo(Output::new(sum.data_mut(), x.rows(), w.rows())),
        };
        linear::run(&self.pool, self.isa, &mut self.threads, input(x, values), &[product]);
        self.memory.give_back(out);
        *self.values.get_mut(residual.guard()) = sum;
        residual
    }

    /// Returns `f` of the product of `x` with `gate`, times the product of `x` with `up`.
    pub(super) fn products_gated(&mut self, x: &Tensor, gate: &Weight, up: &Weight, f: Activation) -> Tensor {
        assert_eq!(gate.rows(), up.rows(), "the gate and the up projection differ in width");
        if !self.round_alike(&[gate, up]) {
            let gated = self.products(x, &[gate]).swap_remove(0);
            let up = self.products(x, &[up]).swap_remove(0);
            return self.gate(gated, &up, f);
        }
        let x = &self.rounded(x, gate);
        self.prepare(x, &[gate, up]);
        let mut out = self.value(x.rows(), gate.rows());
        let mut gated = self.value(x.rows(), up.rows());
        let values = self.values.get(x.guard());
        let product = Product {
            part: part(&self.weights, (x, values), gate, &mut out),
            finish: Finish::Gate(part(&self.weights, (x, values), up, &mut gated), f),
        };
        linear::run(&self.pool, self.isa, &mut self.threads, input(x, values), &[product]);
        self.memory.give_back(gated);
        self.tensor(out, x.rows(), gate.rows())
    }
}

/// Returns the activations in single precision.
fn input<'a>(x: &Tensor, values: &'a Value) -> Input<'a> {
    Input { rows: x.rows(), cols: x.cols(), packed: values.packed.as_deref().unwrap_or(values.data()) }
}

/// Returns the product of `x` with `w`, written to `out`.
fn part<'a>(weights: &'a Slots<Linear>, (x, values): (&Tensor, &'a Value), w: &Weight, out: &'a mut Value) -> Part<'a> {
    let linear = weights.get(w.guard());
    let quantized = match &linear.weight {
        Stored::Int8(weight) => {
            values.quantized.iter().find(|(order, _)| order.as_deref() == weight.column_order()).map(|(_, rows)| rows)
        }
        _ => None,
    };
    Part { linear, quantized, out: Output::new(out.data_mut(), x.rows(), w.rows()) }
}
