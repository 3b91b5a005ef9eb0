use std::future::Future;
use std::pin::Pin;

use honelm_backend::{Batch, CacheSpec, SavedSequence, SequenceId, Ticket, Truncated};
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
    /// The cached cells of [`Runner::export`].
    pub cells: Vec<u8>,
}

/// The future of a step's outputs, which borrows nothing.
pub type ReadStep = Pin<Box<dyn Future<Output = Result<StepOutput, ModelError>> + 'static>>;

/// The use of memory for cached keys and values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheUse {
    /// The bytes of the pages that sequences hold. Shared pages count once.
    pub held: usize,
    /// The largest number of bytes; `None` without a limit.
    pub limit: Option<usize>,
    /// The number of open sequences.
    pub sequences: usize,
}

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
    /// Returns the most bytes of pages that a sequence of `tokens` tokens needs.
    fn sequence_bytes(&self, tokens: usize) -> usize;
    /// Limits the bytes of the pages of all sequences. A step that would exceed the limit is refused with
    /// [`honelm_backend::BackendError::CacheFull`] and changes nothing.
    fn set_cache_limit(&mut self, bytes: Option<usize>);
    /// Returns the use of memory for cached keys and values.
    fn cache_use(&self) -> CacheUse;
    /// Returns the name of the arithmetic: the same model, tokens and options give the same bits wherever it is the same.
    fn arithmetic(&self) -> String {
        self.describe()
    }
    /// Returns `true` if the bits of a row depend neither on the other rows of its step nor on their number.
    fn is_batch_invariant(&self) -> bool;
    /// Returns the number of steps that should be started before the first of them is read
    /// ([`honelm_backend::Backend::steps_in_flight`]).
    fn steps_in_flight(&self) -> usize;
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
    /// Returns the shape of the cache.
    fn cache_spec(&self) -> &CacheSpec;
    /// Returns the shape of a sequence that is to be saved. Its cells are those of [`Runner::export`] for each layer.
    fn saved(&self, id: SequenceId) -> Result<SavedSequence, ModelError>;
    /// Starts a step that reads the cells of a sequence in one layer, without those that a window has dropped:
    /// [`StepOutput::cells`] in the form of [`honelm_backend::Backend::export_cells`], in whole pages. The cells after those
    /// of the last token are unspecified.
    fn export(&mut self, id: SequenceId, layer: usize) -> Result<Ticket, ModelError>;
    /// Opens a sequence of this shape. Its cells follow by [`Runner::import`] for each layer, before it is used.
    fn open_saved(&mut self, saved: &SavedSequence) -> Result<SequenceId, ModelError>;
    /// Starts a step that writes the cells of a saved sequence in one layer, up to that of the last token. Reading it waits
    /// for the end.
    fn import(&mut self, id: SequenceId, layer: usize, cells: &[u8]) -> Result<Ticket, ModelError>;
    /// Applies the output layer to final hidden states. // [rows, D] -> [rows, V]
    fn logits(&mut self, hidden: &Matrix) -> Result<Matrix, ModelError>;
}
