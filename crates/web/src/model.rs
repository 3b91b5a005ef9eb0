//! The class that JavaScript uses.

use std::cell::RefCell;

use honelm_backend::CacheSpec;
use honelm_engine::{Cancel, ChatAsk, Completion, DriverOptions, Generation, LoadedModel, Update, sampling_defaults};
use honelm_model::{Facts, LoadOptions, Runner};
use honelm_text::answer::{Call, Event};
use honelm_text::{Clock, RenderOptions};
use js_sys::Function;
use serde_json::{Value, json};
use wasm_bindgen::prelude::*;

use crate::breathe::Breathing;
use crate::chosen::Chosen;
use crate::device;
use crate::files::{Files, ModelFiles};
use crate::options::{GenerationSettings, LoadSettings, conversation, parsed};
use crate::{WebError, load, platform};

/// Returns the version of this package.
#[wasm_bindgen]
#[must_use]
pub fn version() -> String {
    env!("CARGO_PKG_VERSION").to_owned()
}

/// A loaded model.
#[wasm_bindgen]
pub struct WebModel {
    /// The model; `None` while an answer is written.
    loaded: RefCell<Option<LoadedModel>>,
    cancel: Cancel,
    has_template: bool,
    generation: Generation,
    pub(crate) facts: Facts,
    warnings: Vec<String>,
    cache: CacheSpec,
    pub(crate) context: usize,
    description: String,
    chosen: Chosen,
    load_seconds: f64,
}

/// Passes a document to a callback. An exception in the callback is ignored.
pub(crate) fn tell(callback: &Function, document: &Value) {
    let _ = callback.call1(&JsValue::NULL, &JsValue::from_str(&document.to_string()));
}

#[wasm_bindgen]
impl WebModel {
    /// Loads the model in `files`. `options` is JSON: `device`, `compute`, `cache_type`, `context`, `allow_unknown`.
    /// `on_progress` is called with `{"stage", "file", "done", "total"}` as JSON.
    ///
    /// # Errors
    /// Fails if a file is invalid, if the page's own code throws, or if the device fails.
    pub async fn load(files: ModelFiles, options: String, on_progress: Function) -> Result<WebModel, WebError> {
        platform::report_panics();
        let begin = platform::seconds();
        let settings: LoadSettings = parsed("options", &options)?;
        let progress = |file: &str, done: u64, total: u64| {
            tell(&on_progress, &json!({"stage": "reading", "file": file, "done": done, "total": total}));
        };
        let files = Files::new(&files, &progress);
        let (checkpoint, tokenizer) = load::open(&files, &settings.open_options()).await?;
        let file = files.single().unwrap_or_else(|| "generation_config.json".to_owned());
        let generation = sampling_defaults(&file, checkpoint.generation_config())?;
        let testing = |done: usize, total: usize| {
            tell(&on_progress, &json!({"stage": "testing", "file": "", "done": done, "total": total}));
        };
        let mut chosen = device::choose(&settings, &checkpoint, &testing).await?;
        let load_options =
            LoadOptions { context: settings.context, cache_type: settings.cache_type(), ..LoadOptions::default() };
        let placing = |done: usize, total: usize| {
            tell(&on_progress, &json!({"stage": "placing", "file": "", "done": done, "total": total}));
        };
        let placed = match load::place(&files, &checkpoint, &chosen, &load_options, &placing).await {
            // The CPU then runs the whole model, never a part of it.
            Err(problem) if settings.may_fall_back(&chosen) && problem.is_of_device() => {
                chosen = device::cpu(&settings, Some(problem.to_string()));
                load::place(&files, &checkpoint, &chosen, &load_options, &placing).await
            }
            placed => placed,
        };
        let model = placed?;
        let (context, description) = (model.context(), model.describe());
        let limits = DriverOptions { prefill_rows: chosen.prefill_rows, ..DriverOptions::default() };
        let loaded = LoadedModel::new(Box::new(Breathing::new(model)), tokenizer, generation.clone(), limits);
        Ok(Self {
            has_template: loaded.chat_template().is_some(),
            loaded: RefCell::new(Some(loaded)),
            cancel: Cancel::new(),
            generation,
            facts: checkpoint.facts().clone(),
            warnings: checkpoint.warnings().to_vec(),
            cache: checkpoint.cache_spec(settings.cache_type()),
            context,
            description,
            chosen,
            load_seconds: platform::seconds() - begin,
        })
    }

    /// Returns the model's properties and its device, as JSON.
    #[must_use]
    pub fn facts(&self) -> String {
        let Facts { architecture, name, layers, width, vocabulary, context, parameters, .. } = &self.facts;
        let Generation { temperature, top_k, top_p, min_p, repeat_penalty, max_tokens, stop, .. } = &self.generation;
        let page_bytes: usize = (0..self.cache.groups.len()).map(|group| self.cache.page_bytes(group)).sum();
        json!({
            "name": name, "architecture": architecture, "parameters": parameters, "layers": layers, "width": width,
            "vocabulary": vocabulary, "model_context": context, "context": self.context,
            "device": self.chosen.name(), "tested": self.chosen.tested, "description": self.description, "fallback": self.chosen.fallback,
            "page_positions": self.cache.page_len, "page_bytes": page_bytes,
            "chat_template": self.has_template, "warnings": self.warnings, "load_seconds": self.load_seconds,
            "generation": {
                "temperature": temperature, "top_k": top_k, "top_p": top_p, "min_p": min_p,
                "repeat_penalty": repeat_penalty, "max_tokens": max_tokens, "stop": stop,
            },
        })
        .to_string()
    }

    /// Returns the bytes in use, as JSON: the wasm heap, and the device's weights, cache and working memory (on the CPU, a part
    /// of the heap).
    #[must_use]
    pub fn memory(&self) -> String {
        let device = (self.chosen.memory)();
        json!({"wasm_heap": platform::heap_bytes(), "device": device}).to_string()
    }

    /// Ends the answer that is being written; its `finish_reason` is then `cancelled`.
    pub fn abort(&self) {
        self.cancel.cancel();
    }

    /// Answers a conversation and returns the answer as JSON. `messages` is JSON: a list of `{"role", "content"}`, the last
    /// from the user, or the result of a call (`"tool"`). `on_event` receives `{"prefill": [done, total]}`, or `{"token": id}` with any new `"text"` and
    /// `"reasoning"`, as JSON. `settings` is JSON: `max_tokens`, `temperature`, `top_k`, `top_p`, `min_p`, `seed`,
    /// `repeat_penalty`, `stop`, `ignore_eos`, `logprobs`; missing settings are the model's own. The answer matches
    /// `json_schema`, if there is one; `tools` is a list in OpenAI's form. With `parse_special`, the texts of special tokens in
    /// messages become these tokens.
    ///
    /// # Errors
    /// Fails if a setting is invalid, if the chat template does not parse or rejects the conversation, if the conversation is
    /// longer than the context, or if the device fails. The model remains usable after any of these.
    pub async fn chat(&self, messages: String, settings: String, on_event: Function) -> Result<String, WebError> {
        let settings: GenerationSettings = parsed("settings", &settings)?;
        let parse_special = settings.parse_special;
        let ask = ChatAsk { options: render_options(), ..settings.ask()? };
        let generation = settings.apply(&self.generation);
        let messages = conversation(&messages)?;
        let mut loan = self.take()?;
        let loaded = loan.get()?;
        let mut chat = loaded.chat_of(&messages, ask)?.with_parse_special(parse_special);
        let mut on_update = |update: &Update| heard(update, &on_event);
        let answered = loaded.answer(&mut chat, &generation, &self.cancel, &platform::seconds, &mut on_update);
        Ok(document(&answered.await?).to_string())
    }

    /// Continues a text without a chat template and returns the answer as JSON; otherwise like `chat`.
    ///
    /// # Errors
    /// The errors of `chat`.
    pub async fn complete(&self, text: String, settings: String, on_event: Function) -> Result<String, WebError> {
        let settings: GenerationSettings = parsed("settings", &settings)?;
        let mut loan = self.take()?;
        let loaded = loan.get()?;
        let constraint = settings.constraint();
        let generation = settings.apply(&self.generation);
        let request = loaded.continuation(&text, &generation, constraint.as_ref())?.with_cancel(&self.cancel);
        let mut on_update = |update: &Update| heard(update, &on_event);
        let done = loaded.driver().complete(request, &platform::seconds, &mut on_update).await?;
        Ok(document(&done).to_string())
    }
}

/// Returns the variables of chat templates: the time.
fn render_options() -> RenderOptions {
    let (unix_seconds, utc_offset_seconds) = platform::wall_clock();
    RenderOptions { clock: Some(Clock::new(unix_seconds, utc_offset_seconds)), ..RenderOptions::default() }
}

impl WebModel {
    /// Takes the model for one answer. It returns when the loan is dropped.
    pub(crate) fn take(&self) -> Result<Loan<'_>, WebError> {
        let loaded = self.loaded.borrow_mut().take().ok_or(WebError::Busy)?;
        self.cancel.reset();
        Ok(Loan { place: &self.loaded, loaded: Some(loaded) })
    }

    /// Returns `true` if JavaScript has aborted the current work.
    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancel.is_cancelled()
    }
}

/// Passes an update to JavaScript.
fn heard(update: &Update, on_event: &Function) {
    let mut event = match update {
        Update::Prefill { done, total } => json!({"prefill": [done, total]}),
        Update::Token { id, .. } => json!({"token": id}),
        Update::Rest(_) => json!({}),
    };
    for part in update.parts() {
        let (name, text) = match part {
            Event::Reasoning(text) => ("reasoning", text),
            Event::Text(text) => ("text", text),
            // Complete calls are in the answer.
            _ => continue,
        };
        let before = event[name].as_str().unwrap_or_default();
        event[name] = json!(format!("{before}{text}"));
    }
    tell(on_event, &event);
}

/// A model on loan.
pub(crate) struct Loan<'m> {
    place: &'m RefCell<Option<LoadedModel>>,
    loaded: Option<LoadedModel>,
}

impl Loan<'_> {
    pub(crate) fn get(&mut self) -> Result<&mut LoadedModel, WebError> {
        self.loaded.as_mut().ok_or(WebError::Busy)
    }
}

impl Drop for Loan<'_> {
    fn drop(&mut self) {
        *self.place.borrow_mut() = self.loaded.take();
    }
}

/// Returns an answer in the form of `honelm run --json`.
fn document(done: &Completion) -> Value {
    let mut document = json!({
        "text": done.answer,
        "token_ids": done.token_ids,
        "finish_reason": done.finish_reason.name(),
        "prompt_tokens": done.prompt_tokens,
        "cached_tokens": done.cached_tokens,
        "completion_tokens": done.completion_tokens(),
        "prefill_tokens_per_second": done.prefill_tokens_per_second(),
        "decode_tokens_per_second": done.decode_tokens_per_second(),
        "first_token_seconds": (done.first_token_seconds > 0.0).then_some(done.first_token_seconds),
    });
    if !done.calls.is_empty() {
        document["tool_calls"] = done.calls.iter().map(Call::to_value).collect();
    }
    if let Some(reasoning) = &done.reasoning {
        document["reasoning_content"] = json!(reasoning);
    }
    if !done.logprobs.is_empty() {
        let top = done.logprobs.iter().map(|p| json!({"id": p.id, "logprob": p.logprob, "top": p.top}));
        document["logprobs"] = top.collect();
    }
    document
}
