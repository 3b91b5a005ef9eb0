//! The loss of a device. The answers stay, and go on with the same model on another device.

use std::sync::Arc;

use honelm_backend::BackendError;
use honelm_model::{ModelError, Runner};

use super::Driver;
use super::flights::Flights;
use crate::prefixes::Prefixes;

/// Returns `true` if the device is gone.
pub(super) fn is_loss(error: &ModelError) -> bool {
    matches!(error, ModelError::Backend(BackendError::DeviceLost { .. }))
}

impl Driver {
    /// Returns the error by which the device was lost, if the answers wait for another one
    /// ([`DriverOptions::survives_loss`](super::DriverOptions::survives_loss)).
    #[must_use]
    pub fn lost(&self) -> Option<&Arc<ModelError>> {
        self.lost.as_ref()
    }

    /// Goes on with another runner of the same model. All answers are set back: the tokens of prompts and answers are computed
    /// again, and the next tokens are drawn as they would have been.
    pub fn replace(&mut self, mut runner: Box<dyn Runner>) {
        self.set_back_all();
        runner.set_cache_limit(Some(self.cache_bytes));
        self.runner = runner;
        self.lost = None;
    }

    /// Keeps the answers until another runner is there.
    pub(super) fn lose(&mut self, error: ModelError) {
        self.set_back_all();
        self.lost = Some(Arc::new(error));
    }

    /// Takes the sequences of all answers away, without a word to the runner that holds them.
    fn set_back_all(&mut self) {
        (self.flights, self.prefixes) = (Flights::default(), Prefixes::default());
        for mut answer in std::mem::take(&mut self.active) {
            self.speculation.forget(answer.id);
            answer.sequence = None;
            answer.land(0);
            self.wait(answer);
        }
    }
}
