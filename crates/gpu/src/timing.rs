//! The time that kernels take, by the device's own clock.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use wgpu::{BufferUsages, CommandEncoder, Features, QuerySet};

use crate::Gpu;
use crate::memory::{Check, Memory};

/// The largest number of dispatches per step that are timed, which is the capacity of a query set.
const MOST: usize = 2048;

/// The time that a kernel took.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct KernelTime {
    /// The number of dispatches.
    pub calls: u64,
    /// Seconds on the device.
    pub seconds: f64,
}

/// The times so far, by kernel name.
pub(crate) type KernelTimes = Rc<RefCell<BTreeMap<&'static str, KernelTime>>>;

/// The queries of one step.
pub(crate) struct Queries {
    set: QuerySet,
    resolved: Memory,
    names: Vec<&'static str>,
    times: KernelTimes,
    /// Seconds per tick.
    period: f64,
}

impl Queries {
    /// Creates queries for the dispatches of these kernels; `None` if the device has no clock.
    pub(crate) fn new(
        gpu: &Gpu,
        times: &KernelTimes,
        mut names: Vec<&'static str>,
        checks: &mut Vec<Check>,
    ) -> Option<Self> {
        let device = &gpu.inner.device;
        names.truncate(MOST);
        if names.is_empty() || !device.features().contains(Features::TIMESTAMP_QUERY) {
            return None;
        }
        let count = 2 * names.len() as u32;
        let set = device.create_query_set(&wgpu::QuerySetDescriptor {
            label: Some("kernel times"),
            ty: wgpu::QueryType::Timestamp,
            count,
        });
        let usage = BufferUsages::QUERY_RESOLVE | BufferUsages::COPY_SRC;
        let resolved = gpu.allocate("kernel times", u64::from(count) * 8, usage, checks).ok()?;
        let period = f64::from(gpu.inner.queue.get_timestamp_period()) * 1e-9;
        Some(Self { set, resolved, names, times: Rc::clone(times), period })
    }

    /// Returns the timestamps that the pass of dispatch `i` writes at its begin and end.
    pub(crate) fn writes(&self, i: usize) -> Option<wgpu::ComputePassTimestampWrites<'_>> {
        (i < self.names.len()).then(|| wgpu::ComputePassTimestampWrites {
            query_set: &self.set,
            beginning_of_pass_write_index: Some(2 * i as u32),
            end_of_pass_write_index: Some(2 * i as u32 + 1),
        })
    }

    /// Returns the bytes of the results.
    pub(crate) fn bytes(&self) -> u64 {
        self.names.len() as u64 * 16
    }

    /// Copies the results to byte `at` of `to`.
    pub(crate) fn copy_out(&self, encoder: &mut CommandEncoder, to: &wgpu::Buffer, at: u64) {
        encoder.resolve_query_set(&self.set, 0..2 * self.names.len() as u32, &self.resolved, 0);
        encoder.copy_buffer_to_buffer(&self.resolved, 0, to, at, Some(self.bytes()));
    }

    /// Adds the results to the times. // words: two for the begin and two for the end of each dispatch
    pub(crate) fn note(&self, words: &[u32]) {
        let mut times = self.times.borrow_mut();
        let tick = |pair: &[u32]| u64::from(pair[0]) | u64::from(pair[1]) << 32;
        for (name, four) in self.names.iter().zip(words.chunks_exact(4)) {
            let time = times.entry(*name).or_default();
            time.calls += 1;
            time.seconds += tick(&four[2..]).saturating_sub(tick(&four[..2])) as f64 * self.period;
        }
    }
}
