use crate::Isa;

/// The arithmetic of products with encoded weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compute {
    /// Weights decoded to f32 and float activations: the reference for the other.
    F32,
    /// Activations in 8 bits for the encodings that have a kernel. This is the default for users.
    #[default]
    Fast,
}

/// The options of a [`CpuBackend`](crate::CpuBackend).
#[derive(Debug, Clone, Copy, Default)]
pub struct CpuOptions {
    /// The number of threads; `None` means [`default_threads`](crate::default_threads).
    pub threads: Option<usize>,
    /// The arithmetic of products.
    pub compute: Compute,
    /// The instruction set; `None` means that of [`Isa::detect`].
    pub isa: Option<Isa>,
}

/// The bytes that a [`CpuBackend`](crate::CpuBackend) has allocated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AllocatedBytes {
    /// Weights, including those that are views of a memory map.
    pub weights: usize,
    /// Pages of all caches.
    pub cache: usize,
    /// Activations, in use or free for reuse.
    pub activations: usize,
    /// The working memory of the threads.
    pub scratch: usize,
}

impl AllocatedBytes {
    /// Returns the sum.
    #[must_use]
    pub fn total(self) -> usize {
        self.weights + self.cache + self.activations + self.scratch
    }
}
