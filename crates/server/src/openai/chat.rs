//! `/v1/chat/completions`.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use honelm_text::{Message, RenderOptions};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::sampling::request;
use super::{answered, finish_reason, logprobs, usage};
use crate::app::{Shared, unix_seconds, with_ignored};
use crate::fields::Int;
use crate::gateway::{About, Ask, with_header};
use crate::stream::{self, Frames, Translate};
use crate::tools::{self, Tools};
use crate::{ApiError, Choice, Finish, Job, Part, Prompt, Usage, collect, ids, messages};

request! {
    /// A request for answers to a conversation.
    ChatRequest {
        /// The name of the model; by default the first one.
        model: Option<String>,
        /// The conversation.
        #[schemars(with = "Vec<Map<String, Value>>")]
        messages: Vec<Message>,
        /// The largest number of tokens of an answer.
        max_tokens: Option<Int<0, 4_294_967_295>>,
        /// The same, under its newer name.
        max_completion_tokens: Option<Int<0, 4_294_967_295>>,
        /// The number of answers.
        n: Option<Int<1, 1024>>,
        /// `true` for chunks while the answers are generated.
        stream: Option<bool>,
        /// The options of a stream.
        stream_options: Option<StreamOptions>,
        /// `true` to return the log-probabilities of the tokens.
        logprobs: Option<bool>,
        /// The number of most likely tokens to return with each token.
        top_logprobs: Option<Int<0, 1024>>,
        /// The tools. Only functions can be called; other types are ignored.
        tools: Option<Value>,
        /// `auto`, `none`, `required`, or the function that is called.
        tool_choice: Option<Value>,
        /// `false` to allow one call only.
        parallel_tool_calls: Option<bool>,
        /// `text`, `json_object`, or `json_schema` with a schema that the answer follows.
        response_format: Option<Value>,
        /// Given to the chat template.
        reasoning_effort: Option<String>,
        /// Further variables of the chat template.
        chat_template_kwargs: Option<Map<String, Value>>,
        /// Accepted, without effect.
        user: Option<Value>,
        /// `honelm_policy` and `honelm_privacy` are those of a gateway. The rest is accepted, without effect.
        metadata: Option<Value>,
        /// Accepted, without effect.
        store: Option<Value>,
        /// Accepted, without effect.
        service_tier: Option<Value>,
        /// Accepted, without effect.
        safety_identifier: Option<Value>,
        /// Accepted, without effect: prefixes are shared whatever the key.
        prompt_cache_key: Option<Value>,
    }
}

/// The options of a stream.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct StreamOptions {
    /// `true` for a last chunk with the numbers of tokens.
    #[serde(default)]
    pub include_usage: bool,
}

pub async fn create(State(app): State<Shared>, headers: HeaderMap, body: Body) -> Response {
    answered(answer(&app, &headers, body).await)
}

async fn answer(app: &Shared, headers: &HeaderMap, body: Body) -> Result<Response, ApiError> {
    let incoming = app.read::<ChatRequest>(body).await?;
    let (mut request, ignored) = (incoming.request, incoming.ignored);
    app.check_count("messages", request.messages.len())?;
    let messages = messages::checked(std::mem::take(&mut request.messages), app.reads_images())?;
    let choices = request.n.map_or(1, Int::count);
    if choices > app.config.limits.choices {
        let most = app.config.limits.choices;
        return Err(ApiError::invalid("n", format!("found {choices}, expected at most {most}")));
    }
    let Tools { tools, choice, ignored: other_tools } =
        tools::read(request.tools.as_ref(), request.tool_choice.as_ref())?;
    let ignored = ignored + other_tools;
    let constraint = tools::response_format(request.response_format.as_ref())?;
    let wants_logprobs = request.logprobs == Some(true);
    let mut settings = request.sampling()?;
    settings.max_tokens = request.max_completion_tokens.or(request.max_tokens).map(Int::count);
    settings.logprobs = wants_logprobs.then(|| request.top_logprobs.map_or(0, Int::count));
    let ask = Ask::of(app.gateway.as_deref(), headers, request.metadata.as_ref())?;
    let place = app.place(request.model.as_deref().unwrap_or_default(), None).await?;
    let given = settings.clone();
    let how = settings.generation(place.card(), &app.config.limits)?;
    let mut extra = request.chat_template_kwargs.unwrap_or_default();
    add_effort(&mut extra, request.reasoning_effort);
    let options = RenderOptions { add_generation_prompt: true, extra, ..RenderOptions::default() };
    let parallel_calls = request.parallel_tool_calls.unwrap_or(true);
    let prompt = Prompt::Chat { messages, options };
    let job = Job { given, choices, tools, tool_choice: choice, parallel_calls, constraint, ..Job::new(prompt, how) };
    let head = Head { id: ids::new("chatcmpl-"), created: unix_seconds(), model: place.card().name.clone() };
    let mut parts = app.submit(place, job, ask)?;
    if request.stream == Some(true) {
        let include_usage = request.stream_options.is_some_and(|options| options.include_usage);
        let chunks = Chunks {
            head,
            wants_logprobs,
            include_usage,
            begun: vec![false; choices],
            usage: vec![Usage::default(); choices],
            left: choices,
            about: None,
        };
        return Ok(with_ignored(stream::respond(parts, chunks).await?, ignored));
    }
    let answers = collect(&mut parts, choices).await?;
    let mut response = head.response(&answers, wants_logprobs);
    if let Some(about) = parts.about() {
        response["honelm"] = json!(about);
    }
    Ok(with_ignored(with_header(Json(response).into_response(), parts.about()), ignored))
}

/// Adds the effort of the reasoning to the variables of a chat template, as templates know it.
pub(super) fn add_effort(extra: &mut Map<String, Value>, effort: Option<String>) {
    if let Some(effort) = effort {
        extra.entry("enable_thinking").or_insert_with(|| (effort != "none").into());
        extra.entry("reasoning_effort").or_insert_with(|| effort.into());
    }
}

/// The fields with which every response to a request begins.
struct Head {
    id: String,
    created: u64,
    model: String,
}

impl Head {
    fn response(&self, answers: &[Choice], wants_logprobs: bool) -> Value {
        let choices: Vec<Value> =
            answers.iter().enumerate().map(|(i, answer)| whole(i, answer, wants_logprobs)).collect();
        let used = answers.iter().map(|answer| answer.usage).collect();
        json!({
            "id": self.id,
            "object": "chat.completion",
            "created": self.created,
            "model": self.model,
            "choices": choices,
            "usage": usage(&[used]),
        })
    }

    fn chunk(&self, choices: Value) -> Value {
        json!({
            "id": self.id,
            "object": "chat.completion.chunk",
            "created": self.created,
            "model": self.model,
            "choices": choices,
        })
    }
}

fn whole(index: usize, answer: &Choice, wants_logprobs: bool) -> Value {
    let calls: Vec<Value> = answer
        .calls
        .iter()
        .map(|call| {
            let function = json!({"name": call.name, "arguments": call.arguments});
            json!({"id": call.id, "type": "function", "function": function})
        })
        .collect();
    let content = if answer.text.is_empty() && !calls.is_empty() { Value::Null } else { answer.text.as_str().into() };
    let mut message = json!({"role": "assistant", "content": content, "refusal": null});
    if !answer.reasoning.is_empty() {
        message["reasoning_content"] = answer.reasoning.as_str().into();
    }
    if !calls.is_empty() {
        message["tool_calls"] = calls.into();
    }
    let logprobs = if wants_logprobs { logprobs::chat(&answer.logprobs) } else { Value::Null };
    let finish = answer.finish.as_ref().map(finish_reason);
    json!({"index": index, "message": message, "logprobs": logprobs, "finish_reason": finish})
}

/// The stream of chunks.
struct Chunks {
    head: Head,
    wants_logprobs: bool,
    include_usage: bool,
    /// The answers whose first chunk was sent.
    begun: Vec<bool>,
    usage: Vec<Usage>,
    /// The number of answers that are not complete.
    left: usize,
    /// The route, until it was sent.
    about: Option<Box<About>>,
}

impl Chunks {
    fn delta(
        &mut self,
        choice: usize,
        mut delta: Value,
        tokens: Option<Value>,
        finish: Option<&Finish>,
        out: &mut Frames,
    ) {
        if let Some(begun) = self.begun.get_mut(choice)
            && !std::mem::replace(begun, true)
        {
            delta["role"] = "assistant".into();
        }
        let finish = finish.map(finish_reason);
        let choices = json!([{"index": choice, "delta": delta, "logprobs": tokens, "finish_reason": finish}]);
        let mut chunk = self.head.chunk(choices);
        self.left -= usize::from(finish.is_some()).min(self.left);
        if self.left == 0 && !self.include_usage {
            self.add_about(&mut chunk);
        }
        out.data(&chunk);
    }

    /// Adds the route to the last chunk.
    fn add_about(&mut self, chunk: &mut Value) {
        if let Some(about) = self.about.take() {
            chunk["honelm"] = json!(about);
        }
    }
}

impl Translate for Chunks {
    const CONTENT_TYPE: &'static str = "text/event-stream";
    const KEEP_ALIVE: Option<&'static [u8]> = Some(b": \n\n");

    fn part(&mut self, part: Part, out: &mut Frames) {
        match part {
            Part::Begun { choice, .. } => self.delta(choice, json!({"content": ""}), None, None, out),
            Part::Text { choice, text, logprobs: tokens } => {
                let tokens = self.wants_logprobs.then(|| logprobs::chat(&tokens));
                self.delta(choice, json!({"content": text}), tokens, None, out);
            }
            Part::Reasoning { choice, text } => {
                self.delta(choice, json!({"reasoning_content": text}), None, None, out);
            }
            Part::CallBegins { choice, index, id, name } => {
                let function = json!({"name": name, "arguments": ""});
                let call = json!({"index": index, "id": id, "type": "function", "function": function});
                self.delta(choice, json!({"tool_calls": [call]}), None, None, out);
            }
            Part::CallArguments { choice, index, fragment } => {
                let call = json!({"index": index, "function": {"arguments": fragment}});
                self.delta(choice, json!({"tool_calls": [call]}), None, None, out);
            }
            Part::CallEnds { .. }
            | Part::Embedding { .. }
            | Part::Likelihoods { .. }
            | Part::Tokens { .. }
            | Part::Confidence { .. } => {}
            Part::About(about) => self.about = Some(about),
            Part::Done { choice, finish, usage } => {
                if let Some(of) = self.usage.get_mut(choice) {
                    *of = usage;
                }
                self.delta(choice, json!({}), None, Some(&finish), out);
            }
            Part::Failed(error) => out.data(&crate::Api::OpenAi.error(&error)),
        }
    }

    fn end(&mut self, out: &mut Frames) {
        if self.include_usage {
            let mut chunk = self.head.chunk(json!([]));
            chunk["usage"] = usage(&[std::mem::take(&mut self.usage)]);
            self.add_about(&mut chunk);
            out.data(&chunk);
        }
        out.raw(b"data: [DONE]\n\n");
    }
}
