//! Weights on the device: matrices in a few large buffers, so that one kernel can read several, and vectors in one buffer.

use honelm_backend::BackendError;

use crate::Gpu;
use crate::memory::{Check, Growing, Memory, STORAGE};
use crate::pack::Layout;
use crate::ranges::{Range, Ranges};

/// The bytes in transit at which a native upload waits. Until then the host holds a copy of them.
const IN_FLIGHT: u64 = 32 << 20;

/// A matrix is split at multiples of this number of rows: whole tiles of the widest kernel.
const CUT: usize = 64;

/// The smallest and largest size in bytes of a buffer that several matrices share.
const SHARED: std::ops::RangeInclusive<u64> = 8 << 20..=64 << 20;

/// The rows of a matrix that are in one buffer.
#[derive(Debug, Clone)]
pub(crate) struct Piece {
    pub(crate) chunk: usize,
    /// The place in the buffer, in words.
    pub(crate) range: Range,
    pub(crate) first_row: usize,
    pub(crate) rows: usize,
}

/// A matrix `[rows, cols]`.
#[derive(Debug)]
pub(crate) struct Matrix {
    pub(crate) layout: Layout,
    pub(crate) pieces: Vec<Piece>,
    pub(crate) bias: Option<Range>,
    pub(crate) order: Option<Range>,
    /// The number of rows that are written: all, unless a weight arrives in slabs.
    pub(crate) filled: usize,
}

/// A vector, and the bias of a norm.
#[derive(Debug)]
pub(crate) struct Vector {
    /// The host's copy, which is needed to compute rotations.
    pub(crate) values: Vec<f32>,
    pub(crate) range: Range,
    pub(crate) bias: Option<Range>,
}

#[derive(Debug)]
pub(crate) enum Stored {
    Matrix(Matrix),
    Vector(Vector),
}

#[derive(Debug)]
struct Chunk {
    buffer: Memory,
    group: wgpu::BindGroup,
    ranges: Ranges,
}

/// All weights of a back end.
#[derive(Debug)]
pub(crate) struct Store {
    /// The buffers; an empty one is removed, and its place becomes `None`.
    chunks: Vec<Option<Chunk>>,
    vectors: Growing,
    vector_ranges: Ranges,
    bytes: u64,
    /// The bytes written since the last wait for the device.
    in_flight: u64,
}

impl Store {
    pub(crate) fn new(gpu: &Gpu, checks: &mut Vec<Check>) -> Result<Self, BackendError> {
        let vectors = Growing::new(gpu, "vectors", checks)?;
        Ok(Self { chunks: Vec::new(), vectors, vector_ranges: Ranges::default(), bytes: 0, in_flight: 0 })
    }

    /// Returns the bytes of all buffers.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes + self.vectors.bytes()
    }

    pub(crate) fn vectors(&self) -> &wgpu::Buffer {
        self.vectors.buffer()
    }

    pub(crate) fn group(&self, chunk: usize) -> &wgpu::BindGroup {
        &self.chunks[chunk].as_ref().expect("a piece keeps its chunk").group
    }

    /// Allocates a matrix, split by rows if the device requires it.
    pub(crate) fn reserve(
        &mut self,
        gpu: &Gpu,
        layout: Layout,
        [rows, cols]: [usize; 2],
        checks: &mut Vec<Check>,
    ) -> Result<Vec<Piece>, BackendError> {
        let row_words = layout.row_words(cols) as u64;
        let most = gpu.max_binding().min(u64::from(u32::MAX)) / 4;
        let mut rows_each = (most / row_words.max(1)) as usize;
        if rows_each < rows {
            rows_each = rows_each / CUT * CUT;
        }
        let bytes = rows as u64 * row_words * 4;
        if rows_each == 0 {
            return Err(gpu.out_of_memory(bytes, "a weight whose rows are longer than the device's limit"));
        }
        let mut pieces = Vec::new();
        for first_row in (0..rows).step_by(rows_each) {
            let rows = rows_each.min(rows - first_row);
            match self.place(gpu, (rows as u64 * row_words) as u32, checks) {
                Ok((chunk, range)) => pieces.push(Piece { chunk, range, first_row, rows }),
                Err(error) => {
                    self.free_pieces(&pieces);
                    return Err(error);
                }
            }
        }
        Ok(pieces)
    }

    /// Allocates `words` words in one buffer, if possible the latest.
    fn place(&mut self, gpu: &Gpu, words: u32, checks: &mut Vec<Check>) -> Result<(usize, Range), BackendError> {
        // Kernels read whole vectors of four words.
        let words = words.next_multiple_of(4);
        for (i, chunk) in self.chunks.iter_mut().enumerate().rev() {
            if let Some(chunk) = chunk
                && let Some(range) = chunk.ranges.take(words, (chunk.buffer.size() / 4) as u32)
            {
                return Ok((i, range));
            }
        }
        let shared = (self.bytes / 4).clamp(*SHARED.start(), *SHARED.end()).min(gpu.max_binding());
        let buffer = gpu.allocate("weights", shared.max(u64::from(words) * 4), STORAGE, checks)?;
        let group = gpu.inner.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some("weights"),
            layout: &gpu.inner.pipelines.weight,
            entries: &[wgpu::BindGroupEntry { binding: 0, resource: buffer.as_entire_binding() }],
        });
        self.bytes += buffer.size();
        let mut ranges = Ranges::default();
        let range = ranges.take(words, u32::MAX).expect("a new buffer is empty");
        let chunk = Some(Chunk { buffer, group, ranges });
        let i = self.chunks.iter().position(Option::is_none).unwrap_or(self.chunks.len());
        if i == self.chunks.len() {
            self.chunks.push(chunk);
        } else {
            self.chunks[i] = chunk;
        }
        Ok((i, range))
    }

    /// Writes whole rows of a matrix, beginning with row `first`. // words: `[rows, row_words]`
    pub(crate) fn write(&mut self, gpu: &Gpu, pieces: &[Piece], row_words: usize, first: usize, words: &[u32]) {
        let last = first + words.len() / row_words.max(1);
        for piece in pieces {
            let start = piece.first_row.max(first);
            let end = (piece.first_row + piece.rows).min(last);
            if start < end {
                let part = &words[(start - first) * row_words..(end - first) * row_words];
                let at = u64::from(piece.range.start) + ((start - piece.first_row) * row_words) as u64;
                let chunk = self.chunks[piece.chunk].as_ref().expect("a piece keeps its chunk");
                gpu.inner.queue.write_buffer(&chunk.buffer, at * 4, bytemuck::cast_slice(part));
            }
        }
        self.in_flight += size_of_val(words) as u64;
        if self.in_flight >= IN_FLIGHT {
            self.in_flight = 0;
            gpu.inner.queue.submit([]);
            // A browser does not wait. A lost device is reported when a step is read.
            let _ = gpu.inner.device.poll(wgpu::PollType::wait_indefinitely());
        }
    }

    /// Stores a vector of 32-bit numbers.
    pub(crate) fn vector(&mut self, gpu: &Gpu, bits: &[u32], checks: &mut Vec<Check>) -> Result<Range, BackendError> {
        let most = (gpu.max_binding() / 4).min(u64::from(u32::MAX)) as u32;
        let range = self.vector_ranges.take((bits.len() as u32).next_multiple_of(4), most);
        let range = range.ok_or_else(|| gpu.out_of_memory(size_of_val(bits) as u64, "gains and biases"))?;
        let mut encoder = gpu.inner.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        let mut retired = Vec::new();
        let needed = u64::from(range.start + range.len) * 4;
        match self.vectors.reserve(gpu, needed, &mut encoder, &mut retired, checks) {
            Ok(false) => {}
            Ok(true) => drop(gpu.inner.queue.submit([encoder.finish()])),
            Err(error) => {
                self.vector_ranges.give(range);
                return Err(error);
            }
        }
        gpu.inner.queue.write_buffer(self.vectors.buffer(), u64::from(range.start) * 4, bytemuck::cast_slice(bits));
        Ok(range)
    }

    /// Frees a weight. Steps that read it must be submitted already.
    pub(crate) fn free(&mut self, stored: &Stored) {
        let vectors = match stored {
            Stored::Matrix(m) => {
                self.free_pieces(&m.pieces);
                [None, m.bias, m.order]
            }
            Stored::Vector(v) => [Some(v.range), v.bias, None],
        };
        vectors.into_iter().flatten().for_each(|range| self.vector_ranges.give(range));
    }

    fn free_pieces(&mut self, pieces: &[Piece]) {
        for piece in pieces {
            let place = &mut self.chunks[piece.chunk];
            if let Some(chunk) = place {
                chunk.ranges.give(piece.range);
                if chunk.ranges.end() == 0 {
                    self.bytes -= chunk.buffer.size();
                    *place = None;
                }
            }
        }
    }
}
