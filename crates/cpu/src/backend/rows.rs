//! Row-wise operations. They work in place if they can, and the pool's threads share the rows.

use honelm_backend::{Tensor, Weight};

use super::CpuBackend;
use crate::values::Value;
use crate::{Isa, Pool};

/// Operations on fewer values than this run on the calling thread.
const SERIAL: usize = 32 * 1024;

impl CpuBackend {
    /// Returns the same values under a handle that is not shared, copying them if necessary.
    pub(super) fn own(&mut self, x: Tensor) -> Tensor {
        if x.is_unique() {
            return x;
        }
        let mut copy = self.value(x.rows(), x.cols());
        copy.data_mut().copy_from_slice(self.values.get(x.guard()).data());
        self.tensor(copy, x.rows(), x.cols())
    }

    /// Takes out the values of an unshared handle, without the forms created from them.
    pub(super) fn take(&mut self, x: &Tensor) -> Value {
        let mut value = std::mem::replace(self.values.get_mut(x.guard()), Value::empty());
        self.memory.forget_forms(&mut value);
        value
    }

    /// Changes `x` in place, or a copy if the handle is shared.
    pub(super) fn change(&mut self, x: Tensor, f: impl FnOnce(&mut Self, &mut [f32])) -> Tensor {
        let x = self.own(x);
        let mut value = self.take(&x);
        f(self, value.data_mut());
        *self.values.get_mut(x.guard()) = value;
        x
    }

    /// Changes `x` by an element-wise operation.
    pub(super) fn each_value(&mut self, x: Tensor, f: impl Fn(Isa, &mut [f32]) + Sync) -> Tensor {
        let cols = x.cols();
        self.change(x, |b, data| {
            let isa = b.isa;
            by_rows(&b.pool, data, cols, |_, part| f(isa, part));
        })
    }

    /// Returns row `i + offset` of `table` for each `i` of `indices`; zeros for rows past the last.
    pub(super) fn lookup(&mut self, table: &Weight, indices: &[u32], offset: usize) -> Tensor {
        let (rows, cols) = (indices.len(), table.cols());
        let mut out = self.value(rows, cols);
        let weight = &self.weights.get(table.guard()).weight;
        by_rows(&self.pool, out.data_mut(), cols, |first, part| {
            for (row, index) in part.chunks_exact_mut(cols.max(1)).zip(&indices[first..]) {
                let index = *index as usize + offset;
                if index < weight.rows() {
                    weight.row(index, row);
                } else {
                    row.fill(0.0);
                }
            }
        });
        self.tensor(out, rows, cols)
    }
}

/// Calls `f(first row, rows)` for all rows of `data` `[.., cols]`. The pool's threads share the rows if there are many values.
pub(super) fn by_rows(pool: &Pool, data: &mut [f32], cols: usize, f: impl Fn(usize, &mut [f32]) + Sync) {
    if data.len() < SERIAL {
        f(0, data);
    } else {
        let rows = (data.len() / cols.max(1)).div_ceil(pool.threads() * 4).max(1);
        pool.run_parts(data, rows * cols.max(1), |i, part| f(i * rows, part));
    }
}
