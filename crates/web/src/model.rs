//! The class that JavaScript uses.

use std::cell::{Cell, RefCell};

use honelm_backend::CacheSpec;
use honelm_engine::{
    AnswerId, Cancel, ChatAsk, DriverOptions, EmbeddingSettings, Generation, LoadedModel, capabilities,
};
use honelm_model::{Facts, Runner};
use honelm_text::{Clock, RenderOptions};
use js_sys::Function;
use serde_json::json;
use wasm_bindgen::prelude::*;

use crate::breathe::Breathing;
use crate::chosen::Chosen;
use crate::files::ModelFiles;
use crate::load::{self, Placed};
use crate::options::{GenerationSettings, LoadSettings, conversation, parsed};
use crate::{WebError, platform};

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
    pub(crate) cancel: Cancel,
    /// The answer that waits for a device.
    pub(crate) kept: Cell<Option<AnswerId>>,
    has_template: bool,
    capabilities: Vec<&'static str>,
    generation: Generation,
    pub(crate) embedding: Option<EmbeddingSettings>,
    pub(crate) facts: Facts,
    warnings: Vec<String>,
    cache: CacheSpec,
    pub(crate) context: usize,
    pub(crate) settings: LoadSettings,
    pub(crate) description: RefCell<String>,
    pub(crate) chosen: RefCell<Chosen>,
    load_seconds: f64,
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
        let mut settings: LoadSettings = parsed("options", &options)?;
        let Placed { checkpoint, tokenizer, generation, chosen, model } =
            load::load(&files, &settings, &on_progress).await?;
        if let Some(tested) = &chosen.tested {
            settings.know(tested);
        }
        let (context, description) = (model.context(), model.describe());
        let limits =
            DriverOptions { prefill_rows: chosen.prefill_rows, survives_loss: true, ..DriverOptions::default() };
        let loaded = LoadedModel::new(Box::new(Breathing::new(model)), tokenizer, generation.clone(), limits);
        let facts = checkpoint.facts().clone();
        Ok(Self {
            has_template: loaded.chat_template().is_some(),
            capabilities: capabilities(facts.encoder, loaded.reasoning().is_some()),
            loaded: RefCell::new(Some(loaded)),
            cancel: Cancel::new(),
            kept: Cell::new(None),
            generation,
            embedding: checkpoint.embedding(),
            facts,
            warnings: checkpoint.warnings().to_vec(),
            cache: checkpoint.cache_spec(settings.cache_type()),
            context,
            settings,
            description: RefCell::new(description),
            chosen: RefCell::new(chosen),
            load_seconds: platform::seconds() - begin,
        })
    }

    /// Returns the model's properties and its device, as JSON.
    #[must_use]
    pub fn facts(&self) -> String {
        let Facts { architecture, name, layers, width, vocabulary, context, parameters, .. } = &self.facts;
        let Generation { temperature, top_k, top_p, min_p, repeat_penalty, max_tokens, stop, .. } = &self.generation;
        let (chosen, description) = (self.chosen.borrow(), self.description.borrow());
        let page_bytes: usize = (0..self.cache.groups.len()).map(|group| self.cache.page_bytes(group)).sum();
        json!({
            "name": name, "architecture": architecture, "parameters": parameters, "layers": layers, "width": width,
            "vocabulary": vocabulary, "model_context": context, "context": self.context,
            "device": chosen.name(), "tested": chosen.tested, "description": *description, "fallback": chosen.fallback,
            "page_positions": self.cache.page_len, "page_bytes": page_bytes,
            "chat_template": self.has_template, "capabilities": self.capabilities, "warnings": self.warnings, "load_seconds": self.load_seconds,
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
        let device = (self.chosen.borrow().memory)();
        json!({"wasm_heap": platform::heap_bytes(), "device": device}).to_string()
    }

    /// Ends the answer that is being written; its `finish_reason` is then `cancelled`.
    pub fn abort(&self) {
        self.cancel.cancel();
    }

    /// Answers a conversation and returns the answer as JSON. `messages` is JSON: a list of `{"role", "content"}`, the last
    /// from the user, or the result of a call (`"tool"`). `on_event` receives `{"prefill": [done, total]}`, or `{"token": id}`
    /// with any new `"text"`, `"reasoning"`, `"calls"` and `"logprobs"`, as JSON. `settings` is JSON: `max_tokens`,
    /// `temperature`, `top_k`, `top_p`, `min_p`, `seed`, `stream`, `repeat_penalty`, `frequency_penalty`, `presence_penalty`,
    /// `logit_bias`, `stop`, `ignore_eos`, `logprobs`, `overflow` (`stop` or `shift`); missing settings are the model's own. The
    /// answer matches `json_schema` or `response_format`, if there is one; `tools`, `tool_choice` and `parallel_tool_calls` have
    /// OpenAI's form. With `parse_special`, the texts of special tokens in messages become these tokens.
    ///
    /// # Errors
    /// Fails if a setting is invalid, if the chat template does not parse or rejects the conversation, if the conversation is
    /// longer than the context, or if the device fails. The model remains usable after any of these; after `device-lost`, the
    /// answer waits for `recover` and `resume`.
    pub async fn chat(&self, messages: String, settings: String, on_event: Function) -> Result<String, WebError> {
        let settings: GenerationSettings = parsed("settings", &settings)?;
        let parse_special = settings.parse_special;
        let ask = ChatAsk { options: render_options(), ..settings.ask()? };
        let ask = ChatAsk { how: settings.apply(&self.generation, self.context), ..ask };
        let messages = conversation(&messages)?;
        let mut loan = self.take()?;
        let loaded = loan.get()?;
        let chat = loaded.chat_of(&messages, ask)?.with_parse_special(parse_special);
        let request = loaded.request(&chat)?;
        self.write(loaded, request, &on_event).await
    }

    /// Continues a text without a chat template and returns the answer as JSON; otherwise like `chat`.
    ///
    /// # Errors
    /// The errors of `chat`.
    pub async fn complete(&self, text: String, settings: String, on_event: Function) -> Result<String, WebError> {
        let settings: GenerationSettings = parsed("settings", &settings)?;
        let mut loan = self.take()?;
        let loaded = loan.get()?;
        let constraint = settings.constraint()?;
        let generation = settings.apply(&self.generation, self.context);
        let request = loaded.continuation(&text, &generation, constraint.as_ref())?;
        self.write(loaded, request, &on_event).await
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
        let loan = self.lend()?;
        self.cancel.reset();
        Ok(loan)
    }

    /// Takes the model for an answer that may have been aborted already.
    pub(crate) fn lend(&self) -> Result<Loan<'_>, WebError> {
        let loaded = self.loaded.borrow_mut().take().ok_or(WebError::Busy)?;
        Ok(Loan { place: &self.loaded, loaded: Some(loaded) })
    }

    /// Returns `true` if JavaScript has aborted the current work.
    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancel.is_cancelled()
    }
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
