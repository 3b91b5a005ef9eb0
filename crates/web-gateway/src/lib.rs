//! The gateway in a browser tab: a second wasm module, which a page fetches when its user asks for answers of a server.
//!
//! [`WebGateway`] decides where an answer is written and replaces private data, by the code of `honelm serve --gateway`. It sends nothing: the
//! page owns the connection. The tagger and the estimator are files that the page fetches and passes in. Arguments and results are JSON text.
#![forbid(unsafe_code)]

mod ask;
mod error;
mod redacted;

use std::time::Duration;

use honelm_gateway::GatewayError;
use honelm_gateway::estimator::{Estimator, Prompt};
use honelm_gateway::pii::{Api, Detector, Mode, Redactor, Vault, tagger};
use honelm_gateway::policy::{self, Breaker, BreakerSettings, Event, Policy, Replacement, State, UpstreamState};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use wasm_bindgen::prelude::*;
use zeroize::Zeroizing;

use ask::Ask;
pub use error::WebGatewayError;
pub use redacted::{Redacted, Restoring};

/// The gateway of a page: one model in the tab, and one server.
#[wasm_bindgen]
pub struct WebGateway {
    detector: Detector,
    estimator: Estimator,
    /// Secret and the same for the life of the page, so that a value has one surrogate in all requests.
    key: Zeroizing<[u8; 32]>,
    breaker: Breaker,
}

#[wasm_bindgen]
impl WebGateway {
    /// Creates a gateway from the bytes of the tagger's and the estimator's file, and 32 random bytes.
    ///
    /// # Errors
    /// `detector-failed` or `invalid-estimator` for another file, `invalid-argument` for a key of another length.
    #[wasm_bindgen(constructor)]
    pub fn new(tagger: Vec<u8>, estimator: &[u8], key: &[u8]) -> Result<WebGateway, WebGatewayError> {
        if !tagger::provide(tagger) {
            return Err(GatewayError::Detector { reason: "the file of the tagger is broken" }.into());
        }
        let problem = || format!("found {} bytes, expected 32", key.len());
        let key = key.try_into().map_err(|_| WebGatewayError::InvalidArgument { name: "key", problem: problem() })?;
        Ok(Self {
            detector: Detector::new(Default::default())?,
            estimator: Estimator::from_bytes("router.estimator", estimator)?,
            key: Zeroizing::new(key),
            breaker: Breaker::default(),
        })
    }

    /// Decides where a request is answered. `ask` is JSON: TypeScript's `GatewayAsk`. Returns `{"route": "local" | "cloud" | "refused",
    /// "reason", "detail", "degraded", "gain", "threshold"}`; the last two are null without an estimate.
    ///
    /// # Errors
    /// `invalid-argument` for another document.
    pub fn decide(&self, ask: &str) -> Result<String, WebGatewayError> {
        let ask: Ask = parsed("ask", ask)?;
        let settings = ask.settings();
        let gain = match ask.policy {
            Policy::Auto => Some(self.gain(&ask)?),
            _ => None,
        };
        let state = State {
            now: ask.now(),
            upstreams: &[UpstreamState { breaker: self.breaker, ..UpstreamState::default() }],
            client_spent: policy::Spent::default(),
            escalated: 0.0,
            is_masked: ask.is_masked,
            is_local_ready: true,
            gain,
        };
        let decision = policy::decide(&settings, None, &ask.request(), &state);
        let reason = json!(decision.reason);
        Ok(json!({
            "route": decision.route,
            "reason": reason["code"],
            "detail": decision.reason.to_string(),
            "degraded": decision.degraded,
            "gain": gain.map(|(gain, _)| gain),
            "threshold": gain.map(|(_, threshold)| threshold),
        })
        .to_string())
    }

    /// Tells that a request was `sent`, `succeeded` or `failed`, at `now` milliseconds on the clock of [`WebGateway::decide`]. A server that
    /// fails three times in a row is left alone for a while.
    ///
    /// # Errors
    /// `invalid-argument` for another event.
    pub fn heard(&mut self, event: &str, now: f64) -> Result<(), WebGatewayError> {
        let event = match event {
            "sent" => Event::Sent,
            "succeeded" => Event::Succeeded,
            "failed" => Event::Failed,
            other => {
                let problem = format!("found {other:?}, expected one of sent, succeeded, failed");
                return Err(WebGatewayError::InvalidArgument { name: "event", problem });
            }
        };
        self.breaker = self.breaker.after(event, clock(now), &BreakerSettings::default());
        Ok(())
    }

    /// Replaces the private data of the body of a request in OpenAI's form by what `replacement` says: `surrogate`, `mask` or `block`.
    ///
    /// # Errors
    /// `unsearchable-request` if a part of it cannot be searched, `private-data` for `block` if there is any, and `vault-full`. Nothing may
    /// leave then.
    pub fn redact(&self, body: &str, replacement: &str) -> Result<Redacted, WebGatewayError> {
        let mut body: Value = parsed("body", body)?;
        let replacement: Replacement = parsed("replacement", &json!(replacement).to_string())?;
        let mode = match replacement {
            Replacement::Surrogate => Mode::Surrogate,
            Replacement::Mask => Mode::Mask,
            Replacement::Block => Mode::Block,
        };
        let mut redactor = Redactor::new(&self.detector, mode, Vault::new(*self.key));
        redactor.request(Api::Chat, &mut body)?;
        Ok(Redacted::new(body, &redactor, mode))
    }
}

impl WebGateway {
    /// Returns the expected gain of the cloud and the threshold.
    fn gain(&self, ask: &Ask) -> Result<(f32, f32), WebGatewayError> {
        let prompt = Prompt::from_request(&json!({"messages": ask.messages}))
            .map_err(|problem| WebGatewayError::InvalidArgument { name: "ask", problem: problem.to_string() })?;
        let threshold = self.estimator.threshold(ask.estimator().target());
        Ok((self.estimator.estimate(&prompt).gain, threshold.gain))
    }
}

/// Returns a time of the page.
fn clock(milliseconds: f64) -> Duration {
    Duration::try_from_secs_f64(milliseconds / 1000.0).unwrap_or_default()
}

/// Parses an argument.
fn parsed<T: DeserializeOwned>(name: &'static str, json: &str) -> Result<T, WebGatewayError> {
    serde_json::from_str(json).map_err(|error| WebGatewayError::InvalidArgument { name, problem: error.to_string() })
}
