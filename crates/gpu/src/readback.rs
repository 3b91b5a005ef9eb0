//! Results on their way to the host.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use honelm_backend::{BackendError, Outputs, Value};
use honelm_tensor::Matrix;

use crate::Gpu;
use crate::device::Fault;
use crate::memory::{Check, Memory};
use crate::timing::Queries;

/// The largest number of free buffers that are kept for reuse.
const KEPT: usize = 8;

/// Buffers that the host can read, kept for reuse.
#[derive(Debug, Clone, Default)]
pub(crate) struct StagingPool(Rc<RefCell<Vec<Memory>>>);

impl StagingPool {
    /// Returns a buffer of at least `bytes` bytes.
    pub(crate) fn take(&self, gpu: &Gpu, bytes: u64, checks: &mut Vec<Check>) -> Result<Memory, BackendError> {
        let mut free = self.0.borrow_mut();
        let fitting = free.iter().enumerate().filter(|(_, b)| b.size() >= bytes && b.size() / 8 <= bytes.max(4096));
        match fitting.min_by_key(|(_, b)| b.size()).map(|(i, _)| i) {
            Some(i) => Ok(free.swap_remove(i)),
            None => {
                let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
                gpu.allocate("results", bytes.next_multiple_of(4096), usage, checks)
            }
        }
    }

    fn give(&self, buffer: Memory) {
        let mut free = self.0.borrow_mut();
        if free.len() < KEPT {
            free.push(buffer);
        }
    }
}

/// One result in the staging buffer.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Item {
    /// A matrix with `stride` values from one row to the next.
    Floats {
        rows: usize,
        cols: usize,
        stride: usize,
    },
    Tokens(usize),
    /// Cached cells, as a number of words.
    Cells(usize),
}

impl Item {
    /// Returns the number of words in the buffer.
    pub(crate) fn words(self) -> usize {
        match self {
            Self::Floats { rows, stride, .. } => rows * stride,
            Self::Tokens(count) | Self::Cells(count) => count,
        }
    }

    fn value(self, words: &[u32]) -> Value {
        match self {
            Self::Tokens(_) => Value::Tokens(words.to_vec()),
            Self::Cells(_) => Value::Cells(bytemuck::cast_slice(words).to_vec()),
            Self::Floats { rows, cols, stride } => {
                let all: &[f32] = bytemuck::cast_slice(words);
                let data = all.chunks_exact(stride.max(1)).flat_map(|row| &row[..cols]).copied().collect();
                Value::Floats(Matrix::new(rows, cols, data))
            }
        }
    }
}

/// A signal that a callback of the device sets.
#[derive(Debug, Clone, Default)]
pub(crate) struct Signal(Arc<Mutex<Signalled>>);

#[derive(Debug, Default)]
struct Signalled {
    /// `true` on success, `false` on failure, `None` until the callback runs.
    outcome: Option<bool>,
    waker: Option<Waker>,
}

impl Signal {
    pub(crate) fn set(&self, outcome: bool) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.outcome = Some(outcome);
        if let Some(waker) = state.waker.take() {
            waker.wake();
        }
    }

    /// Waits for the signal. Natively the device runs its callbacks only when it is polled; a browser runs them by itself.
    pub(crate) async fn wait(&self, gpu: &Gpu, submission: wgpu::SubmissionIndex) -> bool {
        let mut submission = Some(submission);
        std::future::poll_fn(|context: &mut Context<'_>| {
            if cfg!(not(target_arch = "wasm32"))
                && let Some(index) = submission.take()
            {
                let poll = wgpu::PollType::Wait { submission_index: Some(index), timeout: None };
                if gpu.inner.device.poll(poll).is_err() {
                    return Poll::Ready(false);
                }
            }
            let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            match state.outcome {
                Some(outcome) => Poll::Ready(outcome),
                None => {
                    state.waker = Some(context.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }
}

/// The results of a step and their destination.
#[derive(Default)]
pub(crate) struct Results {
    /// The staging buffer; `None` if nothing is read.
    pub(crate) staging: Option<Memory>,
    /// The results by key, in order.
    pub(crate) items: Vec<(u32, Item)>,
    /// The times of kernels, stored after the results.
    pub(crate) queries: Option<Queries>,
}

/// A submitted step.
pub(crate) struct Pending {
    pub(crate) gpu: Gpu,
    pub(crate) failure: Option<BackendError>,
    pub(crate) checks: Vec<Check>,
    pub(crate) submission: wgpu::SubmissionIndex,
    pub(crate) signal: Signal,
    pub(crate) results: Results,
    pub(crate) pool: StagingPool,
}

impl Pending {
    /// Waits for the results and returns them.
    pub(crate) async fn finish(self) -> Result<Outputs, BackendError> {
        if let Some(failure) = self.failure {
            return Err(failure);
        }
        let arrived = self.signal.wait(&self.gpu, self.submission).await;
        let mut refused = None;
        for check in self.checks {
            refused = refused.or(check.await);
        }
        // If the device is lost, later errors only follow from that.
        if let Some(fault) = self.gpu.inner.faults.get().or(refused.map(Fault::from)) {
            return Err(self.gpu.error_of(fault));
        }
        if !arrived {
            return Err(self.gpu.error_of(Fault::Lost("its results cannot be read".to_owned())));
        }
        let Results { staging: Some(staging), items, queries } = self.results else { return Ok(Outputs::new()) };
        let mut outputs = Outputs::with_capacity(items.len());
        let values: usize = items.iter().map(|(_, item)| item.words()).sum();
        let total = values as u64 * 4 + queries.as_ref().map_or(0, Queries::bytes);
        let mut words: Vec<u32> = Vec::new();
        if total > 0 {
            let view = staging.get_mapped_range(..total);
            let view = view.map_err(|e| self.gpu.error_of(Fault::Failed(e.to_string())))?;
            words = bytemuck::pod_collect_to_vec(&view[..]);
        }
        let mut at = 0;
        for (key, item) in items {
            outputs.push((key, item.value(&words[at..at + item.words()])));
            at += item.words();
        }
        if let Some(queries) = &queries {
            queries.note(&words[at..]);
        }
        staging.unmap();
        self.pool.give(staging);
        Ok(outputs)
    }
}
