//! Buffers on the device. They are created within its limits and freed immediately.

use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use honelm_backend::BackendError;
use wgpu::BufferUsages;

use crate::Gpu;
use crate::device::Fault;

/// The device's answer to a request; natively it is known at once.
pub(crate) type Check = Pin<Box<dyn Future<Output = Option<wgpu::Error>>>>;

/// A buffer that is destroyed with its owner. In browsers, dropping a handle alone frees nothing.
#[derive(Debug)]
pub(crate) struct Memory(wgpu::Buffer);

impl Drop for Memory {
    fn drop(&mut self) {
        self.0.destroy();
    }
}

impl std::ops::Deref for Memory {
    type Target = wgpu::Buffer;
    fn deref(&self) -> &wgpu::Buffer {
        &self.0
    }
}

/// The usages of all buffers that kernels access.
pub(crate) const STORAGE: BufferUsages =
    BufferUsages::STORAGE.union(BufferUsages::COPY_SRC).union(BufferUsages::COPY_DST);

impl Gpu {
    /// Creates a buffer of at least `bytes` bytes. If the device does not answer at once (in a browser), its answer goes to
    /// `checks`.
    ///
    /// # Errors
    /// Fails if the size exceeds the device's limits or its memory.
    pub(crate) fn allocate(
        &self,
        what: &str,
        bytes: u64,
        usage: BufferUsages,
        checks: &mut Vec<Check>,
    ) -> Result<Memory, BackendError> {
        let size = bytes.next_multiple_of(4).max(SMALLEST);
        let limit = if usage.contains(BufferUsages::STORAGE) { self.max_binding() } else { self.report().max_buffer };
        if size > limit {
            return Err(self.out_of_memory(bytes, &format!("{what} (at most {limit} in one piece)")));
        }
        let scope = self.inner.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let descriptor = wgpu::BufferDescriptor { label: Some(what), size, usage, mapped_at_creation: false };
        let buffer = Memory(self.inner.device.create_buffer(&descriptor));
        match poll_once(Box::pin(scope.pop())) {
            Ok(None) => Ok(buffer),
            Ok(Some(_)) => Err(self.out_of_memory(bytes, what)),
            Err(check) => {
                checks.push(check);
                Ok(buffer)
            }
        }
    }

    pub(crate) fn out_of_memory(&self, bytes: u64, what: &str) -> BackendError {
        BackendError::OutOfMemory { device: self.describe(), wanted: bytes as usize, what: what.to_owned() }
    }

    /// Returns a description of the device for users, e.g. `gpu (NVIDIA H100, vulkan)`.
    #[must_use]
    pub fn describe(&self) -> String {
        format!("gpu ({}, {})", self.report().name, self.report().api)
    }

    /// Converts a fault of this device to an error.
    pub(crate) fn error_of(&self, fault: Fault) -> BackendError {
        let device = self.describe();
        match fault {
            Fault::Lost(reason) => BackendError::DeviceLost { device, reason },
            Fault::OutOfMemory => self.out_of_memory(0, "the step"),
            Fault::Failed(problem) => BackendError::DeviceFailed { device, problem },
        }
    }
}

/// The size of the smallest buffer in bytes. Kernels need a binding even for a buffer without contents.
const SMALLEST: u64 = 256;

/// Returns the result of the future if it is ready, or else the future.
fn poll_once(mut check: Check) -> Result<Option<wgpu::Error>, Check> {
    match check.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => Ok(result),
        Poll::Pending => Err(check),
    }
}

/// A buffer that grows as needed and keeps its contents.
#[derive(Debug)]
pub(crate) struct Growing {
    what: &'static str,
    buffer: Memory,
}

impl Growing {
    pub(crate) fn new(gpu: &Gpu, what: &'static str, checks: &mut Vec<Check>) -> Result<Self, BackendError> {
        Ok(Self { what, buffer: gpu.allocate(what, SMALLEST, STORAGE, checks)? })
    }

    pub(crate) fn buffer(&self) -> &wgpu::Buffer {
        &self.buffer
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.buffer.size()
    }

    /// Makes room for `bytes` bytes; a buffer that grows gets half as much again. Returns `true` if the buffer was replaced:
    /// `encoder` then copies the contents, and the old buffer is in `retired` until the commands are submitted.
    pub(crate) fn reserve(
        &mut self,
        gpu: &Gpu,
        bytes: u64,
        encoder: &mut wgpu::CommandEncoder,
        retired: &mut Vec<Memory>,
        checks: &mut Vec<Check>,
    ) -> Result<bool, BackendError> {
        if bytes <= self.bytes() {
            return Ok(false);
        }
        let roomy = bytes.max((self.bytes() * 3 / 2).min(gpu.max_binding())).next_multiple_of(SMALLEST);
        let bytes = if roomy <= gpu.max_binding() { roomy } else { bytes };
        let new = gpu.allocate(self.what, bytes, STORAGE, checks)?;
        encoder.copy_buffer_to_buffer(&self.buffer, 0, &new, 0, Some(self.buffer.size()));
        retired.push(std::mem::replace(&mut self.buffer, new));
        Ok(true)
    }
}
