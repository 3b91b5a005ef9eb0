use honelm_backend::{Batch, CacheSpec, SavedSequence, SequenceId, Ticket, Truncated};
use honelm_model::{CacheUse, Facts, ModelError, ReadStep, Runner};
use honelm_tensor::Matrix;
use std::cell::Cell;
use std::rc::Rc;

use crate::platform::{self, EventLoop};

/// The longest time in seconds without a turn of the event loop.
const HELD: f64 = 0.01;

/// A model whose reads give the event loop a turn, so that a worker receives an abort while the CPU computes an answer.
/// Reads of the CPU back end are ready at once and would otherwise never yield.
pub struct Breathing<R> {
    runner: R,
    events: Rc<EventLoop>,
    last: Rc<Cell<f64>>,
}

impl<R: Runner> Breathing<R> {
    pub fn new(runner: R) -> Self {
        Self { runner, events: Rc::new(EventLoop::new()), last: Rc::new(Cell::new(platform::seconds())) }
    }
}

impl<R: Runner> Runner for Breathing<R> {
    fn read(&mut self, ticket: Ticket) -> ReadStep {
        let (read, events, last) = (self.runner.read(ticket), Rc::clone(&self.events), Rc::clone(&self.last));
        Box::pin(async move {
            let output = read.await;
            if platform::seconds() - last.get() > HELD {
                events.turn().await;
                last.set(platform::seconds());
            }
            output
        })
    }

    fn facts(&self) -> &Facts {
        self.runner.facts()
    }

    fn context(&self) -> usize {
        self.runner.context()
    }

    fn describe(&self) -> String {
        self.runner.describe()
    }

    fn step_rows(&self) -> usize {
        self.runner.step_rows()
    }

    fn arithmetic(&self) -> String {
        self.runner.arithmetic()
    }

    fn is_batch_invariant(&self) -> bool {
        self.runner.is_batch_invariant()
    }

    fn steps_in_flight(&self) -> usize {
        self.runner.steps_in_flight()
    }

    fn sequence_bytes(&self, tokens: usize) -> usize {
        self.runner.sequence_bytes(tokens)
    }

    fn set_cache_limit(&mut self, bytes: Option<usize>) {
        self.runner.set_cache_limit(bytes);
    }

    fn cache_use(&self) -> CacheUse {
        self.runner.cache_use()
    }

    fn open(&mut self) -> SequenceId {
        self.runner.open()
    }

    fn close(&mut self, id: SequenceId) -> Result<(), ModelError> {
        self.runner.close(id)
    }

    fn len(&self, id: SequenceId) -> Result<usize, ModelError> {
        self.runner.len(id)
    }

    fn step(&mut self, batch: &Batch) -> Result<Ticket, ModelError> {
        self.runner.step(batch)
    }

    fn accept(&mut self, id: SequenceId, path: &[u32]) -> Result<(), ModelError> {
        self.runner.accept(id, path)
    }

    fn truncate(&mut self, id: SequenceId, len: usize) -> Result<Truncated, ModelError> {
        self.runner.truncate(id, len)
    }

    fn fork(&mut self, id: SequenceId) -> Result<SequenceId, ModelError> {
        self.runner.fork(id)
    }

    fn cache_spec(&self) -> &CacheSpec {
        self.runner.cache_spec()
    }

    fn saved(&self, id: SequenceId) -> Result<SavedSequence, ModelError> {
        self.runner.saved(id)
    }

    fn export(&mut self, id: SequenceId, layer: usize) -> Result<Ticket, ModelError> {
        self.runner.export(id, layer)
    }

    fn open_saved(&mut self, saved: &SavedSequence) -> Result<SequenceId, ModelError> {
        self.runner.open_saved(saved)
    }

    fn import(&mut self, id: SequenceId, layer: usize, cells: &[u8]) -> Result<Ticket, ModelError> {
        self.runner.import(id, layer, cells)
    }

    fn logits(&mut self, hidden: &Matrix) -> Result<Matrix, ModelError> {
        self.runner.logits(hidden)
    }
}
