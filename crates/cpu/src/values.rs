//! Activation values, and the memory they pass on to each other.

use honelm_tensor::AlignedVec;

use crate::Isa;
use crate::int8::{QuantizedRows, quantize_ordered};

/// Memory that no value has used for this many steps is freed.
const KEPT_STEPS: u64 = 2;

/// Activations `[rows, cols]`; the buffer may be longer.
#[derive(Debug)]
pub(crate) struct Value {
    buffer: AlignedVec<f32>,
    len: usize,
    /// Panels for float products, made when first needed.
    pub(crate) packed: Option<AlignedVec<f32>>,
    /// The rows in 8 bits, columns in the given order, made when first needed.
    pub(crate) quantized: Vec<(Option<Vec<u32>>, QuantizedRows)>,
}

impl Value {
    pub(crate) fn data(&self) -> &[f32] {
        &self.buffer[..self.len]
    }

    /// The values, to be written; no form of them may have been made.
    pub(crate) fn data_mut(&mut self) -> &mut [f32] {
        assert!(self.packed.is_none() && self.quantized.is_empty(), "values change under the forms made of them");
        &mut self.buffer[..self.len]
    }

    /// No values, to stand where others were taken out.
    pub(crate) fn empty() -> Self {
        Self { buffer: AlignedVec::zeroed(0), len: 0, packed: None, quantized: Vec::new() }
    }
}

/// Buffers that wait to be used again, and a count of all that are alive.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    /// With the step that used each last.
    free: Vec<(u64, AlignedVec<f32>)>,
    quantized: Vec<(u64, QuantizedRows)>,
    step: u64,
    bytes: usize,
}

impl Memory {
    /// A buffer of at least `len` floats with any content.
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

    /// A value of `len` floats with any content.
    pub(crate) fn value(&mut self, len: usize) -> Value {
        Value { buffer: self.buffer(len), len, packed: None, quantized: Vec::new() }
    }

    /// The rows of `x` `[rows, cols]` in 8 bits, columns in `order`.
    pub(crate) fn quantize(
        &mut self,
        x: &[f32],
        (rows, cols): (usize, usize),
        order: Option<&[u32]>,
        isa: Isa,
    ) -> QuantizedRows {
        let mut out = self.quantized.pop().map(|(_, rows)| rows).unwrap_or_default();
        self.bytes -= QuantizedRows::bytes(out.rows(), out.cols());
        quantize_ordered(x, rows, cols, order, isa, &mut out);
        self.bytes += QuantizedRows::bytes(rows, cols);
        out
    }

    /// Takes the memory of a value that is gone.
    pub(crate) fn give_back(&mut self, mut value: Value) {
        self.forget_forms(&mut value);
        self.free.push((self.step, value.buffer));
    }

    /// Takes the memory of the forms made of a value.
    pub(crate) fn forget_forms(&mut self, value: &mut Value) {
        self.free.extend(value.packed.take().map(|packed| (self.step, packed)));
        self.quantized.extend(value.quantized.drain(..).map(|(_, rows)| (self.step, rows)));
    }

    /// Ends a step: frees what the last ones did not use.
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

    /// Bytes of all buffers, those in use and those that wait.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}
