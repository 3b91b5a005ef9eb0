use std::future::Future;
use std::pin::Pin;

use honelm_backend::{Batch, SequenceId, Ticket, Truncated};
use honelm_tensor::Matrix;

use crate::{Facts, ModelError};

/// The requested outputs of a step, with rows in the order of the batch.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct StepOutput {
    /// The logits of the rows that requested them. // [rows, V]
    pub logits: Matrix,
    /// The final hidden states of the rows that requested them. // [rows, D]
    pub hidden: Matrix,
    /// The sampled tokens of the rows that requested one. // `[rows]`
    pub sampled: Vec<u32>,
}

/// The future of a step's outputs, which borrows nothing.
pub type ReadStep = Pin<Box<dyn Future<Output = Result<StepOutput, ModelError>> + 'static>>;

/// A loaded model, as engines and evaluation use it. It manages several sequences of tokens.
///
/// # Errors
/// Methods that return a `Result` fail for unknown sequences, invalid arguments and errors of the device.
pub trait Runner {
    /// Returns the general properties of the model.
    fn facts(&self) -> &Facts;
    /// Returns the maximum number of tokens in a sequence.
    fn context(&self) -> usize;
    /// Returns the largest number of rows that a step should have, given the memory of its activations.
    fn step_rows(&self) -> usize {
        usize::MAX
    }
    /// Returns a description of the back end.
    fn describe(&self) -> String;
    /// Opens an empty sequence.
    fn open(&mut self) -> SequenceId;
    /// Closes a sequence.
    fn close(&mut self, id: SequenceId) -> Result<(), ModelError>;
    /// Returns the number of accepted tokens of a sequence.
    fn len(&self, id: SequenceId) -> Result<usize, ModelError>;
    /// Starts a step with a batch. An invalid batch changes nothing.
    fn step(&mut self, batch: &Batch) -> Result<Ticket, ModelError>;
    /// Reads the outputs of a step.
    fn read(&mut self, ticket: Ticket) -> ReadStep;
    /// Accepts a path of the pending draft (see [`honelm_backend::Sequences::accept`]).
    fn accept(&mut self, id: SequenceId, path: &[u32]) -> Result<(), ModelError>;
    /// Removes the tokens from position `len` on.
    fn truncate(&mut self, id: SequenceId, len: usize) -> Result<Truncated, ModelError>;
    /// Opens a second sequence with the same tokens.
    fn fork(&mut self, id: SequenceId) -> Result<SequenceId, ModelError>;
    /// Applies the output layer to final hidden states. // [rows, D] -> [rows, V]
    fn logits(&mut self, hidden: &Matrix) -> Result<Matrix, ModelError>;
}
