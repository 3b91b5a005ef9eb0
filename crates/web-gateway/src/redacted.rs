//! A body without private data, and its way back.

use honelm_gateway::pii::{Mode, Redactor, Restorer};
use serde_json::{Map, Value, json};
use wasm_bindgen::prelude::*;

/// The body of a request that may leave.
#[wasm_bindgen]
pub struct Redacted {
    body: Value,
    replaced: Value,
    restorer: Option<Restorer>,
}

impl Redacted {
    pub(crate) fn new(body: Value, redactor: &Redactor<'_>, mode: Mode) -> Self {
        let counts: Map<String, Value> =
            redactor.replaced().iter().map(|(kind, count)| (kind.name().to_owned(), json!(count))).collect();
        let values: Vec<Value> = redactor
            .vault()
            .values()
            .map(|(kind, value, by)| json!({"kind": kind.name(), "value": value, "by": by}))
            .collect();
        // Masks are alike for all values of a kind, so that nothing can turn them back.
        let restores = mode == Mode::Surrogate && !redactor.vault().is_empty();
        let restorer = restores.then(|| redactor.vault().restorer());
        Self { body, replaced: json!({"counts": counts, "values": values}), restorer }
    }
}

#[wasm_bindgen]
impl Redacted {
    /// Returns the body as JSON.
    #[must_use]
    pub fn body(&self) -> String {
        self.body.to_string()
    }

    /// Returns what was replaced: `{"counts": {KIND: number}, "values": [{"kind", "value", "by"}]}`.
    #[must_use]
    pub fn replaced(&self) -> String {
        self.replaced.to_string()
    }

    /// Returns what turns the surrogates in one text of the answer back. With `is_json`, the text is JSON, in which values are escaped.
    #[must_use]
    pub fn restoring(&self, is_json: bool) -> Restoring {
        Restoring(self.restorer.as_ref().map(|restorer| restorer.fork().escaping(usize::from(is_json))))
    }
}

/// Turns the surrogates in one text of an answer back, while it streams.
#[wasm_bindgen]
pub struct Restoring(Option<Restorer>);

#[wasm_bindgen]
impl Restoring {
    /// Takes the next piece of the text, and returns what is certain by now.
    pub fn push(&mut self, piece: String) -> String {
        match &mut self.0 {
            Some(restorer) => restorer.push(&piece),
            None => piece,
        }
    }

    /// Returns the rest of the text.
    pub fn finish(&mut self) -> String {
        self.0.as_mut().map_or_else(String::new, Restorer::finish)
    }
}
