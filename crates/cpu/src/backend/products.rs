//! Matrix products: the forms of the activations, the results' memory, and what follows.

use honelm_backend::{Activation, Tensor, Weight};

use super::CpuBackend;
use crate::Output;
use crate::linear::{self, Finish, Input, Part, Product};
use crate::values::Value;
use crate::weights::Stored;

/// What is done with products besides keeping them.
pub(super) enum After {
    Keep,
    AddTo(Tensor),
    Gate(Activation),
}

impl CpuBackend {
    /// Makes the forms of `x` that products with `ws` need.
    fn prepare(&mut self, x: &Tensor, ws: &[&Weight]) {
        let (rows, cols) = (x.rows(), x.cols());
        for w in ws {
            assert_eq!(w.cols(), cols, "a product of [{rows}, {cols}] with [{}, {}]", w.rows(), w.cols());
            let weight = &self.weights.get(w.guard()).weight;
            let value = self.values.get_mut(x.guard());
            if let Stored::Int8(weight) = weight {
                let order = weight.column_order();
                if !value.quantized.iter().any(|(o, _)| o.as_deref() == order) {
                    let made = self.memory.quantize(value.data(), (rows, cols), order, self.isa);
                    value.quantized.push((order.map(<[u32]>::to_vec), made));
                }
            } else if rows > 1 && value.packed.is_none() {
                let mut packed = self.memory.buffer(rows * cols);
                linear::pack(&self.pool, self.isa, value.data(), cols, &mut packed[..rows * cols]);
                value.packed = Some(packed);
            }
        }
    }

    /// The products of `x` with `ws`: one value each, or the first alone where they are gated.
    pub(super) fn products(&mut self, x: &Tensor, ws: &[&Weight], after: After) -> Vec<Tensor> {
        self.prepare(x, ws);
        let after = match after {
            After::AddTo(residual) => After::AddTo(self.own(residual)),
            other => other,
        };
        let rows = x.rows();
        let gated = matches!(after, After::Gate(_));
        assert!(!gated || ws[0].rows() == ws[1].rows(), "a gate and what it gates differ in width");
        let mut outs: Vec<Value> = ws.iter().map(|w| self.value(rows, w.rows())).collect();
        let mut target = match &after {
            After::AddTo(residual) => {
                assert_eq!((residual.rows(), residual.cols()), (rows, ws[0].rows()), "the shape of a residual");
                self.take(residual)
            }
            _ => Value::empty(),
        };
        let input = self.values.get(x.guard());
        let float = Input { rows, cols: x.cols(), packed: input.packed.as_deref().unwrap_or(input.data()) };
        let mut parts = ws.iter().zip(&mut outs).map(|(w, out)| {
            let linear = self.weights.get(w.guard());
            let quantized = match &linear.weight {
                Stored::Int8(weight) => {
                    input.quantized.iter().find(|(o, _)| o.as_deref() == weight.column_order()).map(|(_, q)| q)
                }
                _ => None,
            };
            Part { linear, quantized, out: Output::new(out.data_mut(), rows, w.rows()) }
        });
        let products: Vec<Product<'_>> = match &after {
            After::Keep => parts.map(|part| Product { part, finish: Finish::Keep }).collect(),
            After::AddTo(_) => {
                let target = Output::new(target.data_mut(), rows, ws[0].rows());
                parts.next().map(|part| Product { part, finish: Finish::AddTo(target) }).into_iter().collect()
            }
            After::Gate(f) => {
                let pair = parts.next().zip(parts.next());
                pair.map(|(part, up)| Product { part, finish: Finish::Gate(up, *f) }).into_iter().collect()
            }
        };
        linear::run(&self.pool, self.isa, &mut self.threads, float, &products);
        drop(products);
        self.finish_products(ws, rows, outs, (after, target))
    }

    fn finish_products(
        &mut self,
        ws: &[&Weight],
        rows: usize,
        outs: Vec<Value>,
        (after, target): (After, Value),
    ) -> Vec<Tensor> {
        match after {
            After::Keep => outs.into_iter().zip(ws).map(|(out, w)| self.tensor(out, rows, w.rows())).collect(),
            After::AddTo(residual) => {
                outs.into_iter().for_each(|out| self.memory.give_back(out));
                *self.values.get_mut(residual.guard()) = target;
                vec![residual]
            }
            After::Gate(_) => {
                let mut outs = outs.into_iter();
                let gated = outs.next().map(|out| self.tensor(out, rows, ws[0].rows()));
                outs.for_each(|up| self.memory.give_back(up));
                gated.into_iter().collect()
            }
        }
    }
}
