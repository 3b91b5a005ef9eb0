//! `/v1/completions` and `/infill`.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::chat::StreamOptions;
use super::prompts::Prompts;
use super::sampling::request;
use super::{answered, finish_reason, logprobs, usage};
use crate::app::{Shared, unix_seconds, with_ignored};
use crate::fields::Int;
use crate::stream::{self, Frames, Translate};
use crate::{ApiError, Choice, Finish, Job, Part, Prompt, Usage, collect, ids};

/// The most tokens of an answer whose request names no number, as in the protocol.
const USUAL_TOKENS: usize = 16;

request! {
    /// A request for continuations of texts.
    TextRequest {
        /// The name of the model; by default the first one.
        model: Option<String>,
        /// The texts or tokens that are continued.
        prompt: Option<Prompts>,
        /// The text that follows the answer, for models that fill gaps.
        suffix: Option<String>,
        /// The largest number of tokens of an answer.
        max_tokens: Option<Int<0, 4_294_967_295>>,
        /// The number of answers to each prompt.
        n: Option<Int<1, 1024>>,
        /// Must be the value of `n`: answers are not ranked.
        best_of: Option<Int<1, 1024>>,
        /// `true` to return the prompt before the answer.
        echo: Option<bool>,
        /// `true` for chunks while the answers are generated.
        stream: Option<bool>,
        /// The options of a stream.
        stream_options: Option<StreamOptions>,
        /// The number of most likely tokens to return with each token.
        logprobs: Option<Int<0, 1024>>,
        /// Accepted, without effect.
        user: Option<Value>,
    }
}

request! {
    /// A request to fill a gap in a text.
    InfillRequest {
        /// The name of the model; by default the first one.
        model: Option<String>,
        /// The text before the gap.
        input_prefix: Option<String>,
        /// The text behind the gap.
        input_suffix: Option<String>,
        /// A text between that and the gap.
        prompt: Option<String>,
        /// The largest number of tokens of the answer; -1 for no limit but the context.
        #[serde(alias = "max_tokens")]
        n_predict: Option<Int<-1, 4_294_967_295>>,
        /// `true` for chunks while the answer is generated.
        stream: Option<bool>,
    }
}

pub async fn create(State(app): State<Shared>, body: Body) -> Response {
    answered(answer(&app, body).await)
}

async fn answer(app: &Shared, body: Body) -> Result<Response, ApiError> {
    let incoming = app.read::<TextRequest>(body).await?;
    let (mut request, ignored) = (incoming.request, incoming.ignored);
    let Prompts(mut prompts) = request.prompt.take().unwrap_or(Prompts(vec![Prompt::Text(String::new())]));
    let n = request.n.map_or(1, Int::count);
    if request.best_of.is_some_and(|best| best.count() != n) {
        return Err(ApiError::unsupported("best_of", "expected the value of n: answers are not ranked"));
    }
    let (all, most) = (n.saturating_mul(prompts.len()), app.config.limits.choices);
    if all > most {
        return Err(ApiError::invalid("n", format!("found {all} answers in all, expected at most {most}")));
    }
    if let Some(suffix) = request.suffix.take().filter(|suffix| !suffix.is_empty()) {
        let gap = |prompt| match prompt {
            Prompt::Text(prefix) => Ok(Prompt::Infill { prefix, suffix: suffix.clone() }),
            _ => Err(ApiError::invalid("suffix", "found a prompt of tokens, expected a text before the gap")),
        };
        prompts = prompts.into_iter().map(gap).collect::<Result<_, _>>()?;
    }
    let mut settings = request.sampling()?;
    settings.max_tokens = Some(request.max_tokens.map_or(USUAL_TOKENS, Int::count));
    settings.logprobs = request.logprobs.map(Int::count);
    let lease = app.registry.get(request.model.as_deref().unwrap_or_default(), None).await?;
    let how = settings.generation(lease.card(), &app.config.limits)?;
    let echo = request.echo.unwrap_or(false);
    let head = Head { id: ids::new("cmpl-"), created: unix_seconds(), model: lease.card().name.clone() };
    let jobs = prompts.into_iter().map(|prompt| Job { choices: n, echo, ..Job::new(prompt, how.clone()) });
    let wants_logprobs = request.logprobs.is_some();
    if request.stream == Some(true) {
        let mut jobs = jobs;
        let (Some(job), None) = (jobs.next(), jobs.next()) else {
            return Err(ApiError::unsupported("prompt", "found several prompts, expected one for a stream"));
        };
        let include_usage = request.stream_options.is_some_and(|options| options.include_usage);
        let usage = vec![Usage::default(); n];
        let chunks = Chunks { head, wants_logprobs, include_usage, offsets: vec![0; n], usage };
        return Ok(with_ignored(stream::respond(lease.submit(job)?, chunks).await?, ignored));
    }
    let submitted = jobs.map(|job| lease.submit(job)).collect::<Result<Vec<_>, _>>()?;
    drop(lease);
    let mut prompts = Vec::with_capacity(submitted.len());
    for mut parts in submitted {
        prompts.push(collect(&mut parts, n).await?);
    }
    Ok(with_ignored(Json(head.response(&prompts, wants_logprobs)).into_response(), ignored))
}

pub async fn infill(State(app): State<Shared>, body: Body) -> Response {
    answered(fill(&app, body).await)
}

async fn fill(app: &Shared, body: Body) -> Result<Response, ApiError> {
    let incoming = app.read::<InfillRequest>(body).await?;
    let (mut request, ignored) = (incoming.request, incoming.ignored);
    if request.stream == Some(true) {
        return Err(ApiError::unsupported("stream", "expected false: /v1/completions with a suffix can be streamed"));
    }
    let prefix = request.input_prefix.take().unwrap_or_default() + &request.prompt.take().unwrap_or_default();
    let suffix = request.input_suffix.take().unwrap_or_default();
    let mut settings = request.sampling()?;
    settings.max_tokens = request.n_predict.filter(|n| n.get() >= 0).map(Int::count);
    let lease = app.registry.get(request.model.as_deref().unwrap_or_default(), None).await?;
    let how = settings.generation(lease.card(), &app.config.limits)?;
    let answers = collect(&mut lease.submit(Job::new(Prompt::Infill { prefix, suffix }, how))?, 1).await?;
    let text: String = answers.iter().map(|answer| answer.text.as_str()).collect();
    let used: Vec<Usage> = answers.iter().map(|answer| answer.usage).collect();
    let tokens: usize = used.iter().map(|usage| usage.completion_tokens).sum();
    let prompt = used.first().map_or(0, |usage| usage.prompt_tokens);
    let model = &lease.card().name;
    let response =
        json!({"content": text, "model": model, "tokens_predicted": tokens, "tokens_evaluated": prompt, "stop": true});
    Ok(with_ignored(Json(response).into_response(), ignored))
}

/// The fields with which every response to a request begins.
struct Head {
    id: String,
    created: u64,
    model: String,
}

impl Head {
    fn response(&self, prompts: &[Vec<Choice>], wants_logprobs: bool) -> Value {
        let all = prompts.iter().flatten().enumerate();
        let choices: Vec<Value> = all
            .map(|(index, answer)| {
                let logprobs = if wants_logprobs { logprobs::text(&answer.logprobs, &mut 0) } else { Value::Null };
                let finish = answer.finish.as_ref().map(finish_reason);
                let text = format!("{}{}", answer.reasoning, answer.text);
                json!({"index": index, "text": text, "logprobs": logprobs, "finish_reason": finish})
            })
            .collect();
        let used: Vec<Vec<Usage>> =
            prompts.iter().map(|of_one| of_one.iter().map(|answer| answer.usage).collect()).collect();
        self.chunk(json!(choices), Some(usage(&used)))
    }

    fn chunk(&self, choices: Value, usage: Option<Value>) -> Value {
        let Self { id, created, model } = self;
        let mut chunk =
            json!({"id": id, "object": "text_completion", "created": created, "model": model, "choices": choices});
        if let Some(usage) = usage {
            chunk["usage"] = usage;
        }
        chunk
    }
}

/// The stream of chunks.
struct Chunks {
    head: Head,
    wants_logprobs: bool,
    include_usage: bool,
    /// The number of characters of each text so far.
    offsets: Vec<usize>,
    usage: Vec<Usage>,
}

impl Chunks {
    fn text(&mut self, choice: usize, text: &str, tokens: Value, finish: Option<&Finish>, out: &mut Frames) {
        let finish = finish.map(finish_reason);
        let choices = json!([{"index": choice, "text": text, "logprobs": tokens, "finish_reason": finish}]);
        out.data(&self.head.chunk(choices, None));
    }
}

impl Translate for Chunks {
    const CONTENT_TYPE: &'static str = "text/event-stream";
    const KEEP_ALIVE: Option<&'static [u8]> = Some(b": \n\n");

    fn part(&mut self, part: Part, out: &mut Frames) {
        match part {
            Part::Text { choice, text, logprobs: tokens } => {
                let tokens = match self.offsets.get_mut(choice) {
                    Some(offset) if self.wants_logprobs => logprobs::text(&tokens, offset),
                    _ => Value::Null,
                };
                self.text(choice, &text, tokens, None, out);
            }
            Part::Reasoning { choice, text } => self.text(choice, &text, Value::Null, None, out),
            Part::Done { choice, finish, usage } => {
                if let Some(of) = self.usage.get_mut(choice) {
                    *of = usage;
                }
                self.text(choice, "", Value::Null, Some(&finish), out);
            }
            Part::Failed(error) => out.data(&crate::Api::OpenAi.error(&error)),
            Part::Begun { .. }
            | Part::Embedding { .. }
            | Part::Likelihoods { .. }
            | Part::Tokens { .. }
            | Part::Confidence { .. }
            | Part::About(_)
            | Part::CallBegins { .. }
            | Part::CallArguments { .. }
            | Part::CallEnds { .. } => {}
        }
    }

    fn end(&mut self, out: &mut Frames) {
        if self.include_usage {
            let used = usage(&[std::mem::take(&mut self.usage)]);
            out.data(&self.head.chunk(json!([]), Some(used)));
        }
        out.raw(b"data: [DONE]\n\n");
    }
}
