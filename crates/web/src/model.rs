//! The class that JavaScript sees.

use std::cell::{Cell, RefCell};
use std::ops::ControlFlow;
use std::rc::Rc;

use honelm_backend::CacheSpec;
use honelm_engine::{
    Chat, Completion, Generation, PLAIN_TEMPLATE, Reply, Session, Update, raw_prompt, sampling_defaults,
};
use honelm_model::{Facts, LoadOptions, Runner};
use honelm_text::{ChatTemplate, Clock, Piece, Reasoning, RenderOptions, Tokenizer};
use js_sys::Function;
use serde_json::{Value, json};
use wasm_bindgen::prelude::*;

use crate::breathe::Breathing;
use crate::device::{self, Chosen};
use crate::files::{Files, ModelFiles};
use crate::options::{GenerationSettings, LoadSettings, conversation, parsed};
use crate::{WebError, load, platform};

/// The version of this package.
#[wasm_bindgen]
#[must_use]
pub fn version() -> String {
    env!("CARGO_PKG_VERSION").to_owned()
}

/// A loaded model.
#[wasm_bindgen]
pub struct WebModel {
    /// Away while an answer is written.
    session: RefCell<Option<Session>>,
    cancelled: Rc<Cell<bool>>,
    pub(crate) tokenizer: Tokenizer,
    template: Option<String>,
    generation: Generation,
    pub(crate) facts: Facts,
    warnings: Vec<String>,
    cache: CacheSpec,
    pub(crate) context: usize,
    description: String,
    chosen: Chosen,
    load_seconds: f64,
}

/// Tells a callback of a document; one that throws is the page's own matter.
pub(crate) fn tell(callback: &Function, document: &Value) {
    let _ = callback.call1(&JsValue::NULL, &JsValue::from_str(&document.to_string()));
}

#[wasm_bindgen]
impl WebModel {
    /// Loads the model that `files` holds. `options` is JSON: `device`, `compute`, `cache_type`, `context`, `allow_unknown`.
    /// `on_progress` is called with `{"stage", "file", "done", "total"}` as JSON.
    ///
    /// # Errors
    /// What is wrong with a file, by name; what the page's own source of bytes threw; why the device refuses.
    pub async fn load(files: ModelFiles, options: String, on_progress: Function) -> Result<WebModel, WebError> {
        platform::tell_of_panics();
        let begin = platform::seconds();
        let settings: LoadSettings = parsed("options", &options)?;
        let progress = |file: &str, done: u64, total: u64| {
            tell(&on_progress, &json!({"stage": "reading", "file": file, "done": done, "total": total}));
        };
        let files = Files::new(&files, &progress);
        let (checkpoint, tokenizer) = load::open(&files, &settings.open_options()).await?;
        let template = tokenizer.chat_template().map(str::to_owned);
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
            // A whole model goes to the processor, never a part of one.
            Err(problem) if settings.may_fall_back(&chosen) && problem.is_of_device() => {
                chosen = device::cpu(&settings, Some(problem.to_string()));
                load::place(&files, &checkpoint, &chosen, &load_options, &placing).await
            }
            placed => placed,
        };
        let model = placed?;
        let (context, description) = (model.context(), model.describe());
        let session = Session::new(Box::new(Breathing::new(model))).with_prefill_rows(chosen.prefill_rows);
        Ok(Self {
            session: RefCell::new(Some(session)),
            cancelled: Rc::default(),
            tokenizer,
            template,
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

    /// What the model is and where it runs, as JSON.
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
            "chat_template": self.template.is_some(), "warnings": self.warnings, "load_seconds": self.load_seconds,
            "generation": {
                "temperature": temperature, "top_k": top_k, "top_p": top_p, "min_p": min_p,
                "repeat_penalty": repeat_penalty, "max_tokens": max_tokens, "stop": stop,
            },
        })
        .to_string()
    }

    /// Bytes in use, as JSON: the wasm heap, and what the device holds of weights, cache and working memory (on the
    /// processor a part of the heap).
    #[must_use]
    pub fn memory(&self) -> String {
        let device = (self.chosen.memory)();
        json!({"wasm_heap": platform::heap_bytes(), "device": device}).to_string()
    }

    /// Ends the answer that is being written; it then resolves with `finish_reason` `cancelled`.
    pub fn abort(&self) {
        self.cancelled.set(true);
    }

    /// Answers a conversation (JSON: a list of `{"role", "content"}`, the last one the user's) and gives the answer as JSON.
    /// `on_event` hears `{"prefill": [done, total]}`, `{"token": id}` with `"text"` and `"reasoning"` as they come, as JSON.
    /// `settings` is JSON: `max_tokens`, `temperature`, `top_k`, `top_p`, `min_p`, `seed`, `repeat_penalty`, `stop`,
    /// `ignore_eos`, `logprobs`; what is missing is as the model has it. With `parse_special` texts of special tokens in
    /// messages are these tokens.
    ///
    /// # Errors
    /// Settings without meaning, a chat template that does not parse, a conversation that the template refuses or that is longer than the context, whatever
    /// stops the device. The model can be used again after any of them.
    pub async fn chat(&self, messages: String, settings: String, on_event: Function) -> Result<String, WebError> {
        let settings: GenerationSettings = parsed("settings", &settings)?;
        let parse_special = settings.parse_special;
        let how = settings.apply(&self.generation);
        let (said, question) = conversation(&messages)?;
        let mut chat = self.chat_of(said)?.with_parse_special(parse_special);
        let mut session = self.take()?;
        let mut on_pieces = |update: Update<'_>, pieces: Vec<Piece>| self.heard(&update, &pieces, &on_event);
        let (session, tokenizer) = (session.get()?, &self.tokenizer);
        let reply = chat.reply_async(&question, session, tokenizer, &how, &platform::seconds, &mut on_pieces).await?;
        let Reply { completion, reasoning, answer } = reply;
        Ok(document(&completion, &answer, reasoning.as_deref()).to_string())
    }

    /// Continues a text as it stands, without a chat template, and gives the answer as JSON; otherwise as `chat`.
    ///
    /// # Errors
    /// As `chat`.
    pub async fn complete(&self, text: String, settings: String, on_event: Function) -> Result<String, WebError> {
        let settings: GenerationSettings = parsed("settings", &settings)?;
        let (prompt, continues) = raw_prompt(&self.tokenizer, &text)?;
        let how = Generation { continues, ..settings.apply(&self.generation) };
        let mut session = self.take()?;
        let mut on_update = |update: Update<'_>| {
            let text = match &update {
                Update::Token { text, .. } => *text,
                Update::Rest(text) => text,
                Update::Prefill { .. } => "",
            };
            let piece = (!text.is_empty()).then(|| Piece::Answer(text.to_owned()));
            self.heard(&update, &Vec::from_iter(piece), &on_event)
        };
        let (session, clock) = (session.get()?, &platform::seconds);
        let done = session.generate_async(&self.tokenizer, &prompt, &how, clock, &mut on_update).await?;
        Ok(document(&done, &done.text, None).to_string())
    }
}

impl WebModel {
    /// A conversation in the model's template.
    fn chat_of(&self, said: Vec<honelm_text::Message>) -> Result<Chat, WebError> {
        let source = self.template.as_deref();
        let template = ChatTemplate::new(source.unwrap_or(PLAIN_TEMPLATE), self.tokenizer.special_tokens())?;
        let (unix_seconds, utc_offset_seconds) = platform::wall_clock();
        let clock = Some(Clock::new(unix_seconds, utc_offset_seconds));
        let reasoning = source.and_then(|source| Reasoning::find(source, &self.tokenizer));
        let options = RenderOptions { clock, ..RenderOptions::default() };
        let mut chat = Chat::with_template(template, options).with_reasoning(reasoning);
        said.into_iter().for_each(|message| chat.push(message));
        Ok(chat)
    }

    /// The session for one answer; it comes back when the loan is dropped.
    pub(crate) fn take(&self) -> Result<Loan<'_>, WebError> {
        let session = self.session.borrow_mut().take().ok_or(WebError::Busy)?;
        self.cancelled.set(false);
        Ok(Loan { place: &self.session, session: Some(session) })
    }

    /// Whether JavaScript wants what is running to end.
    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancelled.get()
    }

    /// Tells JavaScript of an update; its wish to abort is the answer.
    fn heard(&self, update: &Update<'_>, pieces: &[Piece], on_event: &Function) -> ControlFlow<()> {
        let mut event = match update {
            Update::Prefill { done, total } => json!({"prefill": [done, total]}),
            Update::Token { id, .. } => json!({"token": id}),
            Update::Rest(_) => json!({}),
        };
        for piece in pieces {
            let (name, text) = match piece {
                Piece::Thought(text) => ("reasoning", text),
                Piece::Answer(text) => ("text", text),
            };
            let before = event[name].as_str().unwrap_or_default();
            event[name] = json!(format!("{before}{text}"));
        }
        tell(on_event, &event);
        if self.is_cancelled() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

/// A session that is away, on its way back.
pub(crate) struct Loan<'m> {
    place: &'m RefCell<Option<Session>>,
    session: Option<Session>,
}

impl Loan<'_> {
    pub(crate) fn get(&mut self) -> Result<&mut Session, WebError> {
        self.session.as_mut().ok_or(WebError::Busy)
    }
}

impl Drop for Loan<'_> {
    fn drop(&mut self) {
        *self.place.borrow_mut() = self.session.take();
    }
}

/// An answer in the form that `honelm run --json` has.
fn document(done: &Completion, answer: &str, reasoning: Option<&str>) -> Value {
    let mut document = json!({
        "text": answer,
        "token_ids": done.token_ids,
        "finish_reason": done.finish_reason.name(),
        "prompt_tokens": done.prompt_tokens,
        "cached_tokens": done.cached_tokens,
        "completion_tokens": done.completion_tokens(),
        "prefill_tokens_per_second": done.prefill_tokens_per_second(),
        "decode_tokens_per_second": done.decode_tokens_per_second(),
        "first_token_seconds": (done.first_token_seconds > 0.0).then_some(done.first_token_seconds),
    });
    if let Some(reasoning) = reasoning {
        document["reasoning_content"] = json!(reasoning);
    }
    if !done.logprobs.is_empty() {
        let top = done.logprobs.iter().map(|p| json!({"id": p.id, "logprob": p.logprob, "top": p.top}));
        document["logprobs"] = top.collect();
    }
    document
}
