use crate::Isa;

/// How products with encoded weights are computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compute {
    /// Weights decoded to f32, float activations: the truth that others are measured against.
    F32,
    /// Activations in 8 bits for the encodings that have a kernel; what users run.
    #[default]
    Fast,
}

/// How a [`CpuBackend`](crate::CpuBackend) runs.
#[derive(Debug, Clone, Copy, Default)]
pub struct CpuOptions {
    /// Threads; as many as the system offers where it is `None`.
    pub threads: Option<usize>,
    /// How products are computed.
    pub compute: Compute,
    /// Instruction set; what [`Isa::detect`] finds where it is `None`.
    pub isa: Option<Isa>,
}

/// Bytes that a [`CpuBackend`](crate::CpuBackend) holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AllocatedBytes {
    /// Weights, those included that are views into a memory map.
    pub weights: usize,
    /// Pages of all caches.
    pub cache: usize,
    /// Activations, in use or waiting to be used again.
    pub activations: usize,
    /// Threads' working memory.
    pub scratch: usize,
}

impl AllocatedBytes {
    /// The sum.
    #[must_use]
    pub fn total(self) -> usize {
        self.weights + self.cache + self.activations + self.scratch
    }
}
