//! The memory in use on the device.

use super::GpuBackend;
use crate::cache;

/// The bytes in use on the device, by purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceBytes {
    /// Buffers of weights, including their free parts.
    pub weights: u64,
    /// Keys and values.
    pub cache: u64,
    /// Activations, parameters, and the numbers of a step.
    pub activations: u64,
}

impl DeviceBytes {
    /// Returns the sum.
    #[must_use]
    pub fn total(self) -> u64 {
        self.weights + self.cache + self.activations
    }
}

impl GpuBackend {
    /// Returns the bytes in use on the device, by purpose.
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
