use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A flag that ends an answer. All clones are the same flag, and any thread can set it.
///
/// The answer ends between two steps of the model, with [`crate::FinishReason::Cancelled`] and the text so far.
#[derive(Debug, Clone, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// Creates a flag that is not set.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the flag.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Returns `true` if the flag is set.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Clears the flag, for the next answer.
    pub fn reset(&self) {
        self.0.store(false, Ordering::Relaxed);
    }
}
