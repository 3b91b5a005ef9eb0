//! Activation values, and the buffers that they reuse.

use honelm_tensor::AlignedVec;

use crate::int8::{QuantizedRows, quantize_ordered};
use crate::{Isa, Pool};

/// The number of steps after which an unused buffer is freed.
const KEPT_STEPS: u64 = 2;

/// Activations `[rows, cols]`. The buffer may be longer.
#[derive(Debug)]
pub(crate) struct Value {
    buffer: AlignedVec<f32>,
    len: usize,
    /// The values in panels for float products, created when first needed.
    pub(crate) packed: Option<AlignedVec<f32>>,
    /// The rows rounded to 8 bits with their columns in the given order, created when first needed.
    pub(crate) quantized: Vec<(Option<Vec<u32>>, QuantizedRows)>,
}

impl Value {
    pub(crate) fn data(&self) -> &[f32] {
        &self.buffer[..self.len]
    }

    /// Returns the values for writing. The packed and rounded forms must not exist yet.
    pub(crate) fn data_mut(&mut self) -> &mut [f32] {
        assert!(self.packed.is_none() && self.quantized.is_empty(), "values change while forms of them exist");
        &mut self.buffer[..self.len]
    }

    /// Returns an empty value, which stands in while the values are borrowed mutably.
    pub(crate) fn empty() -> Self {
        Self { buffer: AlignedVec::zeroed(0), len: 0, packed: None, quantized: Vec::new() }
    }
}

/// Free buffers, and the number of bytes of all buffers.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    /// Free buffers, each with the step that last used it.
    free: Vec<(u64, AlignedVec<f32>)>,
    quantized: Vec<(u64, QuantizedRows)>,
    step: u64,
    bytes: usize,
}

impl Memory {
    /// Returns a buffer of at least `len` floats with unspecified contents.
    pub(crate) fn buffer(&mut self, len: usize) -> AlignedVec<f32> {
        let fitting = self.free.iter().enumerate().filter(|(_, (_, b))| b.len() >= len && b.len() / 8 <= len);
        match fitting.min_by_key(|(_, (_, b))| b.len()).map(|(i, _)| i) {
            Some(i) => self.free.swap_remove(i).1,
            None => {
                self.bytes += len * size_of::<f32>();
                AlignedVec::zeroed(len)
            }
        }
    }

    /// Returns a value of `len` floats with unspecified contents.
    pub(crate) fn value(&mut self, len: usize) -> Value {
        Value { buffer: self.buffer(len), len, packed: None, quantized: Vec::new() }
    }

    /// Returns the rows of `x` `[rows, cols]` rounded to 8 bits, with their columns in `order`.
    pub(crate) fn quantize(
        &mut self,
        x: &[f32],
        shape: (usize, usize),
        order: Option<&[u32]>,
        isa: Isa,
        pool: &Pool,
    ) -> QuantizedRows {
        let mut out = self.quantized.pop().map(|(_, rows)| rows).unwrap_or_default();
        self.bytes -= QuantizedRows::bytes(out.rows(), out.cols());
        quantize_ordered(x, shape, order, isa, Some(pool), &mut out);
        self.bytes += QuantizedRows::bytes(shape.0, shape.1);
        out
    }

    /// Takes back the buffers of a value that is no longer used.
    pub(crate) fn give_back(&mut self, mut value: Value) {
        self.forget_forms(&mut value);
        self.free.push((self.step, value.buffer));
    }

    /// Takes back the buffers of a value's packed and rounded forms.
    pub(crate) fn forget_forms(&mut self, value: &mut Value) {
        self.free.extend(value.packed.take().map(|packed| (self.step, packed)));
        self.quantized.extend(value.quantized.drain(..).map(|(_, rows)| (self.step, rows)));
    }

    /// Ends a step, and frees the buffers that recent steps did not use.
    pub(crate) fn end_step(&mut self) {
        self.step += 1;
        let oldest = self.step.saturating_sub(KEPT_STEPS);
        let bytes = &mut self.bytes;
        self.free.retain(|(step, buffer)| {
            *bytes -= if *step < oldest { size_of_val(&**buffer) } else { 0 };
            *step >= oldest
        });
        self.quantized.retain(|(step, rows)| {
            *bytes -= if *step < oldest { QuantizedRows::bytes(rows.rows(), rows.cols()) } else { 0 };
            *step >= oldest
        });
    }

    /// Returns the bytes of all buffers, in use or free.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}
