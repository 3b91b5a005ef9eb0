//! Activation values, and the memory they pass on to each other.

use honelm_tensor::AlignedVec;

use crate::Isa;
use crate::int8::{QuantizedRows, quantize_ordered};

/// Memory is kept for this many values that are gone.
const KEPT: usize = 24;
/// The same for values in 8 bits.
const KEPT_QUANTIZED: usize = 4;

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

    /// The values, to be changed: forgets the forms made of them.
    pub(crate) fn data_mut(&mut self, memory: &mut Memory) -> &mut [f32] {
        memory.take_forms(self);
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
    free: Vec<AlignedVec<f32>>,
    quantized: Vec<QuantizedRows>,
    bytes: usize,
}

impl Memory {
    /// A buffer of at least `len` floats with any content.
    pub(crate) fn buffer(&mut self, len: usize) -> AlignedVec<f32> {
        let fitting = self.free.iter().enumerate().filter(|(_, b)| b.len() >= len && b.len() / 8 <= len);
        match fitting.min_by_key(|(_, b)| b.len()).map(|(i, _)| i) {
            Some(i) => self.free.swap_remove(i),
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
        let mut out = self.quantized.pop().unwrap_or_default();
        self.bytes -= QuantizedRows::bytes(out.rows(), out.cols());
        quantize_ordered(x, rows, cols, order, isa, &mut out);
        self.bytes += QuantizedRows::bytes(rows, cols);
        out
    }

    pub(crate) fn give_back(&mut self, mut value: Value) {
        self.take_forms(&mut value);
        self.keep(value.buffer);
    }

    fn take_forms(&mut self, value: &mut Value) {
        if let Some(packed) = value.packed.take() {
            self.keep(packed);
        }
        for (_, rows) in value.quantized.drain(..) {
            if self.quantized.len() < KEPT_QUANTIZED {
                self.quantized.push(rows);
            } else {
                self.bytes -= QuantizedRows::bytes(rows.rows(), rows.cols());
            }
        }
    }

    fn keep(&mut self, buffer: AlignedVec<f32>) {
        if self.free.len() == KEPT {
            self.bytes -= size_of_val(&*self.free.remove(0));
        }
        self.free.push(buffer);
    }

    /// Bytes of all buffers, those in use and those that wait.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}
