//! Loaded models, and their use by requests.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use honelm_engine::{Agreement, Confidence, Generation, LoadedModel, Samples};
use tokio::sync::{mpsc, oneshot, watch};

use super::{KeepAlive, Status, lock};
use crate::ApiError;
use crate::job::{Job, Part, Parts};
use crate::model::{ModelCard, Need};
use crate::worker::{Command, Load, Submitted, prompt_tokens};

/// The number of parts that wait for a client before they are joined.
const CHANNEL: usize = 64;

/// A loaded model.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(super) card: Arc<ModelCard>,
    pub(super) load: Arc<Load>,
    /// `None` once the model is being unloaded.
    commands: Mutex<Option<Sender<Command>>>,
    /// Closed when the thread has ended.
    ending: watch::Receiver<()>,
    uses: AtomicUsize,
    /// The last use, and how long the model stays after it.
    used: Mutex<(Instant, KeepAlive)>,
}

impl Loaded {
    pub(super) fn new(
        card: ModelCard,
        commands: Sender<Command>,
        load: Arc<Load>,
        ending: watch::Receiver<()>,
        keep_alive: KeepAlive,
    ) -> Self {
        Self {
            card: Arc::new(card),
            load,
            commands: Mutex::new(Some(commands)),
            ending,
            uses: AtomicUsize::new(0),
            used: Mutex::new((Instant::now(), keep_alive)),
        }
    }

    /// Returns `false` if the thread has ended.
    pub(super) fn is_alive(&self) -> bool {
        self.ending.has_changed().is_ok()
    }

    pub(super) fn in_use(&self) -> bool {
        self.uses.load(Ordering::Acquire) > 0
    }

    pub(super) fn last_used(&self) -> Instant {
        lock(&self.used).0
    }

    pub(super) fn set_keep_alive(&self, keep_alive: KeepAlive) {
        lock(&self.used).1 = keep_alive;
    }

    /// Returns the time until the model is unloaded; `None` if it is in use or stays.
    pub(super) fn expires(&self) -> Option<Duration> {
        let (last, keep_alive) = *lock(&self.used);
        keep_alive.filter(|_| !self.in_use()).map(|time| time.saturating_sub(last.elapsed()))
    }

    /// Lets the thread end. The receiver is closed when it has.
    pub(super) fn end(&self) -> watch::Receiver<()> {
        lock(&self.commands).take();
        self.ending.clone()
    }

    fn send(&self, command: Command) -> Result<(), ApiError> {
        let commands = lock(&self.commands);
        let sent = commands.as_ref().and_then(|commands| commands.send(command).ok());
        sent.ok_or_else(|| {
            let message = format!("the model {:?} was unloaded", self.card.name);
            ApiError::later(StatusCode::SERVICE_UNAVAILABLE, "model_unloaded", message, 1)
        })
    }

    pub(super) fn status(&self, name: &str, need: Option<Need>) -> Status {
        let load = &self.load;
        let active = load.active.load(Ordering::Relaxed);
        let stops = lock(&self.used).1 == Some(Duration::ZERO);
        Status {
            name: name.to_owned(),
            state: if stops { "stopping" } else { "loaded" },
            need,
            context: Some(self.card.context),
            device: Some(self.card.device.clone()),
            active,
            waiting: load.jobs.load(Ordering::Relaxed).saturating_sub(active),
            prompt_tokens: load.prompt_tokens.load(Ordering::Relaxed),
            cached_tokens: load.cached_tokens.load(Ordering::Relaxed),
            answer_tokens: load.answer_tokens.load(Ordering::Relaxed),
            drafted_tokens: load.drafted_tokens.load(Ordering::Relaxed),
            accepted_tokens: load.accepted_tokens.load(Ordering::Relaxed),
            expires_seconds: self.expires().map(|left| left.as_secs_f64()),
        }
    }
}

/// The use of a loaded model, which is not unloaded meanwhile.
#[derive(Debug)]
pub struct Lease {
    loaded: Arc<Loaded>,
    queue: usize,
}

impl Lease {
    pub(super) fn new(loaded: Arc<Loaded>, queue: usize) -> Self {
        loaded.uses.fetch_add(1, Ordering::AcqRel);
        Self { loaded, queue }
    }

    /// Returns the facts about the model.
    #[must_use]
    pub fn card(&self) -> &ModelCard {
        &self.loaded.card
    }

    pub(crate) fn shared_card(&self) -> Arc<ModelCard> {
        Arc::clone(&self.loaded.card)
    }

    /// Gives a job to the model.
    ///
    /// # Errors
    /// 429 if too many jobs wait.
    pub fn submit(&self, job: Job) -> Result<Parts, ApiError> {
        let jobs = &self.loaded.load.jobs;
        if jobs.fetch_add(1, Ordering::AcqRel) >= self.queue {
            jobs.fetch_sub(1, Ordering::AcqRel);
            let message = format!("{} requests wait for the model {:?} already", self.queue, self.card().name);
            return Err(ApiError::later(StatusCode::TOO_MANY_REQUESTS, "queue_full", message, 2));
        }
        let choices = job.choices.max(1);
        let (sender, receiver) = mpsc::channel(CHANNEL);
        let submitted = Submitted { job, sender, received: Instant::now() };
        let sent = self.loaded.send(Command::Job(Box::new(submitted)));
        if sent.is_err() {
            jobs.fetch_sub(1, Ordering::AcqRel);
        }
        sent?;
        Ok(Parts::new(receiver, Some(self.clone()), choices))
    }

    /// Reads the prompt of a job and returns the model's confidence in the first token of the answer, and if wanted the agreement of two
    /// samples. The prompt stays cached, so that the job itself, submitted next, computes one row of it. Dropping the future cancels the work.
    ///
    /// # Errors
    /// As [`Lease::submit`], and the error with which an answer to the job would fail.
    pub async fn confidence(&self, job: &Job, samples: Option<Samples>) -> Result<Confidence, ApiError> {
        let settings = Samples::settings(samples, &job.how);
        let choices = settings.len();
        let how = settings.into_iter().next().unwrap_or_else(|| job.how.clone());
        // The tokens of the samples come with the log-probabilities.
        let how = Generation { logprobs: samples.map(|_| 0), ..how };
        let mut parts = self.submit(Job { how, choices, echo: false, confidence: true, ..job.clone() })?;
        let (mut found, mut seconds) = (None, 0.0f64);
        let mut tokens = vec![Vec::new(); choices];
        while let Some(part) = parts.next().await {
            match part {
                Part::Failed(error) => return Err(error),
                Part::Confidence { choice: 0, confidence } => found = Some(confidence),
                Part::Text { choice, logprobs, .. } => {
                    tokens[choice.min(choices - 1)].extend(logprobs.iter().map(|token| token.id));
                }
                Part::Done { choice, usage, .. } => {
                    // The second sample begins with the first token of the first one.
                    let before = if choice > 0 { usage.first_token_seconds } else { 0.0 };
                    seconds = seconds.max(before + usage.decode_seconds);
                }
                _ => {}
            }
        }
        let found = found.ok_or_else(|| ApiError::internal("no_confidence", "the model gave no first token"))?;
        let agreement = match &tokens[..] {
            [a, b] => Some(Agreement::of(a, b, seconds)),
            _ => None,
        };
        Ok(Confidence { agreement, ..found })
    }

    /// Returns the number of tokens of a job's prompt.
    ///
    /// # Errors
    /// A prompt that the model cannot read, 503 if the model stops before.
    pub async fn count(&self, job: Job) -> Result<usize, ApiError> {
        self.with(move |model| prompt_tokens(&job, model)).await?
    }

    /// Runs a function with the model, between two of its steps.
    ///
    /// # Errors
    /// 503 if the model stops before.
    pub async fn with<T, F>(&self, function: F) -> Result<T, ApiError>
    where
        T: Send + 'static,
        F: FnOnce(&mut LoadedModel) -> T + Send + 'static,
    {
        let (sender, receiver) = oneshot::channel();
        let call = move |model: &mut LoadedModel| drop(sender.send(function(model)));
        self.loaded.send(Command::Call(Box::new(call)))?;
        receiver.await.map_err(|_| ApiError::internal("model-stopped", "the model stopped"))
    }
}

impl Clone for Lease {
    fn clone(&self) -> Self {
        Self::new(Arc::clone(&self.loaded), self.queue)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        lock(&self.loaded.used).0 = Instant::now();
        self.loaded.uses.fetch_sub(1, Ordering::AcqRel);
    }
}
