//! The costs of single operations and kernels in a test.

use std::cell::RefCell;
use std::collections::BTreeMap;

use honelm_backend::Placement;
use honelm_gpu::KernelTime;
use serde::Serialize;

/// The time of a GPU kernel in a test. Each call is timed in a pass of its own, so the sum exceeds the time of a step.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TimedKernel {
    /// The name, for example `linear_rows`.
    pub kernel: &'static str,
    /// The number of dispatches.
    pub calls: u64,
    /// The time on the device in seconds.
    pub seconds: f64,
}

/// Returns the difference between two readings of the kernel times.
pub(super) fn since(
    before: &BTreeMap<&'static str, KernelTime>,
    now: &BTreeMap<&'static str, KernelTime>,
) -> Vec<TimedKernel> {
    let kernels = now.iter().map(|(&kernel, time)| {
        let past = before.get(kernel).copied().unwrap_or_default();
        TimedKernel { kernel, calls: time.calls - past.calls, seconds: time.seconds - past.seconds }
    });
    let mut kernels: Vec<_> = kernels.filter(|kernel| kernel.calls > 0).collect();
    kernels.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
    kernels
}

/// The cost of an operation in a test.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PlacedOperation {
    /// The name in [`honelm_backend::Backend`]. A fused operation counts under its own name.
    pub operation: &'static str,
    /// The device.
    pub device: String,
    /// The number of calls.
    pub calls: u64,
    /// The time in the back end in seconds. On a GPU this is the time to record the operation: [`super::BenchRow::kernels`]
    /// has the time to compute it.
    pub seconds: f64,
    /// The bytes of weights read.
    pub weight_bytes: u64,
    /// The bytes of activations read and written.
    pub activation_bytes: u64,
}

/// Takes the costs that were counted since the last call.
pub(super) fn taken(placement: &RefCell<Placement>) -> Vec<PlacedOperation> {
    let mut placement = placement.borrow_mut();
    let operations = std::mem::take(&mut placement.operations);
    let placed = operations.into_iter().map(|(operation, cost)| PlacedOperation {
        operation,
        device: placement.device.clone(),
        calls: cost.calls,
        seconds: cost.seconds,
        weight_bytes: cost.weight_bytes,
        activation_bytes: cost.activation_bytes,
    });
    let mut placed: Vec<_> = placed.collect();
    placed.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
    placed
}
