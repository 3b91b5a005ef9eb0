//! Several requests, computed in common steps.

use std::time::{Duration, Instant};

use honelm_backend::block_on;
use honelm_engine::{Cancel, Completion, Event as DriverEvent, FinishReason, Request};

use crate::{Error, Model};

/// The number of requests that are given to the model at a time.
const TOGETHER: usize = 16;

/// The limits of a call that makes several requests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CallLimits {
    /// The time that the call may take.
    pub deadline: Option<Duration>,
}

/// A call in progress: its clock, and what ends it.
pub(crate) struct Call<'c> {
    begin: Instant,
    deadline: Option<Duration>,
    cancel: &'c Cancel,
}

impl<'c> Call<'c> {
    pub fn new(limits: CallLimits, cancel: &'c Cancel) -> Self {
        Self { begin: Instant::now(), deadline: limits.deadline, cancel }
    }

    /// Completes requests in common steps, in their order.
    ///
    /// # Errors
    /// The first error of a request, [`Error::Interrupted`], [`Error::Deadline`].
    pub fn complete(&self, model: &mut Model, requests: Vec<Request>) -> Result<Vec<Completion>, Error> {
        let mut out = Vec::with_capacity(requests.len());
        let mut requests = requests.into_iter();
        loop {
            let some: Vec<Request> = requests.by_ref().take(TOGETHER).collect();
            if some.is_empty() {
                return Ok(out);
            }
            out.extend(self.complete_some(model, some)?);
        }
    }

    fn complete_some(&self, model: &mut Model, requests: Vec<Request>) -> Result<Vec<Completion>, Error> {
        let clock = || self.begin.elapsed().as_secs_f64();
        let deadline = self.deadline.map(|limit| limit.as_secs_f64());
        let driver = model.loaded.driver();
        let mut open = Vec::with_capacity(requests.len());
        let mut outcomes: Vec<Option<Result<Completion, Error>>> = Vec::with_capacity(requests.len());
        for request in requests {
            let request = Request { deadline, ..request.with_cancel(self.cancel) };
            let submitted = driver.submit(request, clock());
            open.push(submitted.as_ref().ok().copied());
            outcomes.push(submitted.err().map(|error| Err(error.into())));
        }
        // All of them end, so that none is left in the driver.
        while outcomes.iter().any(Option::is_none) {
            for (id, event) in block_on(driver.step(&clock)) {
                let Some(at) = open.iter().position(|of| *of == Some(id)) else { continue };
                match event {
                    DriverEvent::Update(_) => {}
                    DriverEvent::Done(done) => outcomes[at] = Some(self.checked(done)),
                    DriverEvent::Failed(error) => outcomes[at] = Some(Err(error.into())),
                }
            }
        }
        outcomes.into_iter().flatten().collect()
    }

    /// Returns a completion that was not cut off.
    fn checked(&self, done: Completion) -> Result<Completion, Error> {
        match done.finish_reason {
            FinishReason::Cancelled => Err(Error::Interrupted),
            FinishReason::Deadline => Err(Error::Deadline { limit: self.deadline.unwrap_or_default() }),
            _ => Ok(done),
        }
    }
}
