use std::future::Future;
use std::pin::Pin;

use honelm_backend::{Batch, SequenceId, Ticket, Truncated};
use honelm_tensor::Matrix;

use crate::{Facts, ModelError};

/// What a step was asked for, rows in the order of the batch.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct StepOutput {
    /// Rows that wanted logits. // [rows, V]
    pub logits: Matrix,
    /// Rows that wanted hidden states, after the last norm. // [rows, D]
    pub hidden: Matrix,
    /// Rows that wanted a sampled token. // `[rows]`
    pub sampled: Vec<u32>,
}

/// A read that borrows nothing.
pub type ReadStep = Pin<Box<dyn Future<Output = Result<StepOutput, ModelError>> + 'static>>;

/// A loaded model behind one erased boundary: all that engines and evaluation see.
pub trait Runner {
    /// What the model is.
    fn facts(&self) -> &Facts;
    /// Most tokens a sequence may hold here.
    fn context(&self) -> usize;
    /// Most rows that a step should have, by the memory that its activations take.
    fn step_rows(&self) -> usize {
        usize::MAX
    }
    /// The back end's description.
    fn describe(&self) -> String;
    /// Opens an empty sequence.
    fn open(&mut self) -> SequenceId;
    /// Ends a sequence.
    fn close(&mut self, id: SequenceId) -> Result<(), ModelError>;
    /// Accepted tokens of a sequence.
    fn len(&self, id: SequenceId) -> Result<usize, ModelError>;
    /// Runs a batch; refuses before changing anything.
    fn step(&mut self, batch: &Batch) -> Result<Ticket, ModelError>;
    /// The outputs of a step.
    fn read(&mut self, ticket: Ticket) -> ReadStep;
    /// Keeps a path of the pending draft (see [`honelm_backend::Sequences::accept`]).
    fn accept(&mut self, id: SequenceId, path: &[u32]) -> Result<(), ModelError>;
    /// Forgets tokens from `len` on.
    fn truncate(&mut self, id: SequenceId, len: usize) -> Result<Truncated, ModelError>;
    /// A second sequence with the same tokens.
    fn fork(&mut self, id: SequenceId) -> Result<SequenceId, ModelError>;
    /// The output layer alone, on finished hidden states. // [rows, D] -> [rows, V]
    fn logits(&mut self, hidden: &Matrix) -> Result<Matrix, ModelError>;
}
