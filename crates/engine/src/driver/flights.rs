//! The steps in flight: submitted and not yet read.
//!
//! A device that works beside the host would wait between two steps if the host read each before it submitted the next. A token
//! that the device drew need not be read first: the next step refers to it ([`honelm_backend::Token::Sampled`]). The host reads
//! later. If the token ended the answer, the rows after it are discarded.

use std::collections::VecDeque;

use honelm_model::{ModelError, ReadStep, StepOutput};

use super::stepping::Part;
use crate::answer::Answer;

/// A step in flight.
pub(super) struct Flight {
    pub parts: Vec<Part>,
    pub read: ReadStep,
    /// The time at which its submission began.
    pub begun: f64,
}

/// The steps in flight, the oldest first.
#[derive(Default)]
pub(super) struct Flights {
    steps: VecDeque<Flight>,
    /// The time at which a step was read last.
    last_read: Option<f64>,
}

impl Flights {
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    pub fn len(&self) -> usize {
        self.steps.len()
    }

    pub fn push(&mut self, flight: Flight) {
        self.steps.push_back(flight);
    }

    /// Reads the oldest step; `None` if there is none. If the future is dropped, the step stays in flight.
    pub async fn next(&mut self) -> Option<(Flight, Result<StepOutput, ModelError>)> {
        let output = self.steps.front_mut()?.read.as_mut().await;
        Some((self.steps.pop_front()?, output))
    }

    /// Returns the seconds that the device spent on a step which was read at `now`: since its submission, or since the step before
    /// it was read.
    pub fn seconds(&mut self, flight: &Flight, now: f64) -> f64 {
        let before = self.last_read.replace(now).unwrap_or(flight.begun);
        now - before.max(flight.begun)
    }

    /// Removes the oldest steps while no answer wants their outputs. Returns the number of their rows.
    pub fn discard(&mut self, active: &[Answer]) -> u64 {
        let is_wanted =
            |flight: &Flight| flight.parts.iter().any(|part| active.iter().any(|answer| part.is_of(answer)));
        let mut rows = 0;
        while self.steps.front().is_some_and(|flight| !is_wanted(flight)) {
            let flight = self.steps.pop_front();
            rows += flight.iter().flat_map(|flight| &flight.parts).map(Part::rows).sum::<usize>() as u64;
        }
        rows
    }
}
