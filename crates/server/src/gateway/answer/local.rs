//! The part of an answer that the local model gives.

use std::time::Instant;

use honelm_text::{EncodeOptions, Message};
use serde_json::Value;

use super::{Answer, End};
use crate::gateway::energy;
use crate::job::{Finish, Job, Part, Parts, Prompt, Usage};
use crate::registry::Lease;

/// What the local model is told when it answers only because the cloud is away.
const NOTE: &str = "You answer without the help of a larger model. Say which parts of your answer you are unsure of.";

/// The code of the error of a template that refuses a conversation.
const REFUSED_BY_TEMPLATE: &str = "template-raised";

/// The way in which the parts of a local job become those of the answer.
#[derive(Debug, Clone, Copy)]
struct Forward {
    /// The answer that the job continues; `None` for a job with all answers.
    choice: Option<usize>,
    /// `true` to drop a space at the start, which was sent before.
    skips_space: bool,
    /// `true` to send nothing before the first token, so that another place can answer.
    waits: bool,
    /// The tokens of the answer's beginning, which are part of the job's prompt.
    begun_tokens: usize,
}

impl Answer {
    /// Answers locally. With `waits`, nothing is sent before the first token.
    pub(super) async fn local(&mut self, waits: bool) -> Result<(), End> {
        let lease = self.lease().await?;
        let job = self.localized(&lease)?;
        let how = Forward { choice: None, skips_space: false, waits, begun_tokens: 0 };
        self.run_local(&lease, job, how).await
    }

    /// Continues the answers that upstreams have begun.
    pub(super) async fn go_on(&mut self) -> Result<(), End> {
        let lease = self.lease().await.map_err(complete)?;
        for choice in 0..self.written.len() {
            if self.written[choice].done.is_none() {
                self.continue_choice(choice, &lease).await.map_err(complete)?;
            }
        }
        Ok(())
    }

    async fn continue_choice(&mut self, choice: usize, lease: &Lease) -> Result<(), End> {
        let job = self.localized(lease)?;
        let text = self.written[choice].text.clone();
        // A model writes the space before a word with the word.
        let begun = text.strip_suffix(' ').unwrap_or(&text).to_owned();
        let skips_space = begun.len() < text.len();
        let counted = begun.clone();
        let count = lease.with(move |model| model.tokenizer().encode(&counted, EncodeOptions::default())).await;
        let begun_tokens = count.map_err(End::Failed)?.map_err(|error| End::Failed(error.into()))?.len();
        if begun_tokens >= job.how.max_tokens {
            let usage = Usage { completion_tokens: begun_tokens, ..Usage::default() };
            self.written[choice].done = Some((Finish::Length, usage));
            return Ok(());
        }
        let mut job = Job { choices: 1, begun: Some(begun), ..job };
        job.how.max_tokens -= begun_tokens;
        let how = Forward { choice: Some(choice), skips_space, waits: false, begun_tokens };
        self.run_local(lease, job, how).await
    }

    async fn lease(&mut self) -> Result<Lease, End> {
        if let Some(lease) = &self.place.lease {
            return Ok(lease.clone());
        }
        let name = self.place.card().name.clone();
        let lease = self.registry.get(&name, self.place.keep_alive).await.map_err(End::Away)?;
        self.place.lease = Some(lease.clone());
        Ok(lease)
    }

    /// Returns the job for the local model, whose settings were not known if it was not loaded.
    pub(super) fn localized(&self, lease: &Lease) -> Result<Job, End> {
        let mut job = self.job.clone();
        let overflow = job.how.overflow;
        job.how = job.given.clone().generation(lease.card(), &self.limits).map_err(End::Failed)?;
        job.how.overflow = overflow;
        job.how.seed = self.job.how.seed;
        job.refuse_images().map_err(End::Away)?;
        job.deadline = Some(self.deadline.saturating_duration_since(Instant::now()));
        Ok(job)
    }

    async fn run_local(&mut self, lease: &Lease, job: Job, how: Forward) -> Result<(), End> {
        let energy = energy::begin();
        let outcome = self.compute(lease, job, how).await;
        self.energy.push(energy.joules());
        outcome
    }

    async fn compute(&mut self, lease: &Lease, job: Job, how: Forward) -> Result<(), End> {
        if self.taken.degraded {
            let noted = with_note(job.clone());
            match self.forward(lease.submit(noted).map_err(End::Away)?, how).await {
                // Some templates refuse system messages.
                Err(End::Away(error) | End::Failed(error)) if error.code == REFUSED_BY_TEMPLATE => {}
                other => return other,
            }
        }
        self.forward(lease.submit(job).map_err(End::Away)?, how).await
    }

    async fn forward(&mut self, mut parts: Parts, how: Forward) -> Result<(), End> {
        let sender = self.sender.clone();
        let (mut prompt_tokens, mut cached_tokens, mut skips_space) = (0, 0, how.skips_space);
        loop {
            let part = tokio::select! {
                part = parts.next() => part,
                () = sender.closed() => return Err(End::Gone),
            };
            let Some(mut part) = part else { return Ok(()) };
            if let (Some(choice), Some(of)) = (how.choice, part.choice_mut()) {
                *of = choice;
            }
            match part {
                Part::Begun { prompt_tokens: prompt, cached_tokens: cached, .. } => {
                    (prompt_tokens, cached_tokens) = (prompt, cached);
                    if !how.waits {
                        self.begin(prompt_tokens, cached_tokens).await?;
                    }
                }
                Part::Failed(error) if !self.has_begun && !self.has_written() => return Err(End::Away(error)),
                Part::Failed(error) => return Err(End::Failed(error)),
                Part::Done { choice, finish, usage } => {
                    self.begin(prompt_tokens, cached_tokens).await?;
                    let usage = Usage {
                        prompt_tokens: usage.prompt_tokens.saturating_sub(how.begun_tokens),
                        completion_tokens: usage.completion_tokens + how.begun_tokens,
                        ..usage
                    };
                    self.written[choice].done = Some((finish, usage));
                }
                Part::Text { choice, mut text, logprobs } => {
                    if !text.is_empty() && std::mem::take(&mut skips_space) && text.starts_with(' ') {
                        text.remove(0);
                    }
                    self.begin(prompt_tokens, cached_tokens).await?;
                    self.send(Part::Text { choice, text, logprobs }).await?;
                }
                other => {
                    self.begin(prompt_tokens, cached_tokens).await?;
                    self.send(other).await?;
                }
            }
        }
    }
}

/// An answer that has begun elsewhere cannot move any more.
fn complete(end: End) -> End {
    match end {
        End::Away(error) => End::Failed(error),
        other => other,
    }
}

/// Adds [`NOTE`] to the system message.
fn with_note(mut job: Job) -> Job {
    if let Prompt::Chat { messages, .. } = &mut job.prompt {
        match messages.first_mut().filter(|message| message.role == "system") {
            Some(Message { content: Value::String(text), .. }) => {
                text.push_str("\n\n");
                text.push_str(NOTE);
            }
            _ => messages.insert(0, Message::new("system", NOTE)),
        }
    }
    job
}
