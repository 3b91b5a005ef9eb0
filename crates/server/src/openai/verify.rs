//! `/v1/honelm/verify`: goes on with an answer for some tokens, and verifies a draft of them.
//!
//! A request holds the whole conversation, all tokens of the answer so far and the settings, so the server keeps nothing between two
//! requests but the cached prefix. Draws are keyed by the seed and the position of a token. The tokens of all requests together
//! are therefore those of one answer with the same settings, whatever was drafted.

use std::time::Instant;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use honelm_text::{EncodeOptions, Message, RenderOptions};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::sampling::request;
use super::{answered, finish_reason};
use crate::app::{Shared, with_ignored};
use crate::config::Limits;
use crate::fields::Int;
use crate::model::ModelCard;
use crate::{ApiError, Finish, Job, Lease, Part, Prompt, Resumed, messages, tools};

/// The version of this interface, as `/props` names it.
pub(crate) const VERSION: u64 = 1;
/// The most tokens of a draft.
const MOST_DRAFTED: usize = 64;

/// A token.
type Id = Int<0, 4_294_967_295>;

request! {
    /// A request to go on with an answer.
    VerifyRequest {
        /// The name of the model; by default the first one.
        model: Option<String>,
        /// The conversation.
        #[serde(default)]
        #[schemars(with = "Vec<Map<String, Value>>")]
        messages: Vec<Message>,
        /// The tokens of the prompt instead of a conversation.
        prompt_tokens: Option<Vec<Id>>,
        /// The tokens of the answer so far: the `tokens` of all earlier responses.
        #[serde(default)]
        begun: Vec<Id>,
        /// Tokens that may follow, at most 64. They need `vocabulary`.
        #[serde(default)]
        draft: Vec<Id>,
        /// A text that may follow, instead of `draft`: for a client whose model has another vocabulary.
        draft_text: Option<String>,
        /// The digest of the vocabulary that `draft` is written in. Another one than the model's is refused with 409.
        vocabulary: Option<String>,
        /// The number of new tokens behind which the answer pauses, at the end of a step; by default 1. An accepted draft can make it
        /// more.
        tokens: Option<Int<1, 4096>>,
        /// The largest number of tokens of the whole answer.
        max_tokens: Option<Int<0, 4_294_967_295>>,
        /// The same, under its newer name.
        max_completion_tokens: Option<Int<0, 4_294_967_295>>,
        /// `text`, `json_object`, or `json_schema` with a schema that the answer follows.
        response_format: Option<Value>,
        /// Given to the chat template.
        reasoning_effort: Option<String>,
        /// Further variables of the chat template.
        chat_template_kwargs: Option<Map<String, Value>>,
        /// Refused: an answer with calls cannot go on here.
        tools: Option<Value>,
    }
}

/// The next tokens of an answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Verified {
    /// The name of the model.
    pub model: String,
    /// The new tokens, without an end token.
    pub tokens: Vec<u32>,
    /// The number of drafted tokens that were accepted, an end token not counted.
    pub accepted: usize,
    /// The text that has become final.
    pub text: String,
    /// The reasoning that has become final.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reasoning: String,
    /// `stop` or `length` at the end of the answer; null if it goes on.
    pub finish_reason: Option<String>,
    /// The numbers of tokens.
    pub usage: VerifiedUsage,
    /// The times, in seconds.
    pub seconds: VerifiedSeconds,
}

/// The numbers of tokens of a response.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct VerifiedUsage {
    /// The tokens of the prompt.
    pub prompt_tokens: u64,
    /// Those of them that were cached.
    pub cached_tokens: u64,
    /// The new tokens.
    pub completion_tokens: u64,
}

/// The times of a response, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct VerifiedSeconds {
    /// From reading the request to the response.
    pub total: f64,
    /// A step of the model with the rows of this draft; 0 if none was measured.
    pub step: f64,
    /// A step with one row, which writes one token; 0 if none was measured.
    pub token: f64,
}

/// Returns what `/props` says about the ability to verify drafts; null for a model that writes no answers.
pub(crate) fn verifies(card: &ModelCard) -> Value {
    if card.encoder { Value::Null } else { json!({"version": VERSION, "vocabulary": card.vocabulary_digest}) }
}

fn ids(field: &str, tokens: &[Id]) -> Result<Vec<u32>, ApiError> {
    let id = |id: &Id| u32::try_from(id.get()).map_err(|_| ApiError::invalid(field, "expected tokens"));
    tokens.iter().map(id).collect()
}

impl VerifyRequest {
    /// Returns the job for a model, with the draft that the request has in tokens.
    ///
    /// # Errors
    /// 400 for a request that is not one answer that can go on; 409 for another vocabulary.
    pub fn job(&mut self, card: &ModelCard, limits: &Limits) -> Result<Job, ApiError> {
        self.check(card)?;
        let prompt = match self.prompt_tokens.take() {
            Some(tokens) if self.messages.is_empty() => Prompt::Tokens(ids("prompt_tokens", &tokens)?),
            Some(_) => return Err(ApiError::invalid("prompt_tokens", "found messages too, expected one of both")),
            None => self.chat()?,
        };
        let constraint = tools::response_format(self.response_format.as_ref())?;
        let mut given = self.sampling()?;
        given.max_tokens = self.max_completion_tokens.or(self.max_tokens).map(Int::count);
        let has_seed = given.seed.is_some_and(|seed| seed >= 0);
        let how = given.clone().generation(card, limits)?;
        if how.temperature > 0.0 && !has_seed {
            return Err(ApiError::invalid("seed", "found none, expected the seed of the whole answer, at least 0"));
        }
        let (begun, draft) = (ids("begun", &self.begun)?, ids("draft", &self.draft)?);
        let resumed = Some(Resumed { begun, draft, pause: Some(self.tokens.map_or(1, Int::count)) });
        Ok(Job { given, constraint, resumed, ..Job::new(prompt, how) })
    }

    fn check(&self, card: &ModelCard) -> Result<(), ApiError> {
        let drafted = self.draft.len();
        if drafted > MOST_DRAFTED {
            return Err(ApiError::invalid("draft", format!("found {drafted} tokens, expected at most {MOST_DRAFTED}")));
        }
        if drafted > 0 && self.draft_text.is_some() {
            return Err(ApiError::invalid("draft_text", "found a draft of tokens too, expected one of both"));
        }
        match &self.vocabulary {
            None if drafted > 0 => {
                return Err(ApiError::invalid(
                    "vocabulary",
                    "found none, expected the digest for the tokens of the draft",
                ));
            }
            Some(found) if *found != card.vocabulary_digest => {
                let message = format!("vocabulary: found {found:?}, expected {:?}", card.vocabulary_digest);
                return Err(ApiError::new(StatusCode::CONFLICT, "vocabulary_differs", message));
            }
            _ => {}
        }
        let has_tools = self.tools.as_ref().is_some_and(|tools| !tools.is_null() && *tools != json!([]));
        if has_tools {
            return Err(ApiError::unsupported(
                "tools",
                "found tools, expected none: an answer with calls cannot go on",
            ));
        }
        Ok(())
    }

    /// Returns the conversation as `/v1/chat/completions` would render it.
    fn chat(&mut self) -> Result<Prompt, ApiError> {
        let messages = messages::checked(std::mem::take(&mut self.messages), false)?;
        let mut extra = self.chat_template_kwargs.take().unwrap_or_default();
        super::chat::add_effort(&mut extra, self.reasoning_effort.take());
        let options = RenderOptions { add_generation_prompt: true, extra, ..RenderOptions::default() };
        Ok(Prompt::Chat { messages, options })
    }
}

pub async fn create(State(app): State<Shared>, body: Body) -> Response {
    answered(answer(&app, body).await)
}

async fn answer(app: &Shared, body: Body) -> Result<Response, ApiError> {
    let incoming = app.read::<VerifyRequest>(body).await?;
    let begin = Instant::now();
    let mut request = incoming.request;
    app.check_count("messages", request.messages.len())?;
    let lease = app.registry.get(request.model.as_deref().unwrap_or_default(), None).await?;
    let mut job = request.job(lease.card(), &app.config.limits)?;
    if let (Some(resumed), Some(text)) = (&mut job.resumed, request.draft_text.take()) {
        resumed.draft = encoded(&lease, text).await?;
    }
    let mut verified = run(&lease, job).await?;
    verified.seconds.total = begin.elapsed().as_secs_f64();
    Ok(with_ignored(Json(verified).into_response(), incoming.ignored))
}

/// Returns the tokens of a drafted text. Texts of special tokens are text here.
async fn encoded(lease: &Lease, text: String) -> Result<Vec<u32>, ApiError> {
    let plain = EncodeOptions::default();
    let mut tokens = lease.with(move |model| model.tokenizer().encode(&text, plain)).await??;
    tokens.truncate(MOST_DRAFTED);
    Ok(tokens)
}

/// Runs a job, and collects what it wrote.
async fn run(lease: &Lease, job: Job) -> Result<Verified, ApiError> {
    let mut parts = lease.submit(job)?;
    let mut out = Verified {
        model: lease.card().name.clone(),
        tokens: Vec::new(),
        accepted: 0,
        text: String::new(),
        reasoning: String::new(),
        finish_reason: None,
        usage: VerifiedUsage { prompt_tokens: 0, cached_tokens: 0, completion_tokens: 0 },
        seconds: VerifiedSeconds { total: 0.0, step: 0.0, token: 0.0 },
    };
    while let Some(part) = parts.next().await {
        match part {
            Part::Failed(error) => return Err(error),
            Part::Text { text, .. } => out.text.push_str(&text),
            Part::Reasoning { text, .. } => out.reasoning.push_str(&text),
            Part::Tokens { tokens, accepted, steps, .. } => {
                (out.tokens, out.accepted) = (tokens, accepted);
                (out.seconds.step, out.seconds.token) = (steps.draft, steps.one);
            }
            Part::Done { finish, usage, .. } => {
                out.finish_reason = (finish != Finish::Paused).then(|| finish_reason(&finish).to_owned());
                out.usage = VerifiedUsage {
                    prompt_tokens: usage.prompt_tokens as u64,
                    cached_tokens: usage.cached_tokens as u64,
                    completion_tokens: out.tokens.len() as u64,
                };
            }
            _ => {}
        }
    }
    Ok(out)
}
