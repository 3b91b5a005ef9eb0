//! What the device holds.

use super::GpuBackend;
use crate::cache;

/// Bytes held on the device now, by what for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceBytes {
    /// Buffers of weights, room for more included.
    pub weights: u64,
    /// Keys and values.
    pub cache: u64,
    /// Activations, parameters and numbers of a step.
    pub activations: u64,
}

impl DeviceBytes {
    /// All of them.
    #[must_use]
    pub fn total(self) -> u64 {
        self.weights + self.cache + self.activations
    }
}

impl GpuBackend {
    /// Bytes held on the device now, by what for.
    #[must_use]
    pub fn device_bytes(&self) -> DeviceBytes {
        DeviceBytes {
            weights: self.store.bytes(),
            cache: self.caches.iter().map(cache::Store::bytes).sum(),
            activations: self.arena.bytes()
                + self.ring.bytes()
                + self.params.buffer().size()
                + self.words.buffer().size(),
        }
    }
}
