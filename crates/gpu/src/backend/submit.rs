//! Encoding of a recorded step: copies to the device, one compute pass, copies to the host.

use honelm_backend::{BackendError, Ticket};
use wgpu::{BufferUsages, CommandEncoder};

use super::{GpuBackend, stride};
use crate::memory::{Check, Memory};
use crate::pipelines::SLOT;
use crate::readback::{Item, Pending, Results, Signal};
use crate::recording::{Bound, Command, Pinned, Recording};
use crate::timing::Queries;

impl GpuBackend {
    pub(super) fn submit_recording(&mut self) -> Ticket {
        let mut recording = std::mem::take(&mut self.recording);
        self.submitted += 1;
        let ticket = Ticket(self.submitted);
        self.tokens.submit(ticket, std::mem::take(&mut recording.sampled));
        if self.only_requests {
            return ticket;
        }
        let gpu = self.gpu.clone();
        let device = &gpu.inner.device;
        let mut checks = std::mem::take(&mut self.checks);
        let scopes = [wgpu::ErrorFilter::Validation, wgpu::ErrorFilter::Internal, wgpu::ErrorFilter::OutOfMemory]
            .map(|filter| device.push_error_scope(filter));
        let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        let mut retired = Vec::new();
        for moved in recording.moved.drain(..) {
            encoder.copy_buffer_to_buffer(&moved.from, 0, &moved.to, 0, Some(moved.from.size()));
            retired.push(moved.from);
        }
        for imported in recording.imported.drain(..) {
            self.place_cells(imported, &mut encoder, &mut retired);
        }
        let mut results = Results::default();
        let encoded = self
            .encode(&recording, &mut encoder, &mut retired, &mut checks)
            .and_then(|queries| self.copy_out(&recording, queries, &mut encoder, &mut checks))
            .map(|found| results = found);
        if let Err(error) = encoded {
            recording.fail(error);
        }
        let submission = gpu.inner.queue.submit([encoder.finish()]);
        drop(retired);
        let signal = Signal::default();
        let answer = signal.clone();
        match &results.staging {
            Some(buffer) => buffer.map_async(wgpu::MapMode::Read, .., move |result| answer.set(result.is_ok())),
            None => gpu.inner.queue.on_submitted_work_done(move || answer.set(true)),
        }
        for scope in scopes.into_iter().rev() {
            checks.push(Box::pin(scope.pop()));
        }
        self.dispatches = recording.commands.len();
        let failure = recording.failure.take();
        let pool = self.staging.clone();
        self.pending.insert(ticket, Pending { gpu, failure, checks, submission, signal, results, pool });
        drop(recording);
        self.collect();
        ticket
    }

    /// Encodes the step's compute pass.
    fn encode(
        &mut self,
        recording: &Recording,
        encoder: &mut CommandEncoder,
        retired: &mut Vec<Memory>,
        checks: &mut Vec<Check>,
    ) -> Result<Option<Queries>, BackendError> {
        let gpu = self.gpu.clone();
        let commands = &recording.commands[..recording.cut.unwrap_or(recording.commands.len())];
        // A buffer that was replaced must not stay bound if the next one fails.
        let base = self.base.take();
        let moved = self.arena.reserve(&gpu, u64::from(self.arena_peak) * 16, encoder, retired, checks)?
            | self.ring.reserve(&gpu, u64::from(self.tokens.capacity()) * 4, encoder, retired, checks)?
            | self.params.fit(&gpu, size_of_val(&recording.params[..]) as u64, retired, checks)?
            | self.words.fit(&gpu, size_of_val(&recording.words[..]) as u64, retired, checks)?;
        let kept = base.filter(|(vectors, _)| !moved && vectors == self.store.vectors());
        // Bind groups are handles; a clone is the same object.
        let (vectors, base) = kept.unwrap_or_else(|| (self.store.vectors().clone(), self.bind_base()));
        self.base = Some((vectors, base.clone()));
        let queue = &gpu.inner.queue;
        queue.write_buffer(self.params.buffer(), 0, bytemuck::cast_slice(&recording.params));
        queue.write_buffer(self.words.buffer(), 0, bytemuck::cast_slice(&recording.words));
        let names = commands.iter().map(|command| command.kernel.op()).collect();
        let queries = self.times.as_ref().and_then(|times| Queries::new(&gpu, times, names, checks));
        let each = if self.pass_each || queries.is_some() { 1 } else { commands.len().max(1) };
        for (number, commands) in commands.chunks(each).enumerate() {
            let timestamp_writes = queries.as_ref().and_then(|queries| queries.writes(number));
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor { label: None, timestamp_writes });
            commands.iter().for_each(|command| self.run(command, &base, &mut pass));
        }
        Ok(queries)
    }

    fn run(&self, command: &Command, base: &wgpu::BindGroup, pass: &mut wgpu::ComputePass<'_>) {
        pass.set_pipeline(command.kernel.pipeline(&self.gpu.inner.device));
        pass.set_bind_group(0, base, &[command.slot * SLOT as u32]);
        match &command.bound {
            Bound::Nothing => {}
            Bound::Weight(chunk) => pass.set_bind_group(1, self.store.group(*chunk), &[]),
            Bound::Cache(cache, layer) => {
                pass.set_bind_group(1, self.caches.get(cache.guard()).group(*layer), &[]);
            }
        }
        pass.dispatch_workgroups(command.grid[0], command.grid[1], 1);
    }

    fn bind_base(&self) -> wgpu::BindGroup {
        let params = wgpu::BufferBinding {
            buffer: self.params.buffer(),
            offset: 0,
            size: std::num::NonZeroU64::new(SLOT as u64),
        };
        let resources = [
            self.arena.buffer().as_entire_binding(),
            wgpu::BindingResource::Buffer(params),
            self.words.buffer().as_entire_binding(),
            self.ring.buffer().as_entire_binding(),
            self.store.vectors().as_entire_binding(),
        ];
        let entries: Vec<_> =
            (0..).zip(resources).map(|(binding, resource)| wgpu::BindGroupEntry { binding, resource }).collect();
        self.gpu.inner.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some("step"),
            layout: &self.gpu.inner.pipelines.step,
            entries: &entries,
        })
    }

    /// Copies the results to a buffer that the host can read.
    fn copy_out(
        &mut self,
        recording: &Recording,
        queries: Option<Queries>,
        encoder: &mut CommandEncoder,
        checks: &mut Vec<Check>,
    ) -> Result<Results, BackendError> {
        if recording.failure.is_some() {
            return Ok(Results::default());
        }
        let item = |pinned: &Pinned| match pinned {
            Pinned::Floats(x) => Item::Floats { rows: x.rows(), cols: x.cols(), stride: stride(x.cols()) },
            Pinned::Tokens(_, count) => Item::Tokens(*count as usize),
            Pinned::Cells(cache, layer, pages) => {
                let bytes = self.caches.get(cache.guard()).page_bytes(*layer) as usize;
                Item::Cells(bytes / 4 * pages.len())
            }
        };
        let items: Vec<(u32, Item)> = recording.pinned.iter().map(|(key, pinned)| (*key, item(pinned))).collect();
        if items.is_empty() && queries.is_none() {
            return Ok(Results::default());
        }
        let total: usize = items.iter().map(|(_, item)| item.words()).sum();
        let timing = queries.as_ref().map_or(0, Queries::bytes);
        let staging = self.staging.take(&self.gpu, total as u64 * 4 + timing, checks)?;
        let mut at = 0;
        for ((_, pinned), (_, item)) in recording.pinned.iter().zip(&items) {
            let bytes = item.words() as u64 * 4;
            if let Pinned::Cells(cache, layer, pages) = pinned {
                let store = self.caches.get(cache.guard());
                let page_bytes = store.page_bytes(*layer);
                for (i, &page) in pages.iter().enumerate() {
                    let Some(buffer) = store.buffer(*layer) else { continue };
                    let (from, to) = (u64::from(page) * page_bytes, at + i as u64 * page_bytes);
                    encoder.copy_buffer_to_buffer(buffer, from, &staging, to, Some(page_bytes));
                }
                at += bytes;
                continue;
            }
            let (from, offset) = match pinned {
                Pinned::Floats(x) => (self.arena.buffer(), u64::from(self.tensors.get(x.guard()).start) * 16),
                Pinned::Tokens(slot, _) => (self.ring.buffer(), u64::from(*slot) * 4),
                Pinned::Cells(..) => continue,
            };
            if bytes > 0 {
                encoder.copy_buffer_to_buffer(from, offset, &staging, at, Some(bytes));
            }
            at += bytes;
        }
        if let Some(queries) = &queries {
            queries.copy_out(encoder, &staging, at);
        }
        Ok(Results { staging: Some(staging), items, queries })
    }
}

/// A buffer that every step fills again.
#[derive(Debug)]
pub(super) struct Refilled {
    what: &'static str,
    usage: BufferUsages,
    buffer: Memory,
}

impl Refilled {
    pub(super) fn new(
        gpu: &crate::Gpu,
        what: &'static str,
        usage: BufferUsages,
        checks: &mut Vec<Check>,
    ) -> Result<Self, BackendError> {
        let usage = usage | BufferUsages::COPY_DST;
        Ok(Self { what, usage, buffer: gpu.allocate(what, 4096, usage, checks)? })
    }

    pub(super) fn buffer(&self) -> &wgpu::Buffer {
        &self.buffer
    }

    /// Makes room for `bytes` bytes. Returns `true` if the buffer was replaced.
    fn fit(
        &mut self,
        gpu: &crate::Gpu,
        bytes: u64,
        retired: &mut Vec<Memory>,
        checks: &mut Vec<Check>,
    ) -> Result<bool, BackendError> {
        if bytes <= self.buffer.size() {
            return Ok(false);
        }
        let limit =
            if self.usage.contains(BufferUsages::STORAGE) { gpu.max_binding() } else { gpu.report().max_buffer };
        let new = gpu.allocate(self.what, bytes.max((bytes * 3 / 2).min(limit)), self.usage, checks)?;
        retired.push(std::mem::replace(&mut self.buffer, new));
        Ok(true)
    }
}
