//! Answers: their events and documents as JSON, and their way through the loss of a device.

use std::rc::Rc;

use honelm_engine::{AnswerId, Completion, LoadedModel, Request, TokenLogprobs, Update, scale_to_one};
use honelm_model::Runner;
use honelm_text::answer::{Call, Event};
use honelm_text::{EncodeOptions, Tokenizer};
use js_sys::Function;
use serde_json::{Value, json};
use wasm_bindgen::prelude::*;

use crate::breathe::Breathing;
use crate::load::{self, Placed};
use crate::model::WebModel;
use crate::options::{EmbeddingOptions, parsed};
use crate::{WebError, platform, tell};

#[wasm_bindgen]
impl WebModel {
    /// Places the model on a device again after its own was lost (the error `device-lost` of `chat`, `complete` or `embed`), from
    /// the files that it was loaded from. Returns its properties as `facts` does. `on_progress` is that of `load`.
    ///
    /// # Errors
    /// The errors of `load`, and `file-changed` for the files of another model. The model then still waits for a device.
    pub async fn recover(&self, files: crate::ModelFiles, on_progress: Function) -> Result<String, WebError> {
        let mut loan = self.lend()?;
        let loaded = loan.get()?;
        // Its rest need not stay beside the new one.
        self.chosen.borrow().release();
        let Placed { checkpoint, chosen, model, .. } = load::load(&files, &self.settings, &on_progress).await?;
        let key = |facts: &honelm_model::Facts| {
            (facts.architecture, facts.parameters, facts.layers, facts.width, facts.vocabulary)
        };
        if key(checkpoint.facts()) != key(&self.facts) {
            return Err(WebError::OtherModel);
        }
        self.description.replace(model.describe());
        loaded.driver().replace(Box::new(Breathing::new(model)));
        self.chosen.replace(chosen);
        drop(loan);
        Ok(self.facts())
    }

    /// Finishes the answer that was being written when the device was lost, and returns it as JSON. Its events go on where they
    /// stopped. An answer that was aborted meanwhile ends at once.
    ///
    /// # Errors
    /// `invalid-argument` if there is no such answer; otherwise those of `chat`.
    pub async fn resume(&self, on_event: Function) -> Result<String, WebError> {
        let mut loan = self.lend()?;
        let none = || WebError::InvalidArgument { name: "resume", problem: "no answer waits for a device".to_owned() };
        let id = self.kept.take().ok_or_else(none)?;
        self.finish(loan.get()?, id, &on_event).await
    }

    /// Computes the embeddings of texts. `texts` is a JSON list of strings, `options` is JSON: `pooling` (`mean`, `cls` or
    /// `last`; by default that of the model's files), `dimensions`. Returns `{"embeddings": [[…]], "tokens"}` as JSON; the
    /// vectors have length 1.
    ///
    /// # Errors
    /// Fails if a text is empty or longer than the context, if there are more dimensions than the model has, or if the device
    /// fails. `abort` ends it with the error `interrupted`.
    pub async fn embed(&self, texts: String, options: String) -> Result<String, WebError> {
        let texts: Vec<String> = parsed("texts", &texts)?;
        let options: EmbeddingOptions = parsed("options", &options)?;
        let pooling = options.pooling.or(self.embedding.map(|own| own.pooling)).unwrap_or_default();
        if let Some(wanted) = options.dimensions.filter(|&wanted| wanted == 0 || wanted > self.facts.width) {
            let problem = format!("found {wanted}, expected 1 to {}, the width of the model", self.facts.width);
            return Err(WebError::InvalidArgument { name: "dimensions", problem });
        }
        let mut loan = self.take()?;
        let loaded = loan.get()?;
        let (mut vectors, mut tokens) = (Vec::with_capacity(texts.len()), 0);
        for text in &texts {
            let encoded = loaded.tokenizer().encode(text, EncodeOptions { add_special: true, parse_special: false })?;
            let done = self.embedded(loaded, Request::embedding(encoded, pooling)).await?;
            let mut values = done.embedding.ok_or(WebError::Interrupted)?;
            values.truncate(options.dimensions.unwrap_or(values.len()));
            scale_to_one(&mut values);
            tokens += done.prompt_tokens;
            vectors.push(values);
        }
        Ok(json!({"embeddings": vectors, "tokens": tokens}).to_string())
    }
}

impl WebModel {
    /// Writes an answer. If the device is lost, the answer waits for `recover` and `resume`.
    pub(crate) async fn write(
        &self,
        loaded: &mut LoadedModel,
        request: Request,
        on_event: &Function,
    ) -> Result<String, WebError> {
        let id = loaded.driver().submit(request.with_cancel(&self.cancel), platform::seconds())?;
        self.finish(loaded, id, on_event).await
    }

    async fn finish(&self, loaded: &mut LoadedModel, id: AnswerId, on_event: &Function) -> Result<String, WebError> {
        let tokenizer = Rc::clone(loaded.driver().tokenizer());
        let mut on_update = |update: &Update| tell(on_event, &event(update, &tokenizer));
        let outcome = loaded.driver().finish(id, &platform::seconds, &mut on_update).await;
        if outcome.is_err() && loaded.driver().lost().is_some() {
            self.kept.set(Some(id));
        }
        Ok(document(&outcome?).to_string())
    }

    /// Computes one embedding. Without a device, nothing of it stays.
    async fn embedded(&self, loaded: &mut LoadedModel, request: Request) -> Result<Completion, WebError> {
        let driver = loaded.driver();
        let id = driver.submit(request.with_cancel(&self.cancel), platform::seconds())?;
        let outcome = driver.finish(id, &platform::seconds, &mut |_| {}).await;
        if outcome.is_err() && driver.lost().is_some() {
            self.cancel.cancel();
            // It ends at once, because it is cancelled.
            let _ = driver.finish(id, &platform::seconds, &mut |_| {}).await;
        }
        Ok(outcome?)
    }
}

/// Returns the event of an update: `{"prefill": [done, total]}`, or `{"token": id}`, with what has become final.
fn event(update: &Update, tokenizer: &Tokenizer) -> Value {
    let mut event = match update {
        Update::Prefill { done, total } => json!({"prefill": [done, total]}),
        Update::Token { id, .. } => json!({"token": id}),
        Update::Rest(_) => json!({}),
    };
    if let Update::Token { logprobs: Some(found), .. } = update {
        event["logprobs"] = json!([named(tokenizer, found)]);
    }
    let (mut text, mut reasoning, mut calls) = (String::new(), String::new(), Vec::new());
    for part in update.parts() {
        match part {
            Event::Text(more) => text.push_str(more),
            Event::Reasoning(more) => reasoning.push_str(more),
            Event::CallBegins { index, id, name } => calls.push(json!({"index": index, "id": id, "name": name})),
            Event::CallArguments { index, fragment } => calls.push(json!({"index": index, "arguments": fragment})),
            Event::CallEnds { .. } | Event::CallBroken { .. } => {}
        }
    }
    if !text.is_empty() {
        event["text"] = text.into();
    }
    if !reasoning.is_empty() {
        event["reasoning"] = reasoning.into();
    }
    if !calls.is_empty() {
        event["calls"] = calls.into();
    }
    event
}

/// Returns the log-probability of a token in OpenAI's form.
fn named(tokenizer: &Tokenizer, found: &TokenLogprobs) -> Value {
    // JSON has no infinity: a token of probability 0 has the log-probability that clients use for it.
    let entry = |id: u32, logprob: f32| {
        let (token, bytes) = tokenizer.token_text(id);
        json!({"token": token, "bytes": bytes, "logprob": logprob.max(-9999.0)})
    };
    let mut token = entry(found.id, found.logprob);
    token["top_logprobs"] = found.top.iter().map(|&(id, logprob)| entry(id, logprob)).collect();
    token
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
