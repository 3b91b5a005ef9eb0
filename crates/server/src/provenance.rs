//! What an answer was made with: model, template, device and settings.

use honelm_engine::Generation;
use serde_json::{Map, Value, json};

use crate::model::ModelCard;

/// Returns what decides an answer besides its prompt: `model` with `name` and `digest`, `template_digest`, `device` and
/// `sampling`. A digest is null while it is not known.
#[must_use]
pub fn of(card: &ModelCard, how: &Generation) -> Map<String, Value> {
    let mut settings = sampling(how);
    settings.insert("seed".to_owned(), how.seed.into());
    settings.insert("max_tokens".to_owned(), how.max_tokens.into());
    let found = [
        ("model", json!({"name": card.name, "digest": card.digest.get()})),
        ("template_digest", json!(card.template_digest)),
        ("device", json!(card.device)),
        ("sampling", settings.into()),
    ];
    found.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

/// Returns the settings that decide which tokens are drawn.
#[must_use]
pub fn sampling(how: &Generation) -> Map<String, Value> {
    let found = [
        ("temperature", json!(how.temperature)),
        ("top_k", json!(how.top_k)),
        ("top_p", json!(how.top_p)),
        ("min_p", json!(how.min_p)),
        ("repeat_penalty", json!(how.repeat_penalty)),
        ("repeat_last_n", json!(how.repeat_last_n)),
        ("frequency_penalty", json!(how.frequency_penalty)),
        ("presence_penalty", json!(how.presence_penalty)),
        ("stop", json!(how.stop)),
    ];
    found.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}
