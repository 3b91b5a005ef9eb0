//! A request for answers as all protocols make it, and the parts in which the answers come back.

use std::time::Duration;

use axum::http::HeaderValue;
use honelm_engine::{Confidence, Generation, Likelihood, Pooling};
use honelm_grammar::Constraint;
use honelm_text::answer::{Call, Tool, ToolChoice};
use honelm_text::{Message, RenderOptions};

use crate::ApiError;
use crate::gateway::{About, Head};
use crate::registry::Lease;
use crate::settings::Settings;

/// The text that is answered or continued.
#[derive(Debug, Clone)]
pub enum Prompt {
    /// A conversation, which the model's chat template renders.
    Chat {
        /// The messages.
        messages: Vec<Message>,
        /// The further variables of the template.
        options: RenderOptions,
    },
    /// A text that is continued.
    Text(String),
    /// Tokens that are continued.
    Tokens(Vec<u32>),
    /// A gap that is filled, for models with tokens for it.
    Infill {
        /// The text before the gap.
        prefix: String,
        /// The text behind the gap.
        suffix: String,
    },
}

/// A request for the embedding of a prompt instead of answers to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Embed {
    /// The way from the hidden states of all tokens to one vector.
    pub pooling: Pooling,
    /// Cuts off what the context cannot hold.
    pub truncate: bool,
}

/// An answer that goes on for some tokens ([`honelm_engine::Request::begun`]). Its tokens come in [`Part::Tokens`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resumed {
    /// The tokens so far.
    pub begun: Vec<u32>,
    /// The tokens that may follow.
    pub draft: Vec<u32>,
    /// The number of new tokens behind which the answer pauses; `None` for its end.
    pub pause: Option<usize>,
}

/// A request for one or more answers to one prompt.
#[derive(Debug, Clone)]
pub struct Job {
    /// The prompt.
    pub prompt: Prompt,
    /// The settings: those of [`crate::Settings::generation`].
    pub how: Generation,
    /// The settings that the request gave, for a place that has other defaults.
    pub given: Settings,
    /// The beginning of the answer to a conversation, which exists already. The answer goes on from it.
    pub begun: Option<String>,
    /// The tokens of the answer so far, with a draft of the next ones. The answer pauses soon behind them.
    pub resumed: Option<Resumed>,
    /// The number of answers, at least 1.
    pub choices: usize,
    /// The tools that the model may call.
    pub tools: Vec<Tool>,
    /// The tools that it must call.
    pub tool_choice: ToolChoice,
    /// Allows several calls in an answer.
    pub parallel_calls: bool,
    /// The rule that the answer must match.
    pub constraint: Option<Constraint>,
    /// Returns the prompt as the first part of each text, with its log-probabilities if `how` wants those of the answer.
    pub echo: bool,
    /// Returns the embedding of the prompt, and no answer.
    pub embed: Option<Embed>,
    /// Returns the likelihoods of these answers to a conversation, and no answer.
    pub judge: Option<Vec<String>>,
    /// Returns the model's confidence in the first token of the answer.
    pub confidence: bool,
    /// The priority. Jobs with a higher one are computed first.
    pub priority: i32,
    /// The time from now after which the job fails; the server's own limit if that is shorter.
    pub deadline: Option<Duration>,
}

impl Job {
    /// Creates a job for one answer.
    #[must_use]
    pub fn new(prompt: Prompt, how: Generation) -> Self {
        Self {
            prompt,
            how,
            given: Settings::default(),
            begun: None,
            resumed: None,
            choices: 1,
            tools: Vec::new(),
            tool_choice: ToolChoice::Auto,
            parallel_calls: true,
            constraint: None,
            echo: false,
            embed: None,
            judge: None,
            confidence: false,
            priority: 0,
            deadline: None,
        }
    }
}

impl Job {
    /// Refuses images, for a model that reads only text.
    ///
    /// # Errors
    /// 400 that names the message.
    pub(crate) fn refuse_images(&self) -> Result<(), ApiError> {
        let Prompt::Chat { messages, .. } = &self.prompt else { return Ok(()) };
        match messages.iter().position(|message| message.content.is_array()) {
            None => Ok(()),
            Some(at) => {
                let found = "found an image, expected text: the local model reads nothing else";
                Err(ApiError::unsupported(format!("messages[{at}].content"), found))
            }
        }
    }
}

/// The reason for the end of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finish {
    /// The model's end token.
    Stop,
    /// A stop text of the request.
    StopText(String),
    /// The limit of tokens, or the end of the context.
    Length,
    /// The answer ends with calls of tools.
    ToolCalls,
    /// The client has gone.
    Cancelled,
    /// The pause of a [`Resumed`] answer, which can go on.
    Paused,
}

/// The numbers of tokens, and times.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Usage {
    /// The tokens of the prompt.
    pub prompt_tokens: usize,
    /// Those of them that were cached.
    pub cached_tokens: usize,
    /// The tokens of the answer.
    pub completion_tokens: usize,
    /// Those of them that wrote reasoning.
    pub reasoning_tokens: usize,
    /// The time from the admission of the request to the first token, in seconds.
    pub first_token_seconds: f64,
    /// The time from the first token to the end, in seconds.
    pub decode_seconds: f64,
}

/// The expected times of a model's steps, in seconds; 0 before the first one was measured.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct StepTimes {
    /// A step with one row.
    pub one: f64,
    /// A step with the rows of the draft, and one more.
    pub draft: f64,
}

/// A token with its log-probability.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenLogprob {
    /// The token.
    pub id: u32,
    /// Its text; bytes that are not UTF-8 alone are replaced.
    pub text: String,
    /// Its bytes in the answer; none for a special token.
    pub bytes: Vec<u8>,
    /// The natural logarithm of its probability; `None` for the first token of a prompt, which nothing precedes.
    pub logprob: Option<f32>,
    /// The most likely tokens in its place, in descending order.
    pub top: Vec<TopLogprob>,
}

/// One of the most likely tokens.
#[derive(Debug, Clone, PartialEq)]
pub struct TopLogprob {
    /// The token.
    pub id: u32,
    /// Its text.
    pub text: String,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// The natural logarithm of its probability.
    pub logprob: f32,
}

/// A part of a job's answers. `choice` is the number of the answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Part {
    /// The prompt is being read.
    Begun {
        /// The answer.
        choice: usize,
        /// The tokens of the prompt.
        prompt_tokens: usize,
        /// Those of them that were cached.
        cached_tokens: usize,
    },
    /// Text; may be empty beside log-probabilities.
    Text {
        /// The answer.
        choice: usize,
        /// The text.
        text: String,
        /// The tokens since the last part, if they were requested.
        logprobs: Vec<TokenLogprob>,
    },
    /// Reasoning.
    Reasoning {
        /// The answer.
        choice: usize,
        /// The text.
        text: String,
    },
    /// A call begins.
    CallBegins {
        /// The answer.
        choice: usize,
        /// The number of the call in the answer.
        index: usize,
        /// The id.
        id: String,
        /// The tool's name.
        name: String,
    },
    /// A part of the JSON text of a call's arguments.
    CallArguments {
        /// The answer.
        choice: usize,
        /// The number of the call.
        index: usize,
        /// The text.
        fragment: String,
    },
    /// A call is complete.
    CallEnds {
        /// The answer.
        choice: usize,
        /// The number of the call.
        index: usize,
    },
    /// The embedding of the prompt, before [`Part::Done`].
    Embedding {
        /// The answer.
        choice: usize,
        /// The pooled hidden states. // `[D]`
        values: Vec<f32>,
    },
    /// The likelihoods of the given answers, before [`Part::Done`].
    Likelihoods {
        /// The answer.
        choice: usize,
        /// The likelihoods, in the order of the given answers.
        values: Vec<Likelihood>,
    },
    /// The confidence in the first token, before [`Part::Done`].
    Confidence {
        /// The answer.
        choice: usize,
        /// The confidence.
        confidence: Confidence,
    },
    /// The new tokens of a [`Resumed`] answer, before [`Part::Done`].
    Tokens {
        /// The answer.
        choice: usize,
        /// The tokens, without an end token.
        tokens: Vec<u32>,
        /// The number of draft tokens that were accepted.
        accepted: usize,
        /// The times of the model's steps.
        steps: StepTimes,
    },
    /// The route of the answers, before the first [`Part::Done`]. Only a gateway sends it.
    About(Box<About>),
    /// An answer is complete.
    Done {
        /// The answer.
        choice: usize,
        /// The reason.
        finish: Finish,
        /// The numbers of tokens.
        usage: Usage,
    },
    /// The job has failed, with all its answers. No part follows.
    Failed(ApiError),
}

impl Part {
    /// Returns the number of the answer that the part belongs to, if it belongs to one.
    pub(crate) fn choice_mut(&mut self) -> Option<&mut usize> {
        match self {
            Self::Begun { choice, .. }
            | Self::Text { choice, .. }
            | Self::Reasoning { choice, .. }
            | Self::CallBegins { choice, .. }
            | Self::CallArguments { choice, .. }
            | Self::CallEnds { choice, .. }
            | Self::Embedding { choice, .. }
            | Self::Likelihoods { choice, .. }
            | Self::Confidence { choice, .. }
            | Self::Tokens { choice, .. }
            | Self::Done { choice, .. } => Some(choice),
            Self::About(_) | Self::Failed(_) => None,
        }
    }

    /// Appends `next` if it continues this part. Returns it otherwise.
    pub(crate) fn append(&mut self, next: Self) -> Option<Self> {
        match (self, next) {
            (Self::Text { choice, text, logprobs }, Self::Text { choice: of, text: more, logprobs: further })
                if *choice == of =>
            {
                text.push_str(&more);
                logprobs.extend(further);
                None
            }
            (Self::Reasoning { choice, text }, Self::Reasoning { choice: of, text: more }) if *choice == of => {
                text.push_str(&more);
                None
            }
            (
                Self::CallArguments { choice, index, fragment },
                Self::CallArguments { choice: of, index: call, fragment: more },
            ) if (*choice, *index) == (of, call) => {
                fragment.push_str(&more);
                None
            }
            (_, next) => Some(next),
        }
    }
}

/// The parts of a job, in order. Dropping it cancels the job.
#[derive(Debug)]
pub struct Parts {
    receiver: tokio::sync::mpsc::Receiver<Part>,
    /// Keeps the model loaded.
    _lease: Option<Lease>,
    /// The number of answers that are not complete.
    left: usize,
    head: Option<Head>,
    about: Option<Box<About>>,
}

impl Parts {
    pub(crate) fn new(receiver: tokio::sync::mpsc::Receiver<Part>, lease: Option<Lease>, choices: usize) -> Self {
        Self { receiver, _lease: lease, left: choices, head: None, about: None }
    }

    /// Sets the place where a gateway writes the header of the response.
    pub(crate) fn with_head(self, head: Head) -> Self {
        Self { head: Some(head), ..self }
    }

    /// Returns the header of the response about its route, once the first part has come from a gateway.
    pub(crate) fn head(&self) -> Option<HeaderValue> {
        self.head.as_ref()?.get().cloned()
    }

    /// Returns the route of the answers, once it has come.
    #[must_use]
    pub fn about(&self) -> Option<&About> {
        self.about.as_deref()
    }

    /// Returns the next part; `None` after the last one. A job that is cut off has failed.
    pub async fn next(&mut self) -> Option<Part> {
        let part = self.receiver.recv().await;
        self.counted(part)
    }

    /// Returns the next part if it is there already.
    pub fn try_next(&mut self) -> Option<Part> {
        let part = self.receiver.try_recv().ok()?;
        self.counted(Some(part))
    }

    fn counted(&mut self, part: Option<Part>) -> Option<Part> {
        match &part {
            Some(Part::About(about)) => self.about = Some(about.clone()),
            Some(Part::Done { .. }) => self.left = self.left.saturating_sub(1),
            Some(Part::Failed(_)) => self.left = 0,
            None if self.left > 0 => {
                self.left = 0;
                let message = "the answer was cut off: the model stopped, or the client read too slowly";
                return Some(Part::Failed(ApiError::internal("cut_off", message)));
            }
            _ => {}
        }
        part
    }
}

/// A whole answer.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Choice {
    /// The text.
    pub text: String,
    /// The reasoning; empty if there is none.
    pub reasoning: String,
    /// The complete calls.
    pub calls: Vec<Call>,
    /// The tokens, if they were requested.
    pub logprobs: Vec<TokenLogprob>,
    /// The reason for the end; `None` for an answer that never ended.
    pub finish: Option<Finish>,
    /// The numbers of tokens.
    pub usage: Usage,
}

impl Choice {
    /// Adds a part of this answer.
    pub fn add(&mut self, part: Part) {
        match part {
            Part::Begun { prompt_tokens, cached_tokens, .. } => {
                (self.usage.prompt_tokens, self.usage.cached_tokens) = (prompt_tokens, cached_tokens);
            }
            Part::Text { text, logprobs, .. } => {
                self.text.push_str(&text);
                self.logprobs.extend(logprobs);
            }
            Part::Reasoning { text, .. } => self.reasoning.push_str(&text),
            Part::CallBegins { id, name, .. } => self.calls.push(Call { id, name, arguments: String::new() }),
            Part::CallArguments { index, fragment, .. } => {
                if let Some(call) = self.calls.get_mut(index) {
                    call.arguments.push_str(&fragment);
                }
            }
            Part::CallEnds { .. }
            | Part::Embedding { .. }
            | Part::Likelihoods { .. }
            | Part::Confidence { .. }
            | Part::Tokens { .. }
            | Part::About(_)
            | Part::Failed(_) => {}
            Part::Done { finish, usage, .. } => (self.finish, self.usage) = (Some(finish), usage),
        }
    }
}

/// Waits for all answers of a job.
///
/// # Errors
/// The error with which the job failed.
pub async fn collect(parts: &mut Parts, choices: usize) -> Result<Vec<Choice>, ApiError> {
    let mut all = vec![Choice::default(); choices];
    while let Some(mut part) = parts.next().await {
        if let Part::Failed(error) = part {
            return Err(error);
        }
        let choice = part.choice_mut().map(|choice| *choice);
        if let Some(choice) = choice.and_then(|choice| all.get_mut(choice)) {
            choice.add(part);
        }
    }
    Ok(all)
}
