//! The accuracy check: compares a model with itself on the CPU in single precision, in the same browser.

use honelm_eval::{Protocol, compare_beside, figures};
use js_sys::Function;
use serde::Deserialize;
use serde_json::json;
use wasm_bindgen::prelude::*;

use crate::model::WebModel;
use crate::options::parsed;
use crate::{WebError, tell};

/// The number of rows per step. The heap holds the logits of this many rows for both models.
const STEP_ROWS: usize = 32;

/// The settings of the comparison.
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
    /// Runs both models over `text` and returns the figures of `honelm eval --against` as JSON: the difference between this
    /// model and `reference`. `settings` is JSON: `protocol` (by default `llama.cpp-512`), `chunks`. `on_event` receives
    /// `{"done", "total"}` as JSON. `abort` ends the check with the error `interrupted`.
    ///
    /// # Errors
    /// Fails if a setting is invalid, if the text is too short, if the vocabularies differ, or if a device fails.
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
            let problem = format!("the vocabularies differ: found {theirs} tokens, expected {ours}");
            return Err(WebError::InvalidArgument { name: "reference", problem });
        }
        let (mut candidate, mut base) = (self.take()?, reference.take()?);
        let (candidate, base) = (candidate.get()?, base.get()?);
        let tokens = candidate.tokenizer().encode_running(&text)?;
        let context = self.context.min(reference.context);
        let mut chunks = protocol.chunks(&tokens, candidate.tokenizer().leading_bos(), context)?;
        chunks.truncate(settings.chunks.unwrap_or(usize::MAX).max(1));
        let total = chunks.len();
        let mut progress = |so_far: &honelm_eval::Comparison| {
            tell(&on_event, &json!({"done": so_far.kl.len(), "total": total}));
            !self.is_cancelled()
        };
        let models = (base.driver().runner()?, candidate.driver().runner()?);
        let compared = compare_beside(models.0, models.1, &chunks, STEP_ROWS, &mut progress).await?;
        Ok(json!(figures(&compared)).to_string())
    }
}
