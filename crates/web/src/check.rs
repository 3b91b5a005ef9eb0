//! A model against itself on the processor in single precision: what this device makes of it, proved in this very browser.

use honelm_eval::{Protocol, compare_beside, figures};
use js_sys::Function;
use serde::Deserialize;
use serde_json::json;
use wasm_bindgen::prelude::*;

use crate::WebError;
use crate::model::{WebModel, tell};
use crate::options::parsed;

/// Rows of a step: the logits of so many are in the heap at a time, of both models.
const STEP_ROWS: usize = 32;

/// How models are compared.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct CheckSettings {
    protocol: String,
    chunks: Option<usize>,
}

impl Default for CheckSettings {
    fn default() -> Self {
        Self { protocol: "llama.cpp-512".to_owned(), chunks: None }
    }
}

#[wasm_bindgen]
impl WebModel {
    /// Runs both models over `text` and gives the figures of `honelm eval --against` as JSON: how far this one is from `reference`.
    /// `settings` is JSON: `protocol` (by default `llama.cpp-512`), `chunks`. `on_event` hears `{"done", "total"}` as JSON.
    /// `abort` ends it with the error `interrupted`.
    ///
    /// # Errors
    /// Settings without meaning, a text that is too short, models of two vocabularies, whatever stops a device.
    pub async fn check(
        &self,
        reference: &WebModel,
        text: String,
        settings: String,
        on_event: Function,
    ) -> Result<String, WebError> {
        let settings: CheckSettings = parsed("settings", &settings)?;
        let protocol: Protocol = settings.protocol.parse()?;
        let (ours, theirs) = (self.facts.vocabulary, reference.facts.vocabulary);
        if ours != theirs {
            let problem = format!("has a vocabulary of {theirs} tokens, the model one of {ours}");
            return Err(WebError::InvalidArgument { name: "reference", problem });
        }
        let tokens = self.tokenizer.encode_running(&text)?;
        let context = self.context.min(reference.context);
        let mut windows = protocol.windows(&tokens, self.tokenizer.leading_bos(), context)?;
        windows.truncate(settings.chunks.unwrap_or(usize::MAX).max(1));
        let (mut candidate, mut base) = (self.take()?, reference.take()?);
        let total = windows.len();
        let mut progress = |so_far: &honelm_eval::Comparison| {
            tell(&on_event, &json!({"done": so_far.kl.len(), "total": total}));
            !self.is_cancelled()
        };
        let models = (base.get()?.runner(), candidate.get()?.runner());
        let compared = compare_beside(models.0, models.1, &windows, STEP_ROWS, &mut progress).await?;
        Ok(json!(figures(&compared)).to_string())
    }
}
